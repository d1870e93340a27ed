"""The states of a training on the disk."""

import os

import numpy as np
import pytest
from helpers import error_of

from vit_ms import files
from vit_ms.checkpoint import KEPT, States
from vit_ms.errors import UserError
from vit_ms.files import locked, remove_temporary, whole_file

ARRAYS = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "step": np.array([7], np.int32), "c": np.float32(3)}


def _states(folder, steps=(1, 2)) -> States:
    states = States(folder)
    for step in steps:
        states.save(step, {**ARRAYS, "step": np.array([step], np.int32)}, {"epoch": step, "losses": [0.1 + 0.2]})
    return states


def test_a_state_comes_back_to_the_last_bit(tmp_path):
    arrays, info, damaged = _states(tmp_path).load()
    assert info == {"epoch": 2, "losses": [0.1 + 0.2]} and damaged == []
    assert arrays.keys() == ARRAYS.keys() and arrays["step"] == 2 and arrays["c"].shape == ()
    assert arrays["weight"].dtype == np.float32 and np.array_equal(arrays["weight"], ARRAYS["weight"])


def test_the_newest_two_are_kept(tmp_path):
    _states(tmp_path, range(8, 12))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{step:09d}.{suffix}" for step in (10, 11) for suffix in ("safetensors", "sha256")
    ]
    assert KEPT == 2


def test_a_folder_without_states_has_none(tmp_path):
    assert States(tmp_path / "state").load() is None


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "no sha256", "empty sha256"])
def test_a_damaged_state_is_passed_over_for_the_one_before_it(tmp_path, damage):
    states = _states(tmp_path)
    newest, digest = tmp_path / "000000002.safetensors", tmp_path / "000000002.sha256"
    content = bytearray(newest.read_bytes())
    if damage == "flipped":
        content[-3] ^= 1
    keep = {"truncated": len(content) - 8, "flipped": len(content), "empty": 0}.get(damage)
    if keep is not None:
        newest.write_bytes(content[:keep])
    elif damage == "no sha256":
        digest.unlink()
    else:
        digest.write_text("")
    _, info, damaged = states.load()
    assert info["epoch"] == 1
    assert len(damaged) == 1 and str(newest) in damaged[0]


def test_without_a_whole_state_there_is_nothing_to_go_on_from(tmp_path):
    states = _states(tmp_path)
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    assert "without --resume" in error_of(states.load)


def test_whatever_interrupts_the_writing_leaves_the_state_before_it(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    calls = []

    def killed_at(number, function):
        def call(*args, **kwargs):
            calls.append(function.__name__)
            if len(calls) == number:
                raise Killed
            return function(*args, **kwargs)

        return call

    states, number = _states(tmp_path, [1]), 0
    while True:  # at the first write to the disk, at the second ... until there is none left to interrupt
        number += 1
        calls.clear()
        with monkeypatch.context() as patch:
            for name in ("fsync", "open", "rename", "replace", "unlink"):
                patch.setattr(os, name, killed_at(number, getattr(os, name)))
            try:
                states.save(2, ARRAYS, {"epoch": 2})
            except Killed:
                pass
            else:
                break
        _, info, _ = states.load()
        assert info["epoch"] in (1, 2)
    assert number > 6 and states.load()[1]["epoch"] == 2


def test_a_full_disk_leaves_the_state_before_it(tmp_path, monkeypatch):
    states = _states(tmp_path, [1])

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        states.save(2, ARRAYS, {"epoch": 2})
    assert states.load()[1]["epoch"] == 1
    assert not list(tmp_path.glob(".*"))


def test_leftovers_of_a_killed_process_are_removed_and_nothing_else(tmp_path):
    with whole_file(tmp_path / "best.ckpt") as temporary:
        temporary.write_text("whole")
        left = tmp_path / temporary.name.replace(str(os.getpid()), "999999")
        left.write_text("half")
    (tmp_path / ".lock").write_text("1")
    remove_temporary(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "best.ckpt"]


def test_a_second_process_is_kept_out_of_a_folder(tmp_path):
    with (
        locked(tmp_path),
        pytest.raises(UserError, match=f"in use by another run .process {os.getpid()}"),
        locked(tmp_path),
    ):
        pass
    with locked(tmp_path):  # and let in when the first has gone
        pass


def test_a_folder_that_nothing_is_put_into_goes_away(tmp_path):
    with locked(tmp_path / "a" / "b"):
        pass
    assert not (tmp_path / "a").exists()
    with locked(tmp_path / "a"):
        (tmp_path / "a" / "kept").touch()
    (tmp_path / "empty").mkdir()
    with locked(tmp_path / "empty"):
        pass
    assert (tmp_path / "a" / "kept").exists() and (tmp_path / "empty").exists()
