"""A class's page in a browser: hostile names do nothing; it filters, sorts, has two languages and fits a telephone."""

import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from test_classroom import EVIL, NAMES, NOW, ONE, SAME, Room, course, csv_file, made, solution

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is in requirements-test.txt")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: apt install chromium)"),
]
__all__ = ["course"]  # a fixture that is used by itself

HOSTILE = [
    EVIL,
    "</script><script>alert(1)</script>",
    "javascript:alert(1)",
    "<!-- <script>",
    "`${alert(1)}`",
    "\u202ednet\x00",
    "__proto__",
    "=1+1",
]
MANY = 300
PICTURES = os.environ.get("CLASS_PICTURES")  # a folder to leave screenshots in


@pytest.fixture
def room(tmp_path):
    """A class of hostile names and of many others, of whom one is missing and one is not on the roster."""
    room = Room(tmp_path)
    for number, name in enumerate(HOSTILE):
        time = NOW - timedelta(days=1, seconds=number)
        done = [(which, f"# {name}\n{ONE}", time, name, "scale forgotten") for which in NAMES[:3]]
        room.add(made(name, 1, time, done), made(name, 2, time + timedelta(days=1), done, streak=9))
    for number in range(MANY):
        name = f"学员{number:03}" if number % 2 else f"Learner {number:03}"
        done = []
        for place, which in enumerate(NAMES[: number % 11]):
            source = SAME[number % len(SAME)] if 5 <= number < 10 and which == "vit" else solution(which, number)
            time = NOW - timedelta(days=2, minutes=number + 31 * place)
            done.append((which, source, time, *(["scale forgotten"] if number % 3 else [])))
        done += [(NAMES[number % 11], None, NOW, "softmax over queries")] if number % 11 < 10 else []
        for day in (1, 2) if number % 5 else (2,):
            time = NOW - timedelta(days=2 - day, minutes=number)
            room.add(made(name, day, time, done, accuracy=(number % 100) / 100))
    done = [(which, solution(which, 1), NOW - timedelta(hours=2)) for which in NAMES[:2]]
    room.add(made("Copied", 1, NOW, done), made("Copier", 1, NOW, done))
    (room.path / "bad <script>.json").write_bytes(b"{")
    everybody = [*HOSTILE[:4], "Missing", *(f"学员{number:03}" for number in range(1, MANY, 2))]
    everybody += [f"Learner {number:03}" for number in range(0, MANY, 2)] + ["Copied"]
    lines = ['"{}",Group {}'.format(name.replace('"', '""'), "AB"[place % 2]) for place, name in enumerate(everybody)]
    roster = csv_file(tmp_path / "roster.csv", "\n".join(["name,group", *lines]))
    schedule = "day,notebook,due\n1,01_book,2026-03-04 18:00\n2,02_book,2026-03-05\n3,03_book,2026-03-06\n"
    room.view(roster=roster, schedule=csv_file(tmp_path / "schedule.csv", schedule))
    return room


@pytest.fixture
def browser():
    with playwright.sync_playwright() as driver:
        quiet = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=quiet)
        yield browser
        browser.close()


def opened(browser, room, **kwargs):
    """The page, and all that went wrong with it."""
    kwargs = {"viewport": {"width": 1280, "height": 900}, "locale": "en-US"} | kwargs
    page = browser.new_context(**kwargs).new_page()
    wrong = []
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url) if "class.html" not in request.url else None)
    page.goto((room.path / "class.html").as_uri())
    return page, wrong


def picture(page, name, **kwargs):
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"class_{name}.png", **kwargs)


def shown(page) -> list[str]:
    return page.locator("#body th[scope=row]").all_inner_texts()


def test_hostile_names_are_names(browser, room):
    page, wrong = opened(browser, room)
    for name in HOSTILE:
        page.fill("#name", name.replace("\u202e", "[U+202E]").replace("\x00", ""))
        assert len(shown(page)) == 1
        page.locator("#body button").click()
        assert page.locator("#who").inner_text() == shown(page)[0]
        # Everything that is folded away, too.
        for summary in page.locator("dialog summary").all():
            summary.click()
        assert page.locator("dialog pre").count() >= 3
        page.locator("#close").click()
    for summary in page.locator("section summary").all():
        summary.click()
    assert page.locator("script, img, style").count() == 3 and page.locator("body *[onerror]").count() == 0
    assert page.locator("a[href]").count() == 0
    # The policy holds: even what is put into the page by force does not run.
    page.evaluate("document.body.append(Object.assign(document.createElement('p'), {id: 'forced'}))")
    forced = page.evaluate(
        "try { document.getElementById('forced').innerHTML = '<img src=x>'; 'set' } catch (e) { e.name }"
    )
    assert forced == "TypeError"
    assert [text for text in wrong if "TrustedHTML" not in text] == []


def test_the_policy_stops_a_script_that_is_not_the_page_s_own(browser, room):
    path = room.path / "class.html"
    path.write_text(path.read_text(encoding="utf-8").replace("</body>", "<script>alert(3)</script></body>"))
    page, wrong = opened(browser, room)
    assert any("Content Security Policy" in text for text in wrong) and "3" not in wrong
    assert shown(page)


def test_filter_and_sort(browser, room):
    page, wrong = opened(browser, room)
    total = len(room.rows)
    assert page.locator("#count").inner_text() == f"{total} / {total}"
    assert 20 < len(shown(page)) < 120  # the others are drawn when they come into view
    page.locator("#frame").evaluate("node => { node.scrollTop = node.scrollHeight; }")
    page.locator(f'#body tr[aria-rowindex="{total + 1}"]').wait_for()
    page.fill("#name", "学员01")
    assert shown(page) == [f"学员{number:03}" for number in range(11, 20, 2)]
    page.fill("#name", "LEARNER 00")
    assert shown(page) == [f"Learner {number:03}" for number in range(0, 10, 2)]
    page.locator('[data-sort="name"]').click()
    assert shown(page)[0] == "Learner 008"
    page.fill("#name", "Nobody at all")
    assert page.locator("#body").inner_text() == "No learner is like that"
    page.fill("#name", "")
    for status, names in {"missing": ["Missing"], "extra": None, "late": None, "problem": None}.items():
        page.select_option("#status", status)
        asked = [row["name"] for row in room.rows if str(classroom_status(status)) in row["status"].split(", ")]
        assert page.locator("#count").inner_text().startswith(f"{len(asked)} /") and asked
        assert names is None or shown(page) == names
    page.select_option("#status", "")
    page.select_option("#group", "Group B")
    assert page.locator("#count").inner_text().startswith(f"{sum(row['group'] == 'Group B' for row in room.rows)} /")
    page.select_option("#group", "")

    def column(number):
        return page.locator(f"#body tr:not([aria-hidden]) td:nth-child({number})").all_inner_texts()

    page.locator('[data-sort="accuracy"]').click()
    page.locator('[data-sort="accuracy"]').click()
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Accuracy")
    values = [float(text.rstrip("%")) for text in column(7)[:30]]
    assert values == sorted(values, reverse=True) and values[0] == 99.0
    page.locator('[data-view="exercises"]').click()
    page.locator('[data-sort="exercise4"]').click()
    page.locator('[data-sort="exercise4"]').click()
    assert column(13)[0] in ("✗", "✓", "✓!")
    page.locator('[data-view="days"]').click()
    page.locator('[data-sort="day1"]').click()
    times = column(9)[:20]
    assert times == sorted(times)
    assert wrong == []


def classroom_status(key):
    from vit_ms.checkin.classroom import STATUS

    return STATUS[key].en


def test_two_languages(browser, room):
    page, wrong = opened(browser, room)
    heading = page.locator("h1")
    assert heading.inner_text() == "Class" and page.locator("#status option").first.inner_text() == "every status"
    picture(page, "en")
    picture(page, "en_full", full_page=True)
    page.get_by_role("button", name="中文").click()
    assert heading.inner_text() == "班级打卡" and page.locator("#status option").first.inner_text() == "全部状态"
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    assert "Learners" not in page.locator("body").inner_text() and "学员" in page.locator("body").inner_text()
    page.locator('[data-view="exercises"]').click()
    picture(page, "zh_exercises")
    page, wrong_too = opened(browser, room, locale="zh-CN", color_scheme="dark")
    assert page.locator("h1").inner_text() == "班级打卡"
    picture(page, "zh_dark_full", full_page=True)
    page.locator("#body button", has_text="学员007").click()
    picture(page, "zh_dark_learner")
    assert wrong == wrong_too == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_telephone(browser, room, scheme):
    size = {"width": 375, "height": 740}
    page, wrong = opened(browser, room, viewport=size, color_scheme=scheme, is_mobile=True, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375  # what is wide scrolls within itself
    picture(page, f"phone_{scheme}")
    page.locator("#frame").scroll_into_view_if_needed()
    picture(page, f"phone_{scheme}_table")
    page.fill("#name", "Copie")
    assert shown(page) == ["Copied", "Copier"]
    page.locator("#body button").first.tap()
    box = page.locator("#dialog").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 375
    picture(page, f"phone_{scheme}_learner")
    page.keyboard.press("Escape")
    assert not page.locator("#dialog").is_visible()
    assert wrong == []


def test_paper_has_all_rows(browser, room):
    page, wrong = opened(browser, room)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert len(shown(page)) == len(room.rows)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert len(shown(page)) < 120 and wrong == []


def test_solutions_stand_side_by_side(browser, room):
    page, wrong = opened(browser, room)
    group = page.locator("#equal details", has_text="Exercise vit")
    group.locator("summary").first.click()
    boxes = [box.bounding_box() for box in group.locator("pre").all()]
    assert len(boxes) >= 2 and boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"]
    group.scroll_into_view_if_needed()
    picture(page, "beside")
    assert page.locator("#copies li").all_inner_texts() == ["Copied", "Copier"]
    assert wrong == []
