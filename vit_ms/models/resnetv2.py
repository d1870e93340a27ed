"""The ResNet of the ViT paper, its baseline and the front of its hybrids.

It is a ResNet with GroupNorm in place of BatchNorm and with standardised convolutions (Kolesnikov et al. 2020), as in Big
Transfer; but the blocks are those of the first ResNet, with the ReLU after the addition (Dosovitskiy et al. 2021, section
3.1).

Shape comments: B images, C channels, K num_classes.
"""

from mindspore import Parameter, nn, ops
from mindspore.common.initializer import HeNormal, initializer

from vit_ms import functional as F
from vit_ms.errors import UserError, check_positive
from vit_ms.layers import Dense, Numerics

NUMERICS = {
    "timm": Numerics(group_epsilon=1e-5, standardize="variance"),
    "google": Numerics(group_epsilon=1e-6, standardize="std"),
}


class StdConv2d(nn.Cell):
    """A convolution whose weight is standardised before it is used, without bias, padded as TensorFlow's SAME.

    Args:
        in_channels (int): C.
        out_channels (int): D.
        kernel_size (int): P.
        stride (int): of the kernels.
        standardize (str): `"std"` (Google) or `"variance"` (timm), as `functional.standardize` takes it.

    Inputs:
        - **x** (Tensor): (B, C, height, width), float.

    Outputs:
        Tensor, (B, D, ceil(height / stride), ceil(width / stride)), dtype of x.

    Reference:
        Qiao et al. 2019, equation 4; vit_jax/models_resnet.py, `StdConv`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, standardize: str = "variance"
    ):
        super().__init__()
        if standardize not in ("std", "variance"):
            raise UserError(f"standardize is {standardize!r}; choose std or variance")
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        self.weight = Parameter(initializer(HeNormal(nonlinearity="linear"), shape), name="weight")
        self.stride = stride
        self.standardize = standardize

    def construct(self, x):
        return F.conv2d(x, F.standardize(self.weight, self.standardize), self.stride)


class GroupNorm(nn.Cell):
    """Group normalisation with a gamma and beta for each channel.

    Args:
        num_channels (int): C.
        num_groups (int): C is divisible by it.
        epsilon (float): added to the variance.
        gamma_init (str): initial gamma.

    Inputs:
        - **x** (Tensor): (B, C, height, width), float.

    Outputs:
        Tensor, shape and dtype of x.

    Raises:
        UserError: If C is not divisible by num_groups.

    Reference:
        Wu & He 2018, equation 7.
    """

    def __init__(self, num_channels: int, num_groups: int = 32, epsilon: float = 1e-5, gamma_init: str = "ones"):
        super().__init__()
        check_positive(num_channels=num_channels, num_groups=num_groups)
        if num_channels % num_groups:
            raise UserError(f"{num_channels} channels are not divisible by num_groups {num_groups}")
        self.num_groups = num_groups
        self.epsilon = epsilon
        self.gamma = Parameter(initializer(gamma_init, (num_channels,)), name="gamma")
        self.beta = Parameter(initializer("zeros", (num_channels,)), name="beta")

    def construct(self, x):
        return F.group_norm(x, self.gamma, self.beta, self.num_groups, self.epsilon)


class ConvNorm(nn.Cell):
    """A standardised convolution and its GroupNorm.

    Args:
        in_channels, out_channels, kernel_size, stride, standardize: of the convolution.
        num_groups, epsilon, gamma_init: of the norm.

    Inputs:
        - **x** (Tensor): (B, C, height, width), float.

    Outputs:
        Tensor, (B, D, ceil(height / stride), ceil(width / stride)), dtype of x.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        num_groups: int = 32,
        epsilon: float = 1e-5,
        standardize: str = "variance",
        gamma_init: str = "ones",
    ):
        super().__init__()
        self.conv = StdConv2d(in_channels, out_channels, kernel_size, stride, standardize)
        self.norm = GroupNorm(out_channels, num_groups, epsilon, gamma_init)

    def construct(self, x):
        return self.norm(self.conv(x))


class Bottleneck(nn.Cell):
    """1 x 1 to a fourth of the channels, 3 x 3 with the stride, 1 x 1 back; the shortcut is added before the last ReLU.

    Args:
        in_channels (int): of the input.
        out_channels (int): of the output, divisible by 4.
        stride (int): of the 3 x 3 convolution.
        kwargs: num_groups, epsilon and standardize, as `ConvNorm` takes them.

    Inputs:
        - **x** (Tensor): (B, in_channels, height, width), float.

    Outputs:
        Tensor, (B, out_channels, ceil(height / stride), ceil(width / stride)), dtype of x.

    Reference:
        He et al. 2016, figure 5, with the stride where vit_jax/models_resnet.py, `ResidualUnit`, has it.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, **kwargs):
        super().__init__()
        width = out_channels // 4
        self.shortcut = nn.SequentialCell()
        if stride > 1 or in_channels != out_channels:
            self.shortcut = ConvNorm(in_channels, out_channels, 1, stride, **kwargs)
        self.conv1 = ConvNorm(in_channels, width, 1, **kwargs)
        self.conv2 = ConvNorm(width, width, 3, stride, **kwargs)
        # With gamma 0 a new block is its shortcut alone.
        self.conv3 = ConvNorm(width, out_channels, 1, gamma_init="zeros", **kwargs)

    def construct(self, x):
        residual = ops.relu(self.conv1(x))
        residual = ops.relu(self.conv2(residual))
        return ops.relu(self.conv3(residual) + self.shortcut(x))


class ResNetV2(nn.Cell):
    """The ResNet with GroupNorm and standardised convolutions.

    Args:
        image_size (int or tuple): height and width of the images it is meant for; it takes others too.
        input_channels (int): C.
        depths (list[int]): blocks of each stage.
        stem_channels (int): of the stem; a stage's output has four times as many and doubles from stage to stage.
        num_groups (int): of each GroupNorm.
        num_classes (int): K; 0: no head, and what comes out is the last map.
        group_epsilon (float): epsilon of each GroupNorm.
        standardize (str): `"std"` (Google) or `"variance"` (timm).

    Inputs:
        - **x** (Tensor): (B, C, height, width), float32 or float16.

    Outputs:
        Tensor, (B, K), the logits, dtype of x.

    Raises:
        UserError: If a size is below 1, or channels are not divisible by num_groups.

    Reference:
        Dosovitskiy et al. 2021, section 3.1, "ResNet (BiT)"; vit_jax/models_resnet.py.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        input_channels: int = 3,
        depths: list[int] = (3, 4, 6, 3),
        stem_channels: int = 64,
        num_groups: int = 32,
        num_classes: int = 1000,
        group_epsilon: float = 1e-5,
        standardize: str = "variance",
    ):
        super().__init__()
        check_positive(input_channels=input_channels, depths=min(depths), stem_channels=stem_channels)
        self.image_size = image_size
        convs = {"num_groups": num_groups, "epsilon": group_epsilon, "standardize": standardize}
        channels = stem_channels
        self.stem = ConvNorm(input_channels, channels, 7, 2, **convs)
        self.max_pool = nn.MaxPool2d(kernel_size=3, stride=2, pad_mode="same")
        stages = []
        for stage, depth in enumerate(depths):
            out_channels = 4 * stem_channels * 2**stage
            blocks = []
            for block in range(depth):
                stride = 2 if stage and not block else 1
                blocks.append(Bottleneck(channels, out_channels, stride, **convs))
                channels = out_channels
            stages.append(nn.SequentialCell(blocks))
        self.stages = nn.CellList(stages)
        self.out_channels = channels
        self.dense = Dense(channels, num_classes, "zeros") if num_classes else None

    def features(self, x):
        """The map of each stage: (B, C, height, width) -> list of (B, D, height / s, width / s), s = 4, 8, ..."""
        x = self.max_pool(ops.relu(self.stem(x)))
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
        """What the head reads: (B, C, height, width) -> (B, D)."""
        return self.features(x)[-1].mean(axis=(2, 3))

    def construct(self, x):
        return self.features(x)[-1] if self.dense is None else self.dense(self.representation(x))


# Of the paper's figure 5 and table 6: depth by width factor, 64 channels times.
VARIANTS = {
    "resnet_r50x1": {"image_size": 224, "depths": [3, 4, 6, 3]},
    "resnet_r101x1": {"image_size": 224, "depths": [3, 4, 23, 3]},
    "resnet_r152x2": {"image_size": 224, "depths": [3, 8, 36, 3], "stem_channels": 128},
}
