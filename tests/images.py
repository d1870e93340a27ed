"""Small image folders that the tests make."""

from pathlib import Path

import numpy as np
from PIL import Image


def make_folder(root: Path, classes: int = 3, train: int = 8, val: int = 5, size: tuple[int, int] = (40, 32)) -> Path:
    """An ImageNet layout whose classes are told by colour; each image is a little different."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for index in range(classes):
            folder = root / split / f"class {index}"
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 60, (*size, 3), dtype=np.uint8)
                pixels[..., index % 3] += 180
                Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=95)
    return root


def odd_images(folder: Path) -> dict[Path, str | None]:
    """Put images of every odd kind into a class folder.

    Returns:
        dict[Path, str or None], of each file the beginning of the reason to leave it out; None: it is as good as any.
    """
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    photo = Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    deep = Image.fromarray(rng.integers(0, 65536, (48, 64), dtype=np.uint16))
    good = {
        "plain.jpg": photo,
        "progressive.jpg": (photo, {"progressive": True}),
        "cmyk.jpg": photo.convert("CMYK"),
        "grey.JPEG": photo.convert("L"),
        "one pixel.jpg": photo.resize((1, 1)),
        "wide.jpg": photo.resize((20_000, 10)),
        "tall.png": photo.resize((10, 20_000)),
        "deep.png": deep,
        "palette.PNG": (photo.convert("P"), {"transparency": 3}),
        "alpha.png": photo.convert("RGBA"),
        "grey alpha.png": photo.convert("LA"),
        "bits.png": photo.convert("1"),
        "one pixel.png": photo.resize((1, 1)),
        "alpha.bmp": photo.convert("RGBA"),
        "palette.bmp": photo.convert("P"),
        "ein schönes 图像, 1.jpg": photo,
    }
    for name, made in good.items():
        image, options = made if isinstance(made, tuple) else (made, {})
        image.save(folder / name, **options)
    (folder / "png inside.jpg").write_bytes((folder / "alpha.png").read_bytes())
    (folder / "linked.jpg").symlink_to("plain.jpg")

    jpeg, progressive = (folder / "plain.jpg").read_bytes(), (folder / "progressive.jpg").read_bytes()
    png, bmp = (folder / "alpha.png").read_bytes(), (folder / "palette.bmp").read_bytes()
    frame = jpeg.index(b"\xff\xc0")
    tables = jpeg.index(b"\xff\xc4")
    data = png.index(b"IDAT")
    bad = {
        "in the header.jpg": ("truncated", jpeg[: tables + 10]),  # SIGFPE in MindSpore's decoder
        "in the image.jpg": ("truncated", jpeg[: len(jpeg) // 2]),
        "in a scan.jpg": ("truncated", progressive[: len(progressive) // 2]),
        "in a marker.jpg": ("cannot be decoded", jpeg[: frame + 1]),  # waits for ever
        "at the end.jpg": ("truncated", progressive[:-1]),
        "in the frame.jpg": ("truncated", jpeg[: frame + 6]),
        # A segment that is longer than the file, and none of the tables that are needed: SIGSEGV.
        "length.jpg": ("truncated", jpeg[: tables + 2] + b"\xff\xff" + jpeg[tables + 4 :]),
        "no tables.jpg": ("cannot be decoded", jpeg[: jpeg.index(b"\xff\xdb")] + jpeg[frame:]),
        "12 bits.jpg": ("cannot be decoded", jpeg[: frame + 4] + b"\x0c" + jpeg[frame + 5 :]),
        "half.png": ("truncated", png[: len(png) // 2]),
        "no end.png": ("truncated", png[:-12]),
        # A chunk that is longer than the file: waits for ever.
        "length.png": ("truncated", png[: data - 4] + b"\x7f\xff\xff\xff" + png[data:]),
        "checksum.png": ("damaged: wrong checksum", png[:-16] + bytes(4) + png[-12:]),
        "half.bmp": ("truncated", bmp[: len(bmp) // 2]),
        "zero bytes.jpg": ("empty", b""),
        "zeros.jpg": ("not an image", bytes(1000)),
        "text.jpg": ("not an image", b"<html>404 not found</html>"),
    }
    reasons = {folder / name: None for name in [*good, "png inside.jpg", "linked.jpg"]}
    for name, (reason, content) in bad.items():
        (folder / name).write_bytes(content)
        reasons[folder / name] = reason
    photo.save(folder / "animated.gif", save_all=True, append_images=[photo.rotate(90)])
    photo.save(folder / "photo.webp")
    (folder / "gif inside.jpg").write_bytes((folder / "animated.gif").read_bytes())
    photo.save(folder / "scan.tif")
    Image.new("1", (10_000, 9_000)).save(folder / "bomb.png")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "nowhere.jpg").symlink_to("not there.jpg")
    (folder / "folder.jpg").mkdir()
    (folder / "back").symlink_to("..")  # a walk that follows it never ends
    return reasons | {
        folder / "animated.gif": "GIF, which MindSpore does not read",
        folder / "gif inside.jpg": "GIF, which MindSpore does not read",
        folder / "photo.webp": "WebP, which MindSpore does not read",
        folder / "scan.tif": "TIFF, which MindSpore does not read",
        folder / "bomb.png": "too large: 10,000x9,000 pixels",
        folder / "loop.jpg": "symlink loop",
        folder / "nowhere.jpg": "cannot be read: No such file",
        folder / "folder.jpg": "not a file",
    }
