"""What a class is: its learners, their check-ins, and what is found about them."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from vit_ms.checkin.calling import Text

MANY = 20  # more bad files than this are told on the page alone
PROBLEMS = 20  # more of one record are counted only

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
