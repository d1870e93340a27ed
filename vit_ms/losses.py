"""Losses of the recipes."""

import mindspore as ms
from mindspore import nn, ops

from vit_ms.errors import UserError


class CrossEntropySmooth(nn.Cell):
    """Cross entropy against a target that gives 1 - smooth_factor to the label and shares the rest among the others.

    These are the course's targets. timm and PyTorch share smooth_factor among all classes, the label's own included: their
    factor s is ours times K / (K - 1).

    Args:
        sparse (bool): the labels are class indices, else one row of K zeros and a one each.
        reduction (str): `"mean"`, `"sum"` or `"none"`, over the batch.
        smooth_factor (float): in [0, 1).
        num_classes (int): K, at least 2.

    Inputs:
        - **logits** (Tensor): (B, K), float.
        - **labels** (Tensor): (B,), int32, each in [0, K); (B, K), float, if not sparse.

    Outputs:
        Tensor, float32, a scalar, or (B,) without reduction.

    Raises:
        UserError: If smooth_factor is not in [0, 1), num_classes is below 2 or reduction is unknown.

    Reference:
        Szegedy et al. 2016, section 7; `CrossEntropySmooth` of the course.
    """

    def __init__(
        self, sparse: bool = True, reduction: str = "mean", smooth_factor: float = 0.0, num_classes: int = 1000
    ):
        super().__init__()
        if not 0.0 <= smooth_factor < 1.0:
            raise UserError(f"smooth_factor is {smooth_factor}; it must be at least 0 and below 1")
        if num_classes < 2:
            raise UserError(f"num_classes is {num_classes}; a classifier needs at least 2")
        if reduction not in ("mean", "sum", "none"):
            raise UserError(f"reduction is {reduction!r}; choose one of mean, sum, none")
        self.sparse = sparse
        self.reduction = reduction
        self.off_value = smooth_factor / (num_classes - 1)
        self.on_value = 1.0 - smooth_factor

    def construct(self, logits, labels):
        log_probs = ops.log_softmax(logits.astype(ms.float32), axis=-1)  # (B, K)
        if self.sparse:
            of_label = ops.gather_elements(log_probs, 1, labels.reshape(-1, 1)).reshape(-1)  # (B,)
        else:
            of_label = (log_probs * labels).sum(axis=-1)
        others = log_probs.sum(axis=-1) - of_label
        losses = -(self.on_value * of_label + self.off_value * others)  # (B,)
        if self.reduction == "none":
            return losses
        return losses.mean() if self.reduction == "mean" else losses.sum()


class DistillationLoss(nn.Cell):
    """The loss of a network with two heads, of which one learns from the labels and the other from a teacher.

    Args:
        loss_fn (nn.Cell): logits and labels to a scalar, for the first head.
        kind (str): `"hard"`: the second head learns the teacher's decisions as labels; `"soft"`: the teacher's distribution.
        alpha (float): weight of the teacher's part, in [0, 1]; the labels have the rest.
        temperature (float): the soft distributions are those of the logits over it, above 0.

    Inputs:
        - **logits** (tuple[Tensor]): of the two heads, (B, K) each, float; one Tensor stands for both.
        - **labels** (Tensor): what loss_fn takes.
        - **teacher_logits** (Tensor): (B, K), float.

    Outputs:
        Tensor, float32, a scalar.

    Raises:
        UserError: If kind is unknown, alpha not in [0, 1] or temperature not above 0.

    Reference:
        Touvron et al. 2021, equations 2 and 3, with the soft part divided by K and by the batch as deit/losses.py has it.
    """

    def __init__(self, loss_fn: nn.Cell, kind: str = "hard", alpha: float = 0.5, temperature: float = 3.0):
        super().__init__()
        if kind not in ("hard", "soft"):
            raise UserError(f"kind is {kind!r}; choose hard or soft")
        if not 0.0 <= alpha <= 1.0:
            raise UserError(f"alpha is {alpha}; it must be at least 0 and at most 1")
        if not temperature > 0.0:
            raise UserError(f"temperature is {temperature}; it must be above 0")
        self.loss_fn = loss_fn
        self.kind = kind
        self.alpha = alpha
        self.temperature = temperature

    def construct(self, logits, labels, teacher_logits):
        of_labels, of_teacher = logits if isinstance(logits, tuple) else (logits, logits)
        of_teacher, teacher_logits = of_teacher.astype(ms.float32), teacher_logits.astype(ms.float32)
        if self.kind == "hard":
            decisions = teacher_logits.argmax(axis=-1)
            log_probs = ops.log_softmax(of_teacher, axis=-1)  # (B, K)
            taught = -ops.gather_elements(log_probs, 1, decisions.reshape(-1, 1)).mean()
        else:
            student = ops.log_softmax(of_teacher / self.temperature, axis=-1)
            teacher = ops.log_softmax(teacher_logits / self.temperature, axis=-1)
            taught = (ops.exp(teacher) * (teacher - student)).mean() * self.temperature**2
        return (1.0 - self.alpha) * self.loss_fn(of_labels, labels) + self.alpha * taught
