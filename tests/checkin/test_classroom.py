"""A class's records as a table and a page: what they say of whom, and that a stranger's file is read and no more."""

import csv
import io
import json
import random
import re
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from helpers import error_of

from vit_ms.checkin import class_model, class_page, classroom, record
from vit_ms.checkin.class_model import visible
from vit_ms.checkin.classroom import class_view, defused, key_of, normal
from vit_ms.checkin.exercise import Text
from vit_ms.checkin.progress import Attempt
from vit_ms.checkin.record import make_record, write_record

SHANGHAI = timezone(timedelta(hours=8))
NOW = datetime(2026, 3, 5, 20, 0, tzinfo=SHANGHAI)
EVIL = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'"
NAMES = ["patchify", "attention", "heads", "encoder", "vit", "mixup", "schedule", "rollout", "windows", "convnext"]
EXERCISES = {
    name: SimpleNamespace(
        name=name, notebook=f"{number // 2 + 1:02}_book", title=Text(f"Exercise {name}", f"练习 {name}")
    )
    for number, name in enumerate(NAMES)
}


class Done:
    """A learner's progress that is made up: exercise, source, time, and the codes of mistakes before."""

    def __init__(self, *done):
        self.rows = []
        for name, source, time, *codes in done:
            self.rows += [Attempt(name, time, False, code, "wrong", 0.1) for code in codes]
            self.rows += [Attempt(name, time, True, "", source, 0.1)] if source is not None else []

    def attempts(self):
        return self.rows

    def passed(self):
        return {row.exercise: row for row in self.rows if row.passed}


def solution(name: str, number: int) -> str:
    """One that nobody else has."""
    return f"def {name}(x):\n    y{number} = x + {number}\n    return y{number}\n"


def made(name, day=1, time=NOW, done=None, accuracy=0.9, token=None, **changes) -> dict:
    """A record; what is changed in it afterwards shows as an edit."""
    number = sum(map(ord, name))
    done = done if done is not None else [("attention", solution("attention", number), time - timedelta(minutes=1))]
    run = None if accuracy is None else {"accuracy": accuracy}
    found = make_record(Done(*done), name, day, time, {"vit_ms": "0.1"}, run, token)
    return found | changes


class Room:
    """A folder of records, and what came of it."""

    def __init__(self, path):
        self.path, self.count = path / "records", 0
        self.path.mkdir()
        self.told = []

    def add(self, *records, file=None):
        for one in records:
            self.count += 1
            # Not by write_record, which waits for the disk.
            (self.path / (file or f"{self.count:04}.json")).write_text(json.dumps(one), encoding="utf-8")

    def view(self, **kwargs) -> dict[str, dict[str, str]]:
        """The rows of class.csv by name."""
        self.told.clear()
        table, page = class_view(self.path, say=self.told.append, **kwargs)
        self.html = page.read_text(encoding="utf-8")
        self.data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', self.html)[1])
        self.rows = list(csv.DictReader(io.StringIO(table.read_bytes().decode("utf-8-sig"), newline="")))
        return {row["name"]: row for row in self.rows}

    def learner(self, name) -> list:
        return next(row for row in self.data["learners"] if row[0] == name)

    def section(self, title) -> str:
        """What a reader sees in English."""
        part = next(part for part in self.html.split("<section>") if f'<h2><span lang="en">{title}</span>' in part)
        part = re.sub(r'<span lang="zh">.*?</span>', "", part.split("</section>")[0])
        return re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", part))


@pytest.fixture(autouse=True)
def course(monkeypatch):
    """Ten exercises in five notebooks, and a clock that stands."""
    for module in (classroom, class_page, record):
        monkeypatch.setattr(module, "exercises", lambda: EXERCISES)
    monkeypatch.setattr(classroom, "_now", lambda: NOW + timedelta(minutes=30))


@pytest.fixture
def room(tmp_path):
    return Room(tmp_path)


def csv_file(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_row_for_each_learner(room):
    early = NOW - timedelta(days=1)
    first = [("patchify", "a = 1", early)]
    room.add(made("小明", 1, early, first, accuracy=0.5))
    room.add(made("小明", 2, NOW, [*first, ("attention", "b = 2", NOW)], accuracy=0.97))
    room.add(made("Ada", 2, NOW, [], accuracy=None))
    rows = room.view()
    assert list(rows) == ["Ada", "小明"]
    assert rows["小明"] == {
        "name": "小明",
        "group": "",
        "status": "in order",
        "days": "2",
        "latest": "2026-03-05 20:00",
        "exercises": "2",
        "accuracy": "0.9700",
        "late days": "",
        "days lacking": "",
        "problems": "",
    }
    assert rows["Ada"]["exercises"] == "0" and rows["Ada"]["accuracy"] == ""
    assert room.told == ["2 learners, 3 records: 2 in order"]
    assert "Exercise attention 02_book".replace("02", "01") in room.section("Pass rate of each exercise")


def test_the_latest_record_of_a_day_counts(room):
    for hour, source in ((3, "late = 3"), (1, "early = 1"), (2, "middle = 2")):
        time = NOW - timedelta(hours=4 - hour)
        room.add(made("Ada", 1, time, [("attention", source, time)], accuracy=hour / 10))
    rows = room.view()
    assert rows["Ada"]["days"] == "1" and rows["Ada"]["accuracy"] == "0.3000"
    assert rows["Ada"]["latest"] == "2026-03-05 19:00"
    # Wherever the clock is that a time was read from.
    east = NOW.astimezone(timezone(timedelta(hours=14))) - timedelta(minutes=90)  # its hands show more
    room.add(made("Ada", 1, east, [], accuracy=0.4))
    assert room.view()["Ada"]["accuracy"] == "0.3000"


def test_an_exercise_is_solved_when_it_first_was(room):
    early = NOW - timedelta(days=1)
    room.add(made("Ada", 1, early, [("attention", "a = 1", early)]))
    room.add(made("Ada", 2, NOW, [("attention", "a = 2", NOW)]))
    room.view()
    assert room.learner("Ada")[9][NAMES.index("attention")] == "2026-03-04 20:00"


def test_names_that_differ_in_writing_alone_are_one_learner(room):
    assert key_of("  Ａｄａ\u3000 Lovelace\u200b") == "ada lovelace"
    room.add(made("Ada Lovelace", 1), made("ａｄａ  lovelace", 2, NOW + timedelta(minutes=1)))
    assert [row["days"] for row in room.view().values()] == ["2"]


@pytest.mark.parametrize(
    "name", [EVIL, "</script><script>alert(1)</script>", "<!--", "]]>", "javascript:alert(1)", "&lt;b"]
)
def test_nothing_in_a_record_is_markup(room, tmp_path, name):
    source = f"x = 1  # {name}"
    done = [("attention", source, NOW, name)]
    room.add(made(name, 1, NOW, done), made("Bob", 1, NOW, [("attention", source + " ", NOW, name)]))
    room.add(made(name, 2, NOW, done, digest=name), file=f"{name.replace('/', '_')}.json")
    (room.path / f"bad {name.replace('/', '_')}.json").write_text(name)
    roster = csv_file(tmp_path / "roster.csv", "name,group\n" + '"{0}","{0}"\nEve,\n'.format(name.replace('"', '""')))
    schedule = '1,"{}",2026-03-05\n'.format(name.replace('"', '""'))
    rows = room.view(roster=roster, schedule=csv_file(tmp_path / "schedule.csv", "day,notebook,due\n" + schedule))
    assert rows[name]["group"] == name  # none of these is a formula
    assert room.learner(name)[0] == name and room.learner(name)[6][0][0] == "edited"
    shell = class_page_of_nobody(tmp_path)
    # No name adds a tag, a comment or an element that begins with one.
    for mark in ("<script", "</script", "<!", "<img", "<b>"):
        assert room.html.count(mark) == shell.count(mark)


def class_page_of_nobody(tmp_path) -> str:
    folder = tmp_path / "nobody"
    folder.mkdir(exist_ok=True)
    write_record(made("Nobody"), folder / "a.json")
    return class_view(folder, say=lambda line: None)[1].read_text(encoding="utf-8")


def test_the_page_fetches_nothing_and_runs_its_own_script_alone(room):
    room.add(made("Ada"))
    room.view()
    assert not re.search(
        r"<(link|iframe|object|embed|img|base|form)\b|https?:|url\(|@import|\son\w+=|\sstyle=", room.html
    )
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', room.html)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", room.html, re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", room.html, re.DOTALL)
    assert len(scripts) == len(styles) == 1
    assert class_page._hash(scripts[0]) in policy and class_page._hash(styles[0]) in policy
    for word in ("innerHTML", "insertAdjacent", "document.write", "eval(", "fetch(", "XMLHttp"):
        assert word not in scripts[0]


def test_both_languages_everywhere(room):
    room.add(made("Ada", 1, NOW, [("attention", "a", NOW, "scale")], streak=9), made("Bob"), made("Bob", 2))
    room.view()
    english, chinese = (re.findall(f'<span lang="{lang}">(.*?)</span>', room.html) for lang in ("en", "zh"))
    assert len(english) == len(chinese) > 40
    known = {text for one in EXERCISES.values() for text in one.title}
    for one, other in zip(english, chinese, strict=True):
        assert (re.search("[\u4e00-\u9fff]", other) and not re.search("[\u4e00-\u9fff]", one)) or one in known, one
    for text in (class_page.WORDS | class_model.STATUS | class_model.KINDS).values():
        assert re.search("[\u4e00-\u9fff]", text.zh) and text.en


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+8613", "'+8613"),
        ("-2", "'-2"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'=1"),
        ("\r=1", "'=1"),
        ("  =1", "'=1"),
        ("＝1", "'＝1"),
        ("a;=1", "a;'=1"),
        ("a\n=1", "a =1"),
        ("a | -1", "a | '-1"),
        ("a\tb", "a b"),
        ("a=1-2", "a=1-2"),
        ("小明", "小明"),
    ],
)
def test_a_spreadsheet_computes_nothing(text, shown):
    assert defused(text) == shown


def test_no_cell_of_the_table_is_a_formula(room, tmp_path):
    formula = '=cmd|" /C calc"!A0'
    room.add(made(formula, done=[]), made("+1", digest="=1"), file=None)
    room.add(made("Eve", streak=7), file="=1+1.json")
    roster = csv_file(tmp_path / "r.csv", "name,group\nEve,=2\n@x,-3\n")
    room.view(roster=roster)
    cells = [cell for row in room.rows for cell in row.values()]
    assert len(cells) == 40 and not any(cell[:1] in tuple("=+-@\t\r") and cell for cell in cells)
    assert {"'" + formula, "'+1", "'@x", "'=2", "'-3"} <= set(cells)


def test_problems_that_verification_finds(room, tmp_path):
    source = made("Edited source")
    source["exercises"][0]["source"] = "import os"
    room.add(source, made("Later", accuracy=0.1, run={"accuracy": 1.0}), made("Fine", token="t"))
    room.add(made("Future", 1, NOW + timedelta(days=2), []))
    room.add(made("Unknown", 1, NOW, [("of_another_version", "a = 1", NOW)]))
    twice = made("Twice")
    twice["exercises"] *= 2
    room.add(twice)
    kinds = {row[0]: [one[0] for one in row[6]] for row in (room.view(), room.data)[1]["learners"]}
    assert kinds == {
        "Edited source": ["edited", "source"],
        "Later": ["edited"],
        "Fine": [],
        "Future": ["clock"],
        "Unknown": ["unknown"],
        "Twice": ["edited", "twice"],
    }
    assert "digest is not that" in room.section("Problems found by verification")

    tokens = csv_file(tmp_path / "tokens.csv", "name,token\nFine,t\nFuture,x\n")
    room.add(made("Future", 2, NOW, token="y"))
    room.view(tokens=tokens)
    assert [one[0] for one in room.learner("Fine")[6]] == []
    assert [one[0] for one in room.learner("Future")[6]] == ["unsigned", "clock", "signature"]
    assert [one[0] for one in room.learner("Unknown")[6]] == ["unknown", "token"]


def test_every_problem_of_a_record_has_a_kind():
    """record.py words them: a new wording needs a kind here."""
    bad = made("Ada", digest="")
    bad["exercises"] = [bad["exercises"][0] | {"sha256": ""}, bad["exercises"][0], bad["exercises"][0] | {"name": "?"}]
    told = record._edits(bad)
    for tokens in ({}, {"Ada": "x"}):
        told += record._signing(bad, tokens)
    told += record._signing(bad | {"signature": "00"}, {"Ada": "x"})
    kinds = {classroom._kind(text) for text in told}
    assert kinds == {"edited", "source", "unknown", "twice", "token", "unsigned", "signature"}


def test_a_record_in_another_s_name_does_not_replace_a_signed_one(room, tmp_path):
    room.add(made("Ada", 1, NOW, accuracy=0.9, token="t"))
    room.add(made("Ada", 1, NOW + timedelta(minutes=5), accuracy=0.1), file="forged.json")
    tokens = csv_file(tmp_path / "tokens.csv", "name,token\nAda,t\n")
    row = room.view(tokens=tokens)["Ada"]
    assert row["accuracy"] == "0.9000" and "forged.json: the record is not signed" in row["problems"]
    assert room.view()["Ada"]["accuracy"] == "0.1000"  # without tokens nobody can tell


ONE = "def attention(q, k, v):\n    scores = q @ k.T / 2\n    return softmax(scores) @ v\n"
SAME = [
    ONE.replace("    ", "  "),
    "# mine\n\n" + ONE.replace("\n", "  # here\n"),
    ONE.replace("(q, k, v)", "(\n    q,\n    k,  # keys\n    v,\n)"),
    ONE.replace("    scores", '    """What it does."""\n\n    scores'),
    ONE.replace("q @ k.T / 2", "(q @ k.T) / 2"),
]
OTHER = [
    ONE.replace("scores", "s"),
    ONE.replace("2", "3"),
    ONE.replace("q @ k.T", "k @ q.T"),
    ONE.replace("2\n", "2\n    if x:\n        y()\n") + "\n",
]


def test_formatting_and_comments_make_no_difference():
    assert len({normal(text) for text in [ONE, *SAME]}) == 1
    assert len({normal(text) for text in [ONE, *OTHER]}) == 1 + len(OTHER)
    # What is no Python is compared as text.
    assert normal("a b  # c\n\n") == normal("a   b") != normal("a c")
    assert normal("x = '# no comment'") != normal("x = '# another'")
    assert normal('if 1:\n    "text"') == normal("if 1:\n    pass")


@pytest.mark.parametrize(
    "source",
    [
        "",
        "(" * 20_000,
        "-" * 19_999 + "1",
        "a" + ".b" * 9_990,
        "1" + "+1" * 9_000,
        "x = \x00",
        "\ud800 = 1",
        "9" * 15_000,
        '"' * 19_999,
        "'''" + "\\'" * 9_000,
        '"\\"' * 9_000,
        "f'" + "{" * 5_000,
        "lambda: " * 2_000,
        "x = '" + "#" * 100_000,
        "#" * 200_000,
        "if 1:\n" * 5_000,
    ],
    ids=range(16),
)
def test_no_source_breaks_the_comparison(source):
    assert isinstance(normal(source), str)
    bare = classroom._bare(source)
    assert len(bare) <= len(source)
    classroom._words(bare)


def test_equal_solutions_are_found(room):
    for number, source in enumerate([ONE, *SAME]):
        room.add(
            made(f"Same {number}", 1, NOW + timedelta(seconds=number), [("attention", source, NOW + timedelta(number))])
        )
    for number, source in enumerate(OTHER):
        room.add(made(f"Other {number}", 1, NOW, [("attention", source, NOW + timedelta(seconds=number))]))
    room.add(made("Alone", 1, NOW, [("patchify", ONE, NOW + timedelta(seconds=77)), ("vit", "", NOW)]))
    room.add(made("Empty", 1, NOW, [("vit", "", NOW + timedelta(seconds=88)), ("heads", " \n# c", NOW)]))
    room.add(made("Empty too", 1, NOW, [("heads", "# d", NOW + timedelta(seconds=99))]))
    rows = room.view()
    (group,) = room.data["equal"]
    assert [room.data["learners"][number][0] for number in group["members"]] == [f"Same {n}" for n in range(6)]
    assert group["lines"] == 3 and group["variants"] == 6 and len(group["sources"]) == class_page.SHOWN_VARIANTS
    assert group["sources"][0] == [group["members"][0], ONE]
    assert rows["Same 3"]["status"] == "in order, equal solution" and rows["Other 1"]["status"] == "in order"
    assert room.data["copies"] == []


def test_the_most_telling_equal_solutions_come_first(room):
    short, long = "a = 1", "\n".join(f"a{number} = {number}" for number in range(20))
    for number in range(5):
        source = {"patchify": short, "vit": long if number < 2 else f"b = {number}", "heads": long}
        room.add(made(f"L{number}", 1, NOW, [(n, s, NOW + timedelta(seconds=number)) for n, s in source.items()]))
    room.view()
    told = [(NAMES[one["exercise"]], len(one["members"])) for one in room.data["equal"]]
    assert told == [("vit", 2), ("heads", 5), ("patchify", 5)]


def test_a_copy_under_another_name_is_found(room):
    done = [(name, solution(name, 1), NOW - timedelta(minutes=number)) for number, name in enumerate(NAMES[:3])]
    room.add(made("Ada", 1, NOW, done), made("Bob", 1, NOW + timedelta(minutes=3), done))
    # The very same record, of one exercise.
    room.add(
        made("Cat", 1, NOW),
        made("Dog", 1, NOW, [("attention", solution("attention", sum(map(ord, "Cat"))), NOW - timedelta(minutes=1))]),
    )
    # The same solutions at other times, and one at the same second: that is chance.
    later = [(name, source, time + timedelta(seconds=7)) for name, source, time in done]
    room.add(made("Eve", 1, NOW + timedelta(seconds=3), later), made("Fay", 1, NOW + timedelta(seconds=9), [done[0]]))
    rows = room.view()
    copies = [[room.data["learners"][number][0] for number in group] for group in room.data["copies"]]
    assert copies == [["Ada", "Bob"], ["Cat", "Dog"]]
    assert "the same sources at the same seconds as Bob" in rows["Ada"]["problems"]
    assert "problems" in rows["Dog"]["status"] and "problems" not in rows["Eve"]["status"] + rows["Fay"]["status"]


def test_a_record_that_the_whole_class_has_is_one_group(room):
    done = [(name, solution(name, 1), NOW) for name in NAMES[:2]]
    for number in range(60):
        room.add(made(f"L{number:02}", 1, NOW, done))
    room.view()
    assert room.data["copies"] == [list(range(60))]
    assert "as L00, L01, L02 and 56 more" in room.learner("L59")[6][0][1]


def test_pass_rates_and_mistakes(room):
    for number in range(4):
        done = [("attention", f"a = {number}" if number else None, NOW, "scale forgotten", "scale forgotten")]
        done += [("vit", f"v = {number}", NOW - timedelta(seconds=number))] * (number == 3)
        done += [("vit", None, NOW, "shape")] * (number == 2)
        room.add(made(f"L{number}", 1, NOW, done))
    room.view()
    rates = room.section("Pass rate of each exercise")
    assert re.search(r"Exercise attention 01_book 3 \(75%\) 0 1 ", rates)
    assert re.search(r"Exercise vit 03_book 1 \(25%\) 0 1 ", rates)
    assert re.search(r"Exercise heads 02_book 0 \(0%\) 0 0 ", rates)
    mistakes = room.section("Commonest mistakes")
    assert mistakes.index("scale forgotten Exercise attention 4") < mistakes.index("shape Exercise vit 1")
    assert room.learner("L0")[8] == "0300000000" and room.learner("L2")[8] == "0100300000"


def test_who_is_missing_and_who_is_not_on_the_roster(room, tmp_path):
    room.add(made("ada"), made("Zoe"))
    for text in (
        "name,group\nAda,A\nBob,B\n",
        "\ufeffGroup;Name \nA;Ada\nB;Bob\n;\n",
        "Name\tgroup\r\nAda\tA\r\nBob\tB\r\n",
    ):
        rows = room.view(roster=csv_file(tmp_path / "roster.csv", text))
        assert {name: (row["status"], row["group"], row["days"]) for name, row in rows.items()} == {
            "Ada": ("in order", "A", "1"),
            "Bob": ("missing", "B", "0"),
            "Zoe": ("not on roster", "", "1"),
        }
    told = room.section("Roster")
    assert "Without any check-in: 1 Bob B Not on the roster: 1 Zoe" in re.sub(r"\s+", " ", told)
    assert room.told == ["3 learners, 2 records: 1 in order, 1 missing, 1 not on roster"]
    assert room.view()["Zoe"]["status"] == "in order"


def test_late_is_told_on_the_camp_s_clock(room, tmp_path):
    schedule = csv_file(
        tmp_path / "s.csv", "day,notebook,due\n1,01_book.ipynb,2026-03-04\n2,02_book,2026-03-05 20:00\n"
    )
    utc = timezone.utc

    def at(name, day, time):
        room.add(made(name, day, time, [("attention", f"x = {sum(map(ord, name))}", time)]))

    at("A in time", 1, datetime(2026, 3, 4, 23, 59, 59, tzinfo=SHANGHAI))
    at("B late", 1, datetime(2026, 3, 5, 0, 0, 0, tzinfo=SHANGHAI))
    at("C in time", 1, datetime(2026, 3, 5, 0, 30, tzinfo=timezone(timedelta(hours=9))))  # 23:30 in Shanghai
    at("D late", 1, datetime(2026, 3, 4, 16, 30, tzinfo=utc))  # 00:30 of the next day in Shanghai
    at("E in time", 2, datetime(2026, 3, 5, 20, 0, 0, tzinfo=SHANGHAI))
    at("F late", 2, datetime(2026, 3, 5, 20, 0, 1, tzinfo=SHANGHAI))
    rows = room.view(schedule=schedule)
    for name, row in rows.items():
        day = "1" if name[0] in "ABCD" else "2"
        assert row["late days"] == (day if name.endswith("late") else ""), name
        assert row["days lacking"] == ("2" if day == "1" else "1")
    # The exercise, of notebook 1, was solved after that was due.
    assert room.learner("E in time")[8] == "0200000000" and room.learner("A in time")[8] == "0100000000"
    # It is 20:30 in Shanghai: day 2 is over. On Berlin's clock it is not, and day 1 ends seven hours later.
    rows = room.view(schedule=schedule, timezone="Europe/Berlin")
    assert {row["late days"] for row in rows.values()} == {""}
    lacking = {name[0]: row["days lacking"] for name, row in rows.items()}
    assert lacking == dict.fromkeys("ABCD", "") | dict.fromkeys("EF", "1")
    assert rows["A in time"]["latest"] == "2026-03-04 16:59"
    # A due time may bring its own.
    csv_file(schedule, "day,notebook,due\n1,01_book,2026-03-04T16:30:00+00:00\n")
    rows = room.view(schedule=schedule)
    assert rows["D late"]["late days"] == "" and rows["D late"]["latest"] == "2026-03-05 00:30"
    assert "1 01_book 2026-03-05 00:30" in room.section("Schedule")


def test_a_day_with_several_notebooks_ends_with_the_last(room, tmp_path):
    schedule = csv_file(
        tmp_path / "s.csv", "day,notebook,due\n1,01_book,2026-03-04\n1,no_exercise,2026-03-05\n9,,2026-04-01\n"
    )
    room.add(made("Ada", 1, NOW, [("patchify", "a", NOW)]), made("Bob", 30, NOW, [("heads", "b", NOW)]))
    rows = room.view(schedule=schedule)
    assert (rows["Ada"]["late days"], rows["Ada"]["days lacking"]) == ("", "")
    assert room.learner("Ada")[8][0] == "2" and room.learner("Bob")[8][2] == "1"  # that notebook has no due time
    assert [day["day"] for day in room.data["days"]] == [1, 9, 30]
    assert "no_exercise (no exercise)" in room.section("Schedule") and "(not over)" in room.section("Schedule")


def _write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_what_the_user_can_mend(room, tmp_path):
    assert "nowhere is no folder: give the one" in error_of(class_view, "nowhere")
    assert "records has no *.json in it or below" in error_of(class_view, room.path)
    room.add(made("Ada"))
    for name in ("Mars/Olympus", "", "../etc/passwd", "/etc/passwd", "Asia", "a\x00b", "Asia/Shangai", "\ud800"):
        assert f"timezone is {name!r}, which is none" in error_of(class_view, room.path, timezone=name)
    assert "did you mean 'Asia/Shanghai'" in error_of(class_view, room.path, timezone="Asia/Shangai")
    table = tmp_path / "table.csv"
    for option, content, told in (
        ("roster", "who\nAda\n", "has no column name; its first line must name name, it is 'who'"),
        ("roster", "name\n", "has no row below its first line"),
        ("roster", "", "has no column name"),
        ("roster", "name\nAda\n ADA\n", "line 3: name is 'ADA', as in line 2"),
        ("roster", "name,group\n,B\n", "line 2: name is ''"),
        ("roster", "name\n" + "x" * 101, "line 2: name is 'xxx"),
        ("roster", "name\n小明".encode("gb18030"), "is not in UTF-8: in the spreadsheet save it as CSV UTF-8"),
        ("roster", 'name\n"' + "x" * 200_000, "table.csv"),
        ("schedule", "day,due\n1,2026-03-04\n", "has no column notebook; its first line must name day, notebook, due"),
        ("schedule", "day,notebook,due\none,a,2026-03-04\n", "line 2: day is 'one'; it must be a whole number"),
        ("schedule", "day,notebook,due\n\n0,a,2026-03-04\n", "line 3: day is '0'"),
        ("schedule", "day,notebook,due\n1,a,4.3.2026\n", "line 2: due is '4.3.2026'; write it like 2026-03-31"),
        ("schedule", "day,notebook,due\n1,a\n", "line 2: due is ''"),
        ("schedule", "day,notebook,due\n1,a,0001-01-01 00:00\n", "line 2: due is '0001-01-01 00:00'"),
        ("schedule", "day,notebook,due\n1,a,2026-03-04\n2,a.ipynb,2026-03-05\n", "line 3: notebook a has a row before"),
        ("schedule", "day,notebook,due\n", "has no row below its first line"),
        ("tokens", "name,secret\nAda,x\n", "name and token"),
        ("tokens", 'name,token\n"' + "x" * 200_000, "table.csv"),
    ):
        message = error_of(class_view, room.path, **{option: _write(table, content)})
        assert "table.csv" in message and told in message and len(message) < 400, message
    for option in ("roster", "schedule", "tokens"):
        assert "No such file" in error_of(class_view, room.path, **{option: tmp_path / "none.csv"})
        assert "irectory" in error_of(class_view, room.path, **{option: tmp_path})
    assert "table.csv cannot be written to (" in error_of(class_view, room.path, output=table, say=lambda line: None)
    assert not (room.path / "class.html").exists()


def test_bad_files_are_told_and_passed_over(room):
    room.add(made("Ada"))
    below = room.path / "week 2" / "上海"
    below.mkdir(parents=True)
    room.add(made("Bob"), file="week 2/上海/b.json")
    room.add(made("Shadow"), file="._c.json")
    (room.path / "d.json").mkdir()
    (room.path / "a\x1b[31m\u202e.json").write_bytes(b"{")
    (room.path / "other.json").write_text('{"name": "package"}')
    (room.path / "readme.txt").write_text("no record")
    assert list(room.view()) == ["Ada", "Bob"]
    assert room.told[:2] == [
        "passed over: a[U+001B][31m[U+202E].json: is no JSON: Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1)",
        "passed over: other.json: the record has no format as a record has it",
    ]
    assert "other.json the record has no format" in room.section("Files passed over")
    for number in range(30):
        (room.path / f"bad{number}.json").write_bytes(b"")
    room.view()
    assert len(room.told) == 22 and room.told[-2] == "passed over: 12 more, which the page lists"
    assert room.section("Files passed over").count("is no JSON") == 31


def test_a_folder_without_any_record_keeps_the_old_page(room):
    room.add(made("Ada"))
    room.view()
    before = (room.path / "class.html").read_bytes()
    (room.path / "0001.json").write_text("[]")
    assert "none of the 1 *.json in it is a record" in error_of(class_view, room.path, say=lambda line: None)
    assert (room.path / "class.html").read_bytes() == before


def test_the_files_go_where_they_are_asked(room, tmp_path):
    room.add(made("Ada"))
    paths = class_view(room.path, output=tmp_path / "new" / "folder", say=lambda line: None)
    assert paths == [tmp_path / "new/folder/class.csv", tmp_path / "new/folder/class.html"]
    assert paths[0].read_bytes().startswith(b"\xef\xbb\xbf") and [*room.path.glob("class.*")] == []


HUGE = "1" + "0" * 400


def edits():
    """Records that only just are some, or are none, as bytes."""
    good = made("Mallory", 1, NOW)
    text = json.dumps(good)

    def put(**changes):
        return json.dumps(good | changes)

    rows = good["exercises"]
    yield from (b"", b"\xff\xfe\x00", b"[" * 100_000, b'{"a":' * 100_000, b"null", b"3", b'"x"', b"[]", b"{}", b"NaN")
    yield text.replace('"day": 1', f'"day": {HUGE}')
    yield text.replace('"day": 1', '"day": ' + "9" * 5000)
    yield text.replace('"day": 1', '"day": -1')
    yield text.replace('"streak": 1', f'"streak": -{HUGE}')
    yield text.replace('"attempts": 1', f'"attempts": {HUGE}')
    for number in (HUGE, "1e999", "-1e999", "NaN", "Infinity", "true", '"0.5"', "2"):
        yield text.replace('"accuracy": 0.9', f'"accuracy": {number}')
    yield text.replace('"run": {', '"run": {"deep": ' + "[" * 900 + "]" * 900 + ", ")
    yield text.replace('"run": {', '"run": {"deep": ' + '{"a":' * 5000 + "1" + "}" * 5000 + ", ")
    for name in (
        "\ud800",
        "a\x00b",
        "\u202edlo",
        "x" * 100_000,
        " ",
        "\u200b",
        "\n",
        "Ａ" * 100,
        "e\u0301" * 50,
        "\ufdfa" * 90,
    ):
        yield put(name=name)
    for time in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2026-03-05", "", "x" * 1000, "\ud800"):
        yield put(time=time)
        yield put(exercises=[rows[0] | {"time": time}])
    yield put(time="0001-01-01T23:00:00+00:00")
    yield put(signature="é\ud800")
    yield put(signature=3)
    yield put(digest="\ud800")
    yield put(exercises=[rows[0] | {"source": "\ud800\x00" + "(" * 1000, "name": "attention"}])
    yield put(exercises=[rows[0] | {"name": "\ud800" * 1000}] * 300)
    yield put(exercises=[rows[0] | {"sha256": "\ud800"}])
    yield put(exercises=rows * 20_000)
    yield put(mistakes=[{"name": "attention", "code": "\ud800\u202e" * 5000, "time": good["time"]}] * 50)
    yield put(exercises=[[]], mistakes={})
    yield put(run=[1])
    yield put(run={"accuracy": None, "\ud800": "\x00"})


def test_no_content_ends_in_a_traceback(room, tmp_path):
    room.add(made("Ada", token="t"))
    contents = [one if isinstance(one, bytes) else one.encode("utf-8") for one in edits()]
    for number, content in enumerate(contents):
        (room.path / f"x{number:03}.json").write_bytes(content)
    tokens = csv_file(tmp_path / "tokens.csv", "name,token\nAda,t\nMallory,s\n")
    for given in (None, tokens):
        rows = room.view(
            tokens=given, schedule=csv_file(tmp_path / "s.csv", "day,notebook,due\n1,01_book,2026-03-04\n")
        )
        assert rows["Ada"]["exercises"] == "1"
        assert not re.search("[\x00-\x08\x0b-\x1f\u202e\ud800-\udfff]", room.html)
    assert max(map(len, rows)) < 1000 and len(room.html) < 300_000


def test_noise_ends_in_no_traceback(room):
    room.add(made("Ada"))
    noise = random.Random(0)
    text = json.dumps(made("Mallory", 1, NOW, [("attention", ONE, NOW, "scale")]), ensure_ascii=False).encode()
    for number in range(150):
        content = bytearray(text)
        for _ in range(noise.randrange(1, 6)):
            place = noise.randrange(len(content))
            content[place : place + noise.randrange(1, 5)] = noise.randbytes(noise.randrange(4))
        (room.path / f"n{number}.json").write_bytes(noise.randbytes(2000) if number % 10 == 0 else bytes(content))
    # And what is still JSON, with values of other kinds.
    for number in range(150):
        one = made("Mallory", 1, NOW, [("attention", ONE, NOW, "scale")])
        part = noise.choice([one, one["exercises"][0], one["mistakes"][0]])
        part[noise.choice(list(part))] = noise.choice(
            [None, True, -1, 1e308, 10**30, "", "\u202e", [], {}, [[]], {"a": []}]
        )
        write_record(one, room.path / f"k{number}.json")
    assert room.view()["Ada"]["exercises"] == "1"


def test_what_cannot_be_seen_is_written_out():
    assert visible("a\u202eb\x00\ud800\u200bc\n\t") == "a[U+202E]b[U+0000][U+D800][U+200B]c\n\t"
    assert visible("x" * 10, 3) == "xxx…" and visible("小明 é") == "小明 é"


def test_the_command_s_words_survive_a_narrow_terminal(room):
    room.add(made("Ada"))
    (room.path / "b\udcff.json").write_bytes(b"")
    room.view()
    for line in room.told:
        line.encode("utf-8")
