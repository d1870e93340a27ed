"""Versions that are refused before they are met as a TypeError, and a working folder that stays clean."""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import vit_ms
from vit_ms import environment

FINE = {"mindspore": "2.10.0", "numpy": "1.26.4"}


@pytest.fixture
def install(monkeypatch):
    """Pretend that these packages are installed, and no others."""

    def pretend(**versions):
        def version(package):
            if package not in versions:
                raise metadata.PackageNotFoundError(package)
            return versions[package]

        monkeypatch.setattr(environment.metadata, "version", version)

    return pretend


def refusal(**arguments) -> str:
    with pytest.raises(ImportError) as caught:
        environment.check_versions(**arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("mindspore", ["2.10.0", "2.10", "2.10.1", "2.10.0rc1", "2.10.0.post1"])
@pytest.mark.parametrize("numpy", ["1.26.0", "1.26.4"])
def test_fine_versions_pass(mindspore, numpy, install):
    install(mindspore=mindspore, numpy=numpy)
    environment.check_versions()


@pytest.mark.parametrize(
    "package, version",
    [("numpy", "2.1.0"), ("numpy", "2.0.0"), ("numpy", "1.25.2"), ("numpy", "1.9.3"), ("numpy", "10.0")]
    + [("mindspore", "2.2.14"), ("mindspore", "2.9.1"), ("mindspore", "2.11.0"), ("mindspore", "3.0.0rc1")],
)
def test_wrong_versions_are_refused_with_the_command_that_mends_it(package, version, install):
    install(**{**FINE, package: version})
    first, below = environment.SUPPORTED[package]
    command = f'run: pip install "{package}>={first},<{below}"'
    wanted = f"vit_ms needs {package} from {first} to below {below}, but {version} is installed; {command}"
    assert refusal() == wanted
    assert refusal(installed_only=True) == wanted


@pytest.mark.parametrize("package", FINE)
def test_a_missing_package_is_told_with_the_command_that_brings_it(package, install):
    install(**{name: version for name, version in FINE.items() if name != package})
    message = refusal()
    assert message.startswith(f"vit_ms needs {package}, which is not installed; run: pip install")
    environment.check_versions(installed_only=True)


@pytest.mark.parametrize("version", [(3, 9, 20), (3, 13, 0), (4, 0, 0)])
def test_another_python_is_refused(version, install, monkeypatch):
    install(**FINE)
    monkeypatch.setattr(environment, "sys", SimpleNamespace(version_info=version))
    message = refusal()
    assert message.endswith(f"this is {version[0]}.{version[1]}") and "3.10, 3.11 or 3.12" in message


@pytest.mark.parametrize("version", [(3, 10, 0), (3, 11, 9), (3, 12, 12)])
def test_the_pythons_with_wheels_pass(version, install, monkeypatch):
    install(**FINE)
    monkeypatch.setattr(environment, "sys", SimpleNamespace(version_info=version))
    environment.check_versions()


def test_requirements_say_the_same():
    lines = (line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    required = {item.name.lower(): item.specifier for item in map(Requirement, filter(None, lines))}
    for package, (first, below) in environment.SUPPORTED.items():
        assert required[package] == SpecifierSet(f">={first},<{below}")


def test_the_pythons_are_those_of_the_package():
    text = re.search(r'^requires-python = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    (first, below) = (".".join(map(str, version)) for version in environment.PYTHON)
    assert SpecifierSet(text) == SpecifierSet(f">={first},<{below}")


VARIABLES = ("GLOG_v", "MS_OM_PATH", "MS_COMPILER_CACHE_PATH")


def test_keep_quiet_leaves_what_is_set(monkeypatch):
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "mine")
    environment.keep_quiet()
    assert all(os.environ[variable] == "mine" for variable in VARIABLES)


def test_keep_quiet_sets_what_is_not(monkeypatch, tmp_path):
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "")  # so that the old value comes back after the test
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    environment.keep_quiet()
    assert os.environ["GLOG_v"] == "3"
    for variable in VARIABLES[1:]:
        assert Path(os.environ[variable]).is_relative_to(tmp_path)


# In a process of its own, as a user meets it.


def python(*arguments: str, first_on_path: Path | None = None) -> subprocess.CompletedProcess:
    paths = [str(path) for path in (first_on_path, ROOT) if path]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *arguments], env=environ, capture_output=True, text=True, timeout=60)


@pytest.fixture
def numpy_2(tmp_path) -> Path:
    """A folder in which a NumPy 2 is installed, as far as its metadata go."""
    folder = tmp_path / "site" / "numpy-2.1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 2.1.0\n")
    return folder.parent


def test_a_command_on_a_wrong_version_ends_in_one_line(numpy_2):
    result = python("-m", "vit_ms", "list", first_on_path=numpy_2)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.splitlines() == [
        'vit_ms needs numpy from 1.26 to below 2.0, but 2.1.0 is installed; run: pip install "numpy>=1.26,<2.0"'
    ]


def test_the_check_alone_ends_in_one_line(numpy_2):
    result = python(str(Path(environment.__file__)), "--installed", first_on_path=numpy_2)
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    assert "numpy" in result.stderr and "2.1.0" in result.stderr
    result = python(str(Path(environment.__file__)), "--installed")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("line", ["vit_ms.create_model", "import vit_ms.layers"])
def test_in_a_notebook_a_wrong_version_is_told_before_anything_is_computed(line, numpy_2):
    result = python("-c", f"import vit_ms; {line}", first_on_path=numpy_2)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(
        "ImportError: vit_ms needs numpy from 1.26 to below 2.0, but 2.1.0"
    )


def test_the_package_has_the_names_it_says_and_no_others():
    assert all(callable(getattr(vit_ms, name)) for name in vit_ms.__all__)
    with pytest.raises(AttributeError, match="no attribute 'create_modle'"):
        _ = vit_ms.create_modle


def test_importing_the_package_imports_no_mindspore():
    code = "import sys, vit_ms; print(vit_ms.__version__, *{'mindspore', 'numpy'} & set(sys.modules))"
    result = python("-c", code)
    assert result.stdout.split() == [vit_ms.__version__] and result.stderr == ""
