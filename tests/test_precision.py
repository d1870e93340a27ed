"""Half precision as on Ascend, loss scaling and recomputation, run here by saying that this is an Ascend."""

import mindspore as ms
import numpy as np
import pytest
from helpers import SMALL, images, random, randomize, same, values
from mindspore import Tensor, nn, ops

from vit_ms import engine, functional, runtime
from vit_ms.losses import CrossEntropySmooth
from vit_ms.models.vit import ViT

pytestmark = pytest.mark.fused

LABELS = Tensor([1, 3], ms.int32)


def _convolution(x, weight, bias, stride):
    d = weight.shape[0]
    y = functional.patchify(x, stride) @ weight.reshape(d, -1).T + bias  # (B, N, D)
    return y.transpose(0, 2, 1).reshape(x.shape[0], d, x.shape[2] // stride, x.shape[3] // stride)


@pytest.fixture
def as_on_ascend(clean_state, monkeypatch):
    """What is compiled from now on is for Ascend in fp16; MindSpore goes on computing on the CPU."""
    runtime.setup("CPU", implementation="reference")
    monkeypatch.setattr(runtime, "_settings", runtime.Settings("Ascend", precision="fp16"))
    # MindSpore's own in float16 gives nonsense on a CPU in graph mode.
    monkeypatch.setattr(ops, "conv2d", _convolution)


def network(**overrides) -> ViT:
    return randomize(ViT(**{**SMALL, **overrides}))


def train_step(net, clip_grad=1.0, scaler=None) -> engine.TrainStep:
    net.set_train(True)
    loss_fn = CrossEntropySmooth(num_classes=SMALL["num_classes"])
    return engine.TrainStep(net, loss_fn, nn.SGD(net.trainable_params(), 0.1), clip_grad, scaler)


def test_half_precision_gives_the_same_logits_to_three_digits(as_on_ascend):
    half = network().set_train(False)(images())
    runtime.setup("CPU")
    full = network().set_train(False)(images())
    assert half.dtype == ms.float16 and full.dtype == ms.float32
    error = np.abs(half.asnumpy() - full.asnumpy()).max()
    assert 0 < error < 1e-2 * np.abs(full.asnumpy()).max()


def test_products_are_in_half_precision_layer_norm_and_softmax_in_float32(monkeypatch, as_on_ascend):
    ms.set_context(mode=ms.PYNATIVE_MODE)
    seen = {}

    def watch(owner, name, label):
        plain = getattr(owner, name)

        def watched(x, *args, **kwargs):
            seen.setdefault(label, set()).add(str(x.dtype))
            return plain(x, *args, **kwargs)

        monkeypatch.setattr(owner, name, watched)

    watch(functional, "_matmul_nt", "dense")
    watch(functional, "_batch_matmul_nt", "scores")
    watch(functional, "_batch_matmul", "attend")
    watch(ops, "conv2d", "patches")
    watch(ops, "softmax", "softmax")
    normalised = []
    layer_norm = ops.LayerNorm

    def watched_layer_norm(*args, **kwargs):
        def call(x, *rest):
            normalised.append(str(x.dtype))
            return layer_norm(*args, **kwargs)(x, *rest)

        return call

    monkeypatch.setattr(ops, "LayerNorm", watched_layer_norm)
    network().set_train(False)(images())
    half = {"dense": {"Float16"}, "scores": {"Float16"}, "attend": {"Float16"}, "patches": {"Float16"}}
    assert seen == {**half, "softmax": {"Float32"}}
    assert set(normalised) == {"Float32"} and len(normalised) == 5


def test_training_in_half_precision_keeps_float32_parameters_and_learns(as_on_ascend):
    net = network()
    step = train_step(net, scaler=engine.loss_scaler())
    losses = [float(step(images(), LABELS)[0]) for _ in range(20)]
    assert losses[-1] < 0.5 * losses[0]
    assert {str(p.dtype) for p in net.trainable_params()} == {"Float32"}


def test_evaluation_takes_logits_in_half_precision(as_on_ascend):
    log_probs = engine.log_probabilities(network().set_train(False), random(2, 3, 8, 8), 2)
    assert log_probs.dtype == np.float64 and np.allclose(np.exp(log_probs).sum(axis=1), 1.0)


# MindSpore's kernel compiler takes minutes for the chain of additions that amp.all_finite makes on a CPU, where nothing
# scales the loss: these two run unfused.


@pytest.mark.parametrize("mode", runtime.MODES)
def test_a_scaled_loss_makes_the_same_step(mode):
    runtime.setup("CPU", mode, implementation="reference")
    plain, scaled = network(), network()
    wanted = train_step(plain)(images(), LABELS)
    loss, correct = train_step(scaled, scaler=engine.loss_scaler())(images(), LABELS)
    assert float(loss) == pytest.approx(float(wanted[0]), rel=1e-6) and int(correct) == int(wanted[1])
    for name, value in values(plain).items():
        assert np.allclose(values(scaled)[name], value, atol=1e-6), name


@pytest.mark.parametrize("mode", runtime.MODES)
def test_an_overflow_updates_nothing_and_halves_the_scale(mode):
    runtime.setup("CPU", mode, implementation="reference")
    net = network()
    scaler = engine.loss_scaler()
    step = train_step(net, scaler=scaler)
    before = values(net)
    step(Tensor(np.full((2, 3, 8, 8), np.inf, np.float32)), LABELS)
    assert same(before, values(net))
    assert float(scaler.scale_value) == 2**15
    step(images(), LABELS)
    assert not same(before, values(net))


def test_recomputation_changes_no_bit_that_matters():
    plain, again = network(num_layers=3), network(num_layers=3)
    again.recompute_blocks()
    first, second = train_step(plain)(images(), LABELS), train_step(again)(images(), LABELS)
    assert float(first[0]) == pytest.approx(float(second[0]), rel=1e-6)
    for name, value in values(plain).items():
        assert np.allclose(values(again)[name], value, atol=1e-6), name
