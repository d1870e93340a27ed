"""The road from ResNet-50 to ConvNeXt, as Liu et al. 2022 walk it in section 2: one change of the macro design a step.

The last step's micro design (GELU for ReLU, fewer activations and norms, LayerNorm for BatchNorm, downsampling on its own)
is ConvNeXt itself, convnext.py.

Shape comments: B images, C channels, K num_classes.
"""

from mindspore import Parameter, nn, ops
from mindspore.common.initializer import HeNormal, initializer

from vit_ms import functional as F
from vit_ms.errors import UserError, check_positive
from vit_ms.layers import Dense, Numerics, pair

NUMERICS = {"timm": Numerics()}  # nothing that libraries differ in

BLOCKS = ("bottleneck", "depthwise", "inverted", "moved_up")


class ConvNorm(nn.Cell):
    """A convolution without bias, padded to keep the size, and BatchNorm.

    Args:
        in_channels (int): C.
        out_channels (int): D.
        kernel_size (int): odd.
        stride (int): of the kernels.
        depthwise (bool): whether each channel has a kernel of its own; then D is C.

    Inputs:
        - **x** (Tensor): (B, C, height, width), float.

    Outputs:
        Tensor, (B, D, ceil(height / stride), ceil(width / stride)), dtype of x.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1, depthwise: bool = False
    ):
        super().__init__()
        shape = (out_channels, 1 if depthwise else in_channels, kernel_size, kernel_size)
        self.weight = Parameter(initializer(HeNormal(mode="fan_out", nonlinearity="relu"), shape), name="weight")
        self.stride = stride
        self.depthwise = depthwise
        self.norm = nn.BatchNorm2d(out_channels)

    def construct(self, x):
        if not self.depthwise:
            return self.norm(F.conv2d(x, self.weight, self.stride))
        x = F.depthwise_conv2d(x.transpose(0, 2, 3, 1), self.weight, None, self.stride)
        return self.norm(x.transpose(0, 3, 1, 2))


class Block(nn.Cell):
    """A residual block of three convolutions, each with BatchNorm, and ReLU between them and after the addition.

    Args:
        in_channels (int): of the input.
        out_channels (int): of the output.
        kind (str): `"bottleneck"`: 1 x 1 to a fourth of the channels, k x k, 1 x 1 back, as in ResNet-50;
            `"depthwise"`: the k x k convolution is depthwise;
            `"inverted"`: 1 x 1 to four times the channels, depthwise k x k, 1 x 1 back;
            `"moved_up"`: depthwise k x k, 1 x 1 to four times the channels, 1 x 1 back.
        kernel_size (int): k.
        stride (int): of the k x k convolution.

    Inputs:
        - **x** (Tensor): (B, in_channels, height, width), float.

    Outputs:
        Tensor, (B, out_channels, ceil(height / stride), ceil(width / stride)), dtype of x.

    Reference:
        Liu et al. 2022, figure 3, and sections 2.3 to 2.5.
    """

    def __init__(self, in_channels: int, out_channels: int, kind: str, kernel_size: int = 3, stride: int = 1):
        super().__init__()
        if kind == "moved_up":
            hidden = 4 * out_channels
            convs = [
                ConvNorm(in_channels, in_channels, kernel_size, stride, depthwise=True),
                ConvNorm(in_channels, hidden),
                ConvNorm(hidden, out_channels),
            ]
        else:
            hidden = 4 * out_channels if kind == "inverted" else out_channels // 4
            convs = [
                ConvNorm(in_channels, hidden),
                ConvNorm(hidden, hidden, kernel_size, stride, depthwise=kind != "bottleneck"),
                ConvNorm(hidden, out_channels),
            ]
        self.convs = nn.SequentialCell(convs[0], nn.ReLU(), convs[1], nn.ReLU(), convs[2])
        self.shortcut = nn.SequentialCell()
        if stride > 1 or in_channels != out_channels:
            self.shortcut = ConvNorm(in_channels, out_channels, 1, stride)

    def construct(self, x):
        return ops.relu(self.convs(x) + self.shortcut(x))


class RoadNet(nn.Cell):
    """A network on the road from ResNet-50 to ConvNeXt.

    Args:
        image_size (int or tuple): height and width of the images it is meant for; it takes others too.
        input_channels (int): C.
        stem (str): `"resnet"`: 7 x 7 with stride 2 and a max pooling; `"patchify"`: 4 x 4 with stride 4.
        block (str): one of BLOCKS, as `Block` takes it.
        depths (list[int]): blocks of each stage.
        channels (list[int]): of each stage's output.
        kernel_size (int): of the convolutions in the blocks that are not 1 x 1.
        num_classes (int): K.

    Inputs:
        - **x** (Tensor): (B, C, height, width), float32.

    Outputs:
        Tensor, (B, K), the logits, dtype of x.

    Raises:
        UserError: If a size is below 1, stem or block is unknown, or there are not as many channels as depths.

    Reference:
        Liu et al. 2022, figure 2.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        input_channels: int = 3,
        stem: str = "resnet",
        block: str = "bottleneck",
        depths: list[int] = (3, 4, 6, 3),
        channels: list[int] = (256, 512, 1024, 2048),
        kernel_size: int = 3,
        num_classes: int = 1000,
    ):
        super().__init__()
        if stem not in ("resnet", "patchify"):
            raise UserError(f"stem is {stem!r}; choose resnet or patchify")
        if block not in BLOCKS:
            raise UserError(f"block is {block!r}; choose one of {', '.join(BLOCKS)}")
        if len(channels) != len(depths):
            raise UserError(f"channels is {list(channels)}; it must have one for each of depths {list(depths)}")
        check_positive(input_channels=input_channels, depths=min(depths), channels=min(channels))
        check_positive(num_classes=num_classes)
        self.image_size = pair(image_size)
        # As wide as the 3 x 3 or depthwise convolutions of the first stage.
        width = channels[0] if block in ("inverted", "moved_up") else channels[0] // 4
        # Without the ReLU the next BatchNorm would take the mean off that the stem's adds.
        kernel, stride = (7, 2) if stem == "resnet" else (4, 4)
        self.stem = nn.SequentialCell(ConvNorm(input_channels, width, kernel, stride), nn.ReLU())
        if stem == "resnet":
            self.stem.append(nn.MaxPool2d(3, 2, pad_mode="same"))
        stages, before = [], width
        for stage, (depth, after) in enumerate(zip(depths, channels, strict=True)):
            blocks = []
            for number in range(depth):
                blocks.append(Block(before, after, block, kernel_size, 2 if stage and not number else 1))
                before = after
            stages.append(nn.SequentialCell(blocks))
        self.stages = nn.CellList(stages)
        self.dense = Dense(before, num_classes)

    def features(self, x):
        """The map of each stage: (B, C, height, width) -> list of (B, channels, ...), at strides 4, 8, 16 and 32."""
        x = self.stem(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def recompute_blocks(self):
        """In training, keep each block's input only and compute the rest again in the backward pass (Chen et al. 2016)."""
        for stage in self.stages:
            for block in stage:
                block.recompute()

    def representation(self, x):
        """What the head reads: (B, C, height, width) -> (B, channels)."""
        return self.features(x)[-1].mean(axis=(2, 3))

    def construct(self, x):
        return self.dense(self.representation(x))


_RATIO = {"image_size": 224, "depths": [3, 3, 9, 3]}
_WIDE = {"block": "depthwise", "channels": [384, 768, 1536, 3072]}
_NARROW = {"channels": [96, 192, 384, 768]}

# The steps in the paper's order; a wider network and its depthwise convolutions are one step (section 2.3).
VARIANTS = {
    "road_resnet50": {"image_size": 224},
    "road_stage_ratio": {**_RATIO},
    "road_patchify": {**_RATIO, "stem": "patchify"},
    "road_depthwise": {**_RATIO, "stem": "patchify", **_WIDE},
    "road_inverted": {**_RATIO, "stem": "patchify", **_NARROW, "block": "inverted"},
    "road_moved_up": {**_RATIO, "stem": "patchify", **_NARROW, "block": "moved_up"},
    "road_large_kernel": {**_RATIO, "stem": "patchify", **_NARROW, "block": "moved_up", "kernel_size": 7},
}
