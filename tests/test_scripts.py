"""The shell scripts, run as a user runs them; pip and venv are played by a stub."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import ROOT

from vit_ms.recipe import FOLDER

SCRIPTS = ROOT / "scripts"
COMMANDS = ["run_standalone_train.sh", "run_eval.sh", "run_infer.sh"]


def _bash(*words, **environment):
    variables = os.environ | {"PYTHON": sys.executable} | environment
    return subprocess.run(["bash", *map(str, words)], capture_output=True, text=True, env=variables, timeout=300)


@pytest.mark.parametrize("name", [*COMMANDS, "quickstart.sh", "test.sh"])
def test_help_is_the_usage(name):
    done = _bash(SCRIPTS / name, "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"usage: bash scripts/{name}") and not done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_words_that_are_missing_are_a_mistake(name):
    done = _bash(SCRIPTS / name)
    assert done.returncode == 2 and done.stderr.startswith(f"usage: bash scripts/{name}")


def test_unknown_words_of_the_quick_start_are_a_mistake():
    assert _bash(SCRIPTS / "quickstart.sh", "--fast").returncode == 2


def test_train_evaluate_and_infer_from_any_folder(tmp_path):
    settings = yaml.safe_load((FOLDER / "digits.yaml").read_text(encoding="utf-8"))
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(settings | {"epoch_size": 1, "warmup_epochs": 0}))
    train = _bash(SCRIPTS / "run_standalone_train.sh", "short.yaml", "--seed", "1")
    assert train.returncode == 0, train.stderr
    assert Path("runs/short/best.ckpt").is_file()
    evaluate = _bash(SCRIPTS / "run_eval.sh", "runs/short/best.ckpt", "--split", "val")
    assert evaluate.returncode == 0 and "val: 180 images" in evaluate.stdout, evaluate.stderr
    samples = ROOT / "vit_ms" / "data" / "samples" / "digits"
    infer = _bash(SCRIPTS / "run_infer.sh", "runs/short/best.ckpt", samples / "0.png", samples / "1.png")
    assert infer.returncode == 0 and infer.stdout.count(".png: ") == 2, infer.stderr
    # A second word that is no option is the folder of images; the exit code is the command's.
    wrong = _bash(SCRIPTS / "run_standalone_train.sh", "course", "no folder")
    assert wrong.returncode == 2 and "no folder is not a folder" in wrong.stderr


@pytest.fixture
def checkout(tmp_path):
    """A copy of what prepare_env needs, and a python that writes down what pip is asked for."""
    for name in ("requirements.txt", "requirements-test.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(SCRIPTS, tmp_path / "scripts")
    (tmp_path / "vit_ms").mkdir()
    shutil.copy(ROOT / "vit_ms" / "environment.py", tmp_path / "vit_ms")
    stub = tmp_path / "stub"
    stub.write_text(f"""#!/usr/bin/env bash
case "$*" in
    *sys.prefix*) dirname "$(dirname "$0")" ;;
    *"pip --version"*) test ! -e no_pip ;;
    *"-m venv"*) echo venv >>calls; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
    *"-m pip"*) echo "$@" >>calls ;;
    *) exec {sys.executable} "$@" ;;
esac
""")
    stub.chmod(0o755)
    return tmp_path


def _prepare(checkout, *words):
    script = 'set -euo pipefail; . scripts/_env.sh; prepare_env "$@"; echo "$python"'
    done = _bash("-c", script, "test", *words, PYTHON=str(checkout / "stub"))
    calls = (checkout / "calls").read_text().splitlines() if (checkout / "calls").exists() else []
    return done, calls


def test_the_environment_is_made_once_and_again_only_for_other_requirements(checkout):
    done, calls = _prepare(checkout, "no", "requirements.txt")
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == ".venv/bin/python", done.stderr
    assert calls[0] == "venv" and re.search(r"pip install .*-r requirements.txt -e \.$", calls[1]) and len(calls) == 2
    assert _prepare(checkout, "no", "requirements.txt")[1] == calls
    done, more = _prepare(checkout, "no", "requirements.txt", "requirements-test.txt")
    assert len(more) == 3 and "-r requirements-test.txt" in more[2]
    # What the tests need holds what the quick start needs: going back to it installs nothing.
    assert _prepare(checkout, "no", "requirements.txt")[1] == more
    with (checkout / "requirements.txt").open("a") as file:
        file.write("six\n")
    assert len(_prepare(checkout, "no", "requirements.txt")[1]) == 4
    shutil.rmtree(checkout / ".venv")
    assert _prepare(checkout, "no", "requirements.txt")[1][4:] == ["venv", calls[1]]
    # A .venv whose making was broken off has no pip: it is made again.
    (checkout / "no_pip").touch()
    assert "venv" in _prepare(checkout, "no", "requirements.txt")[1][6:]


def test_the_current_environment_is_used_when_asked_for(checkout):
    done, calls = _prepare(checkout, "yes", "requirements.txt")
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == str(checkout / "stub"), done.stderr
    assert len(calls) == 1 and not (checkout / ".venv").exists()


def test_a_mindspore_that_is_too_old_is_left_alone(checkout, monkeypatch):
    (checkout / "mindspore-2.2.14.dist-info").mkdir()
    (checkout / "mindspore-2.2.14.dist-info" / "METADATA").write_text("Name: mindspore\nVersion: 2.2.14\n")
    monkeypatch.setenv("PYTHONPATH", str(checkout))
    done, calls = _prepare(checkout, "yes", "requirements.txt")
    assert done.returncode == 2 and not calls
    assert "mindspore from 2.10 to below 2.11, but 2.2.14 is installed" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_python_without_wheels_is_told(checkout):
    old = checkout / "old"
    old.write_text("#!/usr/bin/env bash\nexit 1\n")
    old.chmod(0o755)
    script = "supported() { false; }; find_python"
    done = _bash("-c", f"set -euo pipefail; . scripts/_env.sh; {script}", "quickstart.sh", PYTHON=str(old))
    assert done.returncode == 2 and "no Python 3.10, 3.11 or 3.12 here" in done.stderr


@pytest.fixture
def suite(checkout):
    """The copy with tools that write down what they are called for, and fail where `fails` names them."""
    for path in ROOT.glob("requirements*.txt"):
        shutil.copy(path, checkout)
    tools = checkout / ".venv" / "bin"
    tools.mkdir(parents=True)
    for name in ("python", "ruff", "lint-imports", "mkdocs", "shellcheck"):
        (tools / name).write_text(f"""#!/usr/bin/env bash
case "$*" in
    *sys.prefix*) dirname "$(dirname "$0")"; exit ;;
    -c* | *"-m pip"*) exit ;;
esac
echo "{name} $*" >>calls
! grep -qs "{name}" fails
""")
        (tools / name).chmod(0o755)

    def test(*words) -> tuple[int, list[str]]:
        (checkout / "calls").unlink(missing_ok=True)
        done = _bash(checkout / "scripts" / "test.sh", *words, PATH=f"{tools}:{os.environ['PATH']}")
        return done.returncode, (checkout / "calls").read_text().splitlines()

    return test


def test_all_is_everything_and_then_the_site(suite, checkout):
    code, usual = suite("-k", "attention")
    assert code == 0 and [call.split()[0] for call in usual] == ["ruff", "ruff", "lint-imports", "shellcheck", "python"]
    assert usual[-1].endswith("--dist loadfile -k attention")
    code, everything = suite("--all", "-k", "attention")
    assert code == 0 and everything[:-1] == usual
    folder = re.fullmatch(r"mkdocs build --strict --site-dir (\S+)/site", everything[-1])[1]
    assert not Path(folder).exists()
    (checkout / "fails").write_text("mkdocs")
    assert suite("--all")[0] == 1
    (checkout / "fails").write_text("python")
    code, calls = suite("--all")
    assert code == 1 and calls[-1].startswith("python")
