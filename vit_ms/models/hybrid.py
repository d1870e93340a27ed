"""The hybrid of the ViT paper: a Transformer over the feature map of a ResNet.

Shape comments: B images, C channels, N places of the map, D embed_dim, K num_classes.
"""

import math

from vit_ms.errors import UserError
from vit_ms.layers import NUMERICS as VIT_NUMERICS
from vit_ms.layers import Numerics, pair
from vit_ms.models import resnetv2
from vit_ms.models.vit import BASE, LARGE, SMALL, ViT

NUMERICS = {
    source: Numerics(
        VIT_NUMERICS[source].epsilon,
        VIT_NUMERICS[source].gelu,
        group_epsilon=of_resnet.group_epsilon,
        standardize=of_resnet.standardize,
    )
    for source, of_resnet in resnetv2.NUMERICS.items()
}


class HybridViT(ViT):
    """A ViT whose patches are cut from the feature map of a ResNet, one place of the map each.

    Args:
        image_size (int or tuple): height and width in pixels, or both if they are the same.
        input_channels (int): C.
        depths (list[int]): blocks of each stage of the ResNet. Three stages end at stride 16, four at 32.
        stem_channels (int): of the ResNet.
        num_groups (int): of its GroupNorms.
        group_epsilon (float): epsilon of its GroupNorms.
        standardize (str): how its convolutions are standardised, `"std"` or `"variance"`.
        kwargs: of `ViT`, all but patch_size.

    Inputs:
        - **x** (Tensor): (B, C, height, width), float32 or float16.

    Outputs:
        Tensor, (B, K), the logits, dtype of x.

    Raises:
        UserError: As `ViT` and `ResNetV2`, and if patch_size is given.

    Reference:
        Dosovitskiy et al. 2021, section 3.1, "Hybrid Architecture", and section 4.1: with three stages, the blocks of
        stage 4 have moved to stage 3; vit_jax/models_vit.py, the part with `resnet`.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        input_channels: int = 3,
        depths: list[int] = (3, 4, 9),
        stem_channels: int = 64,
        num_groups: int = 32,
        group_epsilon: float = 1e-5,
        standardize: str = "variance",
        **kwargs,
    ):
        if "patch_size" in kwargs:
            raise UserError("a hybrid has no patch_size: a patch is one place of the ResNet's map")
        stride = 2 ** (len(depths) + 1)
        grid = tuple(math.ceil(side / stride) for side in pair(image_size))
        channels = 4 * stem_channels * 2 ** (len(depths) - 1)
        super().__init__(image_size=grid, input_channels=channels, patch_size=1, **kwargs)
        self.backbone = resnetv2.ResNetV2(
            image_size, input_channels, depths, stem_channels, num_groups, 0, group_epsilon, standardize
        )

    def embed_patches(self, x):
        return self.patch_embedding(self.backbone(x))


_R50_STRIDE_16 = {"image_size": 224, "depths": [3, 4, 9]}
_R50 = {"image_size": 224, "depths": [3, 4, 6, 3]}
_R26 = {"image_size": 224, "depths": [2, 2, 2, 2]}

# The paper's names give the patch size that the tokens come to in pixels: B/16 over three stages, B/32 over four. R26 is of
# Steiner et al. 2022.
VARIANTS = {
    "vit_r26_s_32": {**SMALL, **_R26},
    "vit_r50_b_16": {**BASE, **_R50_STRIDE_16},
    "vit_r50_b_32": {**BASE, **_R50},
    "vit_r50_l_16": {**LARGE, **_R50_STRIDE_16},
    "vit_r50_l_32": {**LARGE, **_R50},
}
