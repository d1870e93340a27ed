"""ConvNeXt (Liu et al. 2022, "A ConvNet for the 2020s").

A convolutional network made as a Transformer is: a patchify stem, blocks that mix places first (a depthwise convolution with
large kernels, where the Transformer has attention) and channels after (an MLP), few norms, and those LayerNorms.

Shape comments: B images, C channels, h w height and width of a map, D its channels, K num_classes.
"""

import mindspore as ms
import numpy as np
from mindspore import nn
from mindspore.common.initializer import Constant, Normal

from vit_ms import functional as F
from vit_ms.errors import UserError, check_positive
from vit_ms.layers import (
    GELU,
    Dense,
    DropPath,
    FeedForward,
    LayerNorm,
    Numerics,
    ResidualCell,
    check_keep_prob,
    init,
    pair,
)

# Hugging Face's has the epsilon of its config.json, 1e-12 by default, in the last norm alone.
NUMERICS = {
    "timm": Numerics(1e-6, "erf"),
    "hf": Numerics(1e-6, "erf", head_epsilon=1e-12),
    "mindcv": Numerics(1e-6, "tanh"),
}


class DepthwiseConv(nn.Conv2d):
    """A convolution of each channel with a kernel of its own, padded with zeros to the same size.

    Args:
        dim (int): D.
        kernel_size (int): odd.

    Inputs:
        - **x** (Tensor): (B, h, w, D), float.

    Outputs:
        Tensor, shape and dtype of x.

    Raises:
        UserError: If kernel_size is even.

    Reference:
        Howard et al. 2017, equation 3.
    """

    def __init__(self, dim: int, kernel_size: int = 7):
        if kernel_size % 2 == 0:
            raise UserError(f"kernel_size is {kernel_size}; it must be odd")
        super().__init__(dim, dim, kernel_size, group=dim, has_bias=True, weight_init=Normal(0.02), bias_init="zeros")

    def construct(self, x):
        return F.depthwise_conv2d(x, self.weight, self.bias)


class PatchConv(nn.Conv2d):
    """A convolution whose stride is its kernel.

    Args:
        in_channels (int): D of the input.
        out_channels (int): D of the output.
        kernel_size (int): P.

    Inputs:
        - **x** (Tensor): (B, h, w, in_channels), float.

    Outputs:
        Tensor, (B, h // P, w // P, out_channels), dtype of x.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=kernel_size,
            pad_mode="valid",
            has_bias=True,
            weight_init=Normal(0.02),
            bias_init="zeros",
        )

    def construct(self, x):
        return F.patch_conv(x, self.weight, self.bias)


class LayerScale(nn.Cell):
    """Each channel times a learned number, small at first, so that a new block changes little.

    Args:
        dim (int): D.
        initial (float): of all the numbers.

    Inputs:
        - **x** (Tensor): (..., D), float.

    Outputs:
        Tensor, shape and dtype of x.

    Reference:
        Touvron et al. 2021, Going deeper with Image Transformers, equation 5.
    """

    def __init__(self, dim: int, initial: float = 1e-6):
        super().__init__()
        self.gamma = init(Constant(initial), (dim,), ms.float32, "gamma")

    def construct(self, x):
        return x * self.gamma.astype(x.dtype)


class ConvNeXtStage(nn.Cell):
    """A norm and a 2 x 2 convolution that halve the map, but in the first stage, and blocks.

    Args:
        dim (int): D, of the output.
        downsample (int): D of the input, to be halved in height and width; None: it is as the output.
        path_keep_probs (list[float]): of each block's residual branch.
        kernel_size (int): of the depthwise convolutions.
        layer_scale (float): initial value of LayerScale.
        activation (Callable): makes the MLPs' activation cell.
        norm (Callable): makes a normalisation cell from a shape.

    Inputs:
        - **x** (Tensor): (B, h, w, D), or (B, 2 h, 2 w, downsample), float.

    Outputs:
        Tensor, (B, h, w, D), dtype of x.

    Reference:
        Liu et al. 2022, figure 4 and section 2.6, "Separate downsampling layers".
    """

    def __init__(
        self,
        dim: int,
        downsample: int | None,
        path_keep_probs: list[float],
        kernel_size: int,
        layer_scale: float,
        activation,
        norm,
    ):
        super().__init__()
        self.downsample = nn.SequentialCell()
        if downsample is not None:
            self.downsample = nn.SequentialCell(norm((downsample,)), PatchConv(downsample, dim, 2))
        blocks = [
            ResidualCell(
                nn.SequentialCell(
                    DepthwiseConv(dim, kernel_size),
                    norm((dim,)),
                    FeedForward(dim, 4 * dim, activation=activation),
                    LayerScale(dim, layer_scale),
                    DropPath(path_keep_prob),
                )
            )
            for path_keep_prob in path_keep_probs
        ]
        self.blocks = nn.SequentialCell(blocks)

    def construct(self, x):
        return self.blocks(self.downsample(x))


class ConvNeXt(nn.Cell):
    """ConvNeXt.

    Args:
        image_size (int or tuple): height and width of the images it is meant for; it takes others too, from 32 pixels.
        input_channels (int): C.
        patch_size (int): of the stem.
        depths (list[int]): blocks of each stage.
        embed_dims (list[int]): D of each stage.
        kernel_size (int): of the depthwise convolutions, odd.
        layer_scale (float): initial value of LayerScale.
        drop_path_keep_prob (float): of the last block's residual branch; the rate rises linearly from 0 at the first.
        activation (Callable): makes the MLPs' activation cell.
        norm (Callable): makes a normalisation cell from a shape.
        head_norm (Callable): makes the last one; None: as norm.
        num_classes (int): K.

    Inputs:
        - **x** (Tensor): (B, C, height, width), float32 or float16.

    Outputs:
        Tensor, (B, K), the logits, dtype of x.

    Raises:
        UserError: If a size is below 1, there are not as many embed_dims as depths, kernel_size is even, or
            drop_path_keep_prob is not in (0, 1].

    Reference:
        Liu et al. 2022, table 9.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        input_channels: int = 3,
        patch_size: int = 4,
        depths: list[int] = (3, 3, 9, 3),
        embed_dims: list[int] = (96, 192, 384, 768),
        kernel_size: int = 7,
        layer_scale: float = 1e-6,
        drop_path_keep_prob: float = 1.0,
        activation=GELU,
        norm=LayerNorm,
        head_norm=None,
        num_classes: int = 1000,
    ):
        super().__init__()
        check_positive(input_channels=input_channels, patch_size=patch_size, num_classes=num_classes)
        check_positive(depths=min(depths), embed_dims=min(embed_dims))
        check_keep_prob("drop_path_keep_prob", drop_path_keep_prob)
        if len(embed_dims) != len(depths):
            raise UserError(f"embed_dims is {list(embed_dims)}; it must have one for each of depths {list(depths)}")
        self.image_size = pair(image_size)
        self.stem = nn.SequentialCell(PatchConv(input_channels, embed_dims[0], patch_size), norm((embed_dims[0],)))
        path_keep_probs = np.linspace(1.0, drop_path_keep_prob, sum(depths)).tolist()
        stages = []
        for number, (depth, dim) in enumerate(zip(depths, embed_dims, strict=True)):
            downsample = embed_dims[number - 1] if number else None
            probs = [path_keep_probs.pop(0) for _ in range(depth)]
            stages.append(ConvNeXtStage(dim, downsample, probs, kernel_size, layer_scale, activation, norm))
        self.stages = nn.CellList(stages)
        self.norm = (head_norm or norm)((embed_dims[-1],))
        self.dense = Dense(embed_dims[-1], num_classes, Normal(0.02))

    def maps(self, x):
        """The map of each stage, channels last: (B, C, height, width) -> list of (B, h, w, D)."""
        x = self.stem(x.transpose(0, 2, 3, 1))
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
        return self.norm(self.maps(x)[-1].mean(axis=(1, 2)))

    def construct(self, x):
        return self.dense(self.representation(x))


_DEEP = {"image_size": 224, "depths": [3, 3, 27, 3]}

# Liu et al. 2022, section 3.1; drop path as the authors train each on ImageNet (appendix A.1).
VARIANTS = {
    "convnext_t": {
        "image_size": 224,
        "depths": [3, 3, 9, 3],
        "embed_dims": [96, 192, 384, 768],
        "drop_path_keep_prob": 0.9,
    },
    "convnext_s": {**_DEEP, "embed_dims": [96, 192, 384, 768], "drop_path_keep_prob": 0.6},
    "convnext_b": {**_DEEP, "embed_dims": [128, 256, 512, 1024], "drop_path_keep_prob": 0.5},
    "convnext_l": {**_DEEP, "embed_dims": [192, 384, 768, 1536], "drop_path_keep_prob": 0.5},
}
