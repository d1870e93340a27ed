"""Records: whole, verified, and nothing that anybody puts into one ends in a traceback."""

import json
import random
from datetime import datetime, timedelta, timezone

import pytest

from vit_ms import checkin, cli
from vit_ms.checkin import record as records
from vit_ms.checkin.cards import make_card
from vit_ms.checkin.progress import Attempt, Progress
from vit_ms.checkin.record import make_record, read_record, read_tokens, verify, write_record
from vit_ms.errors import UserError

NOW = datetime(2026, 3, 5, 20, 0, tzinfo=timezone(timedelta(hours=8)))
SOURCE = "def attention(q, k, v):\n    return v\n"
RUN = {"history": [{"epoch": 1.0, "train_loss": 2.0, "val_loss": 1.5}], "accuracy": 0.975}


@pytest.fixture
def progress(tmp_path):
    found = Progress(tmp_path / "home" / "checkin.sqlite")
    found.add(Attempt("attention", NOW - timedelta(days=1), False, "scale forgotten", "no", 0.1))
    found.add(Attempt("attention", NOW, True, "", SOURCE, 0.2))
    return found


@pytest.fixture
def made(progress):
    return make_record(progress, "小明", 3, NOW, {"vit_ms": "0.1.0"}, RUN, token="secret")


def saved(record, path="record.json"):
    write_record(record, path)
    return path


def test_a_record_says_what_was_done(made):
    assert made["name"] == "小明" and made["day"] == 3 and made["streak"] == 1
    assert [(row["name"], row["attempts"], row["source"]) for row in made["exercises"]] == [("attention", 2, SOURCE)]
    assert [row["code"] for row in made["mistakes"]] == ["scale forgotten"]
    assert made["time"] == "2026-03-05T20:00:00+08:00"
    assert verify([saved(made)], tokens={"小明": "secret"})[0].problems == ()


@pytest.mark.parametrize(
    "edit",
    [
        lambda record: record.update(name="小红"),
        lambda record: record.update(day=4),
        lambda record: record["run"].update(accuracy=0.99),
        lambda record: record["exercises"][0].update(time="2026-03-01T20:00:00+08:00"),
        lambda record: record["mistakes"].clear(),
        lambda record: record.update(streak=30),
        lambda record: record["exercises"].append({**record["exercises"][0], "name": "patchify"}),
    ],
)
def test_an_edit_is_found(made, edit):
    edit(made)
    problems = verify([saved(made)])[0].problems
    assert "the record was edited" in problems[0]


def test_an_edited_source_is_found_though_the_digest_was_made_anew(made):
    made["exercises"][0]["source"] += "# mine\n"
    made["digest"] = records._sha256(records._canonical(made))
    assert "the source was edited" in verify([saved(made)])[0].problems[0]


def test_a_record_under_another_name_is_found_by_the_token(made):
    made["name"] = "小红"
    made["digest"] = records._sha256(records._canonical(made))
    assert verify([saved(made)])[0].problems == ()  # nobody can tell without a token
    tokens = {"小明": "secret", "小红": "other"}
    assert "not signed with the token of '小红'" in verify([saved(made)], tokens=tokens)[0].problems[0]
    made["signature"] = "é" * 64
    assert "not signed with the token" in verify([saved(made)], tokens=tokens)[0].problems[0]
    del made["signature"]
    assert "is not signed" in verify([saved(made)], tokens=tokens)[0].problems[0]
    assert "no token was given to" in verify([saved(made)], tokens={})[0].problems[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.pop("name"), "has no name"),
        (lambda record: record.update(day="3"), "has no day"),
        (lambda record: record.update(day=True), "has no day"),
        (lambda record: record.update(format="another"), "has the format 'another'"),
        (lambda record: record.update(time="yesterday"), "must have a time zone"),
        (lambda record: record.update(time="2026-03-05T20:00:00"), "must have a time zone"),
        (lambda record: record.update(exercises=[3]), "exercises\\[0\\] is of type int"),
        (lambda record: record["exercises"][0].pop("source"), "exercises\\[0\\] has no source"),
        (lambda record: record.update(mistakes=[{}] * 10_001), "10001 mistakes"),
        (lambda record: record["run"].update(accuracy=1.5), "the accuracy is 1.5"),
        (lambda record: record.update(signature=5), "the signature is no text"),
        (lambda record: record["run"].update(accuracy=10**400), "the accuracy is inf"),
        (lambda record: record.update(name="x" * 10**5), "a name of 100000 characters"),
        (lambda record: record.update(name=" "), "a name of 1 characters"),
    ],
)
def test_what_is_no_record_says_why(made, change, message):
    change(made)
    with pytest.raises(UserError, match=message):
        read_record(saved(made))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{",
        b'{"a": NaN}',
        b"[" * 100_000,
        b"9" * 5000,
        b'"\\ud800"',
        bytes(4 * 2**20 + 1),
    ],
    ids=["empty", "bytes", "null", "list", "cut", "nan", "deep", "digits", "surrogate", "large"],
)
def test_no_file_ends_in_a_traceback(tmp_path, content, capsys):
    (tmp_path / "bad.json").write_bytes(content)
    (verdict,) = verify([tmp_path / "bad.json"])
    assert verdict.record is None and len(verdict.problems) == 1 and "\n" not in verdict.problems[0]
    assert cli.main(["checkin", "verify", str(tmp_path / "bad.json")]) == 2
    assert "1 of 1 records have problems" in capsys.readouterr().err


def test_random_damage_never_passes_and_never_raises(made, tmp_path):
    rng, whole = random.Random(0), json.dumps(made, ensure_ascii=False).encode()
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        (tmp_path / "r.json").write_bytes(damaged)
        (verdict,) = verify([tmp_path / "r.json"], tokens={"小明": "secret"})
        same = verdict.record == made
        assert same or verdict.problems


def test_tokens_come_from_a_table(tmp_path):
    path = tmp_path / "tokens.csv"
    path.write_text("\ufeffname,token\n小明, secret \n", encoding="utf-8")
    assert read_tokens(path) == {"小明": "secret"}
    path.write_text("learner,token\na,b\n")
    with pytest.raises(UserError, match="columns name and token"):
        read_tokens(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_tokens(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "  "}, "name is"),
        ({"name": "x" * 101}, "name is"),
        ({"day": 0}, "day is 0"),
        ({"language": "fr"}, "language is 'fr'"),
        ({"accuracy": 97.5}, "accuracy is 97.5"),
        ({"run": "nowhere"}, "is not the folder of a finished run"),
        ({"notebook": "03_attention"}, "notebook is '03_attention'"),
        ({"history": [{"epoch": 1, "train_loss": "much"}]}, "epoch 1: train_loss is 'much'"),
        ({"history": [1.0]}, "history has 1.0"),
    ],
)
def test_mistakes_of_a_card_are_told_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        make_card(**{"day": 1, "name": "x", "output": "cards"} | arguments)
    assert not (tmp_path / "cards").exists()


def test_a_card_names_the_notebook_of_the_exercise_solved_last(progress, monkeypatch, capsys):
    monkeypatch.setenv("VIT_MS_HOME", str(progress.path.parent))
    for notebook, title in ((None, "3. Attention by hand"), ("02_from_image_to_tokens", "2. From an image to tokens")):
        options = {"history": [{"train_loss": 1.0}], "notebook": notebook, "language": "en"}
        _, text, record = checkin.card(day=3, name="Ming" * 25, **options)
        assert title in text.read_text(encoding="utf-8").replace("\\", "")
        assert read_record(record)["notebook"] == (notebook or "03_attention_by_hand")
        assert "day03.png" in capsys.readouterr().out
    assert checkin.card(day=0, name="Ming") == [] and "day is 0" in capsys.readouterr().out


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_card_is_a_picture_a_text_and_a_record(progress, monkeypatch, language):
    from PIL import Image

    monkeypatch.setenv("VIT_MS_HOME", str(progress.path.parent))
    history = [{"epoch": e, "train_loss": 2.0 / e, "val_loss": 1.0 / e, "other": "x"} for e in range(1, 9)]
    name = "<b>小明</b> $x$ [a](b)"
    picture, text, record = make_card(16, name, history, 0.9861, language=language, output="cards")
    assert Image.open(picture).size == (1080, 600)
    told = text.read_text(encoding="utf-8")
    assert "98.61%" in told and "day16.png" in told and "<b>" not in told.replace("\\<b\\>", "")
    assert ("昇思学习打卡" in told) == (language == "zh") and ("day 16" in told) == (language == "en")
    found = read_record(record)
    assert found["name"] == name and found["run"]["accuracy"] == 0.9861 and len(found["run"]["history"]) == 8
    assert verify([record])[0].problems == ()
