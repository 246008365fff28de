"""A captured step: the same bits as one that is not, whatever changes in between, and only where nothing is missed."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.backends.memory import _Use
from fastconv.errors import ArgumentError
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.optim import SGD, Adam, schedules
from tests.training.capturing import assert_same_bits, batches_of, both, model_of, state_of, steps, trainer_of


@pytest.fixture(autouse=True)
def _on_numba():
    with fc.use_backend("numba"):
        yield


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
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
    pool = trainer.model.backend.pool

    def held():
        """Bytes in pools of captured steps."""
        return sum(one.raw.nbytes for one in gc.get_objects() if type(one) is _Use) - pool.nbytes

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
