"""What all tests share: a scratch folder to work in, and MindSpore in a known state."""

import os
import tempfile
from pathlib import Path

import pytest

# Before MindSpore is imported, and whatever the home folder is: what MindSpore drops, and the kernels that it compiles for
# all the tests, go away with the session.
if "PYTEST_XDIST_WORKER" not in os.environ:  # else the process that started the workers has done it, for all of them
    _scratch = tempfile.TemporaryDirectory(prefix="vit_ms_tests_")
    for _variable in ("MS_OM_PATH", "MS_COMPILER_CACHE_PATH", "VIT_MS_HOME"):
        os.environ[_variable] = _scratch.name

from vit_ms import environment, runtime

_started_in = Path.cwd()
_droppings = [_started_in / name for name in ("akg_kernel_meta", "dsa_transfrom.log", "kernel_meta", "om", "rank_0")]


@pytest.fixture(scope="session", autouse=True)
def clean_folder():
    """No test leaves anything of MindSpore's in the folder that pytest was started in."""
    before = [path for path in _droppings if path.exists()]
    os.chdir(os.environ["MS_OM_PATH"])  # for what runs before a test has a folder of its own
    yield
    os.chdir(_started_in)
    assert [path for path in _droppings if path.exists()] == before


@pytest.fixture(autouse=True)
def clean_state(request, tmp_path, monkeypatch):
    """The working folder is the test's own; device, mode and seed do not depend on the test before.

    Kernels are fused in the tests marked so alone: compiling them takes longer than all the rest.
    """
    monkeypatch.chdir(tmp_path)
    if request.node.get_closest_marker("fused") is None:
        monkeypatch.setattr(environment, "fusion_lacks", lambda: "most tests do without")
    runtime.setup("CPU", "graph", 0)


@pytest.fixture(params=runtime.MODES)
def mode(request, clean_state) -> str:
    """The test runs in graph mode and in PyNative mode."""
    runtime.setup("CPU", request.param, 0)
    return request.param
