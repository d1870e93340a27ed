"""A check-in as a JSON record: who, when, which exercises with what source, and how the learner's own run came out.

The record carries its own digest, which shows an edit by hand; a token that the instructor gave to one learner signs it, so
that nobody else can have made it. Without a token nothing keeps a learner from computing the digest anew: `verify --regrade`
then grades the sources again, and a class's page shows equal ones side by side.
"""

import csv
import hashlib
import hmac
import json
import math
import secrets
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vit_ms.checkin.exercises import exercises
from vit_ms.checkin.progress import Progress, streak
from vit_ms.errors import UserError
from vit_ms.files import whole_file

FORMAT = "vit_ms check-in 1"
MAX_BYTES = 4 * 2**20
MAX_NAME = 100  # characters
_MAX_ROWS = 10_000


def make_record(
    progress: Progress,
    name: str,
    day: int,
    now: datetime,
    versions: dict[str, str],
    run: dict | None = None,
    token: str | None = None,
    notebook: str = "",
) -> dict:
    """What a learner has done up to now.

    Args:
        progress (Progress): the learner's.
        name (str): of the learner, as the class knows it.
        day (int): of the camp, from 1.
        now (datetime): with a time zone.
        versions (dict): of vit_ms, MindSpore and Python.
        run (dict): history, a list of an epoch's numbers, and metrics; None: there was no run.
        token (str): the learner's, if the instructor gave one.
        notebook (str): of the day; empty: none.

    Raises:
        UserError: If the name is empty or too long, or the day is below 1.
    """
    if not name.strip() or len(name) > MAX_NAME:
        raise UserError(f"name is {name[:MAX_NAME]!r}; give the learner's, of at most {MAX_NAME} characters")
    if day < 1:
        raise UserError(f"day is {day}; the first of a camp is 1")
    attempts, passed = progress.attempts(), progress.passed()
    record = {
        "format": FORMAT,
        "name": name.strip(),
        "day": day,
        "notebook": notebook,
        "time": now.isoformat(timespec="seconds"),
        "streak": streak(attempts, now.date()),
        "versions": versions,
        "exercises": [
            {
                "name": attempt.exercise,
                "time": attempt.time.isoformat(timespec="seconds"),
                "attempts": sum(other.exercise == attempt.exercise for other in attempts),
                "source": attempt.source,
                "sha256": _sha256(attempt.source),
            }
            for attempt in passed.values()
        ],
        "mistakes": [
            {"name": attempt.exercise, "code": attempt.code, "time": attempt.time.isoformat(timespec="seconds")}
            for attempt in attempts
            if not attempt.passed
        ][-_MAX_ROWS:],
        "run": run,
    }
    record["digest"] = _sha256(_canonical(record))
    if token is not None:
        record["signature"] = _signature(record, token)
    return record


def write_record(record: dict, path: str | Path) -> None:
    """Write it, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(record, ensure_ascii=False, indent=1), encoding="utf-8")


def read_record(path: str | Path) -> dict:
    """Read a record that may come from anybody.

    Raises:
        UserError: If it is none, is too large, or lacks something; the message says what.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} has {path.stat().st_size} bytes; a record has at most {MAX_BYTES}")
        record = json.loads(path.read_bytes().decode("utf-8"), parse_constant=_no_constant)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON: {error}") from None
    _check(record, path)
    return record


def _no_constant(word: str):
    raise ValueError(f"{word} is no number")


_TEXT, _ROWS = (str,), (list,)
_SHAPE = {"format": _TEXT, "name": _TEXT, "day": (int,), "notebook": _TEXT, "time": _TEXT, "streak": (int,)}
_SHAPE |= {"versions": (dict,), "exercises": _ROWS, "mistakes": _ROWS, "run": (dict, type(None)), "digest": _TEXT}
_EXERCISE = {"name": _TEXT, "time": _TEXT, "attempts": (int,), "source": _TEXT, "sha256": _TEXT}
_MISTAKE = {"name": _TEXT, "code": _TEXT, "time": _TEXT}


def _check(record, path: Path) -> None:
    """That every field is there and of its type."""

    def require(row, shape: dict, where: str) -> None:
        if not isinstance(row, dict):
            raise UserError(f"{path}: {where} is of type {type(row).__name__}; a record has an object there")
        for key, kinds in shape.items():
            if not isinstance(row.get(key), kinds) or isinstance(row.get(key), bool):
                raise UserError(f"{path}: {where} has no {key} as a record has it")
        if "time" in shape:
            try:
                aware = datetime.fromisoformat(row["time"]).tzinfo is not None
            except ValueError:
                aware = False
            if not aware:
                raise UserError(f"{path}: {where} has the time {row['time'][:40]!r}; it must have a time zone")

    require(record, _SHAPE, "the record")
    if record["format"] != FORMAT:
        raise UserError(f"{path} has the format {record['format'][:40]!r}; this version reads {FORMAT!r}")
    if not record["name"].strip() or len(record["name"]) > MAX_NAME:
        raise UserError(f"{path} has a name of {len(record['name'])} characters; a learner's has 1 to {MAX_NAME}")
    if not isinstance(record.get("signature", ""), str):
        raise UserError(f"{path}: the signature is no text")
    for key, shape in (("exercises", _EXERCISE), ("mistakes", _MISTAKE)):
        if len(record[key]) > _MAX_ROWS:
            raise UserError(f"{path} has {len(record[key])} {key}; a record has at most {_MAX_ROWS}")
        for number, row in enumerate(record[key]):
            require(row, shape, f"{key}[{number}]")
    accuracy = accuracy_of(record)
    if accuracy is not None and not 0.0 <= accuracy <= 1.0:
        raise UserError(f"{path}: the accuracy is {accuracy}; it must be between 0 and 1")


def accuracy_of(record: dict) -> float | None:
    """The accuracy of the learner's own run, in [0, 1]; None: the record has none."""
    value = (record["run"] or {}).get("accuracy")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # JSON's whole numbers have no end
        return math.inf


@dataclass(frozen=True)
class Verdict:
    """What verification found.

    Args:
        path (Path): of the record.
        record (dict): it; None if it cannot be read.
        problems (tuple[str, ...]): a line each; empty: none.
    """

    path: Path
    record: dict | None
    problems: tuple[str, ...]


def verify(
    paths: Iterable[str | Path],
    regrade: bool = False,
    tokens: dict[str, str] | None = None,
    say: Callable[[str], None] | None = None,
) -> list[Verdict]:
    """Check records, each by itself.

    Args:
        paths (Iterable[str or Path]): the JSON files.
        regrade (bool): grade the sources again, each record in a process of its own with limits on time, memory and files.
        tokens (dict[str, str]): of each learner by name, as `read_tokens` gives them; None: signatures are not asked for.
        say (Callable): told the path of each record before it is graded.
    """
    verdicts = []
    for path in map(Path, paths):
        try:
            record = read_record(path)
        except UserError as error:
            verdicts.append(Verdict(path, None, (str(error),)))
            continue
        problems = _edits(record)
        if tokens is not None:
            problems += _signing(record, tokens)
        if regrade:
            if say is not None:
                say(str(path))
            problems += _regrade(record)
        verdicts.append(Verdict(path, record, tuple(problems)))
    return verdicts


def _edits(record: dict) -> list[str]:
    problems = []
    if record["digest"] != _sha256(_canonical(record)):
        problems.append("the record was edited: its digest is not that of what it says")
    for row in record["exercises"]:
        if row["sha256"] != _sha256(row["source"]):
            problems.append(f"{row['name']}: the source was edited: its hash is another")
        if row["name"] not in exercises():
            problems.append(f"{row['name']}: there is no such exercise in this version of vit_ms")
    found = Counter(row["name"] for row in record["exercises"])
    problems += [f"{name}: is there twice" for name, times in sorted(found.items()) if times > 1]
    return problems


def _signing(record: dict, tokens: dict[str, str]) -> list[str]:
    name = record["name"]
    if name not in tokens:
        return [f"no token was given to {name!r}"]
    if "signature" not in record:
        return ["the record is not signed: the learner gives the token to `card`"]
    if not hmac.compare_digest(
        record["signature"].encode("utf-8", "surrogatepass"), _signature(record, tokens[name]).encode()
    ):
        return [f"it is not signed with the token of {name!r}: it was edited, or made by somebody else"]
    return []


def _regrade(record: dict) -> list[str]:
    from vit_ms.checkin.regrade import Worker  # it starts processes: only where it is asked for

    problems, known = [], exercises()
    with Worker() as worker:
        for row in record["exercises"]:
            if row["name"] in known:
                # Inputs that nobody can have foreseen.
                result = worker.grade(known[row["name"]], row["source"], secrets.randbits(32))
                if not result.passed:
                    problems.append("; ".join([f"{row['name']}: {result.message.en}", *result.details[-1:]]))
    return problems


def read_tokens(path: str | Path) -> dict[str, str]:
    """The tokens of a class: a CSV with the columns name and token.

    Raises:
        UserError: If it cannot be read or lacks a column.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            return {row["name"].strip(): row["token"].strip() for row in csv.DictReader(file)}
    except (OSError, UnicodeError, KeyError, AttributeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a CSV with the columns name and token ({error})") from None


def _canonical(record: dict) -> str:
    signed = {key: value for key, value in record.items() if key not in ("digest", "signature")}
    return json.dumps(signed, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _signature(record: dict, token: str) -> str:
    return hmac.new(token.encode(), _canonical(record).encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
