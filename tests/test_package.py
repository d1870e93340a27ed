"""The package as others install it: what is in it, what it says of itself, and that it runs where nothing can be written."""

import configparser
import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from helpers import ROOT
from packaging.requirements import Requirement

import vit_ms

EXTRAS = {name: f"requirements-{name}.txt" for name in ("notebooks", "bench", "export", "explore", "docs")}
EXTRAS["dev"] = "requirements-test.txt"


def _run(*words, **options) -> str:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=900, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A copy of the repository."""
    tree = tmp_path_factory.mktemp("tree") / "vit_ms"
    other = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "runs", "notebooks", "build", "dist", "site")
    shutil.copytree(ROOT, tree, ignore=other)
    return tree


@pytest.fixture(scope="module")
def sdist(tree, tmp_path_factory) -> Path:
    """Its source distribution, unpacked."""
    out = tmp_path_factory.mktemp("sdist")
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    _run(sys.executable, "-c", build, out, cwd=tree)
    (archive,) = out.glob("*.tar.gz")
    assert archive.name == f"vit_ms-{vit_ms.__version__}.tar.gz"
    with tarfile.open(archive) as file:
        file.extractall(out, filter="data")
    return out / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> Path:
    """The wheel that is built from it, without a network."""
    out = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir"]
    _run(*pip, out, sdist)
    (found,) = out.glob("*.whl")
    assert found.name == f"vit_ms-{vit_ms.__version__}-py3-none-any.whl"
    return found


def _about(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as file:
        return file.read(f"vit_ms-{vit_ms.__version__}.dist-info/{name}").decode()


def _requirements(name: str) -> set[str]:
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]
    return {str(Requirement(line)) for line in lines if line}


def _in_package(folder: Path) -> set[str]:
    files = (path for path in (folder / "vit_ms").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in files}


def test_every_file_of_the_package_is_in_it(wheel, tree):
    with zipfile.ZipFile(wheel) as file:
        packed = {name for name in file.namelist() if ".dist-info/" not in name}
    # Data that the code reads lies beside the code, nowhere else: what is not a module is data.
    assert packed == _in_package(tree)
    data = {name for name in packed if not name.endswith(".py")}
    assert {"vit_ms/recipes/digits.yaml", "vit_ms/checkin/class_page.css", "vit_ms/data/samples/digits/0.png"} <= data


def test_no_test_is_in_the_source_distribution(sdist):
    top = {path.name for path in sdist.iterdir()}
    assert {"README.md", "README_CN.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "requirements.txt"} <= top
    assert set(EXTRAS.values()) <= top and "tests" not in top


def test_what_it_says_of_itself(wheel):
    about = email.message_from_string(_about(wheel, "METADATA"))
    assert (about["Name"], about["Version"], about["License-Expression"]) == (
        "vit_ms",
        vit_ms.__version__,
        "Apache-2.0",
    )
    assert set(about["Requires-Python"].split(",")) == {">=3.10", "<3.13"}
    assert _about(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text(encoding="utf-8")
    scripts = configparser.ConfigParser()
    scripts.read_string(_about(wheel, "entry_points.txt"))
    assert dict(scripts["console_scripts"]) == {"vit-ms": "vit_ms.cli:main"}


def test_versions_and_extras_are_those_of_the_requirements_files(wheel):
    about = email.message_from_string(_about(wheel, "METADATA"))
    assert set(about.get_all("Provides-Extra")) == set(EXTRAS)
    asked = [Requirement(line) for line in about.get_all("Requires-Dist")]
    for extra, name in {None: "requirements.txt", **EXTRAS}.items():
        of_extra = {
            one for one in asked if (str(one.marker) if one.marker else None) == (extra and f'extra == "{extra}"')
        }
        for one in of_extra:
            one.marker = None
        assert {str(one) for one in of_extra} == _requirements(name), name


def test_the_version_stands_in_one_place():
    assert vit_ms.__version__ not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert newest[1] in ("Unreleased", vit_ms.__version__)


# A superuser may write where nobody may, unless it gives that up.
UNPRIVILEGED = [] if os.geteuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


@pytest.fixture
def installed(wheel, tmp_path):
    """A folder that the wheel is installed into and that cannot be written to."""
    folder = tmp_path / "installed"
    _run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", folder, wheel)
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & ~0o222)
    yield folder
    for path in paths:
        path.chmod(path.stat().st_mode | 0o200)


def _as_user(installed: Path, *words, **variables) -> str:
    (Path.cwd() / "home").mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(installed), "HOME": str(Path.cwd() / "home"), **variables}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return _run(*UNPRIVILEGED, *words, env=environment)


@pytest.mark.slow
def test_it_runs_from_any_folder_where_it_cannot_be_written_to(installed, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    before = {path: path.stat().st_mtime_ns for path in installed.rglob("*")}
    refused = subprocess.run([*UNPRIVILEGED, "touch", installed / "vit_ms" / "x"], capture_output=True, text=True)
    assert refused.returncode and "denied" in refused.stderr.lower()

    found = _as_user(installed, sys.executable, "-c", "import vit_ms; print(vit_ms.__file__)")
    assert Path(found.strip()) == installed / "vit_ms" / "__init__.py"
    assert _as_user(installed, installed / "bin" / "vit-ms", "--version") == f"vit_ms {vit_ms.__version__}\n"
    command = [sys.executable, "-m", "vit_ms"]
    _as_user(installed, *command, "train", "--config", "digits", "--epoch_size", "1")
    samples = installed / "vit_ms" / "data" / "samples" / "digits"
    answers = _as_user(installed, *command, "predict", samples, "--ckpt_path", "runs/digits/best.ckpt")
    assert answers.count(".png: ") == 10 and Path("runs/digits/predict.png").is_file()
    assert {path: path.stat().st_mtime_ns for path in installed.rglob("*")} == before


def test_every_module_and_recipe_of_it_can_be_loaded(installed):
    # Libraries of an extra need not be there; vit_ms must be, all of it.
    program = """
import importlib, pkgutil, vit_ms
from vit_ms.checkin.exercises import exercises
from vit_ms.recipe import list_recipes, load_recipe
for module in pkgutil.walk_packages(vit_ms.__path__, "vit_ms."):
    if module.name not in ("vit_ms.__main__", "vit_ms._bench_worker"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name.split(".")[0] == "vit_ms":
                raise
for name in list_recipes():
    load_recipe(name)
print(len(list_recipes()), len(exercises()), vit_ms.__path__[0])
"""
    recipes, of_exercises, folder = _as_user(installed, sys.executable, "-c", program).split()
    assert int(recipes) == len(list((ROOT / "vit_ms" / "recipes").glob("*.yaml"))) and int(of_exercises)
    assert Path(folder) == installed / "vit_ms"
