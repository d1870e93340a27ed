"""Live parity with the libraries whose weights we load, in other shapes than the fixtures in tests/data have.

mindcv comes with requirements-test.txt. For the others, marked `peers`, install PyTorch for the CPU, as pytorch.org
says, and

    pip install "timm>=1.0,<1.1" "transformers>=5,<6"

torchvision is not needed. Where it shall stay away, `pip install --no-deps timm transformers` and then
`pip install huggingface_hub tokenizers regex typer`. `pytest -m "not peers"` leaves these tests out.
"""

import contextlib
import json
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from helpers import error_of, random, randomize
from mindspore import Tensor, nn
from safetensors.numpy import save_file

from vit_ms import _torchvision, registry, runtime
from vit_ms.layers import NUMERICS, Numerics
from vit_ms.models import convnext, deit, hybrid, swin, vit
from vit_ms.pretrained import PRETRAINED, inputs
from vit_ms.resize import resize_bias_table, resize_grid
from vit_ms.weights import load_weights


@pytest.fixture(autouse=True)
def eager(clean_state):
    runtime.setup("CPU", "pynative")


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def transformers(torch):
    return _transformers()


def _transformers():
    """It looks for torchvision's version when its classes are first asked for, which must be before the stand-in for it."""
    package = pytest.importorskip("transformers")
    for name in ("ViT", "DeiT", "Swin", "ConvNext"):
        assert getattr(package, f"{name}ForImageClassification")
    return package


@pytest.fixture(scope="module")
def timm(torch):
    # Before the stand-in for torchvision, in which transformers would miss something; timm is compared without it too.
    with contextlib.suppress(pytest.skip.Exception):
        _transformers()
    _torchvision.install()
    return pytest.importorskip("timm")


def images(size: int | tuple[int, int], channels: int = 3) -> np.ndarray:
    height, width = (size, size) if isinstance(size, int) else size
    return random(2, channels, height, width, seed=3)


def shaken(torch, net):
    """Random values in place of the initial ones, of which zeros and ones hide faults."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
            if parameter.ndim == 1 and "norm" in name and name.endswith("weight"):
                parameter += 1.0
    return net.eval()


def off(ours: nn.Cell, x: np.ndarray, wanted: np.ndarray) -> float:
    """How far our logits are off, over the largest of them; they must be of a size that says something."""
    found = ours.set_train(False)(Tensor(x)).asnumpy()
    assert found.shape == wanted.shape and np.abs(wanted).max() > 0.1
    return np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1.0)


def torch_logits(torch, net, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        logits = net(torch.from_numpy(x))
    return getattr(logits, "logits", logits).numpy()


# mindcv


def saved(net: nn.Cell, path: Path) -> Path:
    ms.save_checkpoint(net, str(path))
    return path


MINDCV_SWIN = {"image_size": 64, "embed_dim": 16, "depths": [2, 1, 2], "num_heads": [2, 4, 4], "window_size": 4}


def test_swin_of_mindcv(tmp_path):
    peers = pytest.importorskip("mindcv.models.swintransformer")
    peer = randomize(peers.SwinTransformer(**MINDCV_SWIN, num_classes=7, drop_path_rate=0.0)).set_train(False)
    path = saved(peer, tmp_path / "swin.ckpt")
    ours = swin.Swin(**MINDCV_SWIN, num_classes=7, **swin.NUMERICS["mindcv"].cells())
    assert str(load_weights(ours, path)) == "weights of mindcv"
    x = images(64)
    assert off(ours, x, peer(Tensor(x)).asnumpy()) < 2e-5
    wrong = swin.Swin(**MINDCV_SWIN, num_classes=7, **swin.NUMERICS["timm"].cells())
    assert "numerics='mindcv'" in error_of(load_weights, wrong, path)


def test_swin_of_mindcv_with_the_names_that_its_code_means(tmp_path):
    """What MindSpore makes of them depends on how the list of stages was filled."""
    peers = pytest.importorskip("mindcv.models.swintransformer")
    peer = randomize(peers.SwinTransformer(**MINDCV_SWIN, num_classes=7, drop_path_rate=0.0)).set_train(False)
    entries = [{"name": name, "data": parameter} for name, parameter in peer.parameters_and_names()]
    assert entries[4]["name"].startswith("layers.0.blocks.0.")
    ms.save_checkpoint(entries, str(tmp_path / "swin.ckpt"))
    ours = swin.Swin(**MINDCV_SWIN, num_classes=7, **swin.NUMERICS["mindcv"].cells())
    assert str(load_weights(ours, tmp_path / "swin.ckpt")) == "weights of mindcv"
    x = images(64)
    assert off(ours, x, peer(Tensor(x)).asnumpy()) < 2e-5


def test_convnext_of_mindcv(tmp_path):
    peers = pytest.importorskip("mindcv.models.convnext")
    peer = randomize(peers.ConvNeXt(3, 7, [1, 2, 1, 1], [8, 16, 24, 32])).set_train(False)
    path = saved(peer, tmp_path / "convnext.ckpt")
    shape = {"depths": [1, 2, 1, 1], "embed_dims": [8, 16, 24, 32], "num_classes": 7}
    ours = convnext.ConvNeXt(**shape, **convnext.NUMERICS["mindcv"].cells())
    assert str(load_weights(ours, path)) == "weights of mindcv"
    x = images((64, 96))
    assert off(ours, x, peer(Tensor(x)).asnumpy()) < 2e-5
    wrong = convnext.ConvNeXt(**shape, **convnext.NUMERICS["timm"].cells())
    assert "numerics='mindcv'" in error_of(load_weights, wrong, path)


def test_vit_of_mindcv(tmp_path):
    peers = pytest.importorskip("mindcv.models.vit")
    shape = {"image_size": 24, "patch_size": 4, "embed_dim": 32, "num_heads": 2, "num_classes": 7}
    peer = randomize(peers.VisionTransformer(**shape, depth=2, mlp_ratio=3.0)).set_train(False)
    path = saved(peer, tmp_path / "vit.ckpt")
    ours = vit.ViT(**shape, num_layers=2, mlp_dim=96, **NUMERICS["mindcv"].cells())
    assert str(load_weights(ours, path)) == "weights of mindcv"
    x = images(24)
    assert off(ours, x, peer(Tensor(x)).asnumpy()) < 2e-5


def test_our_models_are_mindcvs_once_they_are_registered():
    mindcv = pytest.importorskip("mindcv")
    names = registry.register_with_mindcv()
    assert names == [f"vit_ms_{name}" for name in registry.list_models()]
    assert registry.register_with_mindcv() == names  # again does no harm
    assert set(names) <= set(mindcv.list_models())
    network = mindcv.create_model("vit_ms_vit_nano_4", num_classes=10, in_channels=1)
    assert network(Tensor(images(16, 1))).shape == (2, 10)
    network = mindcv.create_model("vit_ms_vit_nano_4", num_classes=3, in_channels=2, numerics="course", depth=None)
    assert network(Tensor(images(16, 2))).shape == (2, 3)


def test_without_mindcv_registering_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mindcv.models", None)
    assert error_of(registry.register_with_mindcv) == "mindcv is not installed: pip install mindcv"


# timm


def loads_timm(torch, peer, ours: nn.Cell, path: Path) -> None:
    save_file({name: value.numpy() for name, value in peer.state_dict().items()}, path)
    assert str(load_weights(ours, path)) == "weights of timm"


@pytest.mark.peers
@pytest.mark.parametrize(
    "size, patch_size, classifier, pool",
    [((24, 40), 8, "token", "cls"), (28, 7, "token", "cls"), (16, 4, "avg", "mean")],
)
def test_vit_of_timm(torch, timm, size, patch_size, classifier, pool, tmp_path):
    from timm.models.vision_transformer import VisionTransformer

    shape = {"patch_size": patch_size, "embed_dim": 30, "num_heads": 3, "num_classes": 5}
    peer = VisionTransformer(size, **shape, depth=2, mlp_ratio=1.5, global_pool=classifier, fc_norm=False)
    shaken(torch, peer)
    ours = vit.ViT(size, **shape, num_layers=2, mlp_dim=45, pool=pool, **NUMERICS["timm"].cells())
    loads_timm(torch, peer, ours, tmp_path / "vit.safetensors")
    x = images(size)
    assert off(ours, x, torch_logits(torch, peer, x)) < 2e-5


@pytest.mark.peers
def test_distilled_deit_of_timm(torch, timm, tmp_path):
    from timm.models.deit import VisionTransformerDistilled

    shape = {"patch_size": 4, "embed_dim": 24, "num_heads": 2, "num_classes": 5}
    peer = shaken(torch, VisionTransformerDistilled((16, 24), **shape, depth=2, mlp_ratio=3))
    ours = deit.DistilledViT(image_size=(16, 24), **shape, num_layers=2, mlp_dim=72, **NUMERICS["timm"].cells())
    loads_timm(torch, peer, ours, tmp_path / "deit.safetensors")
    x = images((16, 24))
    assert off(ours, x, torch_logits(torch, peer, x)) < 2e-5


@pytest.mark.peers
def test_hybrid_of_timm(torch, timm, tmp_path):
    """As r26_s_32 is made, with an image whose sides are no multiple of 32, so that SAME pads one side more."""
    from timm.models.vision_transformer import VisionTransformer
    from timm.models.vision_transformer_hybrid import HybridEmbed, _resnetv2

    def embed(img_size, in_chans, embed_dim, **kwargs):
        return HybridEmbed(_resnetv2((1, 2, 1)), img_size, in_chans=in_chans, embed_dim=embed_dim, proj=True)

    size = (80, 64)
    peer = VisionTransformer(
        size, patch_size=1, embed_dim=24, depth=1, num_heads=2, mlp_ratio=2, num_classes=5, embed_layer=embed
    )
    shaken(torch, peer)
    ours = hybrid.HybridViT(
        image_size=size,
        depths=[1, 2, 1],
        embed_dim=24,
        num_layers=1,
        num_heads=2,
        mlp_dim=48,
        num_classes=5,
        **hybrid.NUMERICS["timm"].cells(),
    )
    loads_timm(torch, peer, ours, tmp_path / "hybrid.safetensors")
    x = images(size)
    assert off(ours, x, torch_logits(torch, peer, x)) < 1e-4


SWINS = {
    "maps no multiples of the window": (40, 4),
    "windows larger than the last map": (32, 4),
    "windows larger than every map": (24, 9),
    "not square": ((32, 48), 4),
    "odd maps to merge": ((28, 36), 3),
}


@pytest.mark.peers
@pytest.mark.parametrize("case", SWINS)
def test_swin_of_timm(torch, timm, case, tmp_path):
    from timm.models.swin_transformer import SwinTransformer

    size, window = SWINS[case]
    shape = {"patch_size": 4, "embed_dim": 8, "window_size": window, "num_classes": 5}
    peer = shaken(torch, SwinTransformer(size, **shape, depths=(2, 2), num_heads=(2, 4), drop_path_rate=0.0))
    cells = swin.NUMERICS["timm"].cells()
    ours = swin.Swin(size, **shape, depths=[2, 2], num_heads=[2, 4], **cells)
    loads_timm(torch, peer, ours, tmp_path / "swin.safetensors")
    x = images(size)
    assert off(ours, x, torch_logits(torch, peer, x)) < 2e-5


@pytest.mark.peers
@pytest.mark.parametrize("size", [75, (64, 97)])
def test_convnext_of_timm(torch, timm, size, tmp_path):
    from timm.models.convnext import ConvNeXt

    peer = shaken(torch, ConvNeXt(depths=(1, 1, 2, 1), dims=(8, 12, 16, 24), num_classes=5))
    shape = {"depths": [1, 1, 2, 1], "embed_dims": [8, 12, 16, 24], "num_classes": 5}
    ours = convnext.ConvNeXt(**shape, **convnext.NUMERICS["timm"].cells())
    loads_timm(torch, peer, ours, tmp_path / "convnext.safetensors")
    x = images(size)
    assert off(ours, x, torch_logits(torch, peer, x)) < 2e-5


# Hugging Face: what save_pretrained writes, with the config.json beside the weights.


def loads_hf(peer, ours: nn.Cell, folder: Path) -> None:
    peer.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["layer_norm_eps"] == peer.config.layer_norm_eps
    assert str(load_weights(ours, folder / "model.safetensors")) == "weights of hf"


@pytest.mark.peers
@pytest.mark.parametrize("epsilon, activation", [(1e-4, "gelu"), (1e-12, "gelu_new"), (1e-6, "gelu_pytorch_tanh")])
def test_vit_of_hugging_face(torch, transformers, epsilon, activation, tmp_path):
    config = transformers.ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=40,
        image_size=24,
        patch_size=4,
        num_labels=5,
        layer_norm_eps=epsilon,
        hidden_act=activation,
    )
    peer = shaken(torch, transformers.ViTForImageClassification(config))
    shape = {"image_size": 24, "patch_size": 4, "embed_dim": 24, "num_layers": 2, "num_heads": 2, "mlp_dim": 40}
    numerics = Numerics(epsilon, "erf" if activation == "gelu" else "tanh")
    ours = vit.ViT(**shape, num_classes=5, **numerics.cells())
    loads_hf(peer, ours, tmp_path)
    x = images(24)
    assert off(ours, x, torch_logits(torch, peer, x)) < 2e-5
    wrong = vit.ViT(**shape, num_classes=5, **Numerics(1e-3, "erf").cells())
    assert f"epsilon {epsilon:g}" in error_of(load_weights, wrong, tmp_path / "model.safetensors")


@pytest.mark.peers
def test_distilled_deit_of_hugging_face(torch, transformers, tmp_path):
    config = transformers.DeiTConfig(
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=3,
        intermediate_size=40,
        image_size=32,
        patch_size=8,
        num_labels=5,
        layer_norm_eps=1e-5,
    )
    peer = shaken(torch, transformers.DeiTForImageClassificationWithTeacher(config))
    shape = {"image_size": 32, "patch_size": 8, "embed_dim": 24, "num_layers": 1, "num_heads": 3, "mlp_dim": 40}
    ours = deit.DistilledViT(**shape, num_classes=5, **Numerics(1e-5, "erf").cells())
    loads_hf(peer, ours, tmp_path)
    x = images(32)
    assert off(ours, x, torch_logits(torch, peer, x)) < 2e-5


@pytest.mark.peers
@pytest.mark.parametrize("size, window", [(64, 4), (48, 3)])
def test_swin_of_hugging_face(torch, transformers, size, window, tmp_path):
    """Maps that are multiples of the window: others transformers pads before the shift, we after it as timm does."""
    config = transformers.SwinConfig(
        image_size=size,
        embed_dim=8,
        depths=[2, 1, 2],
        num_heads=[2, 4, 4],
        window_size=window,
        mlp_ratio=2.0,
        num_labels=5,
        drop_path_rate=0.0,
    )
    peer = shaken(torch, transformers.SwinForImageClassification(config))
    shape = {"embed_dim": 8, "depths": [2, 1, 2], "num_heads": [2, 4, 4], "window_size": window, "mlp_ratio": 2.0}
    ours = swin.Swin(size, **shape, num_classes=5, **swin.NUMERICS["hf"].cells())
    loads_hf(peer, ours, tmp_path)
    x = images(size)
    assert off(ours, x, torch_logits(torch, peer, x)) < 2e-5


@pytest.mark.peers
def test_convnext_of_hugging_face(torch, transformers, tmp_path):
    config = transformers.ConvNextConfig(
        depths=[1, 1, 2, 1], hidden_sizes=[8, 12, 16, 24], num_labels=5, layer_norm_eps=1e-4
    )
    peer = shaken(torch, transformers.ConvNextForImageClassification(config))
    shape = {"depths": [1, 1, 2, 1], "embed_dims": [8, 12, 16, 24], "num_classes": 5}
    ours = convnext.ConvNeXt(**shape, **Numerics(1e-6, "erf", head_epsilon=1e-4).cells())
    loads_hf(peer, ours, tmp_path)
    x = images(75)
    assert off(ours, x, torch_logits(torch, peer, x)) < 2e-5


# Resizing


@pytest.mark.peers
@pytest.mark.parametrize("old, new", [((14, 14), (24, 24)), ((14, 14), (7, 9)), ((3, 5), (5, 3)), ((24, 6), (4, 7))])
@pytest.mark.parametrize("method", ["timm", "swin"])
def test_resizing_is_pytorchs(torch, old, new, method):
    grid = random(*old, 3)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(grid.transpose(2, 0, 1)[None]), size=new, mode="bicubic", antialias=method == "timm"
    )
    found = resize_grid(grid, new, method)
    assert np.abs(found - wanted.numpy()[0].transpose(1, 2, 0)).max() < 1e-5


@pytest.mark.peers
def test_tables_of_swin_are_resized_as_its_authors_do(torch):
    table = random(13 * 13, 4)
    grid = torch.from_numpy(table).permute(1, 0).view(1, 4, 13, 13)
    wanted = torch.nn.functional.interpolate(grid, size=(23, 23), mode="bicubic").view(4, 23 * 23).permute(1, 0)
    assert np.abs(resize_bias_table(table, (7, 7), (12, 12), 0) - wanted.numpy()).max() < 1e-5


@pytest.mark.peers
def test_inputs_are_those_that_timm_states(timm):
    for model, artefacts in PRETRAINED.items():
        for artefact in artefacts:
            if artefact.source == "timm":
                stated = timm.models.get_pretrained_cfg(artefact.file.removesuffix(".safetensors"))
                ours = inputs(model, "timm")
                assert (tuple(ours["mean"]), tuple(ours["std"])) == (stated.mean, stated.std), model
                assert (ours["interpolation"], ours["crop_pct"]) == (stated.interpolation, stated.crop_pct), model
                assert ours["eval_crop"] == stated.crop_mode, model
