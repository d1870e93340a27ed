"""The cells that the whole family is built of, with the names, arguments and parameters of the course's.

They read like the course's; the arithmetic is in functional.py, in the form that is fastest on the device.

Shape comments: B images, C channels, P patch size, N tokens, D embed_dim, H heads, d = D / H, M mlp_dim.
"""

from dataclasses import dataclass
from functools import partial

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import Normal, Uniform, initializer

from vit_ms import functional as F
from vit_ms.errors import UserError, check_positive
from vit_ms.runtime import on_ascend


@dataclass(frozen=True)
class Numerics:
    """The choices in which libraries differ and which move the logits; None: the network has no such thing.

    Args:
        epsilon (float): added to the variance in LayerNorm.
        gelu (str): `"erf"` for the exact GELU, `"tanh"` for its approximation.
        head_epsilon (float): that of ConvNeXt's last LayerNorm, if it is another.
        group_epsilon (float): added to the variance in GroupNorm.
        standardize (str): how convolutions are standardised, `"std"` or `"variance"`, as `functional.standardize` takes it.
    """

    epsilon: float | None = None
    gelu: str | None = None
    head_epsilon: float | None = None
    group_epsilon: float | None = None
    standardize: str | None = None

    def __str__(self) -> str:
        words = [] if self.epsilon is None else [f"LayerNorm epsilon {self.epsilon:g}"]
        words += [] if self.head_epsilon is None else [f"{self.head_epsilon:g} before the head"]
        words += [] if self.gelu is None else [f"{self.gelu} GELU"]
        words += [] if self.group_epsilon is None else [f"GroupNorm epsilon {self.group_epsilon:g}"]
        words += [] if self.standardize is None else [f"weights standardised by {self.standardize}"]
        return ", ".join(words)

    def cells(self) -> dict:
        """The arguments of a model that has these numerics: `norm` and `activation`, and those of convolutions."""
        cells = {}
        if self.epsilon is not None:
            cells["norm"] = partial(LayerNorm, epsilon=self.epsilon)
        if self.head_epsilon is not None:
            cells["head_norm"] = partial(LayerNorm, epsilon=self.head_epsilon)
        if self.gelu is not None:
            cells["activation"] = partial(GELU, approximate=self.gelu == "tanh")
        if self.group_epsilon is not None:
            cells |= {"group_epsilon": self.group_epsilon, "standardize": self.standardize}
        return cells


# Of ViT and DeiT. MindSpore's defaults, and so the course's and mindcv's, are epsilon 1e-7 and the tanh GELU. The ViT
# papers' code has 1e-6 with tanh; timm, which most published weights are for, has 1e-6 with erf; Hugging Face's files say
# theirs in config.json, and this is what it says most often.
NUMERICS = {
    "timm": Numerics(1e-6, "erf"),
    "google": Numerics(1e-6, "tanh"),
    "course": Numerics(1e-7, "tanh"),
    "mindcv": Numerics(1e-7, "tanh"),
    "hf": Numerics(1e-12, "erf"),
}


def pair(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width of an image size, which may be one number for both.

    Raises:
        UserError: If one is below 1, or there are not two.
    """
    sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(sides) != 2:
        raise UserError(f"image_size is {image_size}; it must be one number, or height and width")
    check_positive(image_size=min(sides))
    return sides


def check_keep_prob(name: str, value: float) -> None:
    """Raise a UserError unless `value` is in (0, 1]."""
    if not 0.0 < value <= 1.0:
        raise UserError(f"{name} is {value}; it must be above 0 and at most 1 (1 drops nothing)")


class Dense(nn.Dense):
    """A fully connected layer, x W^T + b, with the initial values of the paper's code.

    Args:
        in_channels (int): width of the input.
        out_channels (int): width of the output.
        weight_init (str or Initializer): Glorot uniform by default.
        has_bias (bool): whether b is there.

    Inputs:
        - **x** (Tensor): (..., in_channels), float.

    Outputs:
        Tensor, (..., out_channels), dtype of x.

    Reference:
        vit_jax/models_vit.py, `MlpBlock`; nn.Dense for the names.
    """

    def __init__(self, in_channels: int, out_channels: int, weight_init="xavier_uniform", has_bias: bool = True):
        super().__init__(in_channels, out_channels, weight_init=weight_init, bias_init="zeros", has_bias=has_bias)

    def construct(self, x):
        return F.dense(x, self.weight, self.bias if self.has_bias else None)


class LayerNorm(nn.LayerNorm):
    """Layer normalisation over the last axis: gamma (x - mean) / sqrt(variance + epsilon) + beta.

    Args:
        normalized_shape (tuple): (D,).
        epsilon (float): 1e-7 is MindSpore's and the course's value, not the 1e-6 of the ViT papers' code.

    Inputs:
        - **x** (Tensor): (..., D), float.

    Outputs:
        Tensor, shape and dtype of x.

    Reference:
        Ba, Kiros & Hinton 2016, equation 3.
    """

    def __init__(self, normalized_shape: tuple, epsilon: float = 1e-7):
        super().__init__(tuple(normalized_shape), epsilon=epsilon)

    def construct(self, x):
        return F.layer_norm(x, self.gamma, self.beta, self.epsilon)


class GELU(nn.GELU):
    """The Gaussian error linear unit.

    Args:
        approximate (bool): the tanh form, MindSpore's and the course's default; False is the exact one with erf.

    Inputs:
        - **x** (Tensor): any shape, float.

    Outputs:
        Tensor, shape and dtype of x.

    Reference:
        Hendrycks & Gimpel 2016, section 2.
    """

    def construct(self, x):
        return F.gelu(x, self.approximate == "tanh")


class Tanh(nn.Cell):
    """The hyperbolic tangent.

    Inputs:
        - **x** (Tensor): any shape, float.

    Outputs:
        Tensor, shape and dtype of x.
    """

    def construct(self, x):
        return F.tanh(x)


class Dropout(nn.Dropout):
    """nn.Dropout whose masks, within a training step, follow from the seed and the step's number: a run that goes on after
    an interruption drops what it would have dropped.

    Args:
        p (float): chance to drop an element, in [0, 1).

    Inputs:
        - **x** (Tensor): (B, ...), float.

    Outputs:
        Tensor, shape and dtype of x; x itself in evaluation.
    """

    draw, salt = None, 0

    def draw_from(self, draw: Parameter, salt: int) -> None:
        """Draw the masks from `draw`, as `functional.random_bits` takes it, and no more from MindSpore's generator."""
        object.__setattr__(self, "draw", draw)  # not one of this cell's parameters: those are what is learnt
        self.salt = salt

    def construct(self, x):
        if not self.training or self.p == 0.0:
            return x
        if self.draw is None or on_ascend():
            return super().construct(x)
        return F.dropout(x, self.p, self.draw, self.salt)


class DropPath(nn.Cell):
    """Drop the residual branch of a whole sample in training and scale the others by 1 / keep_prob.

    Args:
        keep_prob (float): chance to keep a sample's branch, in (0, 1].

    Inputs:
        - **x** (Tensor): (B, ...), float.

    Outputs:
        Tensor, shape and dtype of x; x itself in evaluation.

    Raises:
        UserError: If keep_prob is not in (0, 1].

    Reference:
        Huang et al. 2016, Deep Networks with Stochastic Depth, equation 5, with the scale in training (timm, mindcv).
    """

    def __init__(self, keep_prob: float = 1.0):
        super().__init__()
        check_keep_prob("keep_prob", keep_prob)
        self.keep_prob = keep_prob
        # A dropout of ones, one for each sample, is the mask with its scale.
        self.dropout = Dropout(p=1.0 - keep_prob)

    def construct(self, x):
        if not self.training or self.keep_prob == 1.0:
            return x
        mask = self.dropout(ops.ones((x.shape[0],) + (1,) * (x.ndim - 1), x.dtype))  # (B, 1, ...)
        return x * mask


def relative_position_index(grid: tuple[int, int], num_prefix: int = 0) -> np.ndarray:
    """For each pair of tokens the row of the bias table that their distance has.

    Args:
        grid (tuple): rows and columns of tokens.
        num_prefix (int): tokens before those of the grid. They have no place in it: the three last rows of the table are for
            pairs of such a token and one of the grid, the reverse, and two such tokens.

    Returns:
        ndarray, (N, N), int32: of the distance (i, j) from the second to the first, (i + rows - 1)(2 columns - 1) + j +
        columns - 1.

    Reference:
        Liu et al. 2021, section 3.2; the rows for the class token: Bao et al. 2022, beit/modeling_finetune.py.
    """
    rows, columns = grid
    row, column = (places.reshape(-1) for places in np.indices(grid))
    below = row[:, None] - row[None, :] + rows - 1  # (rows columns, rows columns)
    right = column[:, None] - column[None, :] + columns - 1
    distances = (2 * rows - 1) * (2 * columns - 1)
    index = np.full((num_prefix + len(row),) * 2, distances + 2)
    index[:num_prefix, num_prefix:] = distances
    index[num_prefix:, :num_prefix] = distances + 1
    index[num_prefix:, num_prefix:] = below * (2 * columns - 1) + right
    return index.astype(np.int32)


class RelativePositionBias(nn.Cell):
    """What attention adds to its scores, learned for each head and each distance of two tokens in rows and columns.

    Args:
        grid (tuple): rows and columns of tokens.
        num_heads (int): H.
        num_prefix (int): tokens before those of the grid, such as the class token.

    Outputs:
        Tensor, (H, N, N), float32.

    Reference:
        Liu et al. 2021, equation 4.
    """

    def __init__(self, grid: tuple[int, int], num_heads: int, num_prefix: int = 0):
        super().__init__()
        self.grid, self.num_prefix = tuple(grid), num_prefix
        index = relative_position_index(grid, num_prefix)
        self.num_tokens = len(index)
        self.index = Tensor(index.reshape(-1))
        table_rows = (2 * grid[0] - 1) * (2 * grid[1] - 1) + (3 if num_prefix else 0)
        self.relative_position_bias_table = init(
            Normal(0.02), (table_rows, num_heads), ms.float32, "relative_position_bias_table"
        )

    def by_distance(self):
        """(H, N, N)"""
        bias = ops.gather(self.relative_position_bias_table, self.index, 0)  # (N N, H)
        return bias.transpose(1, 0).reshape(-1, self.num_tokens, self.num_tokens)

    def construct(self):
        return self.by_distance()


class Attention(nn.Cell):
    """Multi-head self-attention.

    Args:
        dim (int): D, divisible by num_heads.
        num_heads (int): H.
        keep_prob (float): of the dropout after the output projection.
        attention_keep_prob (float): of the dropout on the attention weights.
        position_bias (nn.Cell): called without inputs it gives what is added to the scores, as `functional.attention`
            takes it; None: nothing.

    Inputs:
        - **x** (Tensor): (B, N, D), float.

    Outputs:
        Tensor, (B, N, D), dtype of x.

    Raises:
        UserError: If a size is below 1, dim is not divisible by num_heads, or a keep_prob is not in (0, 1].

    Reference:
        Dosovitskiy et al. 2021, equations 5 to 8; Vaswani et al. 2017, section 3.2.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        keep_prob: float = 1.0,
        attention_keep_prob: float = 1.0,
        position_bias: nn.Cell | None = None,
    ):
        super().__init__()
        check_positive(embed_dim=dim, num_heads=num_heads)
        if dim % num_heads:
            raise UserError(f"embed_dim {dim} is not divisible by num_heads {num_heads}: choose a divisor of {dim}")
        check_keep_prob("keep_prob", keep_prob)
        check_keep_prob("attention_keep_prob", attention_keep_prob)
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        # q, k and v are three D x D layers stored as one: Glorot's range is that of one of them.
        self.qkv = Dense(dim, dim * 3, weight_init=Uniform((3.0 / dim) ** 0.5))
        self.attn_drop = Dropout(p=1.0 - attention_keep_prob)
        self.out = Dense(dim, dim)
        self.out_drop = Dropout(p=1.0 - keep_prob)
        self.position_bias = position_bias

    def construct(self, x):
        b, n, c = x.shape
        bias = None if self.position_bias is None else self.position_bias()
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, self.head_dim)
        q, k, v = ops.unstack(qkv.transpose(2, 0, 3, 1, 4), axis=0)  # each (B, H, N, d)
        out = F.attention(q, k, v, self.attn_drop, bias)  # (B, H, N, d)
        out = out.transpose(0, 2, 1, 3).reshape(b, n, c)  # heads side by side again: (B, N, D)
        return self.out_drop(self.out(out))


class FeedForward(nn.Cell):
    """The MLP of a block: Dense, activation, Dense, applied to each token alone.

    Args:
        in_features (int): D.
        hidden_features (int): M, in_features if None.
        out_features (int): in_features if None.
        activation (Callable): makes the activation cell.
        keep_prob (float): of the dropouts after the activation and after the second Dense.

    Inputs:
        - **x** (Tensor): (B, N, in_features), float.

    Outputs:
        Tensor, (B, N, out_features), dtype of x.

    Raises:
        UserError: If a size is below 1 or keep_prob is not in (0, 1].

    Reference:
        Dosovitskiy et al. 2021, equation 3.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int | None = None,
        out_features: int | None = None,
        activation=GELU,
        keep_prob: float = 1.0,
    ):
        super().__init__()
        check_keep_prob("keep_prob", keep_prob)
        hidden_features = in_features if hidden_features is None else hidden_features
        out_features = in_features if out_features is None else out_features
        check_positive(in_features=in_features, mlp_dim=hidden_features, out_features=out_features)
        self.dense1 = Dense(in_features, hidden_features)
        self.activation = activation()
        self.dense2 = Dense(hidden_features, out_features)
        # Two cells: in graph mode one that is used twice draws the same mask twice.
        self.dropout1 = Dropout(p=1.0 - keep_prob)
        self.dropout2 = Dropout(p=1.0 - keep_prob)

    def construct(self, x):
        x = self.dropout1(self.activation(self.dense1(x)))  # (B, N, M)
        return self.dropout2(self.dense2(x))  # (B, N, D)


class ResidualCell(nn.Cell):
    """cell(x) + x: what the cell adds to its input.

    Args:
        cell (nn.Cell): keeps the shape of its input.

    Inputs:
        - **x** (Tensor): any shape that the cell takes.

    Outputs:
        Tensor, shape and dtype of x.

    Reference:
        He et al. 2016, equation 1.
    """

    def __init__(self, cell: nn.Cell):
        super().__init__()
        self.cell = cell

    def construct(self, x):
        return self.cell(x) + x


class PatchEmbedding(nn.Cell):
    """An image as a sequence of embedded patches.

    Args:
        image_size (int or tuple): height and width in pixels, or both if they are the same, divisible by patch_size.
        patch_size (int): P.
        embed_dim (int): D.
        input_channels (int): C.

    Inputs:
        - **x** (Tensor): (B, C, height, width), float.

    Outputs:
        Tensor, (B, N, D), N = height width / P^2, rows of patches first.

    Raises:
        UserError: If a size is below 1, image_size is not divisible by patch_size, or there are
            fewer than MIN_NUM_PATCHES patches.
        ValueError: If the images have another size or number of channels.

    Reference:
        Dosovitskiy et al. 2021, section 3.1.
    """

    MIN_NUM_PATCHES = 4

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        embed_dim: int = 768,
        input_channels: int = 3,
    ):
        super().__init__()
        height, width = pair(image_size)
        check_positive(patch_size=patch_size, embed_dim=embed_dim, input_channels=input_channels)
        if height % patch_size or width % patch_size:
            nearest = [max(round(side / patch_size), 1) * patch_size for side in (height, width)]
            raise UserError(
                f"image_size {image_size} is not divisible by patch_size {patch_size}: "
                f"the nearest that is divisible is {nearest[0] if height == width else tuple(nearest)}"
            )
        self.image_shape = (input_channels, height, width)
        self.grid = (height // patch_size, width // patch_size)
        self.num_patches = self.grid[0] * self.grid[1]
        if self.num_patches < self.MIN_NUM_PATCHES:
            raise UserError(
                f"image_size {image_size} with patch_size {patch_size} makes {self.num_patches} patch(es), fewer than "
                f"MIN_NUM_PATCHES = {self.MIN_NUM_PATCHES}: attention needs more tokens, choose a smaller patch_size"
            )
        # It holds the weights under the course's names; patch_embed is the same convolution as a product. Normal by
        # fan-in is the paper's code's, pad_mode="same" (MindSpore's default) would do nothing here.
        self.conv = nn.Conv2d(
            input_channels,
            embed_dim,
            kernel_size=patch_size,
            stride=patch_size,
            pad_mode="valid",
            has_bias=True,
            weight_init=Normal((input_channels * patch_size**2) ** -0.5),
            bias_init="zeros",
        )

    def construct(self, x):
        if x.shape[1:] != self.image_shape:
            raise ValueError(f"The images have the shape {x.shape}, the network takes (B, *{self.image_shape}).")
        return F.patch_embed(x, self.conv.weight, self.conv.bias)  # (B, N, D)


def init(init_type, shape: tuple, dtype: ms.dtype, name: str, requires_grad: bool = True) -> Parameter:
    """A parameter with its initial value, as the course makes them.

    Args:
        init_type (str or Initializer): the distribution.
        shape (tuple): of the parameter.
        dtype (mindspore.dtype): of the parameter.
        name (str): of the parameter in checkpoints.
        requires_grad (bool): whether it is trained.
    """
    value: Tensor = initializer(init_type, shape, dtype)
    return Parameter(value, name=name, requires_grad=requires_grad)


def sincos_positions(grid: tuple[int, int], embed_dim: int) -> np.ndarray:
    """Fixed position embeddings: sine and cosine of row and column at embed_dim / 4 wavelengths each.

    Args:
        grid (tuple): rows and columns of tokens.
        embed_dim (int): D, divisible by 4.

    Returns:
        ndarray, (rows columns, D), float32: sin(column w), cos(column w), sin(row w), cos(row w), w from 1 to 1 / 10000.

    Raises:
        UserError: If D is not divisible by 4.

    Reference:
        Beyer et al. 2022, Better plain ViT baselines; big_vision/models/vit.py, `posemb_sincos_2d`.
    """
    if embed_dim % 4 or embed_dim < 8:
        raise UserError(f"embed_dim is {embed_dim}; for sin-cos positions it must be a multiple of 4, at least 8")
    quarter = embed_dim // 4
    omega = 10000.0 ** (-np.arange(quarter) / (quarter - 1))
    row, column = (places.reshape(-1, 1) * omega for places in np.indices(grid))  # (rows columns, D / 4)
    return np.concatenate([np.sin(column), np.cos(column), np.sin(row), np.cos(row)], axis=1).astype(np.float32)


class LearnedPositions2D(nn.Cell):
    """Position embeddings of which one half is learned for each row, the other for each column.

    Args:
        grid (tuple): rows and columns of tokens.
        embed_dim (int): D, even.

    Outputs:
        Tensor, (1, rows columns, D), float32.

    Raises:
        UserError: If D is odd.

    Reference:
        Dosovitskiy et al. 2021, appendix D.4.
    """

    def __init__(self, grid: tuple[int, int], embed_dim: int):
        super().__init__()
        if embed_dim % 2:
            raise UserError(f"embed_dim is {embed_dim}; for 2-D positions it must be even")
        self.grid = tuple(grid)
        self.rows = init(Normal(0.02), (grid[0], embed_dim // 2), ms.float32, "rows")
        self.columns = init(Normal(0.02), (grid[1], embed_dim // 2), ms.float32, "columns")

    def construct(self):
        rows, columns = self.grid
        row = ops.tile(self.rows.reshape(rows, 1, -1), (1, columns, 1))
        column = ops.tile(self.columns.reshape(1, columns, -1), (rows, 1, 1))
        return ops.concat((row, column), axis=2).reshape(1, rows * columns, -1)
