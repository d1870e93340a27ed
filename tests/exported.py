"""Checkpoints that the tests of exports are made of: one small network a family, saved, with its run.json."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
from helpers import randomize
from library_models import LIBRARIES
from mindspore import Tensor, nn

from vit_ms.data.transforms import Preprocessing
from vit_ms.recipe import load_recipe
from vit_ms.registry import model_arguments
from vit_ms.run import RunInfo, write_json
from vit_ms.weights import save_weights

_VIT = {"image_size": 16, "patch_size": 4, "embed_dim": 24, "num_layers": 2, "num_heads": 2, "mlp_dim": 40}
_HYBRID = {key: value for key, value in _VIT.items() if key != "patch_size"} | {"depths": [1, 1], "stem_channels": 32}
_SWIN = {"embed_dim": 8, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
_CONVNEXT = {"depths": [1, 2, 1, 1], "embed_dims": [8, 12, 16, 24]}
_ROAD = {"image_size": 75, "depths": [1, 1, 2, 1]}

# What each family does that another does not: model, numerics, overrides.
NETWORKS = {
    "vit": ("vit_s_16", "timm", _VIT),
    "vit, not square, tanh, mean": ("vit_s_16", "google", {**_VIT, "image_size": [8, 16], "pool": "mean"}),
    "vit, pre_logits, 2-D positions": (
        "vit_b_16_in21k",
        "google",
        {**_VIT, "representation_size": 12, "position": "learned_2d"},
    ),
    "vit, relative positions": ("vit_s_16", "timm", {**_VIT, "position": "relative"}),
    "vit, fixed positions": ("vit_s_16", "timm", {**_VIT, "position": "sincos_2d"}),
    "vit, no positions": ("vit_s_16", "course", {**_VIT, "position": "none"}),
    "deit": ("deit_s_16", "timm", _VIT),
    "deit distilled": ("deit_s_16_distilled", "timm", _VIT),
    "hybrid": ("vit_r50_b_16", "timm", {**_HYBRID, "image_size": [40, 56]}),
    "hybrid of google": ("vit_r50_b_16", "google", {**_HYBRID, "image_size": 48}),
    "resnetv2": ("resnet_r50x1", "google", {"image_size": 45, "depths": [1, 2], "stem_channels": 32}),
    "swin, padded": ("swin_t", "timm", {**_SWIN, "image_size": 40}),
    "swin, odd": ("swin_t", "mindcv", {**_SWIN, "image_size": [28, 36], "window_size": 3}),
    "swin, one window": ("swin_t", "timm", {**_SWIN, "image_size": 24, "window_size": 9}),
    "convnext": ("convnext_t", "hf", {**_CONVNEXT, "image_size": 64}),
    "convnext, not square": ("convnext_t", "mindcv", {**_CONVNEXT, "image_size": [75, 100]}),
    "road, first": ("road_resnet50", "timm", {**_ROAD, "channels": [16, 32, 64, 128]}),
    "road, wide": ("road_depthwise", "timm", {**_ROAD, "channels": [16, 32, 64, 128]}),
    "road, inverted": ("road_inverted", "timm", {**_ROAD, "channels": [8, 16, 24, 32]}),
    "road, last": ("road_large_kernel", "timm", {**_ROAD, "channels": [8, 16, 24, 32]}),
}

# The models that the fixtures in tests/data are small forms of.
_MODELS = {"vit": "vit_s_16", "deit_distilled": "deit_s_16_distilled", "swin": "swin_t", "convnext": "convnext_t"}
_MODELS["hybrid"] = "vit_r50_b_16"


def run_info(model: str, numerics, overrides: dict, channels: int = 3, classes: int = 7, **inputs) -> RunInfo:
    """What run.json would say of such a network."""
    overrides = {"num_classes": classes, "input_channels": channels, **overrides}
    size = model_arguments(model, overrides)["image_size"]
    half = [0.5] * channels
    preprocessing = Preprocessing(size, channels, **{"mean": half, "std": half, **inputs})
    names = [f"class {index}" for index in range(classes - 1)] + ["类别"]
    return RunInfo(model, overrides, numerics, names, preprocessing, load_recipe("digits"), {})


def checkpoint(name: str, folder: Path, **inputs) -> tuple[RunInfo, Path]:
    """One of NETWORKS with random weights, saved as best.ckpt beside its run.json."""
    info = run_info(*NETWORKS[name], **inputs)
    network = randomize(info.network(), scale=0.15)
    rng = np.random.default_rng(5)
    for parameter in network.get_parameters():  # those that are not trained, of BatchNorm
        if parameter.name.endswith("moving_mean"):
            parameter.set_data(Tensor(0.3 * rng.standard_normal(parameter.shape).astype(np.float32)))
        elif parameter.name.endswith("moving_variance"):
            parameter.set_data(Tensor(0.5 + rng.random(parameter.shape).astype(np.float32)))
    return info, save(info, network, folder)


def save(info: RunInfo, network: nn.Cell, folder: Path) -> Path:
    """A network as best.ckpt beside its run.json."""
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(network, folder / "best.ckpt")
    write_json(folder / "run.json", asdict(info))
    return folder / "best.ckpt"


def of_library(folder: str) -> RunInfo:
    """What a fixture in tests/data is, as a run."""
    library = LIBRARIES[folder]
    small = {"image_size": 64} if folder.endswith("convnext") else {}
    return run_info(_MODELS[folder.partition("_")[2]], library.source, library.arguments | small)
