"""The Vision Transformer (Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words").

Shape comments: B images, C channels, N patches, D embed_dim, K num_classes.
"""

from functools import partial

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.common.initializer import Normal

from vit_ms.errors import UserError, check_positive
from vit_ms.layers import (
    GELU,
    Attention,
    Dense,
    Dropout,
    DropPath,
    FeedForward,
    LayerNorm,
    LearnedPositions2D,
    PatchEmbedding,
    RelativePositionBias,
    ResidualCell,
    Tanh,
    check_keep_prob,
    init,
    sincos_positions,
)

POSITIONS = ("learned_1d", "learned_2d", "sincos_2d", "relative", "none")


class TransformerEncoder(nn.Cell):
    """A stack of blocks: x + MSA(LN(x)), then x + MLP(LN(x)).

    Args:
        dim (int): D.
        num_layers (int): number of blocks.
        num_heads (int): heads of each attention.
        mlp_dim (int): hidden width of each MLP.
        keep_prob (float): of the dropouts after the dense layers.
        attention_keep_prob (float): of the dropout on the attention weights.
        drop_path_keep_prob (float): of the last block's residual branches; the rate rises linearly from 0 at the first.
        activation (Callable): makes the MLPs' activation cell.
        norm (Callable): makes a normalisation cell from a shape.
        position_bias (Callable): makes the cell with what an attention adds to its scores; None: nothing.

    Inputs:
        - **x** (Tensor): (B, N, D), float.

    Outputs:
        Tensor, (B, N, D), dtype of x.

    Raises:
        UserError: If a size is below 1, dim is not divisible by num_heads, or a keep_prob is not in (0, 1].

    Reference:
        Dosovitskiy et al. 2021, equations 2 and 3; Huang et al. 2016, section 3, for the rising rate.
    """

    def __init__(
        self,
        dim: int,
        num_layers: int,
        num_heads: int,
        mlp_dim: int,
        keep_prob: float = 1.0,
        attention_keep_prob: float = 1.0,
        drop_path_keep_prob: float = 1.0,
        activation=GELU,
        norm=LayerNorm,
        position_bias=None,
    ):
        super().__init__()
        check_positive(num_layers=num_layers)
        check_keep_prob("drop_path_keep_prob", drop_path_keep_prob)
        layers = []
        for path_keep_prob in np.linspace(1.0, drop_path_keep_prob, num_layers).tolist():
            attention = Attention(dim, num_heads, keep_prob, attention_keep_prob, position_bias and position_bias())
            feedforward = FeedForward(dim, mlp_dim, activation=activation, keep_prob=keep_prob)
            layers.append(
                nn.SequentialCell(
                    ResidualCell(nn.SequentialCell(norm((dim,)), attention, DropPath(path_keep_prob))),
                    ResidualCell(nn.SequentialCell(norm((dim,)), feedforward, DropPath(path_keep_prob))),
                )
            )
        self.layers = nn.SequentialCell(layers)

    def construct(self, x):
        return self.layers(x)


class ViT(nn.Cell):
    """The Vision Transformer.

    A call and a checkpoint of the course work as they are: the names are its names, and so are the defaults (LayerNorm
    epsilon 1e-7, tanh GELU). `create_model` gives the numerics of other sources.

    Args:
        image_size (int or tuple): height and width in pixels, or both if they are the same, divisible by patch_size.
        input_channels (int): C.
        patch_size (int): height and width of a patch in pixels.
        embed_dim (int): D, divisible by num_heads.
        num_layers (int): number of blocks.
        num_heads (int): heads of each attention.
        mlp_dim (int): hidden width of each MLP.
        keep_prob (float): of the dropouts after the dense layers and the position embedding.
        attention_keep_prob (float): of the dropout on the attention weights.
        drop_path_keep_prob (float): of the last block's residual branches.
        activation (Callable): makes the MLPs' activation cell.
        norm (Callable): makes a normalisation cell from a shape.
        pool (str): what the head reads: `"cls"`, the class token, or `"mean"`, the mean of the patch tokens.
        num_classes (int): K.
        representation_size (int): width of a Dense and tanh before the head, the paper's pre-training head; None: none.
        zero_head (bool): the head starts at zero, as the paper fine-tunes.
        position (str): how tokens know their places. `"learned_1d"`: a vector for each is learned; `"learned_2d"`: half a
            vector for each row and each column; `"sincos_2d"`: fixed vectors; `"relative"`: attention adds a learned number
            for each distance; `"none"`: they do not.

    Inputs:
        - **x** (Tensor): (B, C, height, width), float32 or float16.

    Outputs:
        Tensor, (B, K), the logits, dtype of x.

    Raises:
        UserError: If a size is below 1, image_size is not divisible by patch_size or embed_dim by num_heads, there are
            fewer than 4 patches, a keep_prob is not in (0, 1], or pool or position is unknown.

    Reference:
        Dosovitskiy et al. 2021, equations 1 to 4; vit_jax/models_vit.py for the initial values.
    """

    NUM_PREFIX = 1  # tokens before those of the patches

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        input_channels: int = 3,
        patch_size: int = 16,
        embed_dim: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        mlp_dim: int = 3072,
        keep_prob: float = 1.0,
        attention_keep_prob: float = 1.0,
        drop_path_keep_prob: float = 1.0,
        activation=GELU,
        norm=LayerNorm,
        pool: str = "cls",
        num_classes: int = 1000,
        representation_size: int | None = None,
        zero_head: bool = False,
        position: str = "learned_1d",
    ):
        super().__init__()
        if pool not in ("cls", "mean"):
            raise UserError(f"pool is {pool!r}; choose 'cls' or 'mean'")
        if position not in POSITIONS:
            raise UserError(f"position is {position!r}; choose one of {', '.join(POSITIONS)}")
        check_positive(num_classes=num_classes)
        check_keep_prob("keep_prob", keep_prob)
        self.pool = pool
        self.position = position
        self.patch_embedding = PatchEmbedding(image_size, patch_size, embed_dim, input_channels)
        grid = self.patch_embedding.grid
        num_tokens = self.NUM_PREFIX + self.patch_embedding.num_patches
        # The course draws both from N(0, 1), fifty times as large, and larger than the embedded patches of an image.
        self.cls_token = init("zeros", (1, 1, embed_dim), ms.float32, "cls")
        if position == "learned_1d":
            self.pos_embedding = init(Normal(0.02), (1, num_tokens, embed_dim), ms.float32, "pos_embedding")
        elif position == "learned_2d":
            self.pos_embedding_2d = LearnedPositions2D(grid, embed_dim)
        elif position == "sincos_2d":
            self.pos_sincos = Tensor(sincos_positions(grid, embed_dim)[None])
        self.pos_dropout = Dropout(p=1.0 - keep_prob)
        self.transformer = TransformerEncoder(
            embed_dim,
            num_layers,
            num_heads,
            mlp_dim,
            keep_prob,
            attention_keep_prob,
            drop_path_keep_prob,
            activation,
            norm,
            partial(RelativePositionBias, grid, num_heads, self.NUM_PREFIX) if position == "relative" else None,
        )
        self.norm = norm((embed_dim,))
        self.pre_logits = nn.SequentialCell()
        if representation_size is not None:
            check_positive(representation_size=representation_size)
            weight_init = Normal(embed_dim**-0.5)
            self.pre_logits = nn.SequentialCell(Dense(embed_dim, representation_size, weight_init), Tanh())
        self.dropout = Dropout(p=1.0 - keep_prob)
        head_init = "zeros" if zero_head else "xavier_uniform"
        self.dense = Dense(representation_size or embed_dim, num_classes, head_init)

    def embed_patches(self, x):
        """(B, C, height, width) -> (B, N, D)"""
        return self.patch_embedding(x)

    def prefix_tokens(self):
        """What stands before the patches in every sequence: (1, NUM_PREFIX, D)."""
        return self.cls_token

    def embed_tokens(self, x):
        """The sequence that the encoder reads, equation 1: (B, N, D) -> (B, NUM_PREFIX + N, D)."""
        if self.position == "learned_2d":
            x = x + self.pos_embedding_2d().astype(x.dtype)
        elif self.position == "sincos_2d":
            x = x + self.pos_sincos.astype(x.dtype)
        prefix = ops.tile(self.prefix_tokens().astype(x.dtype), (x.shape[0], 1, 1))
        x = ops.concat((prefix, x), axis=1)  # (B, NUM_PREFIX + N, D)
        return x + self.pos_embedding.astype(x.dtype) if self.position == "learned_1d" else x

    def features(self, x):
        """The tokens after the last LayerNorm: (B, C, height, width) -> (B, NUM_PREFIX + N, D), class token first."""
        x = self.embed_tokens(self.embed_patches(x))  # equation 1
        x = self.transformer(self.pos_dropout(x))  # equations 2 and 3
        return self.norm(x)

    def recompute_blocks(self):
        """In training, keep each block's input only and compute the rest again in the backward pass (Chen et al. 2016)."""
        for block in self.transformer.layers:
            block.recompute()

    def representation(self, x):
        """What the head reads: (B, C, height, width) -> (B, D), or (B, representation_size)."""
        x = self.features(x)  # (B, NUM_PREFIX + N, D)
        x = x[:, 0] if self.pool == "cls" else x[:, self.NUM_PREFIX :].mean(axis=1)  # equation 4: (B, D)
        return self.pre_logits(x)

    def construct(self, x):
        x = self.dropout(self.representation(x))
        return self.dense(x)  # (B, K)


_DIGITS = {"image_size": 16, "input_channels": 1, "num_classes": 10}
_NANO = {**_DIGITS, "embed_dim": 64, "num_layers": 4, "num_heads": 4, "mlp_dim": 128}
_TINY = {"image_size": 224, "embed_dim": 192, "num_layers": 12, "num_heads": 3, "mlp_dim": 768}
SMALL = {"image_size": 224, "embed_dim": 384, "num_layers": 12, "num_heads": 6, "mlp_dim": 1536}
BASE = {"image_size": 224, "embed_dim": 768, "num_layers": 12, "num_heads": 12, "mlp_dim": 3072}
LARGE = {"image_size": 224, "embed_dim": 1024, "num_layers": 24, "num_heads": 16, "mlp_dim": 4096}
_HUGE = {"image_size": 224, "embed_dim": 1280, "num_layers": 32, "num_heads": 16, "mlp_dim": 5120}
_IN21K = {"num_classes": 21843}

# Base, Large and Huge are the paper's (table 1), Tiny and Small those of Steiner et al. 2022 (table 2); nano is ours, for
# the digits. The rows in21k are the pre-training networks, with the representation layer.
VARIANTS = {
    "vit_nano_4": {**_NANO, "patch_size": 4},
    "vit_ti_16": {**_TINY, "patch_size": 16},
    "vit_s_16": {**SMALL, "patch_size": 16},
    "vit_s_32": {**SMALL, "patch_size": 32},
    "vit_b_16": {**BASE, "patch_size": 16},
    "vit_b_32": {**BASE, "patch_size": 32},
    "vit_l_16": {**LARGE, "patch_size": 16},
    "vit_l_32": {**LARGE, "patch_size": 32},
    "vit_h_14": {**_HUGE, "patch_size": 14},
    "vit_b_16_in21k": {**BASE, **_IN21K, "patch_size": 16, "representation_size": 768},
    "vit_b_32_in21k": {**BASE, **_IN21K, "patch_size": 32, "representation_size": 768},
    "vit_l_16_in21k": {**LARGE, **_IN21K, "patch_size": 16, "representation_size": 1024},
    "vit_l_32_in21k": {**LARGE, **_IN21K, "patch_size": 32, "representation_size": 1024},
    "vit_h_14_in21k": {**_HUGE, **_IN21K, "patch_size": 14, "representation_size": 1280},
}
