"""What the page in the browser is made of: images in, answers and pictures out. The page itself: test_explore_browser.py."""

import base64
import dataclasses
import io
import math
import re
import socket
import string
import warnings
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import error_of, python
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from vit_ms import engine, explore, runtime
from vit_ms.cli import main
from vit_ms.explore import images, looking, words
from vit_ms.explore.words import LANGUAGES, Refused, say
from vit_ms.introspection import attention_maps, attention_rollout
from vit_ms.recipe import load_recipe
from vit_ms.run import RunInfo, write_json
from vit_ms.weights import save_weights


def arc(x, y, across, down, start, end):
    """Points of an ellipse, angles in degrees from the right, clockwise."""
    angles = np.radians(np.linspace(start, end, 24))
    return [(x + across * math.cos(angle), y + down * math.sin(angle)) for angle in angles]


# A way or two to write each digit, strokes on a paper of 320 x 320.
STROKES = [
    (0, [arc(160, 160, 70, 105, 0, 360)]),
    (1, [[(120, 90), (160, 50), (160, 270)]]),
    (1, [[(160, 50), (160, 270)]]),
    (2, [arc(160, 110, 60, 60, 180, 390) + [(95, 270), (230, 270)]]),
    (3, [arc(150, 105, 60, 55, 200, 450) + arc(150, 215, 70, 55, 270, 510)]),
    (4, [[(190, 270), (190, 50), (85, 195), (240, 195)]]),
    (5, [[(220, 55), (110, 55), (105, 150)] + arc(150, 205, 70, 65, 230, 500)]),
    (6, [[(200, 55), (130, 120)] + arc(160, 205, 60, 60, 200, 560)]),
    (7, [[(80, 60), (230, 60), (140, 270)]]),
    (8, [arc(160, 105, 50, 52, 90, 450) + arc(160, 215, 62, 58, -90, 270)]),
    (9, [arc(155, 110, 60, 58, 0, 360) + [(215, 110), (205, 270)]]),
]


def drawing(strokes, scale=1.0, shift=(0, 0), width=22):
    """What the pad sends of these strokes: (320, 320) uint8, black on white."""
    page = Image.new("L", (320, 320), 255)
    pen = ImageDraw.Draw(page)
    for stroke in strokes:
        points = [(160 + scale * (x - 160) + shift[0], 160 + scale * (y - 160) + shift[1]) for x, y in stroke]
        pen.line(points, fill=0, width=width, joint="curve")
        for x, y in (points[0], points[-1]):
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=0)
    return np.asarray(page)


@pytest.fixture(scope="module")
def judge():
    """A classifier that learned the digits as scikit-learn has them: it knows drawings in no other form."""
    pixels, labels = load_digits(return_X_y=True)
    trained = SVC(gamma=0.001).fit(pixels, labels)
    return lambda digits: trained.predict([digit.reshape(-1) * (16 / 255) for digit in digits])


def variants():
    """Drawings large and small, in the corners, with thick and thin pens, and the digit of each."""
    return [
        (digit, drawing(strokes, scale, shift, width))
        for digit, strokes in STROKES
        for scale, shift, width in (
            (1, (0, 0), 22),
            (0.5, (-70, 60), 22),
            (0.6, (60, -40), 14),
            (1, (0, 0), 9),
        )
    ]


def test_drawn_digits_are_brought_to_the_form_that_was_learned(judge):
    labels, pages = zip(*variants(), strict=True)
    formed = [images.as_digit(page)[0] for page in pages]
    assert all(digit.shape == (8, 8, 1) and digit.dtype == np.uint8 and digit.max() == 255 for digit in formed)
    assert (judge(formed) == labels).mean() > 0.8  # a 6 with a straight stem it takes for a 5
    assert min(digit.mean() for digit in formed) > 60  # as much ink as there: 78 on average, whatever the pen
    squeezed = [np.asarray(Image.fromarray(255 - page).resize((8, 8), Image.Resampling.BOX)) for page in pages]
    assert (judge(squeezed) == labels).mean() < 0.5  # and they need it


def test_paper_may_be_dark_and_anywhere():
    page = drawing(STROKES[4][1])
    digit, inverted, _ = images.as_digit(page)
    assert inverted
    light, inverted, _ = images.as_digit(255 - page)
    assert not inverted and np.array_equal(light, digit)
    moved, _, _ = images.as_digit(drawing(STROKES[4][1], shift=(20, -30)))
    assert np.array_equal(moved, digit)
    grey = (page * 0.5 + 60).astype(np.uint8)  # a photograph: neither black nor white
    assert np.abs(images.as_digit(grey)[0].astype(int) - digit).max() <= 16


def test_thin_strokes_are_thickened_and_thick_ones_are_not():
    assert images.as_digit(drawing(STROKES[0][1], width=8))[2] is True
    assert images.as_digit(drawing(STROKES[9][1], width=40))[2] is False


@pytest.mark.parametrize("page", [np.full((50, 50), 255, np.uint8), np.full((9, 3), 7, np.uint8)])
def test_paper_without_ink_is_no_digit(page):
    assert images.as_digit(page)[0] is None


def picture(tmp_path, name, **settings):
    """A file with a gradient."""
    path = tmp_path / name
    rows = np.linspace(0, 255, 40, dtype=np.uint8)
    Image.fromarray(np.repeat(rows[:, None], 30, 1)).convert(settings.pop("mode", "RGB")).save(path, **settings)
    return path


def bomb(path, side=30_000):
    """A small PNG that says it has side x side pixels."""
    header = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])

    def chunk(kind, content):
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def refusal(function, *arguments):
    with pytest.raises(Refused) as raised:
        function(*arguments)
    told = [say(raised.value.key, language, **raised.value.values) for language in LANGUAGES]
    assert all("\n" not in line for line in told)
    return raised.value.key, told


def test_what_is_no_image_is_refused_in_both_languages(tmp_path):
    good = picture(tmp_path, "good.png").read_bytes()
    files = {
        "text.png": (b"this is text", "no_image"),
        "empty.jpg": (b"", "no_image"),
        "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no_image"),
        "page.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", "no_image"),
        "cut.png": (good[: len(good) // 2], "broken"),
        "torn.png": (good[:60] + bytes(20) + good[80:], "broken"),
    }
    for name, (content, key) in files.items():
        (tmp_path / name).write_bytes(content)
        found, (chinese, english) = refusal(images.read_upload, tmp_path / name)
        assert found == key, name
        assert f"`{name}`" in chinese and f"`{name}`" in english and str(tmp_path) not in english


def test_what_is_too_large_is_refused_before_it_is_decoded(tmp_path):
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(images.BYTES + 1)
    assert refusal(images.read_upload, tmp_path / "huge.png")[0] == "too_many_bytes"
    warnings.simplefilter("error")
    for side in (8_000, 10_000, 30_000):  # Pillow takes the first, warns of the second and refuses the third
        bomb(tmp_path / "bomb.png", side)
        assert refusal(images.read_upload, tmp_path / "bomb.png")[0] == "too_many_pixels"


def test_unusual_images_are_read_and_the_page_says_how(tmp_path):
    plain = np.asarray(images.read_upload(picture(tmp_path, "plain.png")).image)
    assert images.read_upload(tmp_path / "plain.png").notes == ()

    given = images.read_upload(picture(tmp_path, "print.jpg", mode="CMYK", quality=100))
    assert given.notes == ("cmyk",) and given.image.mode == "RGB"
    assert np.abs(np.asarray(given.image).astype(int) - plain).max() < 8

    deep = np.linspace(0, 65535, 40).astype(np.uint16)[:, None].repeat(30, 1)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    given = images.read_upload(tmp_path / "deep.png")
    assert given.notes == ("deep",) and np.abs(np.asarray(given.image).astype(int) - plain[..., 0]).max() <= 1

    frames = [Image.new("RGB", (30, 40), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    given = images.read_upload(tmp_path / "moving.gif")
    assert given.notes == ("animated",) and given.image.getpixel((3, 3))[0] > 200

    exif = Image.Exif()
    exif[0x0112] = 6
    given = images.read_upload(picture(tmp_path, "turned.jpg", exif=exif))
    assert given.notes == ("turned",) and given.image.size == (40, 30)

    clear = Image.new("RGBA", (30, 40), (0, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    given = images.read_upload(tmp_path / "clear.png")
    assert given.notes == ("transparent",) and given.image.getpixel((3, 3)) == (255, 255, 255)
    assert all(
        say(note, language) for note in ("cmyk", "deep", "animated", "turned", "transparent") for language in LANGUAGES
    )


def test_a_name_can_format_nothing():
    assert images.shown_name("/tmp/x/`**<img src=x>.png") == "____img src_x_.png"
    assert images.shown_name("猫.png") == "猫.png"
    assert len(images.shown_name("a" * 300 + ".png")) <= 60


def as_url(page):
    file = io.BytesIO()
    Image.fromarray(page).convert("RGBA").save(file, "png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def test_a_drawing_comes_as_a_data_url():
    page = drawing(STROKES[0][1])
    given = images.read_drawing(as_url(page))
    assert given.name == "" and np.array_equal(np.asarray(given.image.convert("L")), page)
    assert refusal(images.read_drawing, as_url(np.full((320, 320), 255, np.uint8)))[0] == "empty"
    url = as_url(page)
    for bad in (
        None,
        3,
        "",
        "/etc/passwd",
        "file:///etc/passwd",
        url[:200],
        url + "!",
        "data:image/png;base64," + "A" * 3_000_000,
    ):
        assert refusal(images.read_drawing, bad)[0] == "bad_drawing"


SIZES = {"image_size": 32, "num_classes": 10}
ENCODER = {"embed_dim": 24, "num_layers": 2, "num_heads": 3, "mlp_dim": 32}
VIT = {**SIZES, **ENCODER, "patch_size": 8}
RESNET = {"depths": [1], "stem_channels": 8, "num_groups": 4}
SWIN = {"patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}
NETWORKS = {
    "cls": ("vit_ti_16", VIT),
    "mean": ("vit_ti_16", {**VIT, "pool": "mean"}),
    "relative": ("vit_ti_16", {**VIT, "position": "relative"}),
    "distilled": ("deit_ti_16_distilled", VIT),
    "hybrid": ("vit_r26_s_32", {"image_size": 64, **ENCODER, **RESNET}),
    "swin": ("swin_t", {**SIZES, **SWIN}),
    "convnext": ("convnext_t", {**SIZES, "depths": [1, 1], "embed_dims": [16, 24]}),
    "resnet": ("resnet_r50x1", {**SIZES, **RESNET, "depths": [1, 1]}),
}
CLASSES = [f"类{number}" for number in range(10)]


def opened(folder, name, channels=3, classes=CLASSES) -> looking.Checkpoint:
    """A run's folder with initial weights, opened as the page does it."""
    model, overrides = NETWORKS[name]
    recipe = load_recipe("digits", exact={"model": model, "overrides": overrides, "mean": None, "std": None})
    info = RunInfo.of(recipe, SimpleNamespace(classes=classes, channels=channels))
    write_json(folder / "run.json", dataclasses.asdict(info))
    save_weights(info.network(), folder / "best.ckpt")
    return looking.Checkpoint(RunInfo.read(folder / "best.ckpt"), folder / "best.ckpt")


@pytest.fixture
def given(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (50, 70, 3), np.uint8)).save(tmp_path / "noise.png")
    return images.read_upload(tmp_path / "noise.png")


def test_the_page_shows_the_networks_own_numbers(tmp_path, given):
    """In graph mode, as the page runs."""
    checkpoint = opened(tmp_path, "cls")
    seen = checkpoint.look(given)
    x = checkpoint.info.preprocessing.prepare(np.asarray(given.image))[None]
    probabilities = np.exp(engine.log_probabilities(checkpoint.network, x, 1))[0]
    best = np.argsort(-probabilities)[:5]
    assert list(seen.top) == [CLASSES[index] for index in best]
    assert np.allclose(list(seen.top.values()), probabilities[best])
    maps = attention_maps(checkpoint.network, x)
    assert np.allclose(seen.maps, maps[:, 0], atol=1e-6)
    assert np.allclose(seen.rollout, attention_rollout(maps)[0], atol=1e-6)
    assert seen.done == ("as_it_is", {"height": 32, "width": 32})
    assert seen.picture.shape == (32, 32, 3)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_family_shows_what_it_has_and_says_what_it_lacks(name, tmp_path, given):
    runtime.setup("CPU", "pynative")
    checkpoint = opened(tmp_path, name)
    seen = checkpoint.look(given)
    assert len(seen.top) == 5 and 0.4 < sum(seen.top.values()) < 1 + 1e-6
    sizes = [checkpoint.patches(seen, 3 if checkpoint.is_vit else None).size]
    assert sizes == [checkpoint.shown_size]
    if checkpoint.is_vit:
        assert seen.stages == [] and seen.maps.shape[0] == checkpoint.num_layers
        drawn = [checkpoint.heads(seen, 0, None), checkpoint.rollout(seen, 3, "zh")]
        drawn += [checkpoint.similarities(3, "en")] if checkpoint.similarity is not None else []
    else:
        assert seen.maps is None and len(seen.stages) == 2 and all((stage > 0).all() for stage in seen.stages)
        drawn = [checkpoint.stages(seen)]
    assert all(min(image.size) > 200 for image in drawn)
    lacks = {
        "relative": "position=relative",
        "swin": "shifted windows",
        "convnext": "convolutional",
        "resnet": "convolutional",
    }
    assert lacks.get(name, "") in checkpoint.lacks("en") and bool(checkpoint.lacks("zh")) == (name in lacks)
    assert (checkpoint.grid is None) == (name == "resnet")


@pytest.mark.parametrize("name", ["cls", "mean", "distilled"])
def test_attention_is_that_of_the_tokens_that_the_head_reads(name, tmp_path, given):
    runtime.setup("CPU", "pynative")
    checkpoint = opened(tmp_path, name)
    maps = checkpoint.look(given).maps[1]  # (3, N, N)
    readers = {"cls": [0], "mean": range(1, 17), "distilled": [0, 1]}[name]
    prefix = 2 if name == "distilled" else 1
    expected = np.mean([maps[:, token, prefix:] for token in readers], axis=0).reshape(3, 4, 4)
    assert np.allclose(checkpoint._asked(maps, None), expected, atol=1e-6)
    assert np.array_equal(checkpoint._asked(maps, 6), maps[:, prefix + 6, prefix:].reshape(3, 4, 4))


def test_classes_of_one_name_are_both_shown(tmp_path, given):
    runtime.setup("CPU", "pynative")
    seen = opened(tmp_path, "cls", classes=["crane"] * 10).look(given)
    assert len(seen.top) == 5 and all(re.fullmatch(r"crane( #\d)?", name) for name in seen.top)


def test_a_place_is_one_patch(tmp_path):
    runtime.setup("CPU", "pynative")
    checkpoint = opened(tmp_path, "cls")
    assert [checkpoint.patch_at(*checkpoint.middle(patch)) for patch in range(16)] == list(range(16))
    assert checkpoint.patch_at(0.1, 0.9) == 3 and checkpoint.patch_at(0.9, 0.1) == 12
    assert checkpoint.patch_at(-1, 5) == 3  # an edge is hit by rounding


def test_the_chosen_patch_is_framed(tmp_path, given):
    runtime.setup("CPU", "pynative")
    checkpoint = opened(tmp_path, "cls")
    seen = checkpoint.look(given)
    plain, framed = (np.asarray(checkpoint.patches(seen, patch)) for patch in (None, 6))
    rows, columns = np.nonzero((plain != framed).any(axis=-1))
    height, width = plain.shape[:2]
    assert height / 4 - 3 <= rows.min() and rows.max() <= height / 2 + 3  # row 1
    assert width / 2 - 3 <= columns.min() and columns.max() <= 3 * width / 4 + 3  # column 2


def test_a_network_for_digits_gets_digits_and_another_the_image(tmp_path):
    info = SimpleNamespace(preprocessing=SimpleNamespace(image_size=16, channels=1), classes=list("0123456789"))
    drawn = images.read_drawing(as_url(drawing(STROKES[3][1])))
    digit, key, values = images.image_for(drawn, info)
    assert (
        digit.shape == (8, 8, 1)
        and key == "formed"
        and values["inverted"]
        and (values["height"], values["width"]) == (16, 16)
    )
    stored = np.arange(64, dtype=np.uint8).reshape(8, 8)
    image, key, _ = images.image_for(images.Given("x.png", Image.fromarray(stored)), info)
    assert np.array_equal(image[..., 0], stored) and key == "as_stored"
    blank = images.Given("x.png", Image.new("L", (90, 90), 200))
    assert refusal(images.image_for, blank, info)[0] == "blank"
    info.classes = ["cat", "dog"]
    image, key, _ = images.image_for(drawn, info)
    assert image.shape == (320, 320, 1) and key == "as_it_is"


def test_the_heading_tells_what_this_checkpoint_reached(tmp_path):
    runtime.setup("CPU", "pynative")
    checkpoint = opened(tmp_path, "cls")
    assert checkpoint.heading("en") == "vit_ti_16"
    measured = {"test": {"checkpoint": "best.ckpt", "top1": 0.9}, "val": {"checkpoint": "last.ckpt", "top1": 0.8}}
    write_json(tmp_path / "metrics.json", measured)
    assert checkpoint.heading("en") == "vit_ti_16, test accuracy 90.0%"


def test_both_languages_say_the_same():
    def fields(text):
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    for key, (chinese, english) in words._WORDS.items():
        assert fields(chinese) == fields(english), key
        assert re.search("[一-鿿]", chinese), key
        assert not re.search("[一-鿿]", english) or key == "language"
    sources = "".join(path.read_text(encoding="utf-8") for path in Path(words.__file__).parent.glob("*.py"))
    unused = [key for key in words._WORDS if len(re.findall(f"[\"']{key}[\"']", sources)) < 2]
    assert unused == ["asks_head", "asks_patch"]  # put together there


@pytest.mark.parametrize(
    ("checkpoints", "port", "language", "message"),
    [
        ([None] * 3, None, "zh", "there are 3 checkpoints"),
        ([None], None, "fr", "language is 'fr'; choose one of zh, en"),
        ([None], 0, "zh", "port is 0"),
        ([None], 70000, "zh", "port is 70000"),
    ],
)
def test_a_mistake_is_told_before_anything_is_loaded(checkpoints, port, language, message):
    assert message in error_of(explore.explore, checkpoints, port, language)


def test_a_port_in_use_is_one_line(tmp_path, capsys):
    runtime.setup("CPU", "pynative")
    opened(tmp_path, "cls")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["explore", "--ckpt_path", str(tmp_path / "best.ckpt"), "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"port {port} cannot be used" in error and "--port" in error


def test_a_missing_gradio_is_one_line(tmp_path):
    runtime.setup("CPU", "pynative")
    opened(tmp_path, "cls")
    (tmp_path / "no").mkdir()
    (tmp_path / "no" / "gradio.py").write_text("raise ModuleNotFoundError('No module named gradio')\n")
    words = ["-m", "vit_ms", "explore", "--ckpt_path", str(tmp_path / "best.ckpt")]
    ended = python(*words, first_on_path=tmp_path / "no")
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1, ended.stderr
    assert "needs gradio" in ended.stderr and "pip install" in ended.stderr and '"numpy>=1.26,<2.0"' in ended.stderr


def test_nothing_leaves_this_machine():
    for address in (("127.0.0.1", 80), ("::1", 80, 0, 0), "/run/local.socket"):
        explore._stay_here("socket.connect", (None, address))
    explore._stay_here("socket.getaddrinfo", ("localhost", 80, 0, 0, 0))
    explore._stay_here("socket.bind", (None, ("127.0.0.1", 80)))
    with pytest.raises(PermissionError, match=r"no connection to 198\.51\.100\.7"):
        explore._stay_here("socket.connect", (None, ("198.51.100.7", 443)))
    with pytest.raises(PermissionError, match=r"no connection to example\.org"):
        explore._stay_here("socket.getaddrinfo", ("example.org", 443, 0, 0, 0))
