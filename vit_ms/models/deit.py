"""DeiT, the data-efficient image Transformer (Touvron et al. 2021).

The plain networks are ViTs and differ in their recipe. The distilled ones have one token more, whose head learns from a
teacher; the loss is losses.DistillationLoss.

Shape comments: B images, N patches, D embed_dim, K num_classes.
"""

import mindspore as ms
from mindspore import ops
from mindspore.common.initializer import Normal

from vit_ms.errors import UserError
from vit_ms.layers import Dense, init
from vit_ms.models.vit import VARIANTS, ViT


class DistilledViT(ViT):
    """A ViT with a distillation token beside the class token, and a head on each.

    Args:
        kwargs: of `ViT`, all but pool and representation_size.

    Inputs:
        - **x** (Tensor): (B, C, height, width), float32 or float16.

    Outputs:
        In training a tuple of two Tensors (B, K), the logits of the class token and of the distillation token; in evaluation
        their mean, Tensor (B, K).

    Raises:
        UserError: As `ViT`, or if pool or representation_size are given.

    Reference:
        Touvron et al. 2021, section 4; deit/models.py, `DistilledVisionTransformer`.
    """

    NUM_PREFIX = 2

    def __init__(self, num_classes: int = 1000, zero_head: bool = False, **kwargs):
        for name in ("pool", "representation_size"):
            if name in kwargs:
                raise UserError(f"a distilled network has no {name}: its heads read the two tokens")
        super().__init__(num_classes=num_classes, zero_head=zero_head, **kwargs)
        embed_dim = self.dense.in_channels
        self.distillation_token = init(Normal(0.02), (1, 1, embed_dim), ms.float32, "distillation")
        self.distillation_dense = Dense(embed_dim, num_classes, "zeros" if zero_head else "xavier_uniform")

    def prefix_tokens(self):
        return ops.concat((self.cls_token, self.distillation_token), axis=1)  # (1, 2, D)

    def representation(self, x):
        """What the two heads read, side by side: (B, C, height, width) -> (B, 2 D)."""
        return self.features(x)[:, :2].reshape(x.shape[0], -1)

    def construct(self, x):
        x = self.features(x)  # (B, 2 + N, D)
        logits = self.dense(self.dropout(x[:, 0]))  # (B, K)
        distilled = self.distillation_dense(self.dropout(x[:, 1]))
        return (logits, distilled) if self.training else (logits + distilled) * 0.5


# Touvron et al. 2021, table 1: the sizes are ViT's.
PLAIN = {
    "deit_ti_16": VARIANTS["vit_ti_16"],
    "deit_s_16": VARIANTS["vit_s_16"],
    "deit_b_16": VARIANTS["vit_b_16"],
    "deit_b_16_384": {**VARIANTS["vit_b_16"], "image_size": 384},
}
DISTILLED = {
    "deit_ti_16_distilled": PLAIN["deit_ti_16"],
    "deit_s_16_distilled": PLAIN["deit_s_16"],
    "deit_b_16_distilled": PLAIN["deit_b_16"],
    "deit_b_16_distilled_384": PLAIN["deit_b_16_384"],
}
