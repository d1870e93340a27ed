"""The processes of the benchmark's contenders: started, asked, stopped while others run, and ended in any case."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import vit_ms

WORKER = [sys.executable, "-m", "vit_ms._bench_worker"]
CAN_STOP = hasattr(signal, "SIGSTOP")


class Contender(NamedTuple):
    """Who takes part: a peer in a precision."""

    peer: str
    precision: str

    def __str__(self) -> str:
        return f"{self.peer} {self.precision}"


class ContenderFailed(Exception):
    """A contender's process could not do what it was asked; the message is one line."""


class Process:
    """A contender's process. It runs while it carries out an order and is stopped before and after.

    Args:
        contender (Contender): who it is.
        folder (Path): its working folder, where its errors are kept, and what the libraries drop.
    """

    def __init__(self, contender: Contender, folder: Path):
        package = str(Path(vit_ms.__file__).parents[1])
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        handle, name = tempfile.mkstemp(prefix="errors_", dir=folder)
        self.errors = Path(name)
        self.process = subprocess.Popen(
            [*WORKER, *contender, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=handle,
            encoding="utf-8",
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        os.close(handle)

    def ask(self, **order) -> dict:
        """Give an order and wait for the answer.

        Raises:
            ContenderFailed: If it failed, or the process has ended.
        """
        try:
            self._signal("SIGCONT")
            print(json.dumps(order), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise ContenderFailed(self._last_words())
        self._signal("SIGSTOP")
        answer = json.loads(line)
        if "error" in answer:
            raise ContenderFailed(answer["error"])
        return answer

    def end(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):  # an order that was not taken is still in it
                pipe.close()

    def _signal(self, name: str) -> None:
        if CAN_STOP:
            self.process.send_signal(getattr(signal, name))

    def _last_words(self) -> str:
        code = self.process.wait()
        how = f"its process ended with exit code {code}"
        if code < 0:
            how = f"its process was ended by {signal.Signals(-code).name}"
            how += ", as for want of memory" if -code == signal.SIGKILL else ""
        lines = self.errors.read_text(encoding="utf-8", errors="replace").split("\n")
        return ": ".join([how, *[line.strip() for line in lines if line.strip()][-1:]])


class Processes:
    """The contenders' processes, all of which end with the `with` block, whatever ends it."""

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="vit_ms_bench_", ignore_cleanup_errors=True)
        self._running: dict[Contender, Process] = {}
        return self

    def __exit__(self, *_):
        self.end(list(self._running))
        self._folder.cleanup()

    def start(self, contender: Contender) -> str:
        """Start a contender's process, unless it runs already; what the user should know of how it runs."""
        if contender in self._running:
            return ""
        self._running[contender] = Process(contender, Path(self._folder.name))
        return self._running[contender].ask(load=True)["note"]

    def ask(self, contender: Contender, **order) -> dict:
        """Give an order to a contender's process."""
        return self._running[contender].ask(**order)

    def end(self, contenders: Iterable[Contender]) -> None:
        """End their processes."""
        for contender in contenders:
            if process := self._running.pop(contender, None):
                process.end()
