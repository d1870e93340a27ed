"""The face of the commands: help, exit codes, one line for a mistake."""

import signal
import subprocess
import sys

import pytest

from vit_ms import __version__
from vit_ms.cli import main


@pytest.mark.parametrize("command", ["train", "eval", "predict", "list"])
def test_help_shows_an_example(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert f"example: python -m vit_ms {command}" in capsys.readouterr().out


def test_list_names_models_recipes_and_datasets(capsys):
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("vit_b_16", "vit_h_14_in21k", "digits", "course", "folder"))
    assert main(["list", "vit_b*"]) == 0
    said = capsys.readouterr().out
    assert "vit_b_32" in said and "vit_l_16" not in said
    assert main(["list", "alexnet*"]) == 2
    assert "no model matches 'alexnet*'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--config", "digit"], "did you mean 'digits'"),
        (["train", "--model", "vit_x"], "model 'vit_x' is unknown"),
        (["train", "--epoch_size", "0"], "epoch_size is 0"),
        (["train", "--dataset", "folder"], "needs --data_dir"),
        (["train", "--mode", "2"], "mode is '2'; choose one of graph, pynative"),
        (["train", "--device_target", "Ascend"], "finds no Ascend NPU"),
        (["eval", "--ckpt_path", "absent.ckpt"], "there is no checkpoint absent.ckpt"),
        (["predict", "x.png", "--ckpt_path", "absent.ckpt"], "there is no checkpoint absent.ckpt"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("vit_ms: ") and message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), BrokenPipeError(32, "Broken pipe")], ids=repr
)
def test_a_failure_is_exit_code_1(error, monkeypatch, capsys):
    def failing(*args):
        raise error

    monkeypatch.setattr("vit_ms.training.train", failing)
    assert main(["train"]) == 1
    assert capsys.readouterr().err == f"vit_ms: {error}\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_had_enough_is_no_error(unbuffered, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    command = [sys.executable, "-m", "vit_ms", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 128 + signal.SIGPIPE


@pytest.mark.parametrize("words", [[], ["trian"], ["train", "--epoch", "3"], ["eval"], ["predict"]])
def test_words_that_are_no_command_are_a_mistake(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2


def test_the_module_is_the_command(tmp_path):
    command = [sys.executable, "-m", "vit_ms"]
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, cwd=tmp_path)
    assert (version.returncode, version.stdout) == (0, f"vit_ms {__version__}\n")
    mistake = subprocess.run(
        [*command, "train", "--device_target", "Ascend"], capture_output=True, text=True, cwd=tmp_path
    )
    assert mistake.returncode == 2 and mistake.stdout == ""
    assert mistake.stderr.count("\n") == 1 and "Ascend NPU" in mistake.stderr
