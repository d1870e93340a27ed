"""`doctor` says what is here, and what to do about what is not."""

import types
from importlib import metadata

import pytest

from vit_ms import checkup, cli, environment, runtime, visualize


@pytest.fixture
def lacking(monkeypatch):
    """A machine without a compiler, with little room, no Chinese font, no ipywidgets, and with bfloat16 units."""
    version = metadata.version

    def without_ipywidgets(package):
        if package == "ipywidgets":
            raise metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(metadata, "version", without_ipywidgets)
    monkeypatch.setattr(environment, "fusion_lacks", lambda: "g++ is not installed")
    monkeypatch.setattr(runtime, "has_bf16_units", lambda: True)
    monkeypatch.setattr(runtime, "_settings", runtime.Settings())
    monkeypatch.setattr(visualize, "can_draw", lambda text: False)
    monkeypatch.setattr(checkup.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1e9))


def test_what_is_lacking_has_a_remedy(lacking):
    remedies = {finding.what: finding.remedy for finding in checkup.examine() if finding.remedy}
    assert list(remedies)[:4] == ["precision", "kernels", "disk", "fonts"]
    assert "bf16" in remedies["precision"] and remedies["kernels"] == "g++ is not installed"
    assert "fonts-noto-cjk" in remedies["fonts"] and remedies["sliders"] == 'pip install "ipywidgets>=8.1,<9.0"'


def test_each_remedy_stands_below_its_line(lacking):
    lines = []
    checkup.doctor(lines.append)
    (disk,) = (line for line in lines if line.startswith("! disk"))
    assert disk == "! disk       1.0 GB free\n             -> make room for 2 GB here: runs keep checkpoints"


def test_the_settings_of_the_last_setup_are_told(monkeypatch):
    monkeypatch.setattr(runtime, "_settings", runtime.Settings("Ascend", "pynative", "bf16"))
    found = {finding.what: finding for finding in checkup.examine()}
    assert found["device"].found == "Ascend, pynative mode" and found["precision"].found == "bf16"
    assert "kernels" not in found and not found["precision"].remedy


def test_the_command_sets_up_first(capsys):
    assert cli.main(["doctor", "--device_target", "CPU", "--mode", "1"]) == 0
    printed = capsys.readouterr().out
    assert "✓ device     CPU, pynative mode\n" in printed and "MindSpore 2.10" in printed


def test_a_device_that_is_not_there_is_one_line(capsys):
    assert cli.main(["doctor", "--device_target", "Ascend"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
