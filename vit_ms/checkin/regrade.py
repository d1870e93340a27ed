"""Grades the source of a solution anew, in a process that has the inputs and not the references."""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from vit_ms.checkin.calling import NUMBERS, Answer, Case, Part, Text
from vit_ms.checkin.exercise import Exercise
from vit_ms.checkin.grader import Result, judge

SECONDS = 20.0  # for one call of a solution, its compilation among them
_START = 120.0  # for MindSpore to be imported


class _Ended(Exception):
    """The process does not answer any more."""


class Worker:
    """A process for the solutions of one learner; it is started when it is first needed and again after it ended.

    Use it in a `with`, which ends the process.
    """

    def __init__(self, seconds: float = SECONDS):
        self.seconds, self.process, self.loaded, self.asked = seconds, None, 0, 0

    def __enter__(self) -> "Worker":
        self.folder = Path(tempfile.mkdtemp(prefix="vit_ms_regrade_"))
        return self

    def __exit__(self, *exception) -> None:
        self._stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def grade(self, exercise: Exercise, source: str, seed: int) -> Result:
        """Grade a source.

        Args:
            exercise (Exercise): what it should do.
            source (str): Python that defines exercise.solution.
            seed (int): of the inputs; take one that nobody can have foreseen.
        """
        self.loaded += 1
        module = f"solution_{self.loaded}"
        try:
            self._start()
            (self.folder / f"{module}.py").write_text(source, encoding="utf-8")
            reply = self._request(f"load {module} {exercise.solution}")
            if reply != "ok":
                told = reply.removeprefix("error ")
                message = Text("the source does not run by itself", "源代码不能单独运行")
                return Result(exercise.name, False, message, "source", (told,))
            return judge(exercise, lambda *asked: self._ask(exercise.kind, *asked), seed)
        except _Ended as ended:
            self._stop()
            message = Text(f"ended by the grader: {ended}", f"评分进程被终止：{ended}")
            return Result(exercise.name, False, message, "ended")

    def _start(self) -> None:
        if self.process is not None and self.process.poll() is None:
            return
        reading, self.writing = os.pipe()
        worker = [sys.executable, "-s", str(Path(__file__).with_name("worker.py")), str(self.folder), str(reading)]
        # An empty network is to be had where the system allows it; the watch on sockets stands everywhere.
        apart = ["unshare", "--net", "--map-root-user"]
        if shutil.which("unshare") and subprocess.run([*apart, "true"], capture_output=True).returncode == 0:
            worker = apart + worker
        env = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH")}
        env |= {"GLOG_v": "4", "MS_OM_PATH": str(self.folder), "TMPDIR": str(self.folder)}
        self.process = subprocess.Popen(
            worker, cwd=self.folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, pass_fds=[reading]
        )
        os.close(reading)
        if self._reply(_START) != "ready":
            raise _Ended("it did not start")

    def _stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            os.close(self.writing)
            self.process = None

    def _request(self, line: str) -> str:
        try:
            os.write(self.writing, f"{line}\n".encode())
        except OSError:
            raise _Ended("it is gone") from None
        return self._reply(self.seconds)

    def _reply(self, seconds: float) -> str:
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        if not ready:
            raise _Ended(f"no answer within {seconds:g} s")
        line = self.process.stdout.readline(4096).decode("utf-8", "replace").rstrip("\n")
        if not line:
            raise _Ended("it ended by itself")
        return line

    def _ask(self, kind: str, case: Case, weighing: int | None, graph: bool) -> Answer:
        self.asked += 1
        _write_case(self.folder / f"case_{self.asked}.npz", kind, case, weighing, graph)
        self._request(f"ask {self.asked}")
        return _read_answer(self.folder / f"answer_{self.asked}.npz")


def _write_case(path: Path, kind: str, case: Case, weighing: int | None, graph: bool) -> None:
    arrays = {}

    def pack(value):
        if isinstance(value, Part):
            return {"part": value.kind, "arrays": [pack(array) for array in value.arrays]}
        if isinstance(value, np.ndarray):
            arrays[f"array_{len(arrays)}"] = value
            return {"array": f"array_{len(arrays) - 1}"}
        return value

    told = {
        "kind": kind,
        "inputs": [pack(value) for value in case.inputs],
        "config": {name: pack(value) for name, value in case.config.items()},
        "training": case.training,
        "calls": case.calls,
        "weighing": weighing,
        "graph": graph,
    }
    with path.open("wb") as file:
        np.savez(file, told=json.dumps(told), **arrays)


def _read_answer(path: Path) -> Answer:
    """An answer, of a process that may have written anything."""
    try:
        if not path.is_file():
            raise TypeError
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            told = json.loads(str(file["told"]))
            for name in ("outputs", "gradients"):
                if told[name] is not None:
                    told[name] = [file[f"{name}_{place}"] for place in range(min(int(told[name]), 64))]
        answer = Answer(**told)
        words = (answer.returned, answer.error, answer.told, answer.place, answer.stage)
        numbers = (answer.changed, answer.parameters, answer.learning)
        arrays = [*(answer.outputs or []), *(answer.gradients or [])]
        if (
            not all(isinstance(number, int) for number in numbers)
            or not all(isinstance(word, str) for word in words)
            or not all(isinstance(array, np.ndarray) and array.dtype.kind in NUMBERS for array in arrays)
        ):
            raise TypeError
        return answer
    except Exception as error:  # zipfile, json and NumPy have many
        raise _Ended(f"its answer cannot be read ({type(error).__name__})") from None
