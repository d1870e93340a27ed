"""Versions that are refused before they are met as a TypeError, and a working folder that stays clean."""

import atexit
import os
import re
import stat
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import mindspore
import pytest
from helpers import ROOT, python
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import vit_ms
from vit_ms import environment

pytestmark = pytest.mark.fused

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


# What MindSpore reads from the environment.

VARIABLES = (
    "GLOG_v",
    "MS_SUBMODULE_LOG_v",
    "MS_OM_PATH",
    "MS_COMPILER_CACHE_PATH",
    "AKG_WHITE_LIST_PATH",
    "GOMP_SPINCOUNT",
)


@pytest.fixture
def bare(monkeypatch, tmp_path) -> Path:
    """An environment with nothing set and MindSpore not imported; the home folder, which is empty."""
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "")  # so that the old value comes back after the test
        monkeypatch.delenv(variable)
    monkeypatch.delitem(sys.modules, "mindspore")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(atexit, "register", lambda *args, **kwargs: None)
    return tmp_path / "home"


def test_prepare_leaves_what_is_set(bare, monkeypatch):
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "mine")
    environment.prepare()
    assert all(os.environ[variable] == "mine" for variable in VARIABLES)


def test_prepare_sets_what_is_not(bare):
    environment.prepare()
    assert os.environ["GLOG_v"] == "3"
    assert os.environ["MS_OM_PATH"] == os.environ["MS_COMPILER_CACHE_PATH"] == str(bare / ".cache" / "vit_ms")
    assert (bare / ".cache" / "vit_ms").is_dir()
    assert os.environ["GOMP_SPINCOUNT"] == "1000"
    assert (Path(os.environ["AKG_WHITE_LIST_PATH"]) / "akg").is_dir()


def test_prepare_comes_too_late_for_openmp_when_mindspore_is_there(bare, monkeypatch):
    monkeypatch.setitem(sys.modules, "mindspore", mindspore)
    environment.prepare()
    assert "GOMP_SPINCOUNT" not in os.environ and "MS_OM_PATH" in os.environ


@pytest.mark.parametrize("spec", [None, SimpleNamespace(origin=None), SimpleNamespace(origin="/nowhere/__init__.py")])
def test_prepare_does_without_the_kernel_compiler(spec, bare, monkeypatch):
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: spec)
    environment.prepare()
    assert "AKG_WHITE_LIST_PATH" not in os.environ and os.environ["GLOG_v"] == "3"


# A home in which no folder can be made, not even by root; none at all; one in which the folder cannot be written.


def _file_as_home(home, monkeypatch):
    home.rmdir()
    home.write_text("")


def _no_home(home, monkeypatch):
    def nobody():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)


def _read_only_home(home, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)


@pytest.mark.parametrize("spoil", [_file_as_home, _no_home, _read_only_home])
def test_without_a_home_the_scratch_is_a_private_folder_of_the_process(spoil, bare, tmp_path, monkeypatch):
    spoil(bare, monkeypatch)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment.prepare()
    scratch = Path(os.environ["MS_COMPILER_CACHE_PATH"])
    assert scratch.parent == tmp_path and scratch.is_dir()
    assert stat.S_IMODE(scratch.stat().st_mode) == 0o700  # nobody else can put code there
    assert os.environ["MS_OM_PATH"] == str(scratch)


def test_the_private_folder_goes_with_the_process(tmp_path):
    (tmp_path / "home").write_text("a file")
    (tmp_path / "tmp").mkdir()
    result = python(
        "-c",
        "import os, pathlib, vit_ms; p = pathlib.Path(os.environ['MS_OM_PATH']); print(p.parent, p.is_dir())",
        **{variable: None for variable in VARIABLES},
        HOME=str(tmp_path / "home"),
        TMPDIR=str(tmp_path / "tmp"),
    )
    assert result.stdout.split() == [str(tmp_path / "tmp"), "True"] and result.stderr == ""
    assert list((tmp_path / "tmp").iterdir()) == []


# What lacks for fused kernels.


@pytest.fixture
def complete(monkeypatch, tmp_path):
    """Nothing lacks, whatever is installed."""
    (tmp_path / "mindspore" / "_akg").mkdir(parents=True)
    (tmp_path / "mindspore" / "lib" / "plugin" / "cpu").mkdir(parents=True)
    (tmp_path / "mindspore" / "lib" / "plugin" / "cpu" / "libakg.so").touch()
    specs = {"mindspore": SimpleNamespace(origin=str(tmp_path / "mindspore" / "__init__.py")), "decorator": object()}
    monkeypatch.setattr(environment.importlib.util, "find_spec", specs.get)
    monkeypatch.setattr(environment.shutil, "which", {"g++": "/usr/bin/g++"}.get)
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr(environment, "_logs", set())
    return SimpleNamespace(specs=specs, mindspore=tmp_path / "mindspore")


def test_nothing_lacks(complete):
    assert environment.fusion_lacks() is None


def _no_compiler(complete, monkeypatch):
    (complete.mindspore / "_akg").rmdir()


def _no_library(complete, monkeypatch):
    (complete.mindspore / "lib" / "plugin" / "cpu" / "libakg.so").unlink()


def _no_mindspore(complete, monkeypatch):
    complete.specs["mindspore"] = None


def _no_decorator(complete, monkeypatch):
    complete.specs["decorator"] = None


def _no_linker(complete, monkeypatch):
    monkeypatch.setattr(environment.shutil, "which", {"gcc": "/usr/bin/gcc"}.get)


def _spinning(complete, monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT")


@pytest.mark.parametrize(
    "spoil, remedy",
    [
        (_no_compiler, "this MindSpore has no kernel compiler (AKG)"),
        (_no_library, "this MindSpore has no kernel compiler (AKG)"),
        (_no_mindspore, "this MindSpore has no kernel compiler (AKG)"),
        (_no_decorator, "pip install decorator"),
        (_no_linker, "apt install g++"),
        (_spinning, "import vit_ms before mindspore, or set GOMP_SPINCOUNT=1000 before Python starts"),
    ],
)
def test_what_lacks_is_told_with_the_remedy(spoil, remedy, complete, monkeypatch):
    spoil(complete, monkeypatch)
    lacking = environment.fusion_lacks()
    assert remedy in lacking and "\n" not in lacking
    assert environment._logs == set()


@pytest.mark.parametrize("policy", ["PASSIVE", "passive"])
def test_threads_that_do_not_wait_awake_lack_nothing(policy, complete, monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    assert environment.fusion_lacks() is None
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert "GOMP_SPINCOUNT" in environment.fusion_lacks()


def test_the_compiler_s_log_is_removed_but_not_one_that_was_there_before(complete, tmp_path, monkeypatch):
    mine, its = tmp_path / "mine" / "dsa_transfrom.log", tmp_path / "its" / "dsa_transfrom.log"
    for log in (mine, its):
        log.parent.mkdir()
        monkeypatch.chdir(log.parent)
        if log == mine:
            log.touch()
        environment.fusion_lacks()
        log.touch()
    environment.fusion_lacks()  # again, when its log is there already
    environment._remove_logs()
    assert mine.exists() and not its.exists()
    environment._remove_logs()  # nothing is there to remove


def test_mindspore_imported_first_is_told_and_goes_on_without_fusion(tmp_path):
    code = """
import mindspore, vit_ms
from vit_ms import runtime
settings = runtime.setup("CPU")
print(settings.fused, settings.note, sep="\\n")
"""
    result = python("-c", code, cwd=tmp_path, GOMP_SPINCOUNT=None, OMP_WAIT_POLICY=None, GLOG_v="3")
    fused, note = result.stdout.splitlines()
    assert fused == "False" and note.endswith(
        "import vit_ms before mindspore, or set GOMP_SPINCOUNT=1000 before Python starts"
    )
    assert result.stderr == "" and list(tmp_path.iterdir()) == []


# In a process of its own, as a user meets it.


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
