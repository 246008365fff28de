"""Steps with layers, losses and optimizers of one's own: captured where they declare what they compute by."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, optim
from fastconv.errors import ArgumentError
from fastconv.losses import DeclaredLoss, SoftmaxCrossEntropy
from fastconv.optim import SGD
from fastconv.training import ClipGlobalNorm, ClipValue
from tests.training.capturing import assert_same_bits, batches_of, model_of, state_of, steps, trainer_of


@pytest.fixture(autouse=True)
def _on_numba():
    with fc.use_backend("numba"):
        yield


class Doubled(nn.Layer):
    """A layer of somebody's own that computes in NumPy."""

    def forward(self, x, *, training):
        return 2 * x, ()

    def backward(self, grad_output, context, *, needs_input_grad=True):
        return 2 * grad_output


def test_what_is_not_our_own_is_not_captured(rng):
    x, y = batches_of(rng, 1)[0]
    model = nn.Sequential(Doubled(), nn.Flatten(), nn.Dense(3)).build((8, 8, 2), seed=0)
    trainer = trainer_of(model, capture=None)
    trainer.train_step(x, y)
    assert trainer._captured is None
    with pytest.raises(ArgumentError, match=r"capture: got True with .*Doubled"):
        trainer_of(model, capture=True)

    own = model_of()
    with pytest.raises(ArgumentError, match="capture: got True with <function"):
        fc.Trainer(own, lambda p, t: SoftmaxCrossEntropy()(p, t), SGD(own.parameters(), 0.1), capture=True)


class Halved(SGD):
    """An optimizer of somebody's own that computes in NumPy."""

    def _update(self, data, grad, state, lr, step):
        data -= float(lr[0]) / 2 * grad


def test_an_optimizer_of_ones_own_is_not_captured(rng):
    """Its arithmetic, captured, would be done once and never again."""
    batches = batches_of(rng)
    trainers = [
        trainer_of(m := model_of(), capture=None, optimizer=kind(m.parameters(), 0.1)) for kind in (Halved, SGD)
    ]
    for trainer in trainers:
        trainer.optimizer.lr = 0.1 if type(trainer.optimizer) is Halved else 0.05
        steps(trainer, batches)
    assert trainers[0]._captured is None
    assert trainers[1]._captured.works
    for a, b in zip(*(t.model.parameters() for t in trainers), strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-4, atol=1e-6)
    with pytest.raises(ArgumentError, match=r"capture: got True with .*Halved"):
        trainer_of(trainers[0].model, capture=True, optimizer=trainers[0].optimizer)


class Counting(SGD):
    """Declares its settings, and computes a factor in Python."""

    def settings(self):
        return super().settings()

    def _update(self, data, grad, state, lr, step):
        self.factor = 0.5 * getattr(self, "factor", 2.0)
        data -= self.factor * float(lr[0]) * grad


@pytest.mark.parametrize("within", ["EMA", "Lookahead", "Combined", "Pruning"])
@pytest.mark.parametrize("how", ["captured", "plain", "by hand"])
def test_an_optimizer_of_ones_own_within_another_is_not_captured(rng, within, how):
    """Who goes around it is fastconv's, and would repeat what was computed in its first step."""
    model = nn.Sequential(nn.Dense(3)).build((4,), seed=0)
    weight, bias = model.parameters()
    want, (x, y) = np.array(weight.data), (rng.standard_normal((6, 4)).astype(np.float32), rng.integers(0, 3, 6))
    optimizer = {
        "EMA": lambda: optim.EMA(Counting([weight], 0.1)),
        "Lookahead": lambda: optim.Lookahead(Counting([weight], 0.1), k=9),
        "Combined": lambda: optim.Combined(Counting([weight], 0.1), SGD([bias], 0.1)),
        "Pruning": lambda: optim.Pruning(Counting([weight], 0.1), 9, begin=8),
    }[within]()
    trainer = fc.Trainer(model, SoftmaxCrossEntropy(), optimizer, capture=None if how == "captured" else False)
    for factor in (1.0, 0.5, 0.25):
        if how == "by hand":
            _backward(model, x, y)
            optimizer.step()
        else:
            trainer.train_step(x, y)
        want -= factor * 0.1 * np.array(weight.grad)
    np.testing.assert_allclose(weight.data, want, rtol=1e-6, atol=1e-7)


def _backward(model, x, y):
    predictions, context = model.forward(x, training=True)
    _, gradient = SoftmaxCrossEntropy()(predictions, y)
    model.zero_grad()
    model.backward(gradient, context, needs_input_grad=False)


class ClipMean(ClipValue):
    """Limits gradients to so many times their mean size, in NumPy."""

    def apply(self, backend, parameters):
        for parameter in parameters:
            limit = self.limit * np.abs(parameter.grad).mean()
            np.clip(parameter.grad, -limit, limit, out=parameter.grad)


class ClipTwice(ClipGlobalNorm):
    def apply(self, backend, parameters):
        super().apply(backend, parameters)
        return super().apply(backend, parameters)


@pytest.mark.parametrize(("clip", "captured"), [(ClipMean(1.0), False), (ClipTwice(0.1), True)])
def test_a_limit_of_ones_own_is_captured_where_kernels_compute_it(rng, clip, captured):
    batches = batches_of(rng)
    plain, tried = (trainer_of(model_of(), capture=capture, clip=clip) for capture in (False, None))
    for trainer in (plain, tried):
        steps(trainer, batches)
    assert tried._captured.works == captured
    assert_same_bits(state_of(plain), state_of(tried))


class Times(nn.Layer):
    """A layer of somebody's own that computes on the backend, and declares what decides what."""

    def __init__(self, factor):
        self.factor = factor

    def settings(self):
        return {"factor": self.factor}

    def forward(self, x, *, training):
        x = self.check_input(x)
        y = self.backend.empty(x.shape, x.dtype)
        self.backend.scale(x, factor=self.factor, out=y)
        return y, x.shape

    def backward(self, grad_output, context, *, needs_input_grad=True):
        return self.forward(grad_output, training=False)[0] if needs_input_grad else None


class TimesTwice(Times):
    """Computes something else than `settings`, which it has from its base, was written for."""

    def forward(self, x, *, training):
        return super().forward(2 * x, training=training)


class Weighted(DeclaredLoss):
    """A loss of somebody's own."""

    def __init__(self, weight):
        self.weight, self.loss = weight, SoftmaxCrossEntropy()

    def __call__(self, predictions, targets):
        backend = fc.get_backend()
        value, grad = self.loss(predictions, targets)
        backend.scale(value, factor=self.weight, out=value)
        backend.scale(grad, factor=self.weight, out=grad)
        return value, grad

    def settings(self):
        return {"weight": self.weight}

    def checked_targets(self, targets, shape, dtype):
        return self.loss.checked_targets(targets, shape, dtype)


def test_what_declares_its_settings_is_captured(rng):
    """Layers and losses of one's own: the same bits, and what is set between steps counts."""
    batches = batches_of(rng)
    results = []
    for capture in (False, True):
        model = nn.Sequential(Times(0.5), nn.Conv2d(4, 3), nn.Flatten(), nn.Dense(3)).build((8, 8, 2), seed=0)
        loss = Weighted(0.3)
        trainer = fc.Trainer(model, loss, SGD(model.parameters(), 0.1), seed=4, capture=capture)
        losses = steps(trainer, batches)
        model.layers[0].factor = 2.0
        losses += steps(trainer, batches)
        loss.weight = 0.7
        losses += steps(trainer, batches)
        results.append({**state_of(trainer), "losses": np.array(losses)})
        assert (trainer._captured is not None and trainer._captured.works) == capture
    assert_same_bits(*results)


def test_a_class_that_computes_something_else_declares_anew():
    """`settings` speaks for what it was defined with: not for a derived class with a `forward` of its own."""

    class Other(SoftmaxCrossEntropy):
        def __call__(self, logits, labels):
            return super().__call__(2 * logits, labels)

    class Shallow(nn.Conv2d):
        """Another name."""

    for layer, loss, foreign in (
        (TimesTwice(1.0), SoftmaxCrossEntropy(), "TimesTwice"),
        (nn.Identity(), Other(), "Other"),
        (Shallow(2, 1), SoftmaxCrossEntropy(), None),
    ):
        model = nn.Sequential(layer, nn.Flatten(), nn.Dense(3)).build((8, 8, 2), seed=0)
        optimizer = SGD(model.parameters(), 0.1)
        if foreign is None:
            fc.Trainer(model, loss, optimizer, capture=True)
        else:
            with pytest.raises(ArgumentError, match=f"capture: got True with .*{foreign}"):
                fc.Trainer(model, loss, optimizer, capture=True)


class Counted(Times):
    """Counts in NumPy how often it is called in training."""

    def setup(self, input_shape, scope):
        self.calls = scope.buffer("calls", (1,), value=0.0)
        return input_shape

    def forward(self, x, *, training):
        if training:
            self.calls.array[...] += 1
        return super().forward(x, training=training)

    def settings(self):
        return super().settings()


def test_trying_a_capture_leaves_what_a_layer_counts(rng):
    """What it does in NumPy while a step is recorded is undone, also where the step is captured anew."""
    model = nn.Sequential(Counted(0.5), nn.Flatten(), nn.Dense(3)).build((8, 8, 2), seed=0)
    trainer = trainer_of(model, capture=None)
    steps(trainer, batches_of(rng, 3))
    model.layers[0].factor = 2.0
    steps(trainer, batches_of(rng, 2))
    assert trainer._captured is not None
    assert not trainer._captured.works
    assert model.layers[0].calls.data.tolist() == [5.0]
