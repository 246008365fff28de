"""A captured step: the same bits as one that is not, whatever changes in between, and only where nothing is missed."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.backends.memory import _Memory
from fastconv.errors import ArgumentError
from fastconv.losses import DeclaredLoss, SoftmaxCrossEntropy
from fastconv.optim import SGD, Adam, schedules


@pytest.fixture(autouse=True)
def _on_numba():
    with fc.use_backend("numba"):
        yield


def model_of(dtype=np.float32, p=0.2):
    return nn.Sequential(
        *(nn.Conv2d(16, 3, padding=1, bias=False), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Residual(nn.Sequential(nn.Conv2d(16, 3, padding=1, bias=False), nn.BatchNorm2d())),
        *(nn.ReLU(), nn.Conv2d(8, 3, stride=2, padding=1), nn.GELU(), nn.Flatten(), nn.Dropout(p), nn.Dense(3)),
    ).build((8, 8, 2), dtype, seed=1)


def batches_of(rng, count=3, size=12, dtype=np.float32):
    return [
        (rng.standard_normal((size, 8, 8, 2)).astype(dtype), rng.integers(0, 3, size).astype(np.int32))
        for _ in range(count)
    ]


def trainer_of(model, *, capture, optimizer=None, **keywords):
    optimizer = optimizer or SGD(model.parameters(), 0.05, 0.9, nesterov=True, weight_decay=1e-3)
    return fc.Trainer(model, SoftmaxCrossEntropy(), optimizer, seed=4, capture=capture, **keywords)


def state_of(trainer):
    tensors = {t.name: np.array(t.data) for t in trainer.model.tensors()}
    grads = {f"grad of {p.name}": np.array(p.grad) for p in trainer.model.parameters()}
    return tensors | grads | trainer.optimizer.state_dict()["tensors"]


def assert_same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].tobytes() == b[name].tobytes(), name


def both(run):
    """Return what `run` returns without and with capture; the second trainer must have captured."""
    trainers = [trainer_of(model_of(), capture=capture) for capture in (False, True)]
    results = [run(trainer) for trainer in trainers]
    assert_same_bits(state_of(trainers[0]), state_of(trainers[1]))
    assert trainers[0]._captured is None
    assert trainers[1]._captured.works
    return results


def steps(trainer, batches):
    return [np.array(trainer.train_step(x, y)) for x, y in batches]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_same_bits_as_without(rng, dtype, kind):
    batches = batches_of(rng, dtype=dtype) * 2
    results = []
    for capture in (False, True):
        model = model_of(dtype)
        optimizer = Adam(model.parameters(), 0.01) if kind == "adam" else None
        trainer = trainer_of(model, capture=capture, optimizer=optimizer, schedule=schedules.OneCycle(0.1, 6))
        losses = steps(trainer, batches)
        results.append({**state_of(trainer), "losses": np.array(losses), "lr": np.array(optimizer and optimizer.lr)})
    assert_same_bits(*results)
    assert len(set(results[1]["losses"].tolist())) == 6  # each step's own loss, not the last one's


def test_a_step_launches_nothing_of_its_own(rng):
    """A replay is one call: no kernel runs beside it but the copies of the statistics, the batch and the loss."""
    from fastconv.kernels.cpu.runtime import launch

    trainer = trainer_of(model_of(), capture=True)
    batches = batches_of(rng)
    steps(trainer, batches)
    launched = []
    real = launch.launch
    names = []
    with pytest.MonkeyPatch.context() as patch:
        from fastconv.kernels.cpu.conv import direct
        from fastconv.kernels.cpu.elementwise import maps, optimizer

        for module in (maps, direct, optimizer):
            patch.setattr(module, "launch", lambda f, *a, **k: (launched.append(f.function.__name__), real(f, *a, **k)))
        with fc.get_backend().trace(names.append):
            steps(trainer, batches[:1])
    assert launched == ["copy_array"] * 4
    assert {"conv2d_direct", "batch_norm_statistics", "softmax_cross_entropy_rows", "sgd_update"} <= set(names)
    assert len(names) > 20


def test_what_is_set_between_steps_counts(rng):
    batches = batches_of(rng)

    def run(trainer):
        model, found = trainer.model, []
        found += steps(trainer, batches)
        trainer.optimizer.lr = 0.01
        found += steps(trainer, batches)
        model.layers[-1].bias.data = np.array([0.5, -0.5, 0.0], np.float32)
        found += steps(trainer, batches)
        model.layers[-2].p = 0.5
        found += steps(trainer, batches)
        trainer.optimizer.momentum = 0.5
        found += steps(trainer, batches)
        trainer.loss.label_smoothing = 0.1
        found += steps(trainer, batches)
        trainer.seed = 99
        found += steps(trainer, batches)
        with fc.precision("strict"):
            found += steps(trainer, batches)
        found.append(model(batches[0][0]))  # with the weights of now
        return found + steps(trainer, batches)

    plain, captured = both(run)
    for a, b in zip(plain, captured, strict=True):
        assert a.tobytes() == b.tobytes()


def test_what_is_set_to_the_same_value_does_not_count(rng):
    batches = batches_of(rng)
    trainer = trainer_of(model_of(), capture=True)
    steps(trainer, batches)
    kept = trainer._captured
    trainer.model.layers[-2].p = float("0.2")
    trainer.optimizer.momentum = float("0.9")
    steps(trainer, batches)
    assert trainer._captured is kept


def test_what_was_captured_before_gives_its_memory_back(rng):
    """At once, not when Python next looks for circles, which may be epochs later."""
    batches = batches_of(rng, size=64)
    trainer = trainer_of(model_of(), capture=True)
    pool = trainer.model.backend.pool._home

    def held():
        """Bytes in pools of captured steps."""
        return sum(one.nbytes for one in gc.get_objects() if type(one) is _Memory and one.home is not pool)

    gc.collect()
    before = held()
    gc.disable()
    try:
        steps(trainer, batches)
        first = held() - before
        trainer.model.freeze("0")
        steps(trainer, batches)
        assert 0 < held() - before < 1.2 * first
    finally:
        gc.enable()


def test_another_optimizer_or_loss_counts(rng):
    batches = batches_of(rng)

    def run(trainer):
        found = steps(trainer, batches)
        trainer.optimizer = Adam(trainer.model.parameters(), 0.01)
        found += steps(trainer, batches)
        trainer.loss = SoftmaxCrossEntropy(label_smoothing=0.2)
        return found + steps(trainer, batches)

    plain, captured = both(run)
    assert [a.tobytes() for a in plain] == [b.tobytes() for b in captured]


def test_gradients_added_up_before_do_not_count(rng):
    (batch, *batches) = batches_of(rng)

    def run(trainer):
        found = steps(trainer, [batch])
        logits, context = trainer.model.forward(batch[0], training=True)
        trainer.model.backward(trainer.loss(logits, batch[1])[1], context)
        return found + steps(trainer, batches)

    both(run)


def test_a_short_last_batch_keeps_the_capture(rng):
    long, short = batches_of(rng, 4), batches_of(rng, 1, size=5)

    def run(trainer):
        trainer.fit(
            (np.concatenate([x for x, _ in long + short]), np.concatenate([y for _, y in long + short])),
            2,
            batch_size=12,
        )
        return trainer.history.history["loss"]

    plain, captured = both(run)
    assert plain == captured
    trainer = trainer_of(model_of(), capture=True)
    steps(trainer, long)
    kept = trainer._captured
    steps(trainer, short + long)
    assert trainer._captured is kept
    steps(trainer, short * 2)
    assert trainer._captured is not kept
    assert trainer._captured.form[0] == (5, 8, 8, 2)


def test_other_numbers_of_threads_capture_anew(rng):
    from fastconv.kernels.cpu.runtime.launch import get_num_threads

    batches, before = batches_of(rng), get_num_threads()
    try:
        fc.set_num_threads(1)
        trainer = trainer_of(model_of(), capture=True)
        steps(trainer, batches)
        kept = trainer._captured
        fc.set_num_threads(2)
        steps(trainer, batches)
        assert trainer._captured is not kept
    finally:
        fc.set_num_threads(before)


@pytest.mark.parametrize("where", ["weight", "input", "strided weight"])
def test_what_is_not_finite_is_computed_as_without(rng, where):
    """An infinity asks for kernels that skip the padding; the replay breaks off, and nothing is done twice."""
    batches, later = batches_of(rng), batches_of(rng)
    if where == "input":
        later[0][0][3, 0, 0, 1] = np.inf

    trainers = [trainer_of(model_of(), capture=capture) for capture in (False, True)]
    for trainer in trainers:
        steps(trainer, batches)
        if where != "input":
            index = {"weight": 0, "strided weight": 6}[where]
            weight = trainer.model.layers[index].weight
            changed = np.array(weight.data)
            changed[0, 0, 0, 0] = np.inf
            weight.data = changed
    for number, batch in enumerate(later, start=4):  # after three everything is NaN; after one not yet
        with np.errstate(all="ignore"):
            plain, captured = (steps(trainer, [batch]) for trainer in trainers)
        assert plain[0].tobytes() == captured[0].tobytes()
        assert_same_bits(*map(state_of, trainers))
        assert trainers[1].optimizer.steps == trainers[0].optimizer.steps == number
        if number == 4 and where == "strided weight":  # the first normalisation saw nothing of it
            assert np.isfinite(trainers[1].model.layers[1].running_mean.data).all()


def test_steady_state_maps_no_memory_and_takes_its_own_once(rng):
    trainer = trainer_of(model_of(), capture=True)
    batches, pool = batches_of(rng), fc.get_backend().pool
    steps(trainer, batches)
    misses = pool.misses
    steps(trainer, batches * 5)
    assert pool.misses == misses


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


def test_a_backend_that_cannot_says_so():
    with fc.use_backend("numpy"):
        model = model_of()
        with pytest.raises(ArgumentError, match="capture: got True on the backend 'numpy'"):
            trainer_of(model, capture=True)
        assert not trainer_of(model, capture=None)._capture


def test_bad_batches_change_nothing(rng):
    (x, y), *_ = batches_of(rng)
    trainer = trainer_of(model_of(), capture=True)
    steps(trainer, [(x, y)])
    before = state_of(trainer)
    for bad_x, bad_y, message in (
        (x, y + 3, "labels: got 5"),
        (x, y[:-1], "y: got shape"),
        (x, y.astype(np.float32), "labels: got float32"),
        (x.astype(np.float64), y, "x of .*: got float64"),
    ):
        with pytest.raises((ArgumentError, fc.errors.ShapeError, fc.errors.DTypeError), match=message):
            trainer.train_step(bad_x, bad_y)
        assert trainer.step == trainer.optimizer.steps == 1
    assert_same_bits(state_of(trainer), before)
    steps(trainer, [(x, y)])


def test_the_class_zero_may_be_ignored():
    """The loss looks at targets of the batch when it is captured, not at zeros."""
    results = []
    for capture in (False, True):
        model = nn.Sequential(nn.Dense(3)).build((4,), seed=1)
        trainer = fc.Trainer(model, SoftmaxCrossEntropy(ignore_index=0), SGD(model.parameters(), 0.1), capture=capture)
        x, y = np.ones((4, 4), np.float32), np.array([0, 1, 2, 0], np.int32)
        results.append([float(trainer.train_step(x, y)) for _ in range(3)])
    assert trainer._captured.works
    assert results[0] == results[1]
