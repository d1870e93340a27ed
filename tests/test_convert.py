"""`python -m vit_ms convert`: other libraries' weights as ours, with the logits that they had."""

import numpy as np
import pytest
from helpers import values
from library_models import LIBRARIES, stored, weights_file
from mindspore import Tensor

from vit_ms import cli, runtime
from vit_ms.registry import MODELS, Model, create_model
from vit_ms.weights import load_weights


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """For each fixture a model of its name, with the classes of ImageNet, not those of the file."""
    for name, library in LIBRARIES.items():
        row = {**library.arguments, "num_classes": 1000}
        monkeypatch.setitem(MODELS, name, Model(library.cell, row, library.known))


def convert(capsys, *words: object) -> tuple[int, str, str]:
    """Exit code, what was printed, and what was said of a mistake."""
    code = cli.main(["convert", *map(str, words)])
    return code, *capsys.readouterr()


def logits(folder: str, path, numerics: str) -> np.ndarray:
    runtime.setup("CPU", "pynative")
    network = create_model(folder, numerics, num_classes=7).set_train(False)
    assert str(load_weights(network, path)) == "weights of vit_ms"
    return network(Tensor(stored(folder, "input"))).asnumpy()


@pytest.mark.parametrize("folder", ["google_vit", "hf_vit", "hf_convnext", "timm_deit_distilled"])
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_what_is_converted_gives_the_logits_of_the_library(folder, suffix, tmp_path, capsys):
    src, dst = weights_file(folder), tmp_path / "new" / f"ours{suffix}"
    code, printed, wrong = convert(capsys, src, dst, "--model", folder)
    assert (code, wrong) == (0, "")
    assert f"{src}: weights of {LIBRARIES[folder].source}\n" in printed and str(dst) in printed
    found = logits(folder, dst, LIBRARIES[folder].source)
    assert found.shape[1] == 7 and np.abs(found - stored(folder, "logits")).max() < 2e-5


def test_what_is_left_out_keeps_initial_values_and_another_size_is_resized(tmp_path, capsys):
    src, dst = weights_file("google_vit"), tmp_path / "ours.ckpt"
    words = ("--model", "google_vit", "--skip", "dense.", "--image_size", 48)
    code, printed, wrong = convert(capsys, src, dst, *words)
    assert (code, wrong) == (0, "")
    assert "resized: pos_embedding from (1, 17, 48) to (1, 37, 48); kept: dense.weight, dense.bias" in printed
    network = create_model("google_vit", "google", image_size=48)  # with the model's own thousand classes
    assert str(load_weights(network, dst)) == "weights of vit_ms"
    wanted = LIBRARIES["google_vit"].network(image_size=48)
    load_weights(wanted, src)
    found = values(network)
    assert all(np.array_equal(found[name], array) for name, array in values(wanted).items() if "dense." not in name[:6])


def test_the_source_may_be_said(tmp_path, capsys):
    words = (weights_file("course_vit"), tmp_path / "ours.ckpt", "--model", "course_vit")
    assert convert(capsys, *words, "--source", "course")[0] == 0
    code, _, wrong = convert(capsys, *words, "--source", "google")
    assert code == 2 and "no names of google's: it has those of a ViT of course's" in wrong


def test_a_layer_before_the_head_needs_a_model_that_has_it(tmp_path, capsys):
    arrays = dict(np.load(weights_file("google_vit")))
    src, dst = tmp_path / "in21k.npz", tmp_path / "ours.ckpt"
    head = {"pre_logits/kernel": np.ones((48, 48), np.float32), "pre_logits/bias": np.ones(48, np.float32)}
    np.savez(src, **arrays, **head)
    code, _, wrong = convert(capsys, src, dst, "--model", "google_vit")
    assert code == 2 and "representation layer" in wrong and "--skip pre_logits." in wrong
    assert not dst.exists()
    code, printed, _ = convert(capsys, src, dst, "--model", "google_vit", "--skip", "pre_logits.")
    assert code == 0 and "left out: pre_logits.0.weight, pre_logits.0.bias" in printed
    assert np.abs(logits("google_vit", dst, "google") - stored("google_vit", "logits")).max() < 2e-5


MISTAKES = {
    "no such file": (("absent.npz", "ours.ckpt", "--model", "google_vit"), "there is no weight file absent.npz"),
    "no such model": (("{google}", "ours.ckpt", "--model", "google_vi"), "model 'google_vi' is unknown"),
    "another ending": (("{google}", "ours.pth", "--model", "google_vit"), "does not end in .ckpt or .safetensors"),
    "another family": (
        ("{google}", "ours.ckpt", "--model", "timm_swin"),
        "holds a ViT of google's, but the network is a Swin",
    ),
    "another depth": (("{google}", "ours.ckpt", "--model", "hf_deit_distilled"), "does not fit the network"),
    "unknown source": (("{google}", "ours.ckpt", "--model", "google_vit", "--source", "x"), "source is 'x'"),
    "size": (("{google}", "ours.ckpt", "--model", "google_vit", "--image_size", "30"), "not divisible by patch_size"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_nothing_is_written(case, tmp_path, capsys):
    words, told = MISTAKES[case]
    code, printed, wrong = convert(capsys, *(word.format(google=weights_file("google_vit")) for word in words))
    assert code == 2 and printed == ""
    assert told in wrong and wrong.startswith("vit_ms: ") and wrong.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
