"""A class at a glance, as class.csv and class.html: who checked in with what and when. The page fetches nothing.

What the records say comes from strangers. On the page it is text and never markup; in the table it is never a formula.
"""

import ast
import base64
import csv
import hashlib
import io
import itertools
import json
import re
import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from datetime import timezone as offset
from html import escape
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from vit_ms.checkin.exercise import Text
from vit_ms.checkin.exercises import exercises
from vit_ms.checkin.record import accuracy_of, read_tokens, verify
from vit_ms.errors import UserError, did_you_mean
from vit_ms.files import whole_file

LAST_DAY = 366  # of a camp
LONGEST_NAME = 100  # as make_record has it
LARGEST_SOURCE = 20_000  # characters; a longer one is compared as text: parsing it may need more stack than there is
MANY = 20  # more bad files than this are told on the page alone
SHOWN_GROUPS, SHOWN_VARIANTS, SHOWN_SOURCE = 300, 4, 6_000  # of equal solutions, so that the page stays small
PROBLEMS = 20  # more of one record are counted only
CLOCK = timedelta(hours=1)  # a clock may be wrong by this much

# How problems are called; record.py words them in full, in English.
KINDS = {
    "edited": Text("record edited", "记录被改动"),
    "source": Text("source edited", "源码被改动"),
    "unknown": Text("unknown exercise", "未知练习"),
    "twice": Text("exercise twice", "练习重复"),
    "token": Text("no token", "没有令牌"),
    "unsigned": Text("not signed", "未签名"),
    "signature": Text("wrong signature", "签名不符"),
    "clock": Text("time in the future", "时间在未来"),
    "copy": Text("record of somebody else", "与他人的记录相同"),
    "other": Text("problem", "问题"),
}
_KIND_OF = {
    "its digest is not": "edited",
    "its hash is another": "source",
    "there is no such exercise": "unknown",
    "is there twice": "twice",
    "no token was given to": "token",
    "the record is not signed": "unsigned",
    "it is not signed with the token": "signature",
}
_SIGNING = ("token", "unsigned", "signature")

STATUS = {
    "fine": Text("in order", "正常"),
    "problem": Text("problems", "有问题"),
    "late": Text("late", "迟交"),
    "lacking": Text("days lacking", "缺打卡"),
    "same": Text("equal solution", "解答相同"),
    "missing": Text("missing", "未打卡"),
    "extra": Text("not on roster", "不在名单"),
}


class Problem(NamedTuple):
    """What is wrong with a record.

    Args:
        file (str): the record's, below the class's folder; empty: no single one.
        kind (str): a key of KINDS.
        text (str): in full, a line.
    """

    file: str
    kind: str
    text: str


class Due(NamedTuple):
    """A row of the schedule.

    Args:
        day (int): of the camp.
        notebook (str): as an exercise names it; may be empty.
        time (datetime): the last moment that is in time, in UTC.
        shown (str): it, in the camp's time zone.
    """

    day: int
    notebook: str
    time: datetime
    shown: str


class Solved(NamedTuple):
    """An exercise that a record says is solved."""

    time: datetime
    attempts: int
    source: str


@dataclass(frozen=True)
class CheckIn:
    """What a record says, without what the page does not need.

    Args:
        file (str): below the class's folder.
        name (str): of the learner, as it is written.
        day (int): of the camp.
        time (datetime): in UTC.
        accuracy (float): of the learner's own run; None: there was none.
        solved (dict[str, Solved]): by exercise.
        mistakes (frozenset): of exercise and code.
        events (frozenset): what can be the same in two records only if one is a copy: times with what happened then.
        problems (tuple[Problem, ...]): found by verification.
    """

    file: str
    name: str
    day: int
    time: datetime
    accuracy: float | None
    solved: dict[str, Solved]
    mistakes: frozenset
    events: frozenset
    problems: tuple[Problem, ...]

    @property
    def misses_signature(self) -> bool:
        return any(problem.kind in _SIGNING for problem in self.problems)


@dataclass
class Learner:
    """A row of the class.

    Args:
        name (str): as the roster or the latest record writes it.
        group (str): of the roster.
        listed (bool): whether the roster has the name.
        days (dict[int, CheckIn]): the record that counts of each day.
        problems (list[Problem]): of those, and of records that do not count since their signature is wrong.
        late (list[int]): the days that were checked in after they were due.
        lacking (list[int]): the days that are over and were not checked in.
        groups (list[int]): the numbers of the groups of equal solutions that this learner is in.
    """

    name: str
    group: str = ""
    listed: bool = False
    days: dict[int, CheckIn] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    lacking: list[int] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)

    @property
    def latest(self) -> CheckIn | None:
        return max(self.days.values(), key=lambda one: one.time, default=None)

    @property
    def accuracy(self) -> float | None:
        """Of the latest record that has one."""
        ordered = sorted(self.days.values(), key=lambda one: one.time)
        return next((one.accuracy for one in reversed(ordered) if one.accuracy is not None), None)

    def solved(self) -> dict[str, Solved]:
        """Of each exercise the latest solution, with the time that it was first solved at."""
        found: dict[str, Solved] = {}
        for record in sorted(self.days.values(), key=lambda one: one.time):
            for name, one in record.solved.items():
                first = min(one.time, found[name].time) if name in found else one.time
                found[name] = one._replace(time=first)
        return found

    def mistakes(self) -> set[tuple[str, str]]:
        return set().union(*(record.mistakes for record in self.days.values()))


class Equal(NamedTuple):
    """Learners whose solutions of an exercise are the same but for comments and formatting.

    Args:
        exercise (str): its name.
        lines (int): of code, of the shortest.
        members (list[int]): numbers of learners.
        variants (list[tuple[str, int]]): the sources as they are written, with the number of the first who has it.
    """

    exercise: str
    lines: int
    members: list[int]
    variants: list[tuple[str, int]]


@dataclass
class Class:
    """All that the page and the table say.

    Args:
        zone (ZoneInfo): the camp's.
        now (datetime): when this was made.
        learners (list[Learner]): by name.
        schedule (list[Due]): by day.
        roster (bool): whether one was given.
        refused (list[tuple[str, str]]): files that are no records, with the reason.
        records (int): that could be read.
        equal (list[Equal]): the most telling first.
        copies (list[list[int]]): numbers of learners whose records share times and sources.
    """

    zone: ZoneInfo
    now: datetime
    learners: list[Learner]
    schedule: list[Due]
    roster: bool
    refused: list[tuple[str, str]]
    records: int
    equal: list[Equal] = field(default_factory=list)
    copies: list[list[int]] = field(default_factory=list)

    def shown(self, moment: datetime) -> str:
        """A time on the camp's clock."""
        return moment.astimezone(self.zone).isoformat(sep=" ", timespec="minutes")[:16]

    def deadline(self, notebook: str) -> datetime | None:
        return next((due.time for due in self.schedule if due.notebook == notebook), None)

    def days(self) -> dict[int, datetime | None]:
        """All days, of the schedule and of the records, with when each is due."""
        due: dict[int, datetime | None] = {}
        for one in self.schedule:
            due[one.day] = max(one.time, due.get(one.day) or one.time)
        for learner in self.learners:
            for day in learner.days:
                due.setdefault(day, None)
        return dict(sorted(due.items()))

    def status(self, learner: Learner) -> list[str]:
        """The keys of STATUS that hold of a learner."""
        if not learner.days:
            return ["missing"]
        holds = {
            "problem": learner.problems,
            "late": learner.late,
            "lacking": learner.lacking,
            "extra": self.roster and not learner.listed,
            "same": learner.groups,
        }
        found = [key for key, value in holds.items() if value]
        return found if set(found) - {"same"} else ["fine", *found]


def class_view(
    folder: str | Path,
    output: str | Path | None = None,
    roster: str | Path | None = None,
    schedule: str | Path | None = None,
    tokens: str | Path | None = None,
    timezone: str = "Asia/Shanghai",
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Write what a class's records say as class.csv and class.html.

    Of several records of one learner and day the latest counts; with tokens, one that is not signed replaces none that
    is.
    Names are the same where they differ in capitals, spaces and widths of letters alone.

    Args:
        folder (str or Path): the records, *.json, in it and in the folders below.
        output (str or Path): the folder to write to; None: that of the records.
        roster (str or Path): a CSV with the column name and, if wanted, group: who should be there.
        schedule (str or Path): a CSV with the columns day, notebook and due: a date, or one with a time.
        tokens (str or Path): a CSV with the columns name and token; signatures are asked for.
        timezone (str): the camp's.
        say (Callable): told of files that are passed over, and what was found.

    Returns:
        list[Path], of the two files.

    Raises:
        UserError: If there is no record, or one of the tables or the time zone is wrong.
    """
    folder, zone = Path(folder), _zone(timezone)
    # Before the reading, which takes longest.
    due = _read_schedule(Path(schedule), zone) if schedule is not None else []
    people = _read_roster(Path(roster)) if roster is not None else {}
    given = _read_tokens(Path(tokens)) if tokens is not None else None
    now = _now()
    found, refused = _read(_files(folder), folder, given, now, zone)
    for file, reason in refused[:MANY]:
        say(f"passed over: {file}: {reason}")
    if len(refused) > MANY:
        say(f"passed over: {len(refused) - MANY} more, which the page lists")
    if not found:
        raise UserError(
            f"{folder}: none of the {len(refused)} *.json in it is a record: give the folder with those of `card`"
        )
    room = Class(zone, now, _learners(found, people), due, roster is not None, refused, len(found))
    _compare(room)
    _judge(room)
    output = folder if output is None else Path(output)
    paths = [output / "class.csv", output / "class.html"]
    try:
        for path, content in zip(paths, (_table(room), _page(room)), strict=True):
            with whole_file(path) as temporary:
                temporary.write_bytes(content)
    except OSError as error:
        raise UserError(f"{output} cannot be written to ({error.strerror}): give another folder as --output") from None
    count = Counter(key for learner in room.learners for key in room.status(learner))
    told = ", ".join(f"{count[key]} {STATUS[key].en}" for key in STATUS if count[key])
    say(f"{len(room.learners)} learners, {len(found)} records: {told}")
    return paths


def _now() -> datetime:
    return datetime.now(offset.utc)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not there, no name of one, a folder of them
        known = available_timezones()
        if not known:
            raise UserError(
                f"timezone is {name!r}, and this system knows no time zones: run pip install tzdata"
            ) from None
        hint = did_you_mean(name, known)
        hint = hint if len(hint) < 200 else "; give a name like Asia/Shanghai"  # there are hundreds
        raise UserError(f"timezone is {name!r}, which is none{hint}") from None


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give the one that the class's records are in")
    # Archives made on a Mac bring a shadow of every file, which begins with a dot.
    paths = [path for path in folder.rglob("*.json") if not path.name.startswith(".") and path.is_file()]
    if not paths:
        raise UserError(f"{folder} has no *.json in it or below: give the folder that the class's records are in")
    return sorted(paths)


def _rows(path: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV with their line numbers; what is not there is empty."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeError:
        raise UserError(f"{path} is not in UTF-8: in the spreadsheet save it as CSV UTF-8") from None
    head = text.split("\n", 1)[0]
    delimiter = next((mark for mark in ",;\t" if mark in head), ",")  # where the comma is the decimal point it is ;
    rows, number = [], 1
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        names = [name.strip().casefold() for name in next(reader, [])]
        for column in columns:
            if column not in names:
                raise UserError(
                    f"{path} has no column {column}; its first line must name {', '.join(columns)}, "
                    f"it is {visible(head.strip(), 80)!r}"
                )
        number = reader.line_num + 1
        for cells in reader:
            row = {name: cell.strip() for name, cell in zip(names, cells, strict=False)}
            if any(row.values()):
                rows.append((number, defaultdict(str, row)))
            number = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path} line {number} is no CSV ({error}): save it anew from the spreadsheet") from None
    return rows


def _read_roster(path: Path) -> dict[str, Learner]:
    """The learners without their records, by key."""
    people, lines = {}, {}
    for line, row in _rows(path, ("name",)):
        key = key_of(row["name"])
        if not key or len(row["name"]) > LONGEST_NAME:
            raise UserError(
                f"{path} line {line}: name is {visible(row['name'], 40)!r}; give one of 1 to {LONGEST_NAME} characters"
            )
        if key in people:
            raise UserError(
                f"{path} line {line}: name is {visible(row['name'], 40)!r}, as in line {lines[key]}; records are told "
                "apart by the name: give one of the two another, with a number or a class, and tell the learner"
            )
        lines[key] = line
        people[key] = Learner(visible(row["name"]), visible(row["group"], LONGEST_NAME), listed=True)
    if not people:
        raise UserError(f"{path} has no row below its first line: give a name in each")
    return people


def _read_schedule(path: Path, zone: ZoneInfo) -> list[Due]:
    schedule = []
    for line, row in _rows(path, ("day", "notebook", "due")):
        where = f"{path} line {line}"
        if not re.fullmatch(r"[0-9]{1,4}", row["day"]) or not 1 <= int(row["day"]) <= LAST_DAY:
            raise UserError(
                f"{where}: day is {visible(row['day'], 40)!r}; it must be a whole number from 1 to {LAST_DAY}"
            )
        notebook = row["notebook"].removesuffix(".ipynb")
        if notebook and any(one.notebook == notebook for one in schedule):
            raise UserError(f"{where}: notebook {visible(notebook, 40)} has a row before; give one due time for each")
        try:
            moment = datetime.fromisoformat(row["due"])
            if re.fullmatch(r"[0-9W-]+", row["due"]):  # a date: until its end
                moment = datetime.combine(moment.date(), time.max)
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)
            shown = moment.astimezone(zone).isoformat(sep=" ", timespec="minutes")[:16]
            moment = moment.astimezone(offset.utc)
        except (ValueError, OverflowError):
            raise UserError(
                f"{where}: due is {visible(row['due'], 40)!r}; write it like 2026-03-31 or 2026-03-31 20:00"
            ) from None
        schedule.append(Due(int(row["day"]), notebook, moment, shown))
    if not schedule:
        raise UserError(f"{path} has no row below its first line: give day, notebook and due in each")
    return sorted(schedule)


def _read_tokens(path: Path) -> dict[str, str]:
    try:
        return read_tokens(path)
    except csv.Error as error:
        raise UserError(f"{path} is no CSV ({error}): save it anew from the spreadsheet") from None


# Control characters but the line feed and the tab, marks that turn the direction of writing, and halves of pairs.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb]"
)


def visible(text: str, limit: int | None = None) -> str:
    """A stranger's text with what cannot be seen, or turns what stands around it, written out like [U+202E].

    Args:
        text (str): any.
        limit (int): it is cut to this many characters before.
    """
    if limit is not None and len(text) > limit:
        text = text[:limit] + "…"
    return _UNSEEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)


def key_of(name: str) -> str:
    """What two ways to write a name have in common: wide letters, spaces, capitals and invisible marks do not count."""
    seen = "".join(char for char in unicodedata.normalize("NFKC", name) if unicodedata.category(char) != "Cf")
    return " ".join(seen.split()).casefold()


def _read(
    paths: list[Path], folder: Path, tokens: dict[str, str] | None, now: datetime, zone: ZoneInfo
) -> tuple[list[CheckIn], list[tuple[str, str]]]:
    """The records, and the files that are none with the reason."""
    found, refused, sources = [], [], {}
    for path in paths:
        file = visible(path.relative_to(folder).as_posix())
        try:
            (verdict,) = verify([path], tokens=tokens)
            if verdict.record is None:
                told = verdict.problems[0].removeprefix(str(path)).lstrip(": ")
                refused.append((file, visible(" ".join(told.split()), 300)))
                continue
            found.append(_check_in(verdict.record, verdict.problems, file, now, zone, sources))
        except UserError as error:
            refused.append((file, visible(str(error), 300)))
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            # Whatever of a stranger's file got past the reading must not keep the rest of the class from its page.
            refused.append((file, visible(f"it cannot be used ({type(error).__name__}: {error})", 300)))
    return found, refused


def _check_in(
    record: dict, told: Iterable[str], file: str, now: datetime, zone: ZoneInfo, sources: dict[str, str]
) -> CheckIn:
    name = record["name"]
    if len(name) > LONGEST_NAME or not key_of(name):
        raise UserError(f"the name has {len(name)} characters, {visible(name, 40)!r}; a record has 1 to {LONGEST_NAME}")
    if not 1 <= record["day"] <= LAST_DAY:
        raise UserError(f"the day is {visible(str(record['day']), 40)}; it must be from 1 to {LAST_DAY}")
    moment = _moment(record["time"], zone)
    told = list(told)
    problems = [Problem(file, _kind(text), visible(" ".join(text.split()), 300)) for text in told[:PROBLEMS]]
    if len(told) > PROBLEMS:
        problems.append(Problem(file, "other", f"and {len(told) - PROBLEMS} more"))
    if moment > now + CLOCK:
        problems.append(Problem(file, "clock", f"it is of {visible(record['time'], 40)}, which is yet to come"))
    known, solved, events = exercises(), {}, set()
    for row in record["exercises"]:
        if row["name"] in known:
            source = sources.setdefault(row["source"], row["source"])  # days repeat each other's
            one = Solved(_moment(row["time"], zone), min(max(row["attempts"], 0), 99_999), source)
            solved[row["name"]] = one
            events.add((row["name"], one.time, source))
    events.add(("", moment, ""))
    mistakes = frozenset((row["name"], row["code"][:100]) for row in record["mistakes"] if row["name"] in known)
    return CheckIn(
        file,
        name.strip(),
        record["day"],
        moment,
        accuracy_of(record),
        solved,
        mistakes,
        frozenset(events),
        tuple(problems),
    )


def _moment(text: str, zone: ZoneInfo) -> datetime:
    """A time of a record in UTC, if the camp's clock can show it."""
    try:
        moment = datetime.fromisoformat(text)
        moment.astimezone(zone)
        return moment.astimezone(offset.utc)
    except (ValueError, OverflowError):
        raise UserError(f"the time {visible(text, 40)!r} is in no year that a clock has") from None


def _kind(text: str) -> str:
    return next((kind for mark, kind in _KIND_OF.items() if mark in text), "other")


def _learners(found: list[CheckIn], people: dict[str, Learner]) -> list[Learner]:
    """Everybody, with the record that counts of each day."""
    of_each: dict[str, dict[int, list[CheckIn]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        of_each[key_of(one.name)][one.day].append(one)
    learners = dict(people)
    for key, days in of_each.items():
        learner = learners.setdefault(key, Learner(""))
        for day, records in sorted(days.items()):
            # Nobody replaces a signed record by one made in another's name.
            records.sort(key=lambda one: (not one.misses_signature, one.time, one.file))
            learner.days[day] = records[-1]
            for one in records:
                if one is records[-1] or (one.misses_signature and not records[-1].misses_signature):
                    learner.problems += one.problems
        if not learner.listed:
            learner.name = visible(" ".join(learner.latest.name.split()))
    return sorted(learners.values(), key=lambda one: key_of(one.name))


def _judge(room: Class) -> None:
    """Who is late and who lacks a day."""
    for day, due in room.days().items():
        for learner in room.learners:
            if due is None:
                continue
            if day not in learner.days:
                if due < room.now:
                    learner.lacking.append(day)
            elif learner.days[day].time > due:
                learner.late.append(day)


# Comments and strings; one that has no end goes to that of its line, or of the text, so that no text takes long.
_PIECES = re.compile(
    r"#[^\n]*"
    r'|"""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*(?:"""|\\?\Z)'
    r"|\'\'\'[^\'\\]*(?:(?:\\.|\'(?!\'\'))[^\'\\]*)*(?:\'\'\'|\\?\Z)"
    r'|"[^"\\\n]*(?:\\.[^"\\\n]*)*"?|\'[^\'\\\n]*(?:\\.[^\'\\\n]*)*\'?',
    re.DOTALL,
)
_WORDS = re.compile(r"\b[^\W\d]\w*")


def _bare(source: str) -> str:
    """Without comments, blank lines and spaces at the ends of lines."""
    kept = _PIECES.sub(lambda found: "" if found[0][0] == "#" else found[0], source)
    return "\n".join(line.rstrip() for line in kept.splitlines() if line.strip())


def _words(bare: str) -> str:
    """The names in a source: they are the same where the code is, and are found much faster than it is parsed."""
    return " ".join(_WORDS.findall(_PIECES.sub(" ", bare)))


def normal(source: str) -> str:
    """What stays of a source when comments, docstrings and formatting are taken away; names stay."""
    try:
        if len(source) > LARGEST_SOURCE:
            raise ValueError("it is too long to be parsed")
        tree = ast.parse(source)
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
                # Text that stands by itself, a docstring, does nothing.
                body[:] = [one for one in body if not _is_text(one)] or [ast.Pass()]
        return ast.dump(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return " ".join(_bare(source).split())


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _compare(room: Class) -> None:
    """Find equal solutions and copied records."""
    written: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, learner in enumerate(room.learners):
        for name, one in learner.solved().items():
            if one.source.strip():
                written[name][one.source].append(number)
    bare, words = {}, {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a learner's "\d"
        for name, by_source in written.items():
            alike = defaultdict(set)  # by their words, those that are worth parsing
            for source in by_source:
                if source not in bare:
                    bare[source] = _bare(source)
                    words[source] = _words(bare[source])
                alike[words[source]].add(bare[source])
            normals = {
                text: normal(text) if len(texts) > 1 else text for texts in alike.values() for text in texts if text
            }
            same: dict[str, list[str]] = defaultdict(list)
            for source in by_source:
                if bare[source]:
                    same[normals[bare[source]]].append(source)
            for sources in same.values():
                members = sorted({number for source in sources for number in by_source[source]})
                if len(members) > 1:
                    lines = min(bare[source].count("\n") + 1 for source in sources)
                    variants = sorted(((source, by_source[source][0]) for source in sources), key=lambda one: one[1])
                    room.equal.append(Equal(name, lines, members, variants))
    # Few learners with many lines in common tell more than many with few.
    room.equal.sort(key=lambda one: (-one.lines, len(one.members), one.exercise, one.members))
    for index, one in enumerate(room.equal):
        for number in one.members:
            room.learners[number].groups.append(index)
    room.copies = _copies(room.learners)
    for group in room.copies:
        for number in group:
            others = [room.learners[other].name for other in group if other != number]
            told = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
            room.learners[number].problems.append(
                Problem("", "copy", f"the same sources at the same seconds as {told}")
            )


def _copies(learners: list[Learner]) -> list[list[int]]:
    """Learners who did two or more things in the same seconds, with the same sources.

    One such thing happens by chance in a large class.
    """
    holders = defaultdict(list)
    for number, learner in enumerate(learners):
        for event in set().union(*(one.events for one in learner.days.values())):
            holders[event].append(number)
    shared = Counter()
    for numbers in holders.values():
        # Of very many, such as of a record given to the whole class, each is compared with the first alone.
        pairs = itertools.combinations(numbers, 2) if len(numbers) <= 40 else ((numbers[0], n) for n in numbers[1:])
        shared.update(pairs)
    leader = list(range(len(learners)))

    def find(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    for (one, other), count in shared.items():
        if count > 1:
            leader[find(other)] = find(one)
    groups = defaultdict(list)
    for number in range(len(learners)):
        groups[find(number)].append(number)
    return [group for group in groups.values() if len(group) > 1]


# What a spreadsheet may take for a formula, at the beginning or where another separator than the comma begins a cell.
_FORMULA = re.compile(r"(^|[;|]\s*)([=+\-@＝＋－＠])")


def defused(text: str) -> str:
    """Text that a spreadsheet shows and does not compute."""
    return _FORMULA.sub(r"\1'\2", " ".join(text.split()))  # no tab or line begins a cell either


def _table(room: Class) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    writer.writerow(
        ["name", "group", "status", "days", "latest", "exercises", "accuracy", "late days", "days lacking", "problems"]
    )
    for learner in room.learners:
        latest, accuracy = learner.latest, learner.accuracy
        row = [
            learner.name,
            learner.group,
            ", ".join(STATUS[key].en for key in room.status(learner)),
            str(len(learner.days)),
            room.shown(latest.time) if latest else "",
            str(len(learner.solved())),
            "" if accuracy is None else f"{accuracy:.4f}",
            " ".join(map(str, learner.late)),
            " ".join(map(str, learner.lacking)),
            " | ".join(": ".join(filter(None, (one.file, one.text))) for one in learner.problems[:PROBLEMS]),
        ]
        writer.writerow([defused(cell) for cell in row])
    # The mark at the beginning tells spreadsheets that it is UTF-8.
    return file.getvalue().encode("utf-8-sig", errors="replace")


# Colours that the colour-blind can tell apart (Okabe and Ito), each with a sign of its own beside it.
STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1b1b; --soft: #5c5c5c; --line: #d5d5d5; --fill: #f3f5f7;
  --blue: #0072B2; --orange: #E69F00; --green: #009E73; --red: #D55E00; --grey: #999999; --link: #005a8e; }
@media (prefers-color-scheme: dark) {
  :root { --back: #16181b; --text: #e6e6e6; --soft: #a3a9b0; --line: #3a3f45; --fill: #202429; --link: #7cc0ea; }
}
:root[data-lang="en"] [lang="zh"], :root[data-lang="zh"] [lang="en"] { display: none; }
[hidden] { display: none !important; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 80rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, "Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0.5rem 0; line-height: 1.2; }
h2 { margin: 2rem 0 0.5rem; border-bottom: 1px solid var(--line); }
h3 { margin: 1.2rem 0 0.3rem; font-size: 1rem; }
p { margin: 0.4rem 0; }
.soft { color: var(--soft); font-size: 0.9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: 0.3rem 0.8rem 0.3rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { color: var(--soft); font-weight: normal; }
tbody th { font-weight: 600; }
td { font-variant-numeric: tabular-nums; }
.wide th, .wide td { min-width: 4rem; overflow-wrap: break-word; }
.time { white-space: nowrap; }
pre { margin: 0; padding: 0.6rem; background: var(--fill); overflow-x: auto; white-space: pre; font-size: 0.85rem;
  unicode-bidi: isolate; }
summary { cursor: pointer; padding: 0.3rem 0; }
bdi { unicode-bidi: isolate; }
button, select, input { font: inherit; color: inherit; background: var(--back); border: 1px solid var(--line);
  border-radius: 4px; padding: 0.3rem 0.6rem; min-height: 2.2rem; }
button { cursor: pointer; }
button[aria-pressed="true"] { background: var(--fill); border-color: var(--blue);
  box-shadow: inset 0 -2px var(--blue); }
:focus-visible { outline: 2px solid var(--blue); outline-offset: 1px; }
header, .controls { display: flex; flex-wrap: wrap; gap: 0.5rem 0.8rem; align-items: center; }
header { justify-content: space-between; }
.controls { margin: 0.5rem 0; }
.controls input { flex: 1 1 12rem; max-width: 20rem; min-width: 0; }
.controls select { max-width: 100%; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.8rem, 1fr)); gap: 0.6rem; margin: 1rem 0;
  padding: 0; }
.tiles div { border-left: 4px solid var(--tone, var(--line)); padding: 0.1rem 0 0.1rem 0.6rem; }
.tiles dt { color: var(--soft); font-size: 0.9rem; }
.tiles dd { margin: 0; font-size: 1.4rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.frame { overflow: auto; max-height: min(75vh, 48rem); border: 1px solid var(--line); border-radius: 4px; }
.frame table { table-layout: fixed; border-collapse: separate; border-spacing: 0; }
.frame th, .frame td { padding: 0 0.5rem; height: 2.25rem; line-height: 2.2rem; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; background: var(--back); vertical-align: middle; }
.frame thead th { position: sticky; top: 0; z-index: 2; padding: 0; height: 3.4rem; background: var(--fill); }
.frame thead button { width: 100%; height: 100%; padding: 0.2rem 0.5rem; border: 0; border-radius: 0; background: none;
  text-align: left; line-height: 1.25; font-size: 0.9rem; white-space: normal; overflow: hidden; color: var(--text); }
.frame thead button span.words { display: -webkit-box; -webkit-line-clamp: 2; -webkit-box-orient: vertical;
  overflow: hidden; }
.frame th:first-child { position: sticky; left: 0; z-index: 1; border-right: 1px solid var(--line); }
.frame thead th:first-child { z-index: 3; }
.frame tbody th button { max-width: 100%; min-height: 0; padding: 0; border: 0; background: none; color: var(--link);
  text-align: left; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; vertical-align: middle; }
.frame tbody tr:hover > * { background: var(--fill); }
.frame td.space { padding: 0; border: 0; background: none; }
th[aria-sort="ascending"] .words::after { content: " ↑"; }
th[aria-sort="descending"] .words::after { content: " ↓"; }
.mark { border-left: 4px solid var(--tone); padding-left: 0.35rem; white-space: nowrap; }
.mark + .mark { margin-left: 0.5rem; }
.blue { --tone: var(--blue); } .orange { --tone: var(--orange); } .green { --tone: var(--green); }
.red { --tone: var(--red); } .grey { --tone: var(--grey); }
.legend { display: flex; flex-wrap: wrap; gap: 0.2rem 1.2rem; }
.legend .mark { margin: 0; }
svg.bar { display: block; width: clamp(6rem, 20vw, 14rem); height: 0.8rem; margin-top: 0.35rem;
  background: var(--fill); }
svg .pass { fill: var(--green); } svg .late { fill: var(--orange); } svg .tried { fill: var(--red); }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 0.8rem;
  margin: 0.5rem 0; }
.beside > div { min-width: 0; }
.names { display: flex; flex-wrap: wrap; gap: 0.1rem 1.2rem; padding: 0; margin: 0.3rem 0; list-style: none; }
dialog { width: min(48rem, calc(100vw - 2rem)); max-height: calc(100vh - 2rem); padding: 1rem;
  border: 1px solid var(--line); border-radius: 6px; background: var(--back); color: var(--text); }
dialog::backdrop { background: rgb(0 0 0 / 45%); }
dialog header { flex-wrap: nowrap; align-items: flex-start; }
dialog h2 { margin: 0; border: 0; min-width: 0; }
dialog header button { flex: none; }
@media (max-width: 40rem) { dialog { font-size: 0.9rem; } }
@media print {
  :root { --back: #fff; --text: #000; --soft: #444; --line: #bbb; --fill: #fff; }
  body { max-width: none; padding: 0; font-size: 9pt; }
  .frame { max-height: none; overflow: visible; border: 0; } .controls, header button { display: none; }
  .wide { overflow: visible; } tr, pre { break-inside: avoid; }
  .frame thead th, .frame th:first-child { position: static; }
}
"""

# All text goes into the page as text nodes: nothing here makes markup of what a record says, and the policy forbids it.
SCRIPT = r"""
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
const find = (id) => document.getElementById(id);

function make(tag, name, ...children) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.append(...children);
  return node;
}
function both(text) {  // in both languages; the style shows one
  return text.map((words, index) => {
    const node = make("span", "", words);
    node.lang = index ? "zh" : "en";
    return node;
  });
}
const zh = () => root.dataset.lang === "zh";
const pick = (text) => text[zh() ? 1 : 0];
const isolated = (words) => make("bdi", "", words);

function speak(lang) {
  root.dataset.lang = lang;
  root.lang = lang === "zh" ? "zh-CN" : "en";
  for (const button of document.querySelectorAll("[data-speak]"))
    button.setAttribute("aria-pressed", String(button.dataset.speak === lang));
  for (const option of document.querySelectorAll("[data-zh]"))
    option.textContent = zh() ? option.dataset.zh : option.dataset.en;
  find("name").placeholder = zh() ? "按姓名筛选" : "Filter by name";
  find("name").setAttribute("aria-label", find("name").placeholder);
}

// ------------------------------------------------------------------------------------------------ learners
const words = data.words;
const plain = (text) => text.normalize("NFKC").toLowerCase();
const learners = data.learners.map((row, index) => ({
  index, name: row[0], group: row[1], status: row[2], latest: row[3], solved: row[4], accuracy: row[5],
  problems: row[6],
  days: new Map(row[7].map((one) => [one[0], one])), marks: row[8], times: row[9], attempts: row[10], groups: row[11],
  mistakes: row[12], sought: plain(row[0] + "\n" + row[1]),
}));
const TONE = {
  fine: "green", problem: "red", late: "orange", lacking: "orange", missing: "grey", extra: "blue", same: "blue",
};
const MARK = {
  0: ["·", "none", "grey"], 1: ["✓", "solved", "green"], 2: ["✓!", "solvedLate", "orange"], 3: ["✗", "tried", "red"],
};
const ranks = (list, key) => {  // names are compared once, not at every click
  const collator = new Intl.Collator("zh-CN-u-co-pinyin", { numeric: true });
  const order = list.map((one) => one.index).sort((a, b) => collator.compare(key(list[a]), key(list[b])));
  const rank = new Array(list.length);
  let last = -1;
  order.forEach((index, place) => {
    const same = place > 0 && collator.compare(key(list[order[place - 1]]), key(list[index])) === 0;
    if (!same) last = place;
    rank[index] = last;
  });
  return rank;
};
const byName = ranks(learners, (one) => one.name);
const byGroup = ranks(learners, (one) => one.group);
const severity = ["missing", "problem", "late", "lacking", "extra", "fine", "same"];

function mark(tone, text, title) {
  const node = make("span", "mark " + tone, text);
  if (title) node.title = title;
  return node;
}
function statuses(one, most = 9) {
  const more = one.status.length > most ? [" +" + (one.status.length - most)] : [];
  return one.status.slice(0, most).map((key) => make("span", "mark " + TONE[key], ...both(words[key]))).concat(more);
}
function dayCell(one, day) {
  const found = one.days.get(day.day);
  if (!found) return day.over ? mark("red", "–", pick(words.lacking)) : mark("grey", "·");
  const [, time, late] = found, short = time.slice(5);
  return late ? mark("orange", short + " !", time + " " + pick(words.late)) : mark("green", short, time);
}
function exerciseCell(one, number) {
  const [sign, key, tone] = MARK[one.marks[number]];
  const time = one.times[number];
  const tries = one.attempts[number] ? ", " + pick(words.attempts) + " " + one.attempts[number] : "";
  return mark(tone, sign, pick(words[key]) + (time ? ": " + time + tries : ""));
}

const moment = (time) => time ? Number(time.replace(/\D/g, "")) : undefined;  // numbers are compared faster

// A column: its title, its width in em, its key for sorting (undefined comes last) and its cell.
const columns = [
  { id: "name", title: words.name, wide: matchMedia("(max-width: 40rem)").matches ? 8 : 11,
    key: (one) => byName[one.index], cell: (one) => {
    const button = make("button", "", isolated(one.name));
    button.type = "button";
    button.title = one.name;
    button.dataset.learner = one.index;
    return button;
  } },
  { id: "group", title: words.group, wide: 7, key: (one) => one.group ? byGroup[one.index] : undefined,
    cell: (one) => isolated(one.group) },
  { id: "status", title: words.status, wide: 17, key: (one) => severity.indexOf(one.status[0]) * 10 - one.status.length,
    cell: (one) => {
      const node = make("span", "", ...statuses(one, 2));
      node.title = one.status.map((key) => pick(words[key])).join(", ");
      return node;
    } },
  { id: "days", title: words.days, wide: 5, key: (one) => one.days.size, cell: (one) => String(one.days.size) },
  { id: "latest", title: words.latest, wide: 10.5, key: (one) => moment(one.latest),
    cell: (one) => one.latest || "–" },
  { id: "solved", title: words.solvedCount, wide: 6.5, key: (one) => one.solved,
    cell: (one) => one.solved + " / " + data.exercises.length },
  { id: "accuracy", title: words.accuracy, wide: 6, key: (one) => one.accuracy ?? undefined,
    cell: (one) => one.accuracy === null ? "–" : (100 * one.accuracy).toFixed(1) + "%" },
  { id: "problems", title: words.problems, wide: 6, key: (one) => one.problems.length,
    cell: (one) => one.problems.length ? mark("red", String(one.problems.length)) : "0" },
].filter((column) => data.grouped || column.id !== "group");
const views = {
  days: data.days.map((day) => ({
    id: "day" + day.day, title: [words.day[0] + " " + day.day, "第 " + day.day + " 天"], wide: 9,
    key: (one) => moment(one.days.get(day.day)?.[1]), cell: (one) => dayCell(one, day),
  })),
  exercises: data.exercises.map((exercise, number) => ({
    id: "exercise" + number, title: exercise.title, wide: 6.5,
    key: (one) => moment(one.times[number]) ?? (one.marks[number] === "3" ? Infinity : undefined),
    cell: (one) => exerciseCell(one, number),
  })),
};

const frame = find("frame"), head = find("head"), body = find("body"), sizes = find("sizes");
const state = { view: "days", sort: "name", down: false, shown: learners, from: -1, to: -1, all: false };
const OVER = 8;  // rows beyond each edge
let height = 36;

const current = () => columns.concat(views[state.view]);

function drawHead() {
  const cells = current().map((column) => {
    const title = make("span", "words", ...both(column.title));
    const button = make("button", "", title);
    button.type = "button";
    button.dataset.sort = column.id;
    button.title = pick(column.title);
    const cell = make("th", "", button);
    cell.scope = "col";
    cell.setAttribute("aria-sort", column.id !== state.sort ? "none" : state.down ? "descending" : "ascending");
    return cell;
  });
  head.replaceChildren(make("tr", "", ...cells));
  let total = 0;
  sizes.replaceChildren(...current().map((column) => {
    const node = make("col");
    node.style.width = column.wide + "em";
    total += column.wide;
    return node;
  }));
  find("learners").style.width = total + "em";
  find("legend-days").hidden = state.view !== "days";
  find("legend-exercises").hidden = state.view !== "exercises";
}

function space(rows, count) {  // as high as the rows that are not drawn
  const cell = make("td", "space");
  cell.colSpan = count;
  cell.style.height = rows * height + "px";
  const row = make("tr", "", cell);
  row.setAttribute("aria-hidden", "true");
  return row;
}
function drawRows(force) {
  const rows = state.shown, first = Math.floor(frame.scrollTop / height);
  const all = state.all || rows.length <= 40;
  const from = all ? 0 : Math.max(0, first - OVER);
  const to = all ? rows.length : Math.min(rows.length, first + Math.ceil(frame.clientHeight / height) + OVER);
  if (!force && from === state.from && to === state.to) return;
  [state.from, state.to] = [from, to];
  const list = current();
  const drawn = rows.slice(from, to).map((one, place) => {
    const cells = list.map((column, number) => {
      const cell = make(number ? "td" : "th", "", column.cell(one));
      if (!number) cell.scope = "row";
      return cell;
    });
    const row = make("tr", "", ...cells);
    row.setAttribute("aria-rowindex", from + place + 2);
    return row;
  });
  if (!rows.length) {
    const cell = make("td", "", ...both(words.nobody));
    cell.colSpan = list.length;
    drawn.push(make("tr", "", cell));
  }
  if (from > 0) drawn.unshift(space(from, list.length));
  if (to < rows.length) drawn.push(space(rows.length - to, list.length));
  body.replaceChildren(...drawn);
}

function update(top = true) {
  const started = performance.now();
  const sought = plain(find("name").value.trim()), status = find("status").value, group = find("group")?.value ?? "";
  const column = current().find((one) => one.id === state.sort) ?? columns[0];
  const keys = learners.map(column.key), sign = state.down ? -1 : 1;
  state.shown = learners.filter((one) => one.sought.includes(sought) && (!status || one.status.includes(status))
    && (!group || one.group === group));
  state.shown.sort((a, b) => {
    const x = keys[a.index], y = keys[b.index];
    if (x === y) return byName[a.index] - byName[b.index];
    if (x === undefined || y === undefined) return x === undefined ? 1 : -1;  // nothing comes last either way
    return x < y ? -sign : sign;
  });
  if (top) frame.scrollTop = 0;
  drawRows(true);
  find("count").textContent = state.shown.length + " / " + learners.length;
  find("learners").setAttribute("aria-rowcount", state.shown.length + 1);
  root.dataset.took = (performance.now() - started).toFixed(1);
}

function fact(term, ...told) {
  const row = make("tr", "", make("th", "", ...both(term)), make("td", "", ...told));
  row.firstChild.scope = "row";
  return row;
}
function table(heads, rows) {
  const cells = heads.map((text) => { const cell = make("th", "", ...both(text)); cell.scope = "col"; return cell; });
  const top = make("thead", "", make("tr", "", ...cells));
  return make("div", "wide", make("table", "", top, make("tbody", "", ...rows)));
}
const line = (...cells) => make("tr", "", ...cells.map((cell) => make("td", "", ...[cell].flat())));

function open(one) {
  const content = [make("p", "", ...statuses(one))];
  const days = data.days.filter((day) => one.days.has(day.day) || day.over);
  content.push(make("h3", "", ...both(words.checkins)));
  content.push(table([words.day, words.time, words.file], days.map(({ day }) => {
    const [, time, late, file] = one.days.get(day) ?? [];
    if (!time) return line(String(day), mark("red", "–"), "");
    return line(String(day), late ? mark("orange", time + " !") : mark("green", time), isolated(file));
  })));
  const heads = [words.exercise, words.result, words.firstSolved, words.attempts];
  content.push(make("h3", "", ...both(words.exercises)));
  content.push(table(heads, data.exercises.map((exercise, number) => {
    const [sign, key, tone] = MARK[one.marks[number]], tries = one.attempts[number];
    const result = make("span", "mark " + tone, sign + " ", ...both(words[key]));
    return line(both(exercise.title), result, make("span", "time", one.times[number]), tries ? String(tries) : "");
  })));
  if (one.mistakes.length) {
    const told = ([number, code]) => make("li", "", ...both(data.exercises[number].title), ": ", isolated(code));
    content.push(make("h3", "", ...both(words.mistakes)), make("ul", "names", ...one.mistakes.map(told)));
  }
  if (one.problems.length) {
    content.push(make("h3", "", ...both(words.problems)));
    content.push(table([words.kind, words.inFull, words.file], one.problems.map(([kind, text, file]) =>
      line(both(data.kinds[kind]), isolated(text), isolated(file)))));
  }
  if (one.groups.length) {
    content.push(make("h3", "", ...both(words.same)));
    content.push(...one.groups.map((number) => equal(number)));
  }
  find("who").replaceChildren(isolated(one.name));
  find("detail").replaceChildren(...content);
  find("dialog").showModal();
  find("dialog").scrollTop = 0;
}

// ------------------------------------------------------------------------------------------------ equal solutions
function names(members) {
  return make("ul", "names", ...members.map((index) => make("li", "", isolated(learners[index].name))));
}
function equal(number) {
  const group = data.equal[number];
  const few = group.members.slice(0, 3).flatMap((index, place) => [place ? ", " : "", isolated(learners[index].name)]);
  const node = make("details", "", make("summary", "",
    ...both(data.exercises[group.exercise].title), " – ",
    String(group.members.length), " ", ...both(words.people), ", ",
    String(group.lines), " ", ...both(words.lines), ": ",
    ...few, group.members.length > 3 ? " +" + (group.members.length - 3) : ""));
  node.addEventListener("toggle", () => {
    if (node.children.length > 1) return;  // filled when it is first opened
    if (group.members.length > 3) node.append(names(group.members));
    if (!group.sources.length) { node.append(make("p", "soft", ...both(words.notShown))); return; }
    node.append(make("div", "beside", ...group.sources.map(([index, source]) =>
      make("div", "", make("p", "soft", isolated(learners[index].name)), make("pre", "", source)))));
    if (group.variants > group.sources.length)
      node.append(make("p", "soft", "+" + (group.variants - group.sources.length) + " ", ...both(words.variants)));
  });
  return node;
}
let listed = 0;
function listMore() {
  const until = Math.min(data.equal.length, listed + 50);
  for (; listed < until; listed++) find("equal").append(equal(listed));
  find("more").hidden = listed === data.equal.length;
}
find("more").addEventListener("click", listMore);
listMore();
for (const group of data.copies) find("copies").append(names(group));

// ------------------------------------------------------------------------------------------------ controls
head.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  state.down = state.sort === button.dataset.sort ? !state.down : false;
  state.sort = button.dataset.sort;
  drawHead();
  update();
  head.querySelector(`[data-sort="${state.sort}"]`).focus({ preventScroll: true });
});
body.addEventListener("click", (event) => {
  const button = event.target.closest("[data-learner]");
  if (button) open(learners[Number(button.dataset.learner)]);
});
for (const id of ["name", "status", "group"]) find(id)?.addEventListener("input", () => update());
for (const button of document.querySelectorAll("[data-view]")) button.addEventListener("click", () => {
  state.view = button.dataset.view;
  if (!current().some((column) => column.id === state.sort)) [state.sort, state.down] = ["name", false];
  for (const other of document.querySelectorAll("[data-view]"))
    other.setAttribute("aria-pressed", String(other === button));
  drawHead();
  update(false);
});
for (const button of document.querySelectorAll("[data-speak]")) button.addEventListener("click", () => {
  speak(button.dataset.speak);
  drawHead();
  drawRows(true);  // titles that appear under the pointer are in one language
});
find("close").addEventListener("click", () => find("dialog").close());
let waiting = false;
frame.addEventListener("scroll", () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; drawRows(false); });
});
addEventListener("resize", () => drawRows(false));
const whole = (all) => { state.all = all; drawRows(true); };
addEventListener("beforeprint", () => whole(true));
addEventListener("afterprint", () => whole(false));

speak((navigator.language || "en").toLowerCase().startsWith("zh") ? "zh" : "en");
drawHead();
update();
height = body.querySelector("tr")?.getBoundingClientRect().height || height;  // as the reader's fonts make it
drawRows(true);
"""

WORDS = {
    "name": Text("Name", "姓名"),
    "group": Text("Group", "分组"),
    "status": Text("Status", "状态"),
    "days": Text("Days", "打卡天数"),
    "latest": Text("Latest", "最近打卡"),
    "solvedCount": Text("Exercises", "通过练习"),
    "accuracy": Text("Accuracy", "准确率"),
    "problems": Text("Problems", "问题"),
    "day": Text("Day", "天"),
    "time": Text("Time", "时间"),
    "file": Text("File", "文件"),
    "checkins": Text("Check-ins", "打卡"),
    "exercise": Text("Exercise", "练习"),
    "exercises": Text("Exercises", "练习"),
    "result": Text("Result", "结果"),
    "firstSolved": Text("First solved", "首次通过"),
    "attempts": Text("Attempts", "尝试次数"),
    "mistakes": Text("Mistakes", "错误"),
    "kind": Text("Kind", "类别"),
    "inFull": Text("In full", "详情"),
    "people": Text("learners", "名学员"),
    "lines": Text("lines", "行"),
    "variants": Text("more that differ in comments and formatting alone", "种写法仅注释和排版不同"),
    "notShown": Text(
        "Sources are shown for the first groups alone, so that the page stays small",
        "为控制页面大小，仅前若干组显示源码",
    ),
    "nobody": Text("No learner is like that", "没有符合条件的学员"),
    "none": Text("not tried", "未尝试"),
    "solved": Text("solved", "已通过"),
    "solvedLate": Text("solved late", "逾期通过"),
    "tried": Text("tried, not solved", "尝试过，未通过"),
}


def _both(en: str, zh: str) -> str:
    """HTML that shows one of two texts."""
    return f'<span lang="en">{escape(en)}</span><span lang="zh">{escape(zh)}</span>'


def _bdi(text: str) -> str:
    return f"<bdi>{escape(text)}</bdi>"


def _html_table(heads: list[str], rows: list[list[str]]) -> str:
    """A table of HTML; its first column names the rows."""
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    body = "\n".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _section(title: Text, *parts: str) -> str:
    return "\n".join([f"<section>\n<h2>{_both(*title)}</h2>", *filter(None, parts), "</section>"])


def _soft(en: str, zh: str) -> str:
    return f'<p class="soft">{_both(en, zh)}</p>'


def _page(room: Class) -> bytes:
    status = [room.status(learner) for learner in room.learners]
    count = Counter(key for keys in status for key in keys)
    data = json.dumps(_data(room, status), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # As text of a script element: only < could end it, and JSON has another way to write that.
    data = data.replace("<", "\\u003c")
    policy = (
        f"default-src 'none'; script-src '{_hash(SCRIPT)}'; style-src '{_hash(STYLE)}'; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    zone = room.zone.key
    made = room.shown(room.now)
    parts = [
        f"<header>\n<h1>{_both('Class', '班级打卡')}</h1>\n"
        '<div class="controls"><button type="button" data-speak="en" lang="en-GB">English</button>'
        '<button type="button" data-speak="zh" lang="zh-CN">中文</button></div>\n</header>',
        _soft(
            f"As of {made}; all times are those of {zone}, and come from the learners' clocks",
            f"截至 {made}；时间均为 {zone} 时区，来自学员电脑的时钟",
        ),
        "<noscript><p>The table of learners needs JavaScript 学员表格需要启用 JavaScript</p></noscript>",
        _tiles(room, count),
        _learners_section(room, count),
        _schedule_section(room),
        _exercises_section(room),
        _mistakes_section(room),
        _equal_section(room),
        _problems_section(room),
        _roster_section(room),
        _refused_section(room),
        '<dialog id="dialog" aria-labelledby="who"><header><h2 id="who"></h2>'
        f'<button type="button" id="close">{_both("Close", "关闭")}</button></header><div id="detail"></div></dialog>',
    ]
    page = (
        '<!DOCTYPE html>\n<html lang="en" data-lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>Class 班级打卡 – vit_ms</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(filter(None, parts))
        + f'\n<script type="application/json" id="data">{data}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n'
    )
    return page.encode("utf-8", errors="replace")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data(room: Class, status: list[list[str]]) -> dict:
    """What the page's script draws."""
    order, known = list(exercises()), exercises()
    place = {name: number for number, name in enumerate(order)}
    late_after = [room.deadline(known[name].notebook) for name in order]
    rows = []
    for learner, keys in zip(room.learners, status, strict=True):
        solved, mistakes, latest = learner.solved(), learner.mistakes(), learner.latest
        tried = {name for name, _ in mistakes}
        marks, times, attempts = "", [], []
        for name, due in zip(order, late_after, strict=True):
            one = solved.get(name)
            late = one is not None and due is not None and one.time > due
            marks += ("2" if late else "1") if one else "3" if name in tried else "0"
            times.append(room.shown(one.time) if one else "")
            attempts.append(one.attempts if one else 0)
        rows.append(
            [
                learner.name,
                learner.group,
                keys,
                room.shown(latest.time) if latest else "",
                len(solved),
                learner.accuracy,
                [[one.kind, one.text, one.file] for one in learner.problems],
                [
                    [day, room.shown(one.time), int(day in learner.late), one.file]
                    for day, one in sorted(learner.days.items())
                ],
                marks,
                times,
                attempts,
                learner.groups,
                [[place[name], visible(code)] for name, code in sorted(mistakes)[:MANY]],
            ]
        )
    equal = [
        {
            "exercise": place[one.exercise],
            "lines": one.lines,
            "members": one.members,
            "variants": len(one.variants),
            "sources": [
                [number, visible(source, SHOWN_SOURCE)]
                for source, number in (one.variants[:SHOWN_VARIANTS] if index < SHOWN_GROUPS else [])
            ],
        }
        for index, one in enumerate(room.equal)
    ]
    return {
        "words": WORDS | STATUS,
        "kinds": KINDS,
        "grouped": any(learner.group for learner in room.learners),
        "exercises": [{"title": known[name].title} for name in order],
        "days": [{"day": day, "over": due is not None and due < room.now} for day, due in room.days().items()],
        "learners": rows,
        "equal": equal,
        "copies": room.copies,
    }


def _tiles(room: Class, count: Counter) -> str:
    tiles = [
        (Text("Learners", "学员"), len(room.learners), ""),
        (Text("Records", "记录"), room.records, ""),
        (STATUS["fine"], count["fine"], "green"),
        (STATUS["late"], count["late"], "orange"),
        (STATUS["lacking"], count["lacking"], "orange"),
        (STATUS["problem"], count["problem"], "red"),
        (STATUS["same"], count["same"], "blue"),
    ]
    if room.roster:
        tiles += [
            (STATUS["missing"], count["missing"], "grey"),
            (STATUS["extra"], count["extra"], "blue"),
        ]
    return (
        '<dl class="tiles">'
        + "".join(f'<div class="{tone}"><dt>{_both(*name)}</dt><dd>{number}</dd></div>' for name, number, tone in tiles)
        + "</dl>"
    )


def _option(value: str, text: Text) -> str:
    return (
        f'<option value="{escape(value)}" data-en="{escape(text.en)}" data-zh="{escape(text.zh)}">'
        f"{escape(text.en)}</option>"
    )


def _learners_section(room: Class, count: Counter) -> str:
    options = [_option("", Text("every status", "全部状态"))]
    options += [
        _option(key, Text(f"{text.en} ({count[key]})", f"{text.zh}（{count[key]}）"))
        for key, text in STATUS.items()
        if count[key]
    ]
    groups = sorted({learner.group for learner in room.learners if learner.group})
    select = ""
    if groups:
        choices = _option("", Text("every group", "全部分组")) + "".join(
            f'<option value="{escape(group)}">{escape(group)}</option>' for group in groups
        )
        select = f'<select id="group" aria-label="Group 分组">{choices}</select>'
    legend = {
        "days": [
            ("green", "11-21 20:00", Text("checked in", "已打卡")),
            ("orange", "11-21 20:00 !", Text("late", "迟交")),
            ("red", "–", Text("over, not checked in", "已截止，未打卡")),
            ("grey", "·", Text("none", "无")),
        ],
        "exercises": [
            ("green", "✓", WORDS["solved"]),
            ("orange", "✓!", WORDS["solvedLate"]),
            ("red", "✗", WORDS["tried"]),
            ("grey", "·", WORDS["none"]),
        ],
    }
    signs = "".join(
        f'<p class="soft legend" id="legend-{view}">'
        + "".join(f'<span class="mark {tone}">{sign} {_both(*text)}</span>' for tone, sign, text in rows)
        + "</p>"
        for view, rows in legend.items()
    )
    return _section(
        Text("Learners", "学员"),
        '<div class="controls"><input id="name" type="search" autocomplete="off" spellcheck="false">'
        f'<select id="status" aria-label="Status 状态">{"".join(options)}</select>{select}'
        f'<button type="button" data-view="days" aria-pressed="true">{_both("By day", "按天")}</button>'
        f'<button type="button" data-view="exercises" aria-pressed="false">{_both("By exercise", "按练习")}</button>'
        '<span class="soft" id="count" role="status"></span></div>',
        signs,
        '<div class="frame" id="frame" tabindex="0" role="region" aria-label="Learners 学员"><table id="learners">'
        '<colgroup id="sizes"></colgroup><thead id="head"></thead><tbody id="body"></tbody></table></div>',
        _soft(
            "A click on a column's head sorts, a click on a name shows everything of a learner. Of several records "
            "of a day the latest counts.",
            "点击表头排序，点击姓名查看该学员的全部内容。同一天有多份记录时，以最近一份为准。",
        ),
    )


def _schedule_section(room: Class) -> str:
    if not room.schedule:
        return ""
    rows = []
    notebooks = {one.notebook for one in exercises().values()}
    for due in room.schedule:
        there = [learner for learner in room.learners if due.day in learner.days]
        late = sum(due.day in learner.late for learner in there)
        lacking = len(room.learners) - len(there)
        note = "" if due.notebook in notebooks else f' <span class="soft">{_both("(no exercise)", "（无练习）")}</span>'
        over = due.time < room.now
        rows.append(
            [
                str(due.day),
                (_bdi(visible(due.notebook, 100)) if due.notebook else "–") + (note if due.notebook else ""),
                f'<span class="time">{escape(due.shown)}</span>',
                str(len(there) - late),
                str(late),
                str(lacking) if over else f'{lacking} <span class="soft">{_both("(not over)", "（未截止）")}</span>',
            ]
        )
    heads = [
        Text("Day", "天"),
        Text("Notebook", "笔记本"),
        Text("Due", "截止"),
        Text("In time", "按时"),
        Text("Late", "迟交"),
        Text("Not checked in", "未打卡"),
    ]
    return _section(
        Text("Schedule", "日程"),
        _html_table([_both(*head) for head in heads], rows),
        _soft(
            "Late is a day whose latest record is of a later time than due, and an exercise first solved after that.",
            "当天最近一份记录的时间晚于截止时间即为迟交；练习以首次通过的时间为准。",
        ),
    )


def _exercises_section(room: Class) -> str:
    known, total = exercises(), max(1, len(room.learners))
    solved, late, tried = Counter(), Counter(), Counter()
    for learner in room.learners:
        found = learner.solved()
        for name, one in found.items():
            solved[name] += 1
            due = room.deadline(known[name].notebook)
            late[name] += due is not None and one.time > due
        tried.update({name for name, _ in learner.mistakes()} - found.keys())
    rows = []
    for name in list(exercises()):
        in_time, after, failed = (100 * part / total for part in (solved[name] - late[name], late[name], tried[name]))
        bar = (
            '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
            f'<rect class="pass" width="{in_time:.2f}" height="10"/>'
            f'<rect class="late" x="{in_time:.2f}" width="{after:.2f}" height="10"/>'
            f'<rect class="tried" x="{in_time + after:.2f}" width="{failed:.2f}" height="10"/></svg>'
        )
        rows.append(
            [
                _both(*known[name].title),
                f'<span class="soft">{escape(known[name].notebook)}</span>',
                f"{solved[name]} ({100 * solved[name] / total:.0f}%)",
                str(late[name]),
                str(tried[name]),
                bar,
            ]
        )
    heads = [
        Text("Exercise", "练习"),
        Text("Notebook", "笔记本"),
        Text("Solved", "通过"),
        Text("Of them late", "其中逾期"),
        Text("Tried, not solved", "未通过"),
        Text(f"Of {len(room.learners)} learners", f"占 {len(room.learners)} 名学员"),
    ]
    legend = "".join(
        f'<span class="mark {tone}">{_both(*WORDS[key])}</span>'
        for tone, key in (("green", "solved"), ("orange", "solvedLate"), ("red", "tried"))
    )
    return _section(
        Text("Pass rate of each exercise", "各练习通过率"),
        _html_table([_both(*head) for head in heads], rows),
        f'<p class="soft legend">{legend}</p>',
    )


def _mistakes_section(room: Class) -> str:
    known = exercises()
    count = Counter(mistake for learner in room.learners for mistake in learner.mistakes())
    if not count:
        return ""
    ordered = sorted(count.items(), key=lambda item: (-item[1], item[0]))
    rows = [[_bdi(visible(code)), _both(*known[name].title), str(number)] for (name, code), number in ordered[:30]]
    heads = [Text("Mistake", "错误"), Text("Exercise", "练习"), Text("Learners", "学员数")]
    more = len(ordered) - len(rows)
    return _section(
        Text("Commonest mistakes", "最常见的错误"),
        _html_table([_both(*head) for head in heads], rows),
        _soft(f"and {more} more that are rarer", f"另有 {more} 种较少见") if more else "",
    )


def _equal_section(room: Class) -> str:
    copies = ""
    if room.copies:
        copies = f"<h3>{_both('Copied records', '复制的记录')}</h3>" + _soft(
            "The same sources at the same seconds: all but one of each line have a record of somebody else.",
            "源码与时间（精确到秒）都相同：每行中至多一人是原作者。",
        )
    told = (
        _soft(
            "The same but for comments, docstrings and formatting; long ones of few learners come first. Short "
            "exercises have few ways to be written: equal is no proof.",
            "除注释、文档字符串和排版外相同；代码长、人数少的在前。短练习的写法本来就少，相同并不等于抄袭。",
        )
        if room.equal
        else _soft("No two learners have the same solution.", "没有相同的解答。")
    )
    return _section(
        Text("Equal solutions", "相同的解答"),
        copies + '<div id="copies"></div>',
        f"<h3>{_both('Solutions', '解答')}</h3>" if room.copies else "",
        told,
        f'<div id="equal"></div>\n<button type="button" id="more" hidden>{_both("Show more", "显示更多")}</button>',
    )


def _problems_section(room: Class) -> str:
    rows = [
        [_bdi(learner.name), _both(*KINDS[one.kind]), _bdi(one.text), _bdi(one.file)]
        for learner in room.learners
        for one in learner.problems
    ]
    if not rows:
        told = _soft("None: what the records say agrees with their digests.", "没有：记录内容与摘要一致。")
        return _section(Text("Problems found by verification", "校验发现的问题"), told)
    heads = [Text("Learner", "学员"), Text("Kind", "类别"), Text("In full", "详情"), Text("File", "文件")]
    table = _html_table([_both(*head) for head in heads], rows)
    if len(rows) > MANY:
        table = f"<details><summary>{len(rows)} {_both('problems', '个问题')}</summary>\n{table}\n</details>"
    return _section(Text("Problems found by verification", "校验发现的问题"), table)


def _names(learners: list[Learner]) -> str:
    names = "".join(
        f"<li>{_bdi(one.name)}" + (f' <span class="soft">{_bdi(one.group)}</span>' if one.group else "") + "</li>"
        for one in learners
    )
    content = f'<ul class="names">{names}</ul>'
    if len(learners) > 100:
        content = f"<details><summary>{len(learners)} {_both('learners', '名学员')}</summary>\n{content}\n</details>"
    return content


def _roster_section(room: Class) -> str:
    if not room.roster:
        return ""
    missing = [learner for learner in room.learners if not learner.days]
    extra = [learner for learner in room.learners if not learner.listed]
    parts = []
    for title, learners in (
        (Text("Without any check-in", "从未打卡"), missing),
        (Text("Not on the roster", "不在名单上"), extra),
    ):
        parts.append(f"<h3>{_both(f'{title.en}: {len(learners)}', f'{title.zh}：{len(learners)}')}</h3>")
        parts.append(_names(learners) if learners else "")
    return _section(Text("Roster", "名单"), *parts)


def _refused_section(room: Class) -> str:
    if not room.refused:
        return ""
    rows = [[_bdi(file), _bdi(reason)] for file, reason in room.refused]
    table = _html_table([_both("File", "文件"), _both("Reason", "原因")], rows)
    if len(rows) > MANY:
        table = f"<details><summary>{len(rows)} {_both('files', '个文件')}</summary>\n{table}\n</details>"
    return _section(Text("Files passed over", "已跳过的文件"), table)
