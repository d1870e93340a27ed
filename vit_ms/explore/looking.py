"""What the page shows of a checkpoint: its answer to an image, and pictures of what is inside.

Shape comments: L layers, H heads, N tokens.
"""

import io
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype
from PIL import Image, ImageDraw

from vit_ms import engine, visualize
from vit_ms.explore.images import Given, image_for
from vit_ms.explore.words import say
from vit_ms.introspection import AttentionMaps, attention_rollout, position_similarity
from vit_ms.layers import pair
from vit_ms.models.convnext import ConvNeXt
from vit_ms.models.swin import Swin
from vit_ms.models.vit import ViT
from vit_ms.run import RunInfo, read_json
from vit_ms.weights import load_weights

WIDTH = 336  # of the pictures, in pixels or a little more
_HEAT = colormaps["viridis"]  # even in lightness, and told apart by colour-blind readers


class _StageStrengths(nn.Cell):
    """The length of the feature vector at each place, of every stage: images to a tuple of (B, h, w) float32."""

    def __init__(self, network: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, images):
        strengths = ()
        for features in self.network.features(images):
            features = features.astype(mstype.float32)
            strengths += (ops.sqrt((features * features).sum(axis=1)),)
        return strengths


@dataclass(frozen=True)
class Seen:
    """What a checkpoint made of an image.

    Args:
        picture (np.ndarray): what the network saw, (height, width, 3) uint8.
        done (tuple[str, dict]): key and values of what was done to the image before.
        top (dict[str, float]): the likeliest five classes with their probabilities.
        maps (np.ndarray): attention, (L, H, N, N) float32; None: the network has none over the whole image.
        rollout (np.ndarray): (N, N) float32; None as `maps`.
        stages (list[np.ndarray]): strength of the features, each (h, w) float32; empty for a ViT.
    """

    picture: np.ndarray
    done: tuple[str, dict]
    top: dict[str, float]
    maps: np.ndarray | None
    rollout: np.ndarray | None
    stages: list[np.ndarray]


class Checkpoint:
    """A network with its weights, ready to look at one image after the other, from any thread.

    Args:
        info (RunInfo): what the checkpoint is.
        path (str or Path): its weights.

    Raises:
        UserError: If the weights do not fit.
    """

    def __init__(self, info: RunInfo, path: str | Path):
        self.info, self.path = info, Path(path)
        self.network = info.network()
        load_weights(self.network, path)
        self.network.set_train(False)
        self.is_vit = isinstance(self.network, ViT)
        self._inside = (AttentionMaps if self.is_vit else _StageStrengths)(self.network).set_train(False)
        has_positions = self.is_vit and self.network.position not in ("relative", "none")
        self.similarity = position_similarity(self.network) if has_positions else None
        self._one_at_a_time = threading.Lock()
        size = pair(info.preprocessing.image_size)
        self.shown_size = _size(size)  # width and height of what `patches` draws
        inside = self._compute(np.zeros((info.preprocessing.channels, *size), np.float32))[1]  # compiles
        self.num_layers = len(self.network.transformer.layers) if self.is_vit else 0
        self.grid: tuple[int, int] | None = None  # rows and columns of patches
        if hasattr(self.network, "patch_embedding"):
            self.grid = tuple(self.network.patch_embedding.grid)
        elif isinstance(self.network, ConvNeXt):
            self.grid = inside[0].shape[1:]

    def middle(self, patch: int) -> tuple[float, float]:
        """How far down and to the right the middle of a patch is, as shares of the image."""
        row, column = divmod(patch, self.grid[1])
        return (row + 0.5) / self.grid[0], (column + 0.5) / self.grid[1]

    def patch_at(self, down: float, right: float) -> int:
        """The patch at a place, as shares of the image; the nearest one to a place outside."""
        row, column = (
            min(max(int(share * side), 0), side - 1) for share, side in zip((down, right), self.grid, strict=True)
        )
        return row * self.grid[1] + column

    def _compute(self, image: np.ndarray) -> tuple[np.ndarray, tuple]:
        """Probabilities, (K,), and what is inside, of (C, height, width) float32."""
        with self._one_at_a_time:
            probabilities = np.exp(engine.log_probabilities(self.network, image[None], 1))[0]
            inside = self._inside(Tensor(image[None]))
            return probabilities, tuple(item.asnumpy() for item in (inside if isinstance(inside, tuple) else (inside,)))

    def look(self, given: Given) -> Seen:
        """Show the network an image.

        Raises:
            Refused: If the image has nothing that this network could see.
        """
        image, *done = image_for(given, self.info)
        network_input = self.info.preprocessing.prepare(image)  # (C, height, width)
        probabilities, inside = self._compute(network_input)
        top = {}
        for index in np.argsort(-probabilities, kind="stable")[:5]:
            name = self.info.classes[index]  # ImageNet has two cranes
            top[f"{name} #{index}" if name in top else name] = float(probabilities[index])
        picture = self.info.preprocessing.restore(network_input[None])[0]
        maps = inside[0] if self.is_vit else None  # (L, 1, H, N, N)
        return Seen(
            np.broadcast_to(picture, (*picture.shape[:2], 3)),
            tuple(done),
            top,
            None if maps is None else maps[:, 0],
            None if maps is None else attention_rollout(maps)[0],
            [] if self.is_vit else [item[0] for item in inside],
        )

    def heading(self, language: str) -> str:
        """Which checkpoint it is, and what its evaluation found, where there was one."""
        measured = read_json(self.path.with_name("metrics.json"))
        found = [
            say("accuracy", language, split=split, top1=values["top1"])
            for split, values in measured.items()
            if isinstance(values, dict) and values.get("checkpoint") == self.path.name and "top1" in values
        ]
        return ", ".join([self.info.model, *found])

    def lacks(self, language: str) -> str:
        """A line on what the page cannot show of this network; empty, if nothing."""
        if isinstance(self.network, Swin):
            return say("lacks_swin", language)
        if not self.is_vit:
            return say("lacks_conv", language)
        if self.similarity is None:
            return say("lacks_positions", language, position=self.network.position)
        return ""

    def _asked(self, rows: np.ndarray, patch: int | None) -> np.ndarray:
        """What a patch, or what the head reads if it is None, takes from each patch: (..., N, N) -> (..., rows, columns)."""
        prefix = self.network.NUM_PREFIX
        if patch is not None:
            row = rows[..., prefix + patch, :]
        elif self.network.pool == "mean":
            row = rows[..., prefix:, :].mean(axis=-2)
        else:  # the class token, and the distillation token beside it
            row = rows[..., :prefix, :].mean(axis=-2)
        return row[..., prefix:].reshape(*row.shape[:-1], *self.grid)

    def patches(self, seen: Seen, patch: int | None) -> Image.Image:
        """What the network saw, cut into its patches, one of them framed."""
        picture = _enlarged(seen.picture)
        if self.grid is None:
            return picture
        draw = ImageDraw.Draw(picture, "RGBA")
        rows, columns = self.grid
        if picture.width / columns >= 8 and picture.height / rows >= 8:  # finer lines would hide the image
            for column in range(1, columns):
                x = round(column * picture.width / columns)
                draw.line((x, 0, x, picture.height), fill=(128, 128, 128, 200))
            for row in range(1, rows):
                y = round(row * picture.height / rows)
                draw.line((0, y, picture.width, y), fill=(128, 128, 128, 200))
        if patch is not None:
            self._frame(draw, picture.size, patch)
        return picture

    def _frame(self, draw: ImageDraw.ImageDraw, size: tuple[int, int], patch: int) -> None:
        """A frame around a patch that is seen on dark and on light."""
        (rows, columns), (width, height) = self.grid, size
        row, column = divmod(patch, columns)
        left, right = round(column * width / columns), round((column + 1) * width / columns) - 1
        top, bottom = round(row * height / rows), round((row + 1) * height / rows) - 1
        draw.rectangle((left - 2, top - 2, right + 2, bottom + 2), outline="black", width=2)
        draw.rectangle((left, top, right, bottom), outline=visualize.ORANGE, width=3)

    def heads(self, seen: Seen, layer: int, patch: int | None) -> Image.Image:
        """The attention of every head of a layer, from 0, over the image: of what the head reads, or of a patch."""
        shares = self._asked(seen.maps[layer], patch)  # (H, rows, columns)
        pictures = [self._over(seen.picture, share / share.max(), patch) for share in shares]
        titles = [f"{number}: {share.max():.0%}" for number, share in enumerate(shares, 1)]
        columns = next(count for count in (4, 3, 5, len(shares)) if len(shares) % count == 0)  # no gap at the end
        return _drawn(visualize.plot_images(pictures, titles, columns))

    def rollout(self, seen: Seen, patch: int | None, language: str) -> Image.Image:
        """The attention of all layers together, over the image, as `heads`."""
        share = self._asked(seen.rollout, patch)
        over = self._over(seen.picture, share / share.max(), patch)
        return _with_scale(over, 0, share.max(), say("share", language), percent=True)

    def similarities(self, patch: int, language: str) -> Image.Image:
        """How similar the position embeddings of all patches are to that of one."""
        values = self.similarity[divmod(patch, self.grid[1])]  # (rows, columns)
        lowest = values.min()
        picture = Image.fromarray(_coloured((values - lowest) / max(1 - lowest, 1e-6)))
        picture = picture.resize(_size(self.grid), Image.Resampling.NEAREST)
        self._frame(ImageDraw.Draw(picture), picture.size, patch)
        return _with_scale(np.asarray(picture), lowest, 1, say("cosine", language))

    def stages(self, seen: Seen) -> Image.Image:
        """The strength of the features of every stage, over the image."""
        pictures = [self._over(seen.picture, strength / max(strength.max(), 1e-30), None) for strength in seen.stages]
        titles = [
            f"{number}: {strength.shape[0]}×{strength.shape[1]}" for number, strength in enumerate(seen.stages, 1)
        ]
        return _drawn(visualize.plot_images(pictures, titles, 2))

    def _over(self, picture: np.ndarray, values: np.ndarray, patch: int | None) -> np.ndarray:
        """Values from 0 to 1, (rows, columns), in colours over a grey picture, with a patch framed: uint8."""
        grey = np.asarray(_enlarged(picture).convert("L"), np.float32)[..., None]
        height, width = grey.shape[:2]
        colours = Image.fromarray(_coloured(values)).resize((width, height), Image.Resampling.NEAREST)
        mixed = Image.fromarray((0.3 * grey + 0.7 * np.asarray(colours, np.float32)).astype(np.uint8))
        if patch is not None:
            self._frame(ImageDraw.Draw(mixed), mixed.size, patch)
        return np.asarray(mixed)


def _coloured(values: np.ndarray) -> np.ndarray:
    """Values from 0 to 1 as colours: (h, w) to (h, w, 3) uint8."""
    return (_HEAT(values)[..., :3] * 255).astype(np.uint8)


def _size(shape: tuple[int, int]) -> tuple[int, int]:
    """Width and height in which every pixel, or patch, is a whole number of pixels and the picture about WIDTH wide."""
    factor = max(1, round(WIDTH / max(shape)))
    return shape[1] * factor, shape[0] * factor


def _enlarged(picture: np.ndarray) -> Image.Image:
    """A small picture with its pixels to be seen; one that is large enough as it is."""
    return Image.fromarray(picture).resize(_size(picture.shape[:2]), Image.Resampling.NEAREST)


def _with_scale(picture: np.ndarray, lowest: float, highest: float, label: str, percent: bool = False) -> Image.Image:
    """A picture beside the scale of its colours."""
    figure = Figure(figsize=(4.2, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.imshow(picture)
    axes.set_axis_off()
    scale = ScalarMappable(Normalize(lowest, highest), _HEAT)
    figure.colorbar(scale, ax=axes, label=label, shrink=0.9, format=PercentFormatter(1) if percent else "{x:.1f}")
    return _drawn(figure)


def _drawn(figure: Figure) -> Image.Image:
    """A figure as an image, with letters that can be read on a phone."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=200, facecolor="white")
    return Image.open(drawn).convert("RGB")
