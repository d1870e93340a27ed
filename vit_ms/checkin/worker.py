"""The process that runs a stranger's solution: `regrade` starts it, gives it inputs and reads its answers.

Run by its path, not as a part of the package: it must not have the references. What holds it are limits on memory, time and
files, and a watch on what Python opens; it is no prison for native code.
"""

import importlib.util
import json
import os
import resource
import sys
import types
from pathlib import Path

import numpy as np

_HERE = Path(__file__).resolve().parent
# What a solution may use without saying so: notebooks import these in their first cell.
PRELUDE = """
import math
import mindspore
import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
"""
EXTRA_MEMORY = 2 * 2**30  # bytes above what MindSpore itself takes
FILE_SIZE = 64 * 2**20
# Events of Python's audit: never, and only where every path is in the folder.
_FORBIDDEN = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.kill")
_CHANGES = (
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
)


def _calling():
    """calling.py by itself: the package around it has the references."""
    spec = importlib.util.spec_from_file_location("calling", _HERE / "calling.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["calling"] = module
    spec.loader.exec_module(module)
    return module


def _limit(folder: Path) -> None:
    """From here on: bounded memory and files, nothing written but in the folder, no network, no look at this package."""
    pages = (
        int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) if Path("/proc/self/statm").exists() else 0
    )
    if pages:
        most = pages * resource.getpagesize() + EXTRA_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))

    package = str(_HERE.parent) + os.sep

    def within(path) -> bool:
        return isinstance(path, str) and (os.path.realpath(path) + os.sep).startswith(os.path.realpath(folder) + os.sep)

    def watch(event: str, arguments: tuple) -> None:
        moves = event in _CHANGES and not all(within(path) for path in arguments if isinstance(path, (str, bytes)))
        if event.startswith(_FORBIDDEN) or moves:
            raise PermissionError(f"a solution may not use {event}")
        if event == "import" and str(arguments[0]).split(".")[0] == "vit_ms":
            raise ImportError("a solution may not import vit_ms: it is graded without it")
        if event == "open" and isinstance(arguments[0], str):
            path = os.path.realpath(arguments[0])
            writes = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            # The compiler of graph mode reads the sources of what it compiles, those of calling.py too.
            ours = path.startswith(package) and path != str(_HERE / "calling.py")
            if ours or (writes and not within(path) and path != os.devnull):
                raise PermissionError(f"a solution may not open {arguments[0]}")

    sys.addaudithook(watch)


def _read_case(calling, path: Path) -> tuple:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    told = json.loads(str(arrays.pop("told")))

    def unpack(value):
        if isinstance(value, dict) and "array" in value:
            return arrays[value["array"]]
        if isinstance(value, dict) and "part" in value:
            return calling.Part(value["part"], tuple(unpack(item) for item in value["arrays"]))
        return value

    config = {name: unpack(value) for name, value in told["config"].items()}
    inputs = tuple(unpack(value) for value in told["inputs"])
    case = calling.Case(calling.Text("", ""), inputs, config, told["training"], told["calls"])
    return told["kind"], case, told["weighing"], told["graph"]


def _write_answer(answer, path: Path) -> None:
    told, arrays = dict(vars(answer)), {}
    for name in ("outputs", "gradients"):
        values = told.pop(name)
        told[name] = None if values is None else len(values)
        arrays |= {f"{name}_{place}": value for place, value in enumerate(values or [])}
    with path.open("wb") as file:
        np.savez(file, told=json.dumps(told), **arrays)


def main(folder: str) -> None:
    """Load solutions and answer, one request a line: `load MODULE NAME` or `ask NUMBER`."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(quiet, stream)
    requests = os.fdopen(int(sys.argv[2]), "r")
    place = Path(folder)
    sys.path.insert(0, str(place))
    calling, solution = _calling(), None
    calling.ms.runtime.launch_blocking()  # an operation runs where it is called, and an error is raised there
    _limit(place)
    replies.write("ready\n")
    for line in requests:
        word, *rest = line.split()
        if word == "load":
            module = types.ModuleType(rest[0])
            path = place / f"{rest[0]}.py"
            module.__file__ = str(path)
            sys.modules[rest[0]] = module
            try:
                exec(compile(PRELUDE, "<prelude>", "exec"), vars(module))
                exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), vars(module))
                solution = vars(module)[rest[1]]
                reply = "ok"
            except BaseException as error:
                reply = f"error {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        else:
            kind, case, weighing, graph = _read_case(calling, place / f"case_{rest[0]}.npz")
            _write_answer(calling.ask(kind, solution, case, weighing, graph), place / f"answer_{rest[0]}.npz")
            reply = "ok"
        replies.write(reply + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
