"""The training loop: it learns, repeats itself bit for bit, can be taken up again, maps no memory in steady state."""

import contextlib
import copy
import gc
import io
import pickle
import resource

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import (
    ArgumentError,
    BackendMismatchError,
    CheckpointError,
    DivergenceError,
)
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.optim import SGD, Adam, schedules
from fastconv.training import Callback, ProgressDisplay
from tests.training.trainers import assert_same_bits, data_of, model_of, trainer_of, weights


def test_it_learns(backend, rng):
    train, test = data_of(rng), data_of(rng)
    model = model_of()
    trainer = trainer_of(model, Adam(model.parameters(), 0.01), schedule=schedules.OneCycle(0.01, 24))
    history = trainer.fit(train, 8, validation_data=test, batch_size=32)
    assert history is trainer.history
    assert set(history.history) == {
        *("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds", "images_per_second"),
    }
    assert all(len(values) == 8 for values in history.history.values())
    assert history.history["val_accuracy"][-1] > 0.9
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
    assert trainer.step == 24
    last_of_each_epoch = [schedules.OneCycle(0.01, 24)(step) for step in range(2, 24, 3)]
    assert history.history["learning_rate"] == last_of_each_epoch
    assert len(set(last_of_each_epoch)) == 8
    images = np.multiply(history.history["images_per_second"], history.history["seconds"])
    np.testing.assert_allclose(images, 96, rtol=1e-9)
    assert trainer.evaluate(test)["accuracy"] == history.history["val_accuracy"][-1]


def test_means_are_over_images(backend, rng):
    """Batches of different sizes; loss and accuracy as computed from all logits at once."""
    x, y = data_of(rng, 70)
    model = model_of()
    got = trainer_of(model).evaluate((x, y), batch_size=32)
    logits = fc.to_numpy(model(x)).astype(np.float64)
    labels = fc.to_numpy(y)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert got["loss"] == pytest.approx(-log_p[np.arange(70), labels].mean(), rel=1e-5)
    assert got["accuracy"] == (logits.argmax(1) == labels).mean()


@pytest.mark.parametrize(
    ("dtype", "rtol"), [(np.float32, 2e-6), pytest.param(np.float64, 1e-12, marks=pytest.mark.float64)]
)
def test_step_is_forward_loss_backward_update(backend, rng, dtype, rtol):
    """The step against the same thing done by hand."""
    x, y = data_of(rng, 16, dtype)
    model, twin = model_of(dtype=dtype), model_of(dtype=dtype)
    loss = trainer_of(model, SGD(model.parameters(), 0.1), seed=5).train_step(x, y)
    with fc.random.stream(5, 0):
        logits, context = twin.forward(x, training=True)
    want, grad = SoftmaxCrossEntropy()(logits, y)
    twin.backward(grad, context)
    assert float(loss) == float(want)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        moved = fc.to_numpy(q.data) - 0.1 * fc.to_numpy(q.grad)
        np.testing.assert_allclose(fc.to_numpy(p.data), moved, rtol=rtol, atol=rtol / 1000)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("backend", ["numba"], indirect=True)
def test_same_bits_with_any_number_of_threads(backend, rng, threads):
    x, y = data_of(rng)

    def run():
        model = model_of(seed=3)
        trainer = trainer_of(model, Adam(model.parameters(), 0.01), seed=3)
        losses = [float(trainer.train_step(x[i : i + 32], y[i : i + 32])) for i in (0, 32, 64, 0)]
        return {**weights(model), "losses": np.array(losses)}

    want = run()
    from_library = None
    if backend.name == "numba":
        from fastconv.kernels.cpu.runtime.launch import get_num_threads

        from_library = get_num_threads()
    try:
        fc.set_num_threads(threads)
        assert_same_bits(run(), want)
    finally:
        if from_library is not None:
            fc.set_num_threads(from_library)


def test_taken_up_again(backend, rng, tmp_path):
    """One epoch, a file, a new process's objects and two more give the bits of three epochs."""
    train = data_of(rng)

    def trainer(seed):
        model = model_of(seed)
        optimizer = Adam(model.parameters(), 0.01)
        return trainer_of(model, optimizer, schedule=schedules.Cosine(0.01, 9), seed=seed)

    straight = trainer(1)
    straight.fit(train, 3, train, batch_size=32)
    first, second = trainer(1), trainer(2)
    first.fit(train, 1, train, batch_size=32)
    first.save(tmp_path / "state.safetensors")
    second.restore(tmp_path / "state.safetensors")
    assert (second.epoch, second.step, second.seed) == (1, 3, 1)
    history = second.fit(train, 2, train, batch_size=32)
    assert_same_bits(weights(second.model), weights(straight.model))
    for name in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
        assert history.history[name] == straight.history.history[name]


def test_restore_refuses_whole(tmp_path, rng):
    with fc.use_backend("numpy"):
        model = model_of(1)
        trainer = trainer_of(model)
        trainer.fit(data_of(rng), 1)
        path = tmp_path / "state"
        trainer.save(path)
        other = model_of(2)
        before = weights(other)
        with pytest.raises(CheckpointError, match="does not fit the optimizer"):
            trainer_of(other, Adam(other.parameters())).restore(path)
        small = nn.Sequential(nn.Flatten(), nn.Dense(3)).build((8, 8, 2))
        with pytest.raises(CheckpointError, match="another model"):
            trainer_of(small).restore(path)
        model.save_weights(tmp_path / "weights")
        with pytest.raises(CheckpointError, match="a file of weights"):
            trainer_of(other).restore(tmp_path / "weights")
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.write_bytes(bytes(data))
        with pytest.raises(CheckpointError, match="damaged"):
            trainer_of(other).restore(path)
        assert_same_bits(weights(other), before)


def test_an_interrupted_run_ends_its_callbacks(rng):
    class Interrupt(Callback):
        ended = False

        def on_step_end(self, trainer, info):
            if trainer.step == 2:
                raise KeyboardInterrupt

        def on_train_end(self, trainer):
            self.ended = True

    with fc.use_backend("numpy"):
        interrupt = Interrupt()
        trainer = trainer_of(model_of(), callbacks=[interrupt])
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(data_of(rng), 2, batch_size=16)
    assert interrupt.ended
    assert (trainer.step, trainer.epoch) == (2, 0)
    assert trainer.position is None  # it goes on from the epoch's begin


def test_epochs_are_numbered_for_the_loader(backend, rng):
    seen = []

    class Loader:
        def __init__(self, x, y):
            self.pair = x, y

        def set_epoch(self, epoch):
            seen.append(epoch)

        def __len__(self):
            return 2

        def __iter__(self):
            return iter([self.pair] * 2)

    trainer = trainer_of(model_of())
    trainer.fit(Loader(*data_of(rng, 8)), 2)
    trainer.fit(Loader(*data_of(rng, 8)), 1)
    assert seen == [0, 1, 2]
    assert trainer.step == 6


def test_with_the_loader(backend):
    dataset = fc.data.shapes10("test", seed=0)
    loader = fc.data.DataLoader(dataset, 50)
    few = [batch for batch, _ in zip(loader, range(4), strict=False)]
    model = nn.Sequential(nn.MaxPool2d(4), nn.Flatten(), nn.Dense(10)).build((32, 32, 3))
    trainer = trainer_of(model, Adam(model.parameters(), 0.01))
    history = trainer.fit(few, 3)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert 0 <= trainer.evaluate(few)["accuracy"] <= 1


def test_refuses_the_other_backend(rng):
    if "numba" not in fc.available_backends():
        pytest.skip("the backend numba is not there")
    with fc.use_backend("numpy"):
        trainer, (x, y) = trainer_of(model_of()), data_of(rng, 8)
    with fc.use_backend("numba"), pytest.raises(BackendMismatchError, match=r"'numpy'.*'numba'"):
        trainer.train_step(x, y)


def test_same_curve_on_both_backends(rng):
    """Twenty steps on Numba and on the reference; rounding grows with the steps, so that the bound does, too."""
    if "numba" not in fc.available_backends():
        pytest.skip("the backend numba is not there")
    curves = {}
    x, y = (fc.to_numpy(array) for array in data_of(rng, 64))
    for name in ("numpy", "numba"):
        with fc.use_backend(name):
            trainer = trainer_of(model_of(seed=4), seed=4)
            curves[name] = [float(trainer.train_step(x[:32], y[:32])) for _ in range(10)]
            curves[name] += [float(trainer.train_step(x[32:], y[32:])) for _ in range(10)]
    for step, (a, b) in enumerate(zip(curves["numpy"], curves["numba"], strict=True)):
        assert a == pytest.approx(b, rel=2e-5 * (step + 1), abs=1e-6)
    assert curves["numpy"][-1] < curves["numpy"][0]


def test_steady_state_maps_no_memory(rng):
    """A hundred steps while results are held and dropped: no pool miss, hardly a page fault."""
    with fc.use_backend("numba" if "numba" in fc.available_backends() else "numpy") as backend:
        model = nn.Sequential(
            *(nn.Conv2d(16, 3, padding=1), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2)),
            *(nn.GlobalAvgPool2d(), nn.Dense(10)),
        ).build((32, 32, 3))
        trainer = trainer_of(model)
        x = fc.asarray(rng.standard_normal((8, 32, 32, 3)).astype(np.float32))
        y = fc.asarray(rng.integers(0, 10, 8).astype(np.int32))
        held = []

        def steps(count):
            for i in range(count):
                held.append((trainer.train_step(x, y), model.predict(x, batch_size=8)))
                if len(held) == 8 or i % 13 == 0:
                    held.clear()

        steps(30)
        gc.collect()
        misses, faults = backend.pool.misses, resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        steps(100)
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
        assert backend.pool.misses == misses
        # one activation of this model is 512 kB, 128 pages: mapping but one anew in each step would be 12,800
        if backend.name == "numba":
            assert faults < 1000


def test_a_mean_over_many_batches_is_exact(backend):
    """A float32 sum of 50,000 losses drifts by 5e-4; the mean here is that of the losses in float64."""
    losses = np.random.default_rng(3).uniform(0, 1, 4_000).astype(np.float32)
    model = nn.Sequential(nn.Dense(2)).build((1,))
    one_by_one = iter(losses)
    trainer = fc.Trainer(model, lambda p, t: (next(one_by_one), p), SGD(model.parameters(), 0.0))
    got = trainer.evaluate((fc.asarray(np.zeros((4_000, 1), np.float32)), fc.asarray(np.zeros(4_000))), batch_size=1)
    assert got["loss"] == pytest.approx(losses.astype(np.float64).mean(), rel=1e-12)


def test_a_loss_that_is_not_finite_ends_training(backend, rng):
    x, y = data_of(rng, 64)
    model = model_of()
    batches = [(x[:32], y[:32]), (fc.asarray(np.full((32, 8, 8, 2), np.nan, np.float32)), y[32:])]
    trainer = trainer_of(model)
    trainer.fit(batches[:1], 1)
    message = r"loss: got nan in batch 2 of epoch 2, .* 0.05; allowed: a finite one"
    with np.errstate(all="ignore"), pytest.raises(DivergenceError, match=message):
        trainer.fit(batches, 3)
    assert (trainer.epoch, trainer.history.epochs, trainer.step) == (1, 1, 3)  # the epoch is no part of the history


def changed(x, index, value):
    x = x.copy()
    x[index] = value
    return x


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        (schedules.Cosine(0.1, 4), r"Cosine\(.*from step 4 on, before training ends at step 12; .*3 in each epoch"),
        (schedules.OneCycle(0.1, 11), "total_steps=12"),
        (schedules.Step(0.1, (1, 2)), "milestones are all within the first of 4 epochs"),
        (schedules.Cosine(0.1, 12), ""),
        (schedules.OneCycle(0.1, 400), ""),
        (schedules.Step(0.1, (2, 3)), ""),
        (schedules.Step(0.1, ()), ""),
        (schedules.Constant(0.1), ""),
        (None, ""),
    ],
)
def test_a_schedule_that_counts_epochs_is_told(rng, schedule, told):
    with fc.use_backend("numpy"):
        trainer, data = trainer_of(model_of(), schedule=schedule), data_of(rng, 12)
        with pytest.warns(UserWarning, match=told) if told else contextlib.nullcontext():
            trainer.fit(data, 4, batch_size=4)


def test_a_schedule_of_what_is_frozen_tells_nothing(rng):
    """It may end before: its rate has no effect."""
    with fc.use_backend("numpy"):
        model, data = model_of(), data_of(rng, 12)
        first, *others = model.parameters()
        group = {"params": [first], "lr": schedules.Polynomial(0.1, 3)}
        trainer = trainer_of(model, SGD([group, {"params": others}], 0.1))
        with pytest.warns(UserWarning, match="from step 3 on, before training ends at step 6"):
            trainer.fit(data, 2, batch_size=4)
        model.freeze(first.name)
        trainer.fit(data, 2, batch_size=4)


def test_callbacks_end_in_reverse_order(rng):
    ended = []

    class Ends(Callback):
        def __init__(self, name):
            self.name = name

        def on_train_end(self, trainer):
            ended.append(self.name)

    with fc.use_backend("numpy"):
        trainer_of(model_of(), callbacks=[Ends("outer"), Ends("inner")]).fit(data_of(rng, 8), 1)
    assert ended == ["inner", "outer"]


@pytest.mark.parametrize("how", ["pickle", "deepcopy"])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_a_copy_of_a_trainer_goes_on_with_the_same_bits(backend, rng, how, kind):
    """Model, optimizer, schedule, callbacks and history copied together; the original is not moved by the copy."""
    x, y = data_of(rng, 48)
    model = model_of(4)
    optimizer = Adam(model.parameters(), 0.01) if kind == "adam" else None
    trainer = trainer_of(model, optimizer, schedule=schedules.OneCycle(0.02, 9), callbacks=[ProgressDisplay()], seed=2)
    trainer.callbacks = [ProgressDisplay(io.StringIO())] if how == "deepcopy" else []
    trainer.fit((x, y), 1, (x, y), batch_size=16)
    twin = copy.deepcopy(trainer) if how == "deepcopy" else pickle.loads(pickle.dumps(trainer))
    before = weights(model)
    twin.fit((x, y), 2, (x, y), batch_size=16)
    assert_same_bits(weights(model), before)
    assert trainer.step == trainer.optimizer.steps == 3
    trainer.fit((x, y), 2, (x, y), batch_size=16)
    assert_same_bits(weights(twin.model), weights(model))
    assert twin.history.history["loss"] == trainer.history.history["loss"]
    assert set(twin.optimizer.parameters) == set(twin.model.parameters())


def test_predictions_are_asked_of_the_model():
    with (
        fc.use_backend("numpy"),
        pytest.raises(AttributeError, match=r"^predict: got .*\(trainer.model.predict\(x\)\)"),
    ):
        trainer_of(model_of()).predict(np.zeros((1, 4)))


class _Fits(Callback):
    def __init__(self, hook, data):
        self.hook, self.data, self.refused = hook, data, 0

    def _fit(self, trainer, hook):
        if hook == self.hook:
            with pytest.raises(ArgumentError, match=r"^fit: got a call while a fit of this Trainer is under way"):
                trainer.fit(self.data, 1)
            self.refused += 1
            assert not copy.copy(trainer)._fits  # which may

    def on_train_begin(self, trainer):
        self._fit(trainer, "begin")

    def on_step_end(self, trainer, info):
        self._fit(trainer, "step")

    def on_epoch_end(self, trainer, logs):
        self._fit(trainer, "epoch")


@pytest.mark.parametrize(("hook", "times"), [("begin", 1), ("step", 6), ("epoch", 2)])
def test_a_fit_within_a_fit_is_refused(rng, hook, times):
    """It took the outer one's number of epochs: a training of ten ended after the third."""
    with fc.use_backend("numpy"):
        data, histories = data_of(rng), []
        for callbacks in ((), (fits := _Fits(hook, data),)):
            trainer = trainer_of(model_of(), callbacks=callbacks)
            histories.append(trainer.fit(data, 2, batch_size=32).history["loss"])
        assert fits.refused == times
        assert histories[0] == histories[1]
        with pytest.raises(ArgumentError, match="epochs"):
            trainer.fit(data, 0)
        assert trainer.fit(data, 1, batch_size=32).epochs == 3
