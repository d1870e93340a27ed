"""Learning-rate schedules, weight-decay groups and the optimizers of the recipes."""

import math
from collections.abc import Iterable

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

SCHEDULERS = ("cosine_decay", "linear_decay", "constant")
OPTIMIZERS = ("adamw", "adam")


def learning_rates(
    scheduler: str, lr: float, min_lr: float, warmup_epochs: int, epoch_size: int, steps_per_epoch: int
) -> list[float]:
    """The learning rate of every step: a linear warm-up from 0 to lr, then the decay to min_lr at the last step.

    Args:
        scheduler (str): `"cosine_decay"`, `"linear_decay"` or `"constant"`.
        lr (float): the highest rate.
        min_lr (float): the rate at the end of a decay.
        warmup_epochs (int): epochs of warm-up; its last step has lr.
        epoch_size (int): epochs in all.
        steps_per_epoch (int): optimizer steps an epoch.

    Returns:
        list of epoch_size * steps_per_epoch floats.

    Reference:
        Loshchilov & Hutter 2017, SGDR, equation 5, for the cosine; Dosovitskiy et al. 2021, section 4.1 and appendix B.
    """
    warmup, total = warmup_epochs * steps_per_epoch, epoch_size * steps_per_epoch
    rates = []
    for step in range(total):
        if step < warmup:
            rates.append(lr * (step + 1) / warmup)
            continue
        done = (step - warmup + 1) / (total - warmup)
        if scheduler == "cosine_decay":
            rates.append(min_lr + (lr - min_lr) * (1 + math.cos(math.pi * done)) / 2)
        elif scheduler == "linear_decay":
            rates.append(min_lr + (lr - min_lr) * (1 - done))
        else:
            rates.append(lr)
    return rates


def decay_groups(params: Iterable[Parameter], weight_decay: float) -> list[dict]:
    """Parameter groups that decay the matrices only: no bias, LayerNorm, class token or position embedding.

    The last three move the function's offset, not its size, so pulling them to zero regularises nothing.
    """
    params = list(params)
    matrices = [p for p in params if p.name.endswith("weight") and p.ndim >= 2]
    names = {p.name for p in matrices}
    others = [p for p in params if p.name not in names]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]] + [{"order_params": params}]


class AdamW(nn.Optimizer):
    """Adam with decoupled weight decay and bias correction.

    nn.AdamWeightDecay leaves the bias correction out: its first steps are several times too large. Its fused kernel serves
    all the same, for m / c1 / (sqrt(v / c2) + eps) + w decay is m / (sqrt(v) + eps sqrt(c2)) + w decay c1 / sqrt(c2), times
    sqrt(c2) / c1.

    Args:
        params (list): parameters or groups of them, as nn.Optimizer takes them.
        learning_rate (float or list): of all steps, or one a step.
        beta1 (float): decay of the first moment.
        beta2 (float): decay of the second moment.
        eps (float): added to the root of the second moment.
        weight_decay (float): for parameters whose group states none.

    Inputs:
        - **gradients** (tuple[Tensor]): one a parameter, in the order of params.

    Outputs:
        tuple, empty of meaning: the parameters are updated in place.

    Reference:
        Loshchilov & Hutter 2019, algorithm 2; equal to torch.optim.AdamW.
    """

    def __init__(self, params, learning_rate=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
        super().__init__(learning_rate, params, weight_decay)
        self.beta1 = Tensor([beta1], ms.float32)
        self.beta2 = Tensor([beta2], ms.float32)
        self.eps = Tensor([eps], ms.float32)
        self.moments1 = self._parameters.clone(prefix="adam_m", init="zeros")
        self.moments2 = self._parameters.clone(prefix="adam_v", init="zeros")
        self.update = ops.AdamWeightDecay()

    def construct(self, gradients):
        lr, weight_decay = self.get_lr(), self.get_weight_decay()
        self.assignadd(self.global_step, self.global_step_increase_tensor)
        step = self.global_step.astype(ms.float32)
        c1 = 1.0 - ops.pow(self.beta1, step)
        root_c2 = ops.sqrt(1.0 - ops.pow(self.beta2, step))
        lr, eps, decay_scale = lr * root_c2 / c1, self.eps * root_c2, c1 / root_c2
        update = ops.partial(_adamw, self.update, self.beta1, self.beta2, lr, eps, decay_scale)
        if not self.is_group:
            weight_decay = (weight_decay,) * len(gradients)
        return _map(update, weight_decay, self._parameters, self.moments1, self.moments2, gradients)


# One node that is expanded at the end of compilation: a Python loop over 150 parameters takes it 10 s longer.
_map = ops.HyperMap()


def _adamw(update, beta1, beta2, lr, eps, decay_scale, weight_decay, parameter, moment1, moment2, gradient):
    return update(parameter, moment1, moment2, lr, beta1, beta2, eps, weight_decay * decay_scale, gradient)


def create_optimizer(
    params: Iterable[Parameter], opt: str, learning_rate: list[float], weight_decay: float
) -> nn.Optimizer:
    """The optimizer of a recipe, with weight decay on matrices only.

    Args:
        params (Iterable[Parameter]): what is trained.
        opt (str): `"adamw"`, or `"adam"`, the course's, whose weight decay is an L2 term in the gradient.
        learning_rate (list[float]): one a step.
        weight_decay (float): at least 0.
    """
    optimizer = {"adamw": AdamW, "adam": nn.Adam}[opt]
    return optimizer(decay_groups(params, weight_decay), learning_rate=learning_rate)
