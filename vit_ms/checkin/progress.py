"""What a learner has done, in a small SQLite file of their own; several notebooks may write it at a time."""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from vit_ms import environment
from vit_ms.errors import UserError

_SCHEMA = """
create table if not exists attempts (
    id integer primary key,
    exercise text not null,
    time text not null,      -- ISO 8601 with the offset from UTC
    passed integer not null,
    code text not null,      -- the mistake; empty where it passed
    source text not null,    -- what the learner wrote
    seconds real not null    -- that grading took
);
create table if not exists hints (exercise text primary key, shown integer not null);
"""


@dataclass(frozen=True)
class Attempt:
    """One grading.

    Args:
        exercise (str): its name.
        time (datetime): when, with a time zone.
        passed (bool): how it came out.
        code (str): the mistake in a few words; empty for one that passed.
        source (str): the code that was graded.
        seconds (float): that grading took.
    """

    exercise: str
    time: datetime
    passed: bool
    code: str
    source: str
    seconds: float


class Progress:
    """The record of one learner.

    Args:
        path (str or Path): of the file; None: checkin.sqlite in VIT_MS_HOME or the user's data folder.

    Raises:
        UserError: If the file cannot be opened, or is none of ours.
    """

    def __init__(self, path: str | Path | None = None):
        self.path = Path(path) if path is not None else environment.data_home() / "checkin.sqlite"

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Another notebook may be writing: wait for it.
            with contextlib.closing(sqlite3.connect(self.path, timeout=30)) as connection, connection:
                connection.executescript(_SCHEMA)
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise UserError(
                f"the record {self.path} cannot be used ({error}): move it away to begin a new one"
            ) from None

    def add(self, attempt: Attempt) -> None:
        """Keep an attempt: when this returns, it is on the disk."""
        row = (
            attempt.exercise,
            attempt.time.isoformat(),
            attempt.passed,
            attempt.code,
            attempt.source,
            attempt.seconds,
        )
        with self._open() as connection:
            connection.execute(
                "insert into attempts (exercise, time, passed, code, source, seconds) values (?, ?, ?, ?, ?, ?)", row
            )

    def attempts(self) -> list[Attempt]:
        """All of them, the oldest first."""
        with self._open() as connection:
            rows = connection.execute("select exercise, time, passed, code, source, seconds from attempts order by id")
            return [Attempt(name, datetime.fromisoformat(time), bool(ok), *rest) for name, time, ok, *rest in rows]

    def passed(self) -> dict[str, Attempt]:
        """Of each exercise that was solved the latest attempt that passed."""
        return {attempt.exercise: attempt for attempt in self.attempts() if attempt.passed}

    def next_hint(self, exercise: str, available: int) -> int:
        """How many hints of an exercise are shown now: one more than before, at most those available."""
        with self._open() as connection:
            connection.execute("insert or ignore into hints values (?, 0)", (exercise,))
            connection.execute("update hints set shown = min(shown + 1, ?) where exercise = ?", (available, exercise))
            return connection.execute("select shown from hints where exercise = ?", (exercise,)).fetchone()[0]


def streak(attempts: list[Attempt], today: date) -> int:
    """On how many days in a row, up to today or yesterday, an exercise was solved; days are those of the learner's clock."""
    days = {attempt.time.date() for attempt in attempts if attempt.passed}
    day = today if today in days else today - timedelta(days=1)
    length = 0
    while day - timedelta(days=length) in days:
        length += 1
    return length
