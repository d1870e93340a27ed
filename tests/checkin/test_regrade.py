"""A source graded anew: what is right passes, what plays with the grader does not, and nothing outlives its limits."""

import re
from pathlib import Path

import pytest

from vit_ms.checkin.exercises import exercise, exercises
from vit_ms.checkin.regrade import Worker

RIGHT = """
def attention(q, k, v):
    return ops.softmax(q @ k.swapaxes(-2, -1) / q.shape[-1] ** 0.5, -1) @ v
"""
HOSTILE = {
    "an endless loop": ("def attention(q, k, v):\n    while True: pass\n", "ended", "no answer within"),
    "an endless import": ("while True: pass\ndef attention(q, k, v): pass\n", "ended", "no answer within"),
    "a huge allocation": ("def attention(q, k, v):\n    return np.ones(10**11)\n", "MemoryError", "MemoryError"),
    "an exit": ("import os\ndef attention(q, k, v):\n    os._exit(0)\n", "ended", "ended by itself"),
    "a kill": (
        "import os\ndef attention(q, k, v):\n    os.kill(os.getpid(), 9)\n",
        "PermissionError",
        "may not use os.kill",
    ),
    "a flood": ("def attention(q, k, v):\n    print('x' * 10**8)\n    return q\n", "value", ""),
    "the reference": ("from vit_ms.checkin.exercises.attention import attention\n", "source", "may not import vit_ms"),
    "the reference's file": (
        "import pathlib\n" + "def attention(q, k, v):\n    print(pathlib.Path(REFERENCE).read_text())\n    return q\n",
        "PermissionError",
        "may not open",
    ),
    "a patched grader": (
        "import calling\nreal = calling.ask\n"
        "def ask(*given):\n    answer = real(*given)\n    answer.outputs = [0 * answer.outputs[0]]\n    return answer\n"
        "calling.ask = ask\ndef attention(q, k, v):\n    return q\n",
        "value",
        "",
    ),
    "an answer that is no archive": (
        "import __main__\n__main__._write_answer = lambda answer, path: path.write_bytes(b'PK\\x03\\x04 junk')\n"
        "def attention(q, k, v):\n    return q\n",
        "ended",
        "cannot be read",
    ),
    "an answer in words": (
        "import __main__\nreal = __main__._write_answer\n"
        "def write(answer, path):\n    answer.outputs = [np.array('right')]\n    real(answer, path)\n"
        "__main__._write_answer = write\ndef attention(q, k, v):\n    return q\n",
        "ended",
        "cannot be read",
    ),
    "remembered outputs": (
        "def attention(q, k, v):\n    known = {4: 0.74547}\n    return ops.ones_like(q) * known.get(q.shape[-1], 0.0)\n",
        "value",
        "",
    ),
    "an answer of its own": (
        "import os\ndef attention(q, k, v):\n"
        "    for n in range(9):\n        open(os.path.join(os.getcwd(), f'answer_{n}.npz'), 'wb').write(b'PK no zip')\n"
        "    os._exit(0)\n",
        "ended",
        "",
    ),
    "a socket": (
        "import socket\ndef attention(q, k, v):\n    socket.create_connection(('127.0.0.1', 9))\n",
        "PermissionError",
        "socket",
    ),
    "a file elsewhere": (
        "def attention(q, k, v):\n    open(ELSEWHERE, 'w').write('x')\n    return q\n",
        "PermissionError",
        "open",
    ),
    "a program": (
        "import subprocess\ndef attention(q, k, v):\n    subprocess.run(['true'])\n",
        "PermissionError",
        "subprocess",
    ),
    "a program of its own": (
        "import os, subprocess\ndef attention(q, k, v):\n    subprocess.run([os.path.join(os.getcwd(), 'mine')])\n",
        "PermissionError",
        "subprocess",
    ),
    "a file moved out": (
        "import os\ndef attention(q, k, v):\n    open('mine', 'w').close()\n    os.rename('mine', ELSEWHERE)\n",
        "PermissionError",
        "os.rename",
    ),
    "no Python": ("def attention(q, k, v:\n", "source", "SyntaxError"),
    "nothing": ("x = 1\n", "source", "attention"),
}


SOLUTIONS = Path(__file__).parent / "solutions"


@pytest.fixture(scope="module")
def worker():
    with Worker(seconds=15) as worker:
        yield worker


@pytest.mark.parametrize("seed", [7, 2**31])
def test_what_is_right_passes_with_any_inputs(worker, seed):
    result = worker.grade(exercise("attention"), RIGHT, seed)
    assert result.passed, str(result)


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_hostile_fails_and_the_next_is_graded(worker, name, tmp_path):
    source, code, told = HOSTILE[name]
    from vit_ms.checkin.exercises import attention

    source = source.replace("REFERENCE", repr(attention.__file__)).replace("ELSEWHERE", repr(str(tmp_path / "evil")))
    result = worker.grade(exercise("attention"), source, 5)
    assert not result.passed and result.code == code, str(result)
    assert told in str(result) and "Traceback" not in str(result)
    assert not (tmp_path / "evil").exists()


@pytest.mark.slow
def test_after_all_that_a_right_one_still_passes(worker):
    assert worker.grade(exercise("attention"), RIGHT, 11).passed


def test_the_process_and_its_folder_go():
    with Worker() as worker:
        worker.grade(exercise("attention"), RIGHT, 1)
        process, folder = worker.process, worker.folder
        assert folder.is_dir()
    assert process.poll() is not None and not folder.exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", exercises())
def test_every_exercise_is_graded_there_as_here(worker, name):
    source = (SOLUTIONS / f"{name}.py").read_text(encoding="utf-8")
    (right,) = re.findall(r"^RIGHT = \[(\w+)", source, re.M)
    (wrong,) = re.findall(r"^WRONG = \{\n    (\w+)", source, re.M)
    for chosen, passes in ((right, True), (wrong, False)):
        result = worker.grade(exercise(name), f"{source}\n{exercise(name).solution} = {chosen}\n", 3)
        assert result.passed == passes and result.code not in ("source", "ended"), str(result)
