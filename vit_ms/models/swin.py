"""The Swin Transformer (Liu et al. 2021, "Hierarchical Vision Transformer using Shifted Windows").

Attention is within windows of M x M tokens, so its cost grows with the image as a convolution's does. In every second block
the windows are shifted by half their side, so that what is in one can get into the next. Between the stages each 2 x 2
tokens become one.

Shape comments: B images, C channels, h w height and width of a map in tokens, D its channels, M window_size, W windows of an
image, H heads, K num_classes.
"""

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.common.initializer import Normal

from vit_ms import functional as F
from vit_ms.errors import UserError, check_positive
from vit_ms.layers import (
    GELU,
    Attention,
    Dense,
    Dropout,
    DropPath,
    FeedForward,
    LayerNorm,
    Numerics,
    PatchEmbedding,
    RelativePositionBias,
    ResidualCell,
    check_keep_prob,
)

NUMERICS = {
    "timm": Numerics(1e-5, "erf"),
    "hf": Numerics(1e-5, "erf"),
    "mindcv": Numerics(1e-5, "tanh"),
}


def window_partition(x: Tensor, window: tuple[int, int]) -> Tensor:
    """Cut a map into windows: (B, h, w, D) -> (B W, M M, D), h and w divisible by the window's sides."""
    b, h, w, d = x.shape
    rows, columns = window
    x = x.reshape(b, h // rows, rows, w // columns, columns, d)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, rows * columns, d)


def window_reverse(windows: Tensor, window: tuple[int, int], h: int, w: int) -> Tensor:
    """Put windows together again: (B W, M M, D) -> (B, h, w, D)."""
    rows, columns = window
    x = windows.reshape(-1, h // rows, w // columns, rows, columns, windows.shape[-1])
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, h, w, windows.shape[-1])


def shift_mask(grid: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]) -> np.ndarray:
    """What keeps tokens apart that share a shifted window but came from opposite sides of the map.

    Args:
        grid (tuple): height and width of the map, divisible by the window's sides.
        window (tuple): height and width of a window.
        shift (tuple): rows and columns that the map was moved by.

    Returns:
        ndarray, (W, M M, M M), float32: 0 where a pair of tokens may attend to each other, -100 where not.

    Reference:
        Liu et al. 2021, figure 4; swin_transformer.py, `SwinTransformerBlock`.
    """

    def regions(length: int, side: int, moved: int) -> np.ndarray:
        """Which part a place is of: all but the last window, the rest of it, what came from the other side."""
        places = np.arange(length)
        return (places >= length - side).astype(int) + (moved > 0) * (places >= length - moved)

    rows, columns = (regions(*sizes) for sizes in zip(grid, window, shift, strict=True))
    region = rows[:, None] * 3 + columns
    h, w = (length // side for length, side in zip(grid, window, strict=True))
    region = region.reshape(h, window[0], w, window[1]).transpose(0, 2, 1, 3).reshape(h * w, -1)  # (W, M M)
    return np.where(region[:, :, None] == region[:, None, :], 0.0, -100.0).astype(np.float32)


class WindowBias(RelativePositionBias):
    """The relative position bias of a window, with the mask of shifted windows.

    Args:
        window (tuple): height and width of a window.
        num_heads (int): H.
        mask (ndarray): as `shift_mask` gives it; None: the windows are not shifted.

    Outputs:
        Tensor, float32: (H, M M, M M), or with a mask (W, H, M M, M M).

    Reference:
        Liu et al. 2021, equation 4.
    """

    def __init__(self, window: tuple[int, int], num_heads: int, mask: np.ndarray | None):
        super().__init__(window, num_heads)
        self.mask = None if mask is None else Tensor(mask[:, None])

    def construct(self):
        return self.by_distance() if self.mask is None else self.by_distance() + self.mask


class WindowAttention(nn.Cell):
    """Self-attention within the windows of a map, W-MSA, or SW-MSA if they are shifted.

    A map that is no multiple of the window is padded with zeros below and to the right.

    Args:
        dim (int): D, divisible by num_heads.
        num_heads (int): H.
        grid (tuple): h and w.
        window_size (int): M; a side of the map that is no longer than it is one window, and not shifted.
        shifted (bool): whether the windows are shifted by M // 2.
        keep_prob (float): of the dropout after the output projection.
        attention_keep_prob (float): of the dropout on the attention weights.

    Inputs:
        - **x** (Tensor): (B, h, w, D), float.

    Outputs:
        Tensor, (B, h, w, D), dtype of x.

    Raises:
        UserError: As `Attention`, or if window_size is below 1.

    Reference:
        Liu et al. 2021, section 3.2; padding and windows on small maps as timm's swin_transformer.py.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        grid: tuple[int, int],
        window_size: int = 7,
        shifted: bool = False,
        keep_prob: float = 1.0,
        attention_keep_prob: float = 1.0,
    ):
        super().__init__()
        check_positive(window_size=window_size)
        self.window = tuple(min(window_size, side) for side in grid)
        self.shift = tuple(window_size // 2 if shifted and side > window_size else 0 for side in grid)
        self.padding = tuple(-side % length for side, length in zip(grid, self.window, strict=True))
        self.padded = tuple(side + more for side, more in zip(grid, self.padding, strict=True))
        mask = shift_mask(self.padded, self.window, self.shift) if any(self.shift) else None
        bias = WindowBias(self.window, num_heads, mask)
        self.attention = Attention(dim, num_heads, keep_prob, attention_keep_prob, bias)

    def construct(self, x):
        _, h, w, _ = x.shape
        x = self.pad(F.roll(x, *self.shift))
        x = self.attention(window_partition(x, self.window))  # (B W, M M, D)
        x = window_reverse(x, self.window, *self.padded)
        x = x[:, :h, :w] if any(self.padding) else x
        return F.roll(x, (h - self.shift[0]) % h, (w - self.shift[1]) % w)

    def pad(self, x):
        """(B, h, w, D) -> (B, *padded, D)"""
        b, h, w, d = x.shape
        below, right = self.padding
        x = ops.concat((x, ops.zeros((b, below, w, d), x.dtype)), axis=1) if below else x
        return ops.concat((x, ops.zeros((b, h + below, right, d), x.dtype)), axis=2) if right else x


class PatchMerging(nn.Cell):
    """Four tokens become one of twice the width: 2 x 2 x D side by side, 4 D, normalised and projected to 2 D.

    A map with an odd side is padded with zeros below or to the right.

    Args:
        dim (int): D.
        norm (Callable): makes a normalisation cell from a shape.

    Inputs:
        - **x** (Tensor): (B, h, w, D), float.

    Outputs:
        Tensor, (B, ceil(h / 2), ceil(w / 2), 2 D), dtype of x.

    Reference:
        Liu et al. 2021, section 3.1; swin_transformer.py, `PatchMerging`, for the order of the four.
    """

    def __init__(self, dim: int, norm=LayerNorm):
        super().__init__()
        self.norm = norm((4 * dim,))
        self.reduction = Dense(4 * dim, 2 * dim, Normal(0.02), has_bias=False)

    def construct(self, x):
        b, h, w, d = x.shape
        x = ops.concat((x, ops.zeros((b, 1, w, d), x.dtype)), axis=1) if h % 2 else x
        x = ops.concat((x, ops.zeros((b, x.shape[1], 1, d), x.dtype)), axis=2) if w % 2 else x
        rows, columns = x.shape[1] // 2, x.shape[2] // 2
        x = x.reshape(b, rows, 2, columns, 2, d).transpose(0, 1, 3, 4, 2, 5)  # the row of the four runs faster
        return self.reduction(self.norm(x.reshape(b, rows, columns, 4 * d)))


class SwinStage(nn.Cell):
    """Patch merging, but in the first stage, and blocks whose windows are in turn not shifted and shifted.

    Args:
        dim (int): D, of the output.
        num_heads (int): H.
        grid (tuple): h and w of the output.
        window_size (int): M.
        mlp_ratio (float): hidden width of each MLP over D.
        merge (bool): whether it begins with a patch merging.
        path_keep_probs (list[float]): of each block's residual branches.
        keep_prob, attention_keep_prob (float): as `WindowAttention`.
        activation (Callable): makes the MLPs' activation cell.
        norm (Callable): makes a normalisation cell from a shape.

    Inputs:
        - **x** (Tensor): (B, h, w, D), or (B, 2 h, 2 w, D / 2) to be merged, float.

    Outputs:
        Tensor, (B, h, w, D), dtype of x.

    Reference:
        Liu et al. 2021, equation 3.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        grid: tuple[int, int],
        window_size: int,
        mlp_ratio: float,
        merge: bool,
        path_keep_probs: list[float],
        keep_prob: float,
        attention_keep_prob: float,
        activation,
        norm,
    ):
        super().__init__()
        self.downsample = PatchMerging(dim // 2, norm) if merge else nn.SequentialCell()
        blocks = []
        for number, path_keep_prob in enumerate(path_keep_probs):
            shifted = number % 2 == 1
            attention = WindowAttention(dim, num_heads, grid, window_size, shifted, keep_prob, attention_keep_prob)
            feedforward = FeedForward(dim, int(dim * mlp_ratio), activation=activation, keep_prob=keep_prob)
            blocks.append(
                nn.SequentialCell(
                    ResidualCell(nn.SequentialCell(norm((dim,)), attention, DropPath(path_keep_prob))),
                    ResidualCell(nn.SequentialCell(norm((dim,)), feedforward, DropPath(path_keep_prob))),
                )
            )
        self.blocks = nn.SequentialCell(blocks)

    def construct(self, x):
        return self.blocks(self.downsample(x))


class Swin(nn.Cell):
    """The Swin Transformer.

    Args:
        image_size (int or tuple): height and width in pixels, or both if they are the same, divisible by patch_size.
        input_channels (int): C.
        patch_size (int): height and width of a patch in pixels.
        embed_dim (int): D of the first stage; each stage has twice the last one's.
        depths (list[int]): blocks of each stage.
        num_heads (list[int]): H of each stage.
        window_size (int): M.
        mlp_ratio (float): hidden width of each MLP over D.
        keep_prob (float): of the dropouts after the dense layers and the patch embedding.
        attention_keep_prob (float): of the dropout on the attention weights.
        drop_path_keep_prob (float): of the last block's residual branches; the rate rises linearly from 0 at the first.
        activation (Callable): makes the MLPs' activation cell.
        norm (Callable): makes a normalisation cell from a shape.
        num_classes (int): K.

    Inputs:
        - **x** (Tensor): (B, C, height, width), float32 or float16.

    Outputs:
        Tensor, (B, K), the logits, dtype of x.

    Raises:
        UserError: If a size is below 1, image_size is not divisible by patch_size, a stage's D is not divisible by its
            num_heads, there are not as many num_heads as depths, or a keep_prob is not in (0, 1].

    Reference:
        Liu et al. 2021, figure 3.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        input_channels: int = 3,
        patch_size: int = 4,
        embed_dim: int = 96,
        depths: list[int] = (2, 2, 6, 2),
        num_heads: list[int] = (3, 6, 12, 24),
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        keep_prob: float = 1.0,
        attention_keep_prob: float = 1.0,
        drop_path_keep_prob: float = 1.0,
        activation=GELU,
        norm=LayerNorm,
        num_classes: int = 1000,
    ):
        super().__init__()
        check_positive(depths=min(depths), num_classes=num_classes)
        check_keep_prob("keep_prob", keep_prob)
        check_keep_prob("drop_path_keep_prob", drop_path_keep_prob)
        if len(num_heads) != len(depths):
            raise UserError(
                f"num_heads is {list(num_heads)}; it must have one number for each of depths {list(depths)}"
            )
        self.patch_embedding = PatchEmbedding(image_size, patch_size, embed_dim, input_channels)
        self.patch_norm = norm((embed_dim,))
        self.pos_dropout = Dropout(p=1.0 - keep_prob)
        path_keep_probs = np.linspace(1.0, drop_path_keep_prob, sum(depths)).tolist()
        stages, dim, grid = [], embed_dim, self.patch_embedding.grid
        for number, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
            if number:
                dim, grid = dim * 2, tuple((side + 1) // 2 for side in grid)
            stages.append(
                SwinStage(
                    dim,
                    heads,
                    grid,
                    window_size,
                    mlp_ratio,
                    number > 0,
                    [path_keep_probs.pop(0) for _ in range(depth)],
                    keep_prob,
                    attention_keep_prob,
                    activation,
                    norm,
                )
            )
        self.stages = nn.CellList(stages)
        self.norm = norm((dim,))
        self.dense = Dense(dim, num_classes, Normal(0.02))

    def maps(self, x):
        """The map of each stage, channels last: (B, C, height, width) -> list of (B, h, w, D)."""
        x = self.patch_embedding(x)  # (B, h w, D)
        x = self.pos_dropout(self.patch_norm(x))
        x = x.reshape(x.shape[0], *self.patch_embedding.grid, -1)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def features(self, x):
        """The map of each stage: (B, C, height, width) -> list of (B, D, h, w), at strides 4, 8, 16 and 32."""
        return [x.transpose(0, 3, 1, 2) for x in self.maps(x)]

    def recompute_blocks(self):
        """In training, keep each block's input only and compute the rest again in the backward pass (Chen et al. 2016)."""
        for stage in self.stages:
            for block in stage.blocks:
                block.recompute()

    def representation(self, x):
        """What the head reads: (B, C, height, width) -> (B, D)."""
        x = self.norm(self.maps(x)[-1])  # (B, h, w, D)
        return x.mean(axis=(1, 2))

    def construct(self, x):
        return self.dense(self.representation(x))


_DEEP = {"image_size": 224, "depths": [2, 2, 18, 2]}

# Liu et al. 2021, section 3.3; drop path as the authors train each on ImageNet (Large: on ImageNet-22k).
VARIANTS = {
    "swin_t": {
        "image_size": 224,
        "embed_dim": 96,
        "depths": [2, 2, 6, 2],
        "num_heads": [3, 6, 12, 24],
        "drop_path_keep_prob": 0.8,
    },
    "swin_s": {**_DEEP, "embed_dim": 96, "num_heads": [3, 6, 12, 24], "drop_path_keep_prob": 0.7},
    "swin_b": {**_DEEP, "embed_dim": 128, "num_heads": [4, 8, 16, 32], "drop_path_keep_prob": 0.5},
    "swin_l": {**_DEEP, "embed_dim": 192, "num_heads": [6, 12, 24, 48], "drop_path_keep_prob": 0.8},
}
