"""A checkpoint in the formats of other programs, each compared with the network before it gets its name."""

import importlib.util
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from safetensors.numpy import save_file
from tqdm import tqdm

import vit_ms
from vit_ms import runtime
from vit_ms.errors import UserError, did_you_mean
from vit_ms.files import whole_file
from vit_ms.layers import FeedForward
from vit_ms.models import convnext, deit, swin, vit
from vit_ms.onnx_model import open_session
from vit_ms.run import RunInfo
from vit_ms.weights import load_weights, named_as, numerics_of

FORMATS = ("mindir", "onnx", "safetensors")
NAMES = ("timm", "hf")
TOLERANCE = 1e-4  # of the logits' difference, over the largest of them or 1
IMAGES = 3  # random ones, for the comparison
# MindSpore splits a larger MINDIR into several files, and protobuf, which ONNX files are, holds no more.
MOST_BYTES = {"mindir": 1 << 30, "onnx": (1 << 31) - (1 << 20)}


def describe(info: RunInfo) -> dict:
    """What an export says of itself: model, overrides, numerics, classes, preprocessing (size, crop, mean, std), version."""
    return {
        "model": info.model,
        "overrides": info.overrides,
        "numerics": info.numerics,
        "classes": info.classes,
        "preprocessing": asdict(info.preprocessing),
        "vit_ms_version": vit_ms.__version__,
    }


def export(
    info: RunInfo,
    ckpt_path: str | Path,
    format: str,
    output: str | Path | None = None,
    names: str | None = None,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Write a checkpoint as a file for other programs, if it gives the network's logits.

    What was written is read again, run on random images, and compared with the network. It runs on the CPU, in PyNative
    mode, whatever was set up.

    Args:
        info (RunInfo): what the checkpoint is.
        ckpt_path (str or Path): its weights.
        format (str): of FORMATS.
        output (str or Path): the file; None: beside the checkpoint, of its name with the format's ending, or of safetensors
            timm/model.safetensors or hf/model.safetensors.
        names (str): of NAMES, whose names safetensors have; None: timm's.
        say (Callable): told how far the logits are off.

    Returns:
        list[Path], what was written: the file, and beside a MINDIR what it cannot say of itself, as .json, beside
        safetensors under Hugging Face's names config.json and preprocessor_config.json.

    Raises:
        UserError: If a word is unknown, a package is missing, the weights do not fit or are too many, or the format has no
            such network.
        FloatingPointError: If the logits differ by more than TOLERANCE; no file is left.
    """
    _check_words(format, names, output)
    _check_packages(format)
    names = names or "timm"
    output = Path(output) if output else _beside(Path(ckpt_path), format, names)
    if output.resolve() == Path(ckpt_path).resolve():
        raise UserError(f"output is {output}, the checkpoint itself: choose another name")
    if output.is_dir():
        raise UserError(f"output is {output}, a folder: name a file in it")
    if (format, names) == ("safetensors", "hf") and output.name != "model.safetensors":
        raise UserError(f"output is {output}; transformers looks for model.safetensors: name it so")
    folder = next(parent for parent in output.resolve().parents if parent.exists())
    if not folder.is_dir():
        raise UserError(f"output is {output}, but {folder} is no folder")
    # Files are made under their own names, for a reader may look for one beside another.
    scratch = tempfile.TemporaryDirectory(prefix=f".{output.stem}.", dir=folder)
    with scratch, tqdm(total=4, desc="loading", unit="step") as bar:
        runtime.setup("CPU", "pynative")
        network = info.network()
        load_weights(network, ckpt_path)
        network.set_train(False)
        _check_size(network, info.model, format)
        images = random_images(info)
        bar.update()
        bar.set_description("asking the network")
        wanted = network(Tensor(images)).asnumpy()
        bar.update()
        bar.set_description(f"writing {format}")
        path = Path(scratch.name) / output.name
        if format == "onnx":
            write_onnx(network, path, describe(info))
        elif format == "mindir":
            write_mindir(network, path, images.shape[1:], describe(info))
        else:
            write_safetensors(network, path, names, info)
        bar.update()
        bar.set_description("comparing")
        found = {"onnx": _run_onnx, "mindir": _run_mindir, "safetensors": _run_safetensors}[format](path, images, info)
        bar.update()
        difference = float(np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max()))
        if not difference <= TOLERANCE:
            raise FloatingPointError(
                f"{output} is not written: its logits are off the network's by {difference:.1e}, more than {TOLERANCE:g}"
            )
        made = [path, *(file for file in sorted(path.parent.iterdir()) if file != path)]
        for file in reversed(made):  # what tells of the file before the file itself
            file.chmod(0o644)  # some writers leave it to be read by its owner alone
            with whole_file(output.parent / file.name) as temporary:
                file.replace(temporary)
    say(f"{output.name}: logits differ from the network's by {difference:.1e} on {len(images)} random images")
    return [output.parent / file.name for file in made]


def _check_words(format: str, names: str | None, output: str | Path | None) -> None:
    if format not in FORMATS:
        raise UserError(f"format is {format!r}{did_you_mean(format, FORMATS)}")
    if names is not None and names not in NAMES:
        raise UserError(f"names is {names!r}{did_you_mean(names, NAMES)}")
    if names is not None and format != "safetensors":
        raise UserError(f"--names {names} is for --format safetensors, not {format}")
    if output and Path(output).suffix != f".{format}":
        raise UserError(f"output is {output}; with --format {format} it must end in .{format}")


def _check_packages(format: str) -> None:
    lacking = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if format == "onnx" and lacking:
        raise UserError(f"{' and '.join(lacking)} not installed: pip install -r requirements-export.txt")


def _beside(ckpt_path: Path, format: str, names: str) -> Path:
    if format == "safetensors":
        return ckpt_path.parent / names / "model.safetensors"
    return ckpt_path.with_suffix(f".{format}")


def _check_size(network: nn.Cell, model: str, format: str) -> None:
    size, most = sum(4 * parameter.size for parameter in network.get_parameters()), MOST_BYTES.get(format)
    if most is not None and size > most:
        others = [name for name in FORMATS if MOST_BYTES.get(name, size) >= size]
        raise UserError(
            f"{model} has {size / 1e9:.1f} GB of weights, and one {format} file holds {most / 1e9:.1f}: "
            f"choose --format {' or '.join(others)}"
        )


def random_images(info: RunInfo) -> np.ndarray:
    """(IMAGES, C, height, width) float32, of the size that the network takes."""
    preprocessing = info.preprocessing
    size = preprocessing.image_size
    sides = (size, size) if isinstance(size, int) else size
    return np.random.default_rng(0).standard_normal((IMAGES, preprocessing.channels, *sides), np.float32)


def _batches(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One image and the others: batches of two sizes."""
    return images[:1], images[1:]


def _text(description: dict) -> dict[str, str]:
    """A description where every value must be text."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in description.items()
    }


# ONNX


def write_onnx(network: nn.Cell, path: Path, description: dict) -> None:
    """Write a network as ONNX.

    Args:
        network (nn.Cell): of a model's class, in evaluation mode.
        path (Path): the file.
        description (dict): as `describe` gives it, kept as the file's metadata.

    Raises:
        UserError: If a cell of it has no ONNX form.
    """
    import onnx

    from vit_ms.onnx_graph import to_onnx

    size, channels = (description["preprocessing"][key] for key in ("image_size", "channels"))
    sides = (size, size) if isinstance(size, int) else tuple(size)
    model = to_onnx(network, (channels, *sides), len(description["classes"]), _text(description))
    onnx.save(model, path)
    onnx.checker.check_model(path, full_check=True)


def _run_onnx(path: Path, images: np.ndarray, info: RunInfo) -> np.ndarray:
    session = open_session(path)
    (name,) = (item.name for item in session.get_inputs())
    return np.concatenate([session.run(None, {name: batch})[0] for batch in _batches(images)])


# MINDIR


def write_mindir(network: nn.Cell, path: Path, image_shape: tuple[int, ...], description: dict) -> None:
    """Write a network as MINDIR, in MindSpore's own operations and not the forms for a CPU, and its description as JSON."""
    runtime.setup("CPU", "graph", implementation="reference")
    try:
        ms.export(
            network, Tensor(shape=[None, *image_shape], dtype=ms.float32), file_name=str(path), file_format="MINDIR"
        )
    finally:
        runtime.setup("CPU", "pynative")
    path.with_suffix(".json").write_text(json.dumps(description, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _run_mindir(path: Path, images: np.ndarray, info: RunInfo) -> np.ndarray:
    network = nn.GraphCell(ms.load(str(path)))
    return np.concatenate([network(Tensor(batch)).asnumpy() for batch in _batches(images)])


# safetensors


def write_safetensors(network: nn.Cell, path: Path, names: str, info: RunInfo) -> None:
    """Write weights under another library's names, and for Hugging Face what transformers needs beside them.

    Raises:
        UserError: If the library has no network that gives the same logits.
    """
    try:
        arrays = named_as(network, names)
    except UserError as error:
        raise UserError(f"{error}; --format onnx or mindir has it as it is") from None
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(arrays, path, metadata={"format": "pt", **_text(describe(info))})
    if names == "hf":
        for name, content in (("config", _hf_config(network, info)), ("preprocessor_config", _hf_preprocessor(info))):
            text = json.dumps(content, indent=1, ensure_ascii=False)
            path.with_name(f"{name}.json").write_text(text + "\n", encoding="utf-8")


def _run_safetensors(path: Path, images: np.ndarray, info: RunInfo) -> np.ndarray:
    network = info.network()
    load_weights(network, path)
    return network.set_train(False)(Tensor(images)).asnumpy()


def _hf_config(network: nn.Cell, info: RunInfo) -> dict:
    """What config.json says of a network, from its cells.

    Reference:
        transformers: configuration_vit.py, configuration_deit.py, configuration_swin.py, configuration_convnext.py.
    """
    numerics = numerics_of(network)
    feedforward = next(cell for _, cell in network.cells_and_names() if isinstance(cell, FeedForward))
    config = {
        "dtype": "float32",
        "hidden_act": {"erf": "gelu", "tanh": "gelu_pytorch_tanh"}[numerics.gelu],
        "layer_norm_eps": numerics.head_epsilon or numerics.epsilon,
        "image_size": info.preprocessing.image_size,
        "num_channels": info.preprocessing.channels,
        "id2label": {str(index): name for index, name in enumerate(info.classes)},
        "label2id": {name: index for index, name in enumerate(info.classes)},
    }
    if isinstance(network, vit.ViT):
        blocks = network.transformer.layers
        attention = blocks[0][0].cell[1]
        distilled = isinstance(network, deit.DistilledViT)
        head = "DeiTForImageClassificationWithTeacher" if distilled else "ViTForImageClassification"
        return config | {
            "architectures": [head],
            "model_type": "deit" if distilled else "vit",
            "hidden_size": attention.out.out_channels,
            "num_hidden_layers": len(blocks),
            "num_attention_heads": attention.num_heads,
            "intermediate_size": feedforward.dense1.out_channels,
            "patch_size": network.patch_embedding.conv.kernel_size[0],
            "qkv_bias": True,
        }
    if isinstance(network, swin.Swin):
        attentions = [stage.blocks[0][0].cell[1] for stage in network.stages]
        return config | {
            "architectures": ["SwinForImageClassification"],
            "model_type": "swin",
            "embed_dim": network.patch_embedding.conv.out_channels,
            "depths": [len(stage.blocks) for stage in network.stages],
            "num_heads": [attention.attention.num_heads for attention in attentions],
            "window_size": attentions[0].window[0],
            "mlp_ratio": feedforward.dense1.out_channels / feedforward.dense1.in_channels,
            "patch_size": network.patch_embedding.conv.kernel_size[0],
            "qkv_bias": True,
        }
    assert isinstance(network, convnext.ConvNeXt)
    return config | {
        "architectures": ["ConvNextForImageClassification"],
        "model_type": "convnext",
        "hidden_sizes": [stage.blocks[0].cell[0].out_channels for stage in network.stages],
        "depths": [len(stage.blocks) for stage in network.stages],
        "num_stages": len(network.stages),
        "patch_size": network.stem[0].kernel_size[0],
    }


def _hf_preprocessor(info: RunInfo) -> dict:
    """What preprocessor_config.json says: resize, crop, normalise."""
    preprocessing = info.preprocessing
    size = preprocessing.image_size
    height, width = (size, size) if isinstance(size, int) else size
    center = preprocessing.eval_crop == "center"
    config = {
        "image_processor_type": "BitImageProcessor" if center else "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": height, "width": width},
        "resample": {"bilinear": 2, "bicubic": 3}[preprocessing.interpolation],  # Pillow's numbers
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": preprocessing.mean,
        "image_std": preprocessing.std,
        "do_convert_rgb": preprocessing.channels == 3,
    }
    if center:
        config["size"] = {"shortest_edge": round(max(height, width) / preprocessing.crop_pct)}
        config |= {"do_center_crop": True, "crop_size": {"height": height, "width": width}}
    return config
