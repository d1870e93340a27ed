"""Fused kernels as processes meet them: what they leave behind, and that their cache gives each network its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT
from steps import CASES, step

from vit_ms import environment, runtime

pytestmark = [
    pytest.mark.fused,
    pytest.mark.skipif(bool(environment.fusion_lacks()), reason="kernels cannot be fused here"),
]


class Process:
    """steps.py in a process of its own, as a user meets it: nothing is set in the environment but where the cache is."""

    def __init__(self, folder: Path, cache: Path, *names: str):
        self.working, self.file = folder / "working", folder / "results.json"
        self.working.mkdir(parents=True)
        unset = ("GLOG_v", "MS_OM_PATH", "AKG_WHITE_LIST_PATH", "GOMP_SPINCOUNT", "ONEDNN_DEFAULT_FPMATH_MODE")
        environ = {name: value for name, value in os.environ.items() if name not in unset}
        environ |= {"PYTHONPATH": str(ROOT), "HOME": str(folder), "MS_COMPILER_CACHE_PATH": str(cache)}
        program = [sys.executable, str(Path(__file__).with_name("steps.py")), str(self.file), "graph", *names]
        self.process = subprocess.Popen(
            program, cwd=self.working, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def check(self) -> None:
        """It ends well, says nothing, leaves nothing where it was started, and its results are right."""
        out, err = self.process.communicate(timeout=120)
        assert (self.process.returncode, out, err) == (0, "", "")
        assert list(self.working.iterdir()) == []
        told = json.loads(self.file.read_text())
        assert told["fused"]
        runtime.setup("CPU", "pynative")  # computes op by op, from no cache
        for name, result in told["results"].items():
            assert np.allclose(result, step(**CASES[name]), rtol=1e-5, atol=1e-6), name


def kernels(cache: Path) -> set[str]:
    return {path.name for path in cache.rglob("*.so")}


def test_the_networks_differ():
    runtime.setup("CPU", "pynative")
    results = [step(**case) for case in CASES.values()]
    for i, one in enumerate(results):
        for other in results[:i]:
            assert not np.allclose(one[:5], other[:5], rtol=1e-3)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """A cache, empty before, in which two processes have compiled the kernels of the first network at the same time."""
    folder = tmp_path_factory.mktemp("fusion")
    (folder / "cache").mkdir()
    for process in [Process(folder / name, folder / "cache", "base") for name in ("one", "other")]:
        process.check()
    return folder / "cache"


def test_two_processes_can_compile_the_same_kernels_at_once(cache):
    assert kernels(cache)


def test_each_network_gets_its_own_kernels_from_the_cache(cache, tmp_path):
    before = kernels(cache)
    Process(tmp_path / "again", cache, "base").check()
    assert kernels(cache) == before
    Process(tmp_path / "others", cache, *(name for name in CASES if name != "base")).check()
    assert kernels(cache) > before
