"""Learning-rate schedules, weight-decay groups and the optimizers of the recipes."""

import math
import re
from collections.abc import Iterable, Sequence

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

from vit_ms.errors import UserError

SCHEDULERS = ("cosine_decay", "linear_decay", "constant")
OPTIMIZERS = ("adamw", "adam", "sgd")
HEADS = ("dense.", "distillation_dense.")  # beginnings of the names of a classifier's parameters


def scaled_rate(lr: float, batch: int, lr_batch: int | None) -> float:
    """The linear rule: a batch k times as large takes a learning rate k times as high.

    The gradient is a mean over the batch, so that one step on k batches stands for k steps on one of them.

    Args:
        lr (float): the rate that suits a batch of lr_batch images.
        batch (int): images a step over all devices and accumulated parts.
        lr_batch (int): None: lr suits any batch.

    Reference:
        Goyal et al. 2017, section 2.1.
    """
    return lr if lr_batch is None else lr * batch / lr_batch


def learning_rates(
    scheduler: str,
    lr: float,
    min_lr: float,
    warmup_epochs: int,
    epoch_size: int,
    steps_per_epoch: int,
    warmup_lr: float = 0.0,
) -> list[float]:
    """The learning rate of every step: a linear warm-up from warmup_lr to lr, then the decay to min_lr at the last step.

    Args:
        scheduler (str): `"cosine_decay"`, `"linear_decay"` or `"constant"`.
        lr (float): the highest rate.
        min_lr (float): the rate at the end of a decay.
        warmup_epochs (int): epochs of warm-up; its last step has lr.
        epoch_size (int): epochs in all.
        steps_per_epoch (int): optimizer steps an epoch.
        warmup_lr (float): where the warm-up starts; the first step is one part of the way up already.

    Returns:
        list of epoch_size * steps_per_epoch floats.

    Reference:
        Loshchilov & Hutter 2017, SGDR, equation 5, for the cosine; Dosovitskiy et al. 2021, section 4.1 and appendix B.
    """
    warmup, total = warmup_epochs * steps_per_epoch, epoch_size * steps_per_epoch
    rates = []
    for step in range(total):
        if step < warmup:
            rates.append(warmup_lr + (lr - warmup_lr) * (step + 1) / warmup)
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


_EMBEDDING = re.compile(r"(cls|distillation)$|(pos_embedding|patch_|stem|backbone)")
_BLOCK = re.compile(r"transformer\.layers\.(\d+)|stages\.(\d+)\.(?:blocks\.)?(\d+)?")


def layers_below_head(names: Iterable[str]) -> dict[str, int]:
    """How many layers below the head each parameter of a network is, told by the names that vit_ms.models gives.

    Of L blocks, counted from 0 through all stages, block i is L - i layers below: the last 1, the first L. The embeddings
    are L + 1 below, and so is a hybrid's whole ResNet. What joins two stages counts with the first block behind it. All
    else, the last LayerNorm and the head, is 0 below.

    Args:
        names (Iterable[str]): of one network's parameters.

    Returns:
        dict[str, int], in the order of names.

    Reference:
        unilm/beit/optim_factory.py, `get_num_layer_for_vit`; timm has a hybrid's ResNet in the embedding too.
    """
    names = list(names)
    found = {name: match for name in names if (match := _BLOCK.match(name))}
    block_of = {name: tuple(int(number or 0) for number in match.groups()) for name, match in found.items()}
    below = {block: number for number, block in enumerate(sorted(set(block_of.values()), reverse=True), start=1)}
    others = {name: len(below) + 1 if _EMBEDDING.match(name) else 0 for name in names}
    return {name: below[block_of[name]] if name in block_of else others[name] for name in names}


def layer_groups(groups: list[dict], learning_rate: Sequence[float], layer_decay: float) -> list[dict]:
    """Split the groups of decay_groups by depth: d layers below the head the learning rate is layer_decay^d times as high.

    Pretrained features are the more general the lower they are, so fine-tuning changes them less.

    Args:
        groups (list[dict]): of decay_groups.
        learning_rate (Sequence[float]): of the head, one a step.
        layer_decay (float): above 0, at most 1.

    Reference:
        Clark et al. 2020, ELECTRA, table 9; Bao et al. 2022, BEiT, appendix; depths as `layers_below_head` has them.
    """
    *groups, order = groups
    below = layers_below_head(p.name for p in order["order_params"])
    split = []
    for group in groups:
        for depth in sorted({below[p.name] for p in group["params"]}):
            params = [p for p in group["params"] if below[p.name] == depth]
            rates = [rate * layer_decay**depth for rate in learning_rate]
            split.append({"params": params, "weight_decay": group["weight_decay"], "lr": rates})
    return [*split, order]


def freeze(network: nn.Cell, keep: Sequence[str] = HEADS) -> int:
    """Train nothing of a network but the parameters whose names begin with one of `keep`.

    The running statistics of a BatchNorm are no trained parameters: they still follow the data in training mode.

    Args:
        network (nn.Cell): the others' requires_grad becomes False.
        keep (Sequence[str]): beginnings of names; the default is the head.

    Returns:
        int, the parameters (numbers, not tensors) that are still trained.

    Raises:
        UserError: If nothing is left to train.
    """
    for parameter in network.trainable_params():
        parameter.requires_grad = parameter.name.startswith(tuple(keep))
    left = sum(p.size for p in network.trainable_params())
    if left == 0:
        raise UserError(f"no parameter's name begins with {' or '.join(keep)}: freezing leaves nothing to train")
    return left


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
        eps, decay_scale = self.eps * root_c2, c1 / root_c2
        if self.is_group_lr:
            lr = _map(ops.partial(_corrected, root_c2, c1), lr)
        else:
            lr = (_corrected(root_c2, c1, lr),) * len(gradients)
        if not self.is_group:
            weight_decay = (weight_decay,) * len(gradients)
        update = ops.partial(_adamw, self.update, self.beta1, self.beta2, eps, decay_scale)
        return _map(update, lr, weight_decay, self._parameters, self.moments1, self.moments2, gradients)


# One node that is expanded at the end of compilation: a Python loop over 150 parameters takes it 10 s longer.
_map = ops.HyperMap()


def _corrected(root_c2, c1, lr):
    return lr * root_c2 / c1


def _adamw(update, beta1, beta2, eps, decay_scale, lr, weight_decay, parameter, moment1, moment2, gradient):
    return update(parameter, moment1, moment2, lr, beta1, beta2, eps, weight_decay * decay_scale, gradient)


def create_optimizer(
    params: Iterable[Parameter],
    opt: str,
    learning_rate: list[float],
    weight_decay: float,
    betas: Sequence[float] = (0.9, 0.999),
    momentum: float = 0.9,
    layer_decay: float | None = None,
) -> nn.Optimizer:
    """The optimizer of a recipe, with weight decay on matrices only.

    Args:
        params (Iterable[Parameter]): what is trained.
        opt (str): `"adamw"`; `"adam"`, the course's, whose weight decay is an L2 term in the gradient; or `"sgd"`, the
            paper's for fine-tuning: v = momentum v + gradient, w = w - rate v, with adam's kind of weight decay.
        learning_rate (list[float]): one a step.
        weight_decay (float): at least 0.
        betas (Sequence[float]): decay of the first and the second moment, of adamw and adam.
        momentum (float): of sgd, at least 0.
        layer_decay (float): factor of the rate from each layer to the one below it, see `layer_groups`; None: one rate for
            all.
    """
    groups = decay_groups(params, weight_decay)
    if layer_decay is not None:
        groups = layer_groups(groups, learning_rate, layer_decay)
    if opt == "sgd":
        return nn.Momentum(groups, learning_rate, momentum)
    optimizer = {"adamw": AdamW, "adam": nn.Adam}[opt]
    return optimizer(groups, learning_rate, beta1=betas[0], beta2=betas[1])
