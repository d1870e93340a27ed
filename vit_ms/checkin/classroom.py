"""A class at a glance, as class.csv and class.html: who checked in with what and when.

What the records say comes from strangers: in the table it is never a formula.
"""

import ast
import csv
import io
import itertools
import re
import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, time, timedelta
from datetime import timezone as offset
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

from vit_ms.checkin.class_model import (
    MANY,
    PROBLEMS,
    STATUS,
    CheckIn,
    Class,
    Due,
    Equal,
    Learner,
    Problem,
    Solved,
    visible,
)
from vit_ms.checkin.class_page import page_of
from vit_ms.checkin.exercises import exercises
from vit_ms.checkin.record import MAX_NAME, accuracy_of, read_tokens, verify
from vit_ms.errors import UserError, did_you_mean
from vit_ms.files import whole_file

LAST_DAY = 366  # of a camp
LARGEST_SOURCE = 20_000  # characters; a longer one is compared as text: parsing it may need more stack than there is
CLOCK = timedelta(hours=1)  # a clock may be wrong by this much
# How the problems that record.py words begin, and their keys in KINDS.
_KIND_OF = {
    "its digest is not": "edited",
    "its hash is another": "source",
    "there is no such exercise": "unknown",
    "is there twice": "twice",
    "no token was given to": "token",
    "the record is not signed": "unsigned",
    "it is not signed with the token": "signature",
}


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
        for path, content in zip(paths, (_table(room), page_of(room)), strict=True):
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
        if not key or len(row["name"]) > MAX_NAME:
            raise UserError(
                f"{path} line {line}: name is {visible(row['name'], 40)!r}; give one of 1 to {MAX_NAME} characters"
            )
        if key in people:
            raise UserError(
                f"{path} line {line}: name is {visible(row['name'], 40)!r}, as in line {lines[key]}; records are told "
                "apart by the name: give one of the two another, with a number or a class, and tell the learner"
            )
        lines[key] = line
        people[key] = Learner(visible(row["name"]), visible(row["group"], MAX_NAME), listed=True)
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
    if len(name) > MAX_NAME or not key_of(name):
        raise UserError(f"the name has {len(name)} characters, {visible(name, 40)!r}; a record has 1 to {MAX_NAME}")
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
_WORDS = re.compile(r"\b[^\W\d]\w*|(?<![\w.])\d+(?![\w.])")


def _bare(source: str) -> str:
    """Without comments, blank lines and spaces at the ends of lines."""
    kept = _PIECES.sub(lambda found: "" if found[0][0] == "#" else found[0], source)
    return "\n".join(line.rstrip() for line in kept.splitlines() if line.strip())


def _words(bare: str) -> str:
    """The names and plain whole numbers in a source: where they differ so does the code, and they are found much faster than
    it is parsed. (One who writes 1_000 for 1000 has changed the code, as one who renames.)
    """
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
