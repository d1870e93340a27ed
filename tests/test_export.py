"""What is exported says what the network says, under the names that others look for, or is not there at all."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import onnx
import pytest
from exported import NETWORKS, checkpoint, of_library, run_info, save
from helpers import DATA, ROOT, error_of, randomize
from library_models import LIBRARIES, weights_file
from mindspore import Tensor, nn
from safetensors import safe_open
from safetensors.numpy import load_file

from vit_ms import _torchvision, onnx_graph
from vit_ms import export as module
from vit_ms.cli import main
from vit_ms.export import describe, export
from vit_ms.onnx_model import OnnxModel, open_session
from vit_ms.registry import MODELS
from vit_ms.weights import load_weights

FORMATS = ("onnx", "mindir", "safetensors")
WRITTEN = [folder for folder, library in LIBRARIES.items() if library.source in module.NAMES]


def network_of(info, path: Path) -> nn.Cell:
    network = info.network()
    load_weights(network, path)
    return network.set_train(False)


def images(info, count: int, seed: int = 4) -> np.ndarray:
    size = info.preprocessing.image_size
    sides = (size, size) if isinstance(size, int) else size
    return np.random.default_rng(seed).standard_normal((count, info.preprocessing.channels, *sides), np.float32)


def off(found: np.ndarray, wanted: np.ndarray) -> float:
    assert found.shape == wanted.shape and np.abs(wanted).max() > 0.1
    return np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1.0)


def left(folder: Path) -> set[str]:
    """Files and folders, hidden ones too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_every_family_is_among_the_networks():
    assert {MODELS[model].cell for model, _, _ in NETWORKS.values()} == {model.cell for model in MODELS.values()}


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_gives_the_logits_for_any_batch(name, tmp_path, capsys):
    info, path = checkpoint(name, tmp_path)
    said = []
    assert export(info, path, "onnx", say=said.append) == [tmp_path / "best.onnx"]
    (line,) = said
    assert line.startswith("best.onnx: logits differ from the network's by ") and line.endswith(" on 3 random images")
    assert float(line.split(" by ")[1].split()[0]) < 1e-5
    network, session = network_of(info, path), open_session(tmp_path / "best.onnx")
    for count in (1, 3):
        x = images(info, count)
        assert off(session.run(["logits"], {"images": x})[0], network(Tensor(x)).asnumpy()) < 1e-5
    assert left(tmp_path) == {"best.ckpt", "run.json", "best.onnx"}


def test_onnx_is_what_onnxruntime_has_fast_forms_of(tmp_path):
    info, path = checkpoint("vit", tmp_path)
    export(info, path, "onnx")
    model = onnx.load(tmp_path / "best.onnx")
    onnx.checker.check_model(model, full_check=True)
    (opset,) = model.opset_import
    assert opset.domain == "" and opset.version == onnx_graph.OPSET >= 17
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("LayerNormalization") == 5 and kinds.count("Gelu") == 2 and kinds.count("Softmax") == 2
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    said = {item.key: item.value for item in model.metadata_props}
    assert said.keys() == describe(info).keys() and said["model"] == "vit_s_16"
    assert json.loads(said["classes"]) == info.classes and "类别" in said["classes"]
    inputs = {"image_size": 16, "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3}
    crop = {"interpolation": "bilinear", "crop_pct": 0.875, "eval_crop": "center"}
    assert json.loads(said["preprocessing"]) == inputs | crop


# MindSpore compiles each twice: of the families one in every run.
MINDIR = ["deit distilled", "hybrid", "resnetv2", "swin, padded", "convnext", "road, first", "road, last"]


@pytest.mark.parametrize("name", ["vit", *(pytest.param(name, marks=pytest.mark.slow) for name in MINDIR)])
def test_mindir_gives_the_logits_for_any_batch(name, tmp_path):
    info, path = checkpoint(name, tmp_path)
    said = []
    assert export(info, path, "mindir", say=said.append) == [tmp_path / "best.mindir", tmp_path / "best.json"]
    assert "logits differ from the network's by " in said[0]
    network, found = network_of(info, path), nn.GraphCell(ms.load(str(tmp_path / "best.mindir")))
    for count in (1, 3):
        x = images(info, count)
        assert off(found(Tensor(x)).asnumpy(), network(Tensor(x)).asnumpy()) < 1e-5
    assert json.loads((tmp_path / "best.json").read_text(encoding="utf-8")) == json.loads(json.dumps(describe(info)))
    assert left(tmp_path) == {"best.ckpt", "run.json", "best.mindir", "best.json"}
    assert (tmp_path / "best.mindir").stat().st_mode & 0o444 == 0o444


# Under the names of others


@pytest.mark.parametrize("folder", WRITTEN)
def test_what_was_loaded_from_a_library_is_written_as_it_was(folder, tmp_path):
    info, names = of_library(folder), LIBRARIES[folder].source
    path = save(info, network_of(info, weights_file(folder)), tmp_path)
    said = []
    written = export(info, path, "safetensors", names=names, say=said.append)
    assert written[0] == tmp_path / names / "model.safetensors" and " by 0.0e+00 on " in said[0]
    found, wanted = load_file(written[0]), load_file(weights_file(folder))
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array), name
    with safe_open(written[0], "np") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt" and metadata["model"] == info.model  # transformers asks for the first
    assert (
        json.loads(metadata["classes"]) == info.classes and json.loads(metadata["preprocessing"])["mean"] == [0.5] * 3
    )
    # It is theirs again for those who load it, here too.
    assert str(load_weights(info.network(), written[0])) == f"weights of {names}"


@pytest.mark.parametrize("folder", [folder for folder in WRITTEN if folder.startswith("hf_")])
def test_config_json_is_that_of_hugging_face(folder, tmp_path):
    info = of_library(folder)
    path = save(info, network_of(info, weights_file(folder)), tmp_path)
    assert export(info, path, "safetensors", "out/model.safetensors", "hf") == [
        Path("out") / name for name in ("model.safetensors", "config.json", "preprocessor_config.json")
    ]
    found = json.loads(Path("out/config.json").read_text(encoding="utf-8"))
    wanted = json.loads((DATA / folder / "config.json").read_text(encoding="utf-8"))
    assert found["id2label"]["6"] == "类别" and found["label2id"]["类别"] == 6
    labels = {"id2label", "label2id", *(["image_size"] if folder == "hf_convnext" else [])}
    assert found.keys() <= wanted.keys()
    assert {key: found[key] for key in found.keys() - labels} == {key: wanted[key] for key in found.keys() - labels}


def test_preprocessor_config_says_crop_or_squash(tmp_path):
    center = module._hf_preprocessor(run_info("vit_s_16", "timm", {}, crop_pct=0.9, interpolation="bicubic"))
    assert center["size"] == {"shortest_edge": 249} and center["crop_size"] == {"height": 224, "width": 224}
    assert center["resample"] == 3 and center["image_mean"] == [0.5] * 3
    squash = module._hf_preprocessor(run_info("vit_s_16", "google", {"image_size": [32, 64]}, eval_crop="squash"))
    assert squash["size"] == {"height": 32, "width": 64} and "crop_size" not in squash and squash["resample"] == 2


REFUSED = {
    ("vit, not square, tanh, mean", "timm"): "it computes with LayerNorm epsilon 1e-06, erf GELU, this one with",
    ("vit, not square, tanh, mean", "hf"): "its head reads the class token, this one has pool='mean'",
    (
        "vit, pre_logits, 2-D positions",
        "hf",
    ): "it has learned_1d positions, these are learned_2d; it has no representation",
    ("vit, fixed positions", "timm"): "it has learned_1d positions, these are sincos_2d",
    ("hybrid", "hf"): "hf has no ViT with the same logits: it has none",
    ("resnetv2", "timm"): "timm has no ResNet with the same logits",
    ("road, first", "timm"): "timm has no network on the road with the same logits",
    ("swin, padded", "hf"): "its maps must be multiples of the window, 4 x 4",
    ("swin, one window", "hf"): "its maps must be multiples of the window",
    ("convnext, not square", "timm"): "tanh GELU",
}


@pytest.mark.parametrize("name, names", REFUSED)
def test_what_would_give_other_logits_there_is_refused(name, names, tmp_path):
    info, path = checkpoint(name, tmp_path)
    message = error_of(export, info, path, "safetensors", names=names)
    assert REFUSED[name, names] in message and message.endswith("; --format onnx or mindir has it as it is")
    assert left(tmp_path) == {"best.ckpt", "run.json"}


def test_hugging_face_has_any_epsilon_and_gelu(tmp_path):
    info, path = run_info("vit_s_16", "course", NETWORKS["vit"][2]), None
    path = save(info, randomize(info.network()), tmp_path)
    export(info, path, "safetensors", names="hf")
    config = json.loads((tmp_path / "hf/config.json").read_text(encoding="utf-8"))
    assert config["hidden_act"] == "gelu_pytorch_tanh" and config["layer_norm_eps"] == pytest.approx(1e-7)
    convnext = run_info("convnext_t", "mindcv", NETWORKS["convnext"][2] | {"kernel_size": 5})
    path = save(convnext, convnext.network(), tmp_path / "convnext")
    assert "kernels of 7 x 7" in error_of(export, convnext, path, "safetensors", names="hf")


# Nothing that is wrong gets a name


def break_onnx(monkeypatch, wrong):
    true = onnx_graph.numpy_helper.from_array
    monkeypatch.setattr(
        onnx_graph.numpy_helper,
        "from_array",
        lambda array, name: true(wrong(array) if array.ndim == 2 else array, name),
    )


def break_mindir(monkeypatch, wrong):
    true = ms.export

    def worse(network, *arguments, **options):
        network.dense.weight.set_data(Tensor(wrong(network.dense.weight.asnumpy())))
        true(network, *arguments, **options)

    monkeypatch.setattr(ms, "export", worse)


def break_safetensors(monkeypatch, wrong):
    true = module.save_file
    monkeypatch.setattr(
        module,
        "save_file",
        lambda arrays, *rest, **options: true({k: wrong(v) for k, v in arrays.items()}, *rest, **options),
    )


BREAKS = {"onnx": break_onnx, "mindir": break_mindir, "safetensors": break_safetensors}


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_off_is_refused_and_leaves_nothing(format, tmp_path, monkeypatch, capsys):
    _, path = checkpoint("vit", tmp_path)
    before = left(tmp_path)
    BREAKS[format](monkeypatch, lambda array: array + np.float32(0.001))
    assert main(["export", "--ckpt_path", str(path), "--format", format]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("vit_ms: ") and " is not written: its logits are off the network's by " in error
    assert left(tmp_path) == before


def test_what_is_not_a_number_is_refused(tmp_path, monkeypatch):
    info, path = checkpoint("vit", tmp_path)
    break_onnx(monkeypatch, lambda array: array * np.float32(np.nan))
    with pytest.raises(FloatingPointError, match="off the network's by nan"):
        export(info, path, "onnx")
    assert left(tmp_path) == {"best.ckpt", "run.json"}


def test_a_file_of_the_name_stays_when_the_new_one_is_refused(tmp_path, monkeypatch):
    info, path = checkpoint("vit", tmp_path)
    (tmp_path / "best.onnx").write_text("the old one")
    break_onnx(monkeypatch, lambda array: array + np.float32(0.001))
    with pytest.raises(FloatingPointError):
        export(info, path, "onnx")
    assert (tmp_path / "best.onnx").read_text() == "the old one"
    monkeypatch.undo()
    export(info, path, "onnx", tmp_path / "best.onnx")
    assert OnnxModel(tmp_path / "best.onnx").classes == info.classes


def test_a_full_disk_leaves_no_half_a_file(tmp_path, monkeypatch, capsys):
    _, path = checkpoint("vit", tmp_path)
    before = left(tmp_path)

    def half(model, file):
        Path(file).write_bytes(model.SerializeToString()[:1000])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(onnx, "save", half)
    assert main(["export", "--ckpt_path", str(path), "--format", "onnx"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert left(tmp_path) == before


def test_a_new_folder_is_made_for_what_is_whole_alone(tmp_path, monkeypatch):
    info, path = checkpoint("vit", tmp_path)
    out = tmp_path / "new" / "deeper" / "net.onnx"
    with monkeypatch.context() as patch:
        break_onnx(patch, lambda array: array + np.float32(0.001))
        with pytest.raises(FloatingPointError):
            export(info, path, "onnx", out)
    assert not (tmp_path / "new").exists()
    assert export(info, path, "onnx", out) == [out] and left(out.parent) == {"net.onnx"}


# Mistakes


MISTAKES = (
    ("--format onxx", "format is 'onxx'; did you mean 'onnx'?"),
    ("--format air", "format is 'air'; known: mindir, onnx, safetensors"),
    ("--format safetensors --names tim", "names is 'tim'; did you mean 'timm'?"),
    ("--format onnx --names hf", "--names hf is for --format safetensors, not onnx"),
    ("--format onnx --output net.mindir", "output is net.mindir; with --format onnx it must end in .onnx"),
    (
        "--format safetensors --names hf --output net.safetensors",
        "transformers looks for model.safetensors: name it so",
    ),
    ("--format onnx --output folder.onnx", "output is folder.onnx, a folder: name a file in it"),
    ("--format onnx --output best.ckpt/net.onnx", "best.ckpt is no folder"),
    ("--format onnx --ckpt_path absent.ckpt", "there is no checkpoint absent.ckpt"),
)


@pytest.mark.parametrize("options, message", MISTAKES)
def test_a_mistake_is_told_in_a_line(options, message, tmp_path, capsys):
    checkpoint("vit", tmp_path)
    (tmp_path / "folder.onnx").mkdir()
    before = left(tmp_path)
    assert main(["export", "--ckpt_path", "best.ckpt", *options.split()]) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if "vit_ms: " in line]
    assert message in error and left(tmp_path) == before


def test_the_checkpoint_is_not_written_over(tmp_path):
    info, path = checkpoint("vit", tmp_path)
    ours = path.rename(tmp_path / "ours.safetensors")
    assert "the checkpoint itself" in error_of(export, info, ours, "safetensors", tmp_path / "." / "ours.safetensors")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_package_that_is_missing_is_named(package, tmp_path, monkeypatch):
    info, path = checkpoint("vit", tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    message = error_of(export, info, path, "onnx")
    assert message == f"{package} not installed: pip install -r requirements-export.txt"
    export(info, path, "safetensors")  # which needs neither


@pytest.mark.parametrize("format, others", [("mindir", "onnx or safetensors"), ("onnx", "safetensors")])
def test_a_file_that_would_be_too_large_is_refused(format, others, tmp_path, monkeypatch):
    info, path = checkpoint("vit", tmp_path)
    monkeypatch.setitem(module.MOST_BYTES, "mindir", 1000)
    if format == "onnx":
        monkeypatch.setitem(module.MOST_BYTES, "onnx", 1000)
    message = error_of(export, info, path, format)
    assert "vit_s_16 has 0.0 GB of weights" in message and message.endswith(f"choose --format {others}")


def test_a_cell_without_a_form_is_named():
    graph = onnx_graph.Graph()
    assert error_of(onnx_graph.emit, nn.LSTM(3, 4), graph, "x").startswith("LSTM has no ONNX form")


# As users call it


def test_the_script_exports_from_any_folder(tmp_path):
    checkpoint("vit", tmp_path)
    script = ROOT / "scripts" / "run_export.sh"

    def run(*words):
        variables = os.environ | {"PYTHON": sys.executable}
        return subprocess.run(["bash", script, *words], capture_output=True, text=True, env=variables, timeout=300)

    usage = "usage: bash scripts/run_export.sh"
    assert run("--help").returncode == 0 and run("--help").stdout.startswith(usage)
    for words in ([], ["best.ckpt"], ["best.ckpt", "--format"]):
        assert run(*words).returncode == 2 and run(*words).stderr.startswith(usage)
    done = run("best.ckpt", "onnx", "--output", "net.onnx")
    assert done.returncode == 0 and "net.onnx: logits differ" in done.stdout, done.stderr
    assert left(tmp_path) == {"best.ckpt", "run.json", "net.onnx"}


# In the libraries themselves, where they are installed; tests/test_peers.py says how.


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def transformers(torch):
    package = pytest.importorskip("transformers")
    for name in ("ViT", "DeiT", "Swin", "ConvNext"):  # before the stand-in for torchvision
        assert getattr(package, f"{name}ForImageClassification")
    return package


@pytest.fixture
def timm(transformers):
    _torchvision.install()
    return pytest.importorskip("timm")


def exported(name: str, names: str, folder: Path, **inputs):
    info, path = checkpoint(name, folder, **inputs)
    file = export(info, path, "safetensors", names=names)[0]
    x = images(info, 2)
    return info, file, x, network_of(info, path)(Tensor(x)).asnumpy()


TIMM = {
    "vit": (
        "vit_small_patch16_224",
        {"patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 2, "mlp_ratio": 40 / 24},
    ),
    "swin, padded": (
        "swin_tiny_patch4_window7_224",
        {"embed_dim": 8, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4},
    ),
    "convnext": ("convnext_tiny", {"depths": (1, 2, 1, 1), "dims": (8, 12, 16, 24)}),
}
TIMM["deit distilled"] = ("deit_small_distilled_patch16_224", TIMM["vit"][1])


@pytest.mark.peers
@pytest.mark.parametrize("name", TIMM)
def test_timm_loads_it(name, torch, timm, tmp_path, monkeypatch):
    if name == "convnext":  # that of NETWORKS has Hugging Face's numerics
        monkeypatch.setitem(NETWORKS, name, ("convnext_t", "timm", NETWORKS[name][2]))
    _, file, x, wanted = exported(name, "timm", tmp_path)
    model, arguments = TIMM[name]
    size = {} if name == "convnext" else {"img_size": x.shape[-1]}
    peer = timm.create_model(model, num_classes=7, checkpoint_path=str(file), **size, **arguments).eval()
    with torch.no_grad():
        assert off(peer(torch.from_numpy(x)).numpy(), wanted) < 2e-5


@pytest.mark.peers
@pytest.mark.parametrize("name", ["vit", "deit distilled", "swin", "convnext"])
def test_transformers_loads_it(name, torch, transformers, tmp_path, monkeypatch):
    if name == "swin":  # its maps are multiples of the window
        monkeypatch.setitem(NETWORKS, name, ("swin_t", "hf", NETWORKS["swin, padded"][2] | {"image_size": 64}))
    info, file, x, wanted = exported(name, "hf", tmp_path, mean=[0.1, 0.2, 0.3], crop_pct=0.9)
    config = transformers.AutoConfig.from_pretrained(file.parent)
    kind = getattr(transformers, config.architectures[0])
    peer, report = kind.from_pretrained(file.parent, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert [peer.config.id2label[index] for index in range(7)] == info.classes
    with torch.no_grad():
        assert off(peer.eval()(torch.from_numpy(x)).logits.numpy(), wanted) < 2e-5
    processor = transformers.AutoImageProcessor.from_pretrained(file.parent)
    picture = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    pixels = np.asarray(processor(picture)["pixel_values"][0])
    assert pixels.shape == x.shape[1:]
    flat = np.full((90, 120, 3), 51, np.uint8)
    found = np.asarray(processor(flat)["pixel_values"][0]).mean(axis=(1, 2))
    assert found == pytest.approx((0.2 - np.array([0.1, 0.2, 0.3])) / 0.5, abs=1e-5)
