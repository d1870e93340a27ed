"""Losses of the recipes."""

import mindspore as ms
from mindspore import nn, ops

from vit_ms.errors import UserError


class CrossEntropySmooth(nn.Cell):
    """Cross entropy against a target that gives 1 - smooth_factor to the label and shares the rest among the others.

    These are the course's targets. timm and PyTorch share smooth_factor among all classes, the label's own included: their
    factor s is ours times K / (K - 1).

    Args:
        smooth_factor (float): in [0, 1).
        num_classes (int): K, at least 2.

    Inputs:
        - **logits** (Tensor): (B, K), float.
        - **labels** (Tensor): (B,), int32, each in [0, K).

    Outputs:
        Tensor, scalar float32, the mean over the batch.

    Raises:
        UserError: If smooth_factor is not in [0, 1) or num_classes is below 2.

    Reference:
        Szegedy et al. 2016, section 7; `CrossEntropySmooth` of the course.
    """

    def __init__(self, smooth_factor: float = 0.0, num_classes: int = 1000):
        super().__init__()
        if not 0.0 <= smooth_factor < 1.0:
            raise UserError(f"label_smoothing is {smooth_factor}; it must be at least 0 and below 1")
        if num_classes < 2:
            raise UserError(f"num_classes is {num_classes}; a classifier needs at least 2")
        self.off_value = smooth_factor / (num_classes - 1)
        self.on_value = 1.0 - smooth_factor

    def construct(self, logits, labels):
        log_probs = ops.log_softmax(logits.astype(ms.float32), axis=-1)  # (B, K)
        label_log_probs = ops.gather_elements(log_probs, 1, labels.reshape(-1, 1)).sum()
        others = log_probs.sum() - label_log_probs
        return -(self.on_value * label_log_probs + self.off_value * others) / logits.shape[0]
