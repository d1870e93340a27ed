"""The page of `explore` as a visitor uses it, in a browser: pen, files, clicks, languages, a phone; and what it refuses."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image
from test_explore import STROKES, bomb, opened

from vit_ms import runtime, training
from vit_ms.explore.images import BYTES
from vit_ms.recipe import load_recipe

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is in requirements-test.txt")
pytest.importorskip("gradio", reason="gradio is in requirements-explore.txt")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: apt install chromium)"),
]

# The command, in a process that writes down which addresses it asks for.
WATCHED = """
import sys

asked = open(sys.argv.pop(1), "a", buffering=1)


def watch(event, arguments):
    if event == "socket.getaddrinfo":
        print(arguments[0], file=asked)
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        print(arguments[1][0], file=asked)


sys.addaudithook(watch)
from vit_ms.cli import main

sys.exit(main())
"""


ELSEWHERE = ("198.51.100.7", "example.org")


class Server:
    """The command, run until the end of the tests.

    Args:
        folder (Path): for its log, and what it asked for.
        words: of the command.
    """

    def __init__(self, folder: Path, *words: str):
        self.log, self.asked, self.scratch = folder / "log", folder / "asked", folder / "scratch"
        self.scratch.mkdir()
        # What a user may have set for other pages: it would make this one public.
        careless = {"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SHARE": "True", "GRADIO_ALLOWED_PATHS": "/"}
        proxy = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        env = {**os.environ, **careless, **proxy, "PYTHONPATH": path, "TMPDIR": str(self.scratch)}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", WATCHED, str(self.asked), "explore", *words],
                cwd=folder,
                env=env,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        for line in self.process.stdout:
            if found := re.search(r"open (http://127\.0\.0\.1:\d+/)", line):
                self.address = found[1]
                return
        raise AssertionError(self.log.read_text())

    def end(self) -> int:
        """Stop it as Ctrl+C does; its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=60)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint that knows digits, more or less."""
    folder = tmp_path_factory.mktemp("trained")
    runtime.setup("CPU", "graph", 0)
    training.train(load_recipe("digits", {"epoch_size": 30, "ckpt_save_dir": str(folder)}))
    return folder / "best.ckpt"


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A Swin for photographs, with initial weights."""
    folder = tmp_path_factory.mktemp("other")
    runtime.setup("CPU", "pynative", 0)
    return opened(folder, "swin").path


@pytest.fixture(scope="module")
def server(tmp_path_factory, trained):
    running = Server(tmp_path_factory.mktemp("server"), "--ckpt_path", str(trained))
    yield running
    assert running.end() == 0
    assert list(running.scratch.glob("vit_ms_explore_*")) == []
    # Only what tests ask for here was asked for elsewhere, and it was refused.
    assert set(running.asked.read_text().split()) - {"127.0.0.1", "localhost", "None"} <= set(ELSEWHERE)
    errors = [line for line in running.log.read_text().splitlines() if re.match(r"[\w.]+(Error|Exception)\b", line)]
    refusals = ("gradio.exceptions.InvalidPathError", "PermissionError: the page opens no connection to ")
    assert [line for line in errors if not line.startswith(refusals)] == []


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        quiet = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=quiet)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, server):
    """Opens the page; at the end, nothing was asked of another machine and nothing failed in the browser."""
    requested, failed, contexts = [], [], []

    def open_page(address=server.address, width=1280, **settings):
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("request", lambda request: requested.append(request.url))
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.goto(address)
        page.get_by_text("还没有图片。").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    ours = ("http://127.0.0.1:", "data:", "blob:http://127.0.0.1:")
    assert [url for url in requested if not url.startswith(ours)] == []
    assert failed == []


def draw(page, number):
    """Draw one of STROKES with the mouse."""
    pad = page.locator("#pad canvas")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    scale = box["width"] / 320
    for stroke in STROKES[number][1]:
        points = [(box["x"] + x * scale, box["y"] + y * scale) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=4)
        page.mouse.up()


def answer(page, column=0):
    """The likeliest class."""
    return page.locator("[data-testid=label-output-value]").nth(column)


def upload(page, path, says):
    page.locator("input[type=file]").set_input_files(str(path))
    page.locator("#message", has_text=says).wait_for()


@pytest.fixture
def photo(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize("number", [0, 1, 3, 8])
def test_a_drawn_digit_is_recognised(visit, number):
    page = visit()
    draw(page, number)
    playwright.expect(answer(page)).to_have_text(str(STROKES[number][0]))
    assert page.get_by_text("已整理成训练图片的样子：深色笔画反转为浅色").is_visible()
    assert page.get_by_text("已读取画板。").is_visible()
    page.get_by_role("button", name="清空").click()
    page.get_by_text("还没有图片。").wait_for()
    assert answer(page).count() == 0
    white = "canvas => canvas.getContext('2d').getImageData(0, 0, 320, 320).data.every(value => value === 255)"
    assert page.locator("#pad canvas").evaluate(white)


def test_a_sample_of_the_data_is_taken_as_it_is(visit):
    page = visit()
    upload(page, ROOT / "vit_ms/data/samples/digits/7.png", "已读取 7.png，8×8 像素")
    playwright.expect(answer(page)).to_have_text("7")
    assert page.get_by_text("8×8 的灰度图，与训练图片形式相同").is_visible()


def test_an_image_may_be_dropped_on_the_page(visit, tmp_path):
    page = visit()
    content = list((ROOT / "vit_ms/data/samples/digits/4.png").read_bytes())
    page.evaluate(
        """content => {
            const dropped = new DataTransfer();
            dropped.items.add(new File([new Uint8Array(content)], "four.png", {type: "image/png"}));
            document.querySelector("h2").dispatchEvent(
                new DragEvent("drop", {dataTransfer: dropped, bubbles: true, cancelable: true}));
        }""",
        content,
    )
    page.get_by_text("已读取 four.png").wait_for()
    playwright.expect(answer(page)).to_have_text("4")


def pictures(page):
    """The addresses of the pictures on the page, by what stands over them."""
    found = page.locator(".picture").evaluate_all(
        "all => all.map(one => [one.querySelector('label').innerText.trim(), one.querySelector('img')?.src])"
    )
    return {label: source for label, source in found if source}


def changed(page, before, label):
    """Wait until the picture under a label is another one."""
    page.wait_for_function(
        """([label, source]) => [...document.querySelectorAll('.picture')].some(one =>
            one.querySelector('label').innerText.trim() === label && one.querySelector('img')
            && one.querySelector('img').src !== source)""",
        arg=[label, before],
    )


def test_a_click_chooses_a_patch(visit):
    page = visit()
    draw(page, 0)
    playwright.expect(answer(page)).to_have_text("0")
    playwright.expect(page.locator("#patch input[type=number]")).to_have_value("11")
    image = page.locator("#patches-0 img")
    box = image.bounding_box()
    image.click(position={"x": box["width"] * 0.9, "y": box["height"] * 0.1})
    page.get_by_text("位置编码与第 4 块的相似度").wait_for()
    playwright.expect(page.locator("#patch input[type=number]")).to_have_value("4")
    # and with the keyboard alone
    page.locator("#patch input[type=range]").focus()
    page.keyboard.press("ArrowLeft")
    page.get_by_text("位置编码与第 3 块的相似度").wait_for()


def test_layer_and_asking_token_change_the_attention(visit):
    page = visit()
    draw(page, 0)
    playwright.expect(answer(page)).to_have_text("0")
    first = "第 1 层的注意力：各头的编号与最高份额"
    page.get_by_text(first).wait_for()
    before = pictures(page)
    assert len(before) == 4
    page.get_by_label("选中的图像块").check()
    changed(page, before[first], first)
    changed(page, before["注意力回溯（rollout），4 层合计"], "注意力回溯（rollout），4 层合计")
    page.locator("#layer input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_text("第 2 层的注意力：各头的编号与最高份额").wait_for()


def test_the_switch_changes_every_word_and_keeps_the_image(visit):
    page = visit(locale="zh-CN")
    assert page.get_by_role("status").inner_text() == "还没有图片。"
    draw(page, 0)
    playwright.expect(answer(page)).to_have_text("0")
    page.get_by_label("English").check()
    page.get_by_role("heading", name="A look inside the network").wait_for()
    page.get_by_text("Read the drawing.").wait_for()
    playwright.expect(answer(page)).to_have_text("0")
    words = page.locator("body").inner_text()
    assert re.findall("[一-鿿]+", words) == ["语言", "中文"]  # the switch itself
    page.get_by_label("中文").check()
    page.get_by_role("heading", name="看看网络里面").wait_for()
    words = page.locator(".gradio-container").inner_text()
    name = page.locator("h3 code").first.inner_text()
    kept = {"Language", "English", "vit_ms", "vit_nano_4", "rollout"}  # names stay what they are
    assert set(re.findall("[A-Za-z_][A-Za-z_0-9]+", words.replace(name, ""))) <= kept, words


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off(visit, width):
    page = visit(width=width, has_touch=width == 390)
    draw(page, 0)
    playwright.expect(answer(page)).to_have_text("0")
    for language in ("English", "中文"):
        page.get_by_label(language).check()
        page.wait_for_timeout(1000)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        outside = """([width]) => [...document.querySelectorAll('.gradio-container *')].filter(one => {
            const box = one.getBoundingClientRect();
            return box.width && box.right > width + 1 && getComputedStyle(one).visibility !== 'hidden';
        }).map(one => one.outerHTML.slice(0, 120))"""
        assert page.evaluate(outside, [width]) == []


def test_a_finger_draws(visit):
    page = visit(width=390, has_touch=True)
    box = page.locator("#pad canvas").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.get_by_text("已读取画板。").wait_for()


def test_bad_uploads_get_a_message_and_the_page_goes_on(visit, tmp_path, photo):
    page = visit()
    page.get_by_label("English").check()
    page.get_by_text("There is no image yet.").wait_for()
    cut = photo.read_bytes()
    files = {
        "notes.txt": (b"just text", "notes.txt is no image that can be read"),
        "cut.png": (cut[: len(cut) // 2], "cut.png is broken or cut off"),
        "huge.png": (b"\x89PNG\r\n\x1a\n" + bytes(BYTES), "huge.png has 10 MB, more than 10"),
    }
    for name, (content, says) in files.items():
        (tmp_path / name).write_bytes(content)
        upload(page, tmp_path / name, says)
    bomb(tmp_path / "bomb.png")
    upload(page, tmp_path / "bomb.png", "bomb.png has more than 50 million pixels")
    Image.new("RGB", (40, 40), "navy").save(tmp_path / "blank.png")
    upload(page, tmp_path / "blank.png", "Read blank.png")
    page.get_by_text("blank.png has no ink in it").wait_for()
    four = Image.open(ROOT / "vit_ms/data/samples/digits/4.png")
    four.resize((80, 80)).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    upload(page, tmp_path / "print.jpg", "converted from CMYK")
    playwright.expect(answer(page)).to_have_text("4")
    Image.fromarray(np.asarray(four, np.uint16) * 257).save(tmp_path / "deep.png")
    upload(page, tmp_path / "deep.png", "It has 16 bits a pixel")
    playwright.expect(answer(page)).to_have_text("4")
    four.save(tmp_path / "moving.gif", save_all=True, append_images=[four.rotate(90)])
    upload(page, tmp_path / "moving.gif", "only the first frame")
    draw(page, 0)
    playwright.expect(answer(page)).to_have_text("0")


def test_two_checkpoints_stand_side_by_side(visit, browser, tmp_path_factory, trained, other, photo):
    running = Server(tmp_path_factory.mktemp("two"), "--ckpt_path", str(trained), "--ckpt_path", str(other))
    try:
        page = visit(running.address)
        draw(page, 0)
        playwright.expect(answer(page)).to_have_text("0")
        playwright.expect(answer(page, 1)).to_have_text(re.compile("类"))
        page.get_by_text("Swin 只在移动的窗口内做注意力").wait_for()
        page.get_by_text("只做了网络对每张图片都做的预处理：变为 32×32 像素。").wait_for()
        tops = [page.locator("h3").nth(column).bounding_box() for column in range(2)]
        assert tops[0]["y"] == tops[1]["y"] and tops[0]["x"] < tops[1]["x"]
        upload(page, photo, "已读取 photo.png，80×60 像素")
        page.wait_for_function("document.querySelectorAll('#patches-1 img').length === 1")
        page.set_viewport_size({"width": 390, "height": 900})
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    finally:
        assert running.end() == 0
    assert "Traceback" not in running.log.read_text()


def fetch(address, content=None, **headers):
    """Status and body of a request, as any program on this machine can make it."""
    request = urllib.request.Request(address, content, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answered:
            return answered.status, answered.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_no_other_file_is_served(server, trained):
    assert fetch(server.address)[0] == 200
    for path in ("/etc/passwd", trained, ROOT / "README.md", "../../../../etc/passwd"):
        status, body = fetch(f"{server.address}gradio_api/file={path}")
        assert status in (403, 404) and b"root:" not in body
    # Gradio would fetch these from elsewhere and pass them on.
    for path in (f"https://{host}/x.png" for host in ELSEWHERE):
        assert fetch(f"{server.address}gradio_api/file={path}")[0] >= 400
        assert fetch(f"{server.address}gradio_api/proxy={path}")[0] >= 400


@pytest.mark.parametrize("path", ["/etc/passwd", f"https://{ELSEWHERE[1]}/x.png"])
def test_a_path_in_a_request_is_refused(server, path):
    config = json.loads(fetch(f"{server.address}config")[1])
    (button,) = [part["id"] for part in config["components"] if part["type"] == "uploadbutton"]
    (event,) = [item for item in config["dependencies"] if [button, "upload"] in item["targets"]]
    inputs = [{"path": path, "meta": {"_type": "gradio.FileData"}}, None, 1, "head", 1, "en"]
    body = {"data": inputs, "fn_index": event["id"], "session_hash": "abcdef", "trigger_id": button}
    status, told = fetch(
        f"{server.address}gradio_api/queue/join", json.dumps(body).encode(), **{"Content-Type": "application/json"}
    )
    assert status == 200, told
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        f"{server.address}gradio_api/queue/data?session_hash=abcdef", timeout=60
    ) as events:
        for line in events:
            if b"process_completed" in line:
                break
    told = json.loads(line.removeprefix(b"data: "))
    assert told["success"] is False and "root:" not in json.dumps(told)
    assert ("opens no connection to" if path.startswith("https") else "InvalidPathError") in server.log.read_text()


def test_a_page_elsewhere_cannot_use_a_name_for_this_machine(server):
    assert fetch(server.address, Host="attacker.example")[0] == 400
    assert fetch(server.address, Host="localhost")[0] == 200


def test_an_upload_past_the_page_is_bounded_too(server):
    content = b'--x\r\nContent-Disposition: form-data; name="files"; filename="x.png"\r\n\r\n' + bytes(BYTES + 10)
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert fetch(f"{server.address}gradio_api/upload", content + b"\r\n--x--\r\n", **kind)[0] == 413


def test_the_browser_is_told_to_load_nothing_from_elsewhere(browser, server):
    page, said = browser.new_page(), []
    page.goto(server.address)
    page.on("console", lambda message: said.append(message.text))
    loaded = page.evaluate(
        """() => new Promise(done => {
            const script = document.createElement("script");
            script.onload = () => done(true);
            script.onerror = () => done(false);
            script.src = "https://198.51.100.7/x.js";
            document.head.append(script);
        })"""
    )
    page.close()
    assert not loaded and any("Content Security Policy" in line for line in said)


def test_it_listens_to_this_machine_alone(server):
    port = int(server.address.rsplit(":", 1)[1].strip("/"))
    bound = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"]
    assert f"0100007F:{port:04X}" in bound and f"00000000:{port:04X}" not in bound
    listening = Path("/proc/net/tcp6")
    assert not listening.exists() or f":{port:04X} " not in listening.read_text()
