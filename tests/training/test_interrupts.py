"""An interrupt at any instant: what a step, a load or a move changes is changed whole or not at all."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.backends import memory
from fastconv.backends.memory import Pool
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.optim import SGD, Adam, schedules
from fastconv.training import ClipGlobalNorm
from tests.interrupts import EVERYWHERE, RECORDING, STATE, Interrupts, every_place


def model_of(seed=1):
    return nn.Sequential(
        *(nn.Conv2d(4, 3, padding=1, bias=False), nn.BatchNorm2d(), nn.ReLU(), nn.Conv2d(3, 1)),
        *(nn.Dropout(0.2), nn.GlobalAvgPool2d(), nn.Dense(3)),
    ).build((4, 4, 2), seed=seed)


def trainer_of(model, *, frozen=False, **keywords):
    """With `frozen`, the update is more than one kernel."""
    parameters = list(model.parameters())
    if frozen:
        del parameters[2]
    optimizer = SGD(parameters, 0.5, 0.9) if frozen else Adam(parameters, 0.05)
    return fc.Trainer(model, SoftmaxCrossEntropy(), optimizer, schedules.Cosine(0.05, 100), seed=3, **keywords)


def batch_of(rng, size=6):
    return rng.standard_normal((size, 4, 4, 2)).astype(np.float32), rng.integers(0, 3, size).astype(np.int32)


def state_of(trainer):
    """All that decides how training goes on, and what the model says."""
    state = {tensor.name: np.array(tensor.data) for tensor in trainer.model.tensors()}
    kept = trainer.optimizer.state_dict()
    state |= kept["tensors"]
    numbers = [trainer.step, trainer.epoch, trainer.optimizer.steps, trainer.optimizer.lr, kept["lr"]]
    return state | {"numbers": np.array(numbers, np.float64)}


def same(a, b):
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


def assert_fresh(model, other, x):
    """What the model computes is what another one of the same values computes."""
    for mine, theirs in zip(other.tensors(), model.tensors(), strict=True):
        mine.data = theirs.data
    np.testing.assert_array_equal(model(x), other(x))


def put_back(trainer, state, tensors):
    """Bring a trainer into a state, by hand."""
    for tensor in trainer.model.tensors():
        tensor.data = state[tensor.name]
    trainer.optimizer.load_state_dict(tensors)
    trainer.step = int(state["numbers"][0])


@pytest.mark.parametrize(
    ("where", "instructions", "stride"),
    [
        pytest.param(STATE, False, 7, id="every-seventh-line-where-state-changes"),
        # the first two with a stride of 1 pass, too, in some 27,000 steps
        pytest.param(STATE, True, 23, id="instructions-where-state-changes", marks=pytest.mark.slow),
        pytest.param(EVERYWHERE, False, 19, id="lines-everywhere", marks=pytest.mark.slow),
        pytest.param(EVERYWHERE, True, 307, id="instructions-everywhere", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    "kind",
    [
        *("plain", "captured", "several-kernels", "reference"),
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("first", "pieces", "captured-pieces")),
    ],
)
def test_a_step_is_done_whole_or_not_at_all(rng, kind, where, instructions, stride):
    """One interrupt, before each place in turn."""
    with fc.use_backend("numpy" if kind == "reference" else "numba"):
        model, other = model_of(), model_of(seed=7)
        more = {"accumulate": 3, "clip": ClipGlobalNorm(0.1)} if kind.endswith("pieces") else {}
        capture = kind in ("captured", "first", "captured-pieces")
        trainer = trainer_of(model, capture=capture, frozen=kind == "several-kernels", **more)
        x, y = batch_of(rng)
        trainer.train_step(x, y)
        before, tensors = state_of(trainer), trainer.optimizer.state_dict()
        trainer.train_step(x, y)
        after, seen = state_of(trainer), set()
        for number in range(0, 10**6, stride):
            put_back(trainer, before, tensors)
            model(x)  # so that there are prepared weights to be stale
            if kind == "first":
                trainer._captured = None
            breaks = Interrupts(number, where, instructions=instructions)
            broken = breaks.breaks(lambda: trainer.train_step(x, y))
            now = state_of(trainer)
            whole = same(now, after)
            assert whole or same(now, before), number
            assert_fresh(model, other, x)
            if not broken:
                break
            seen.add(whole)
        assert whole
        assert seen == {False, True}  # there were interrupts on both sides of the update
        assert number > 200


@pytest.mark.slow
def test_what_is_recorded_ends_with_its_capture(rng):
    """Before each line in turn where launches are recorded: left on, nothing would be computed from then on."""
    with fc.use_backend("numba"):
        model, other = model_of(), model_of(seed=7)
        trainer, (x, y) = trainer_of(model, capture=True), batch_of(rng)
        trainer.train_step(x, y)

        def prepare():
            trainer._captured = None

        places = every_place(
            lambda: trainer.train_step(x, y), prepare, lambda broken: assert_fresh(model, other, x), where=RECORDING
        )
        assert places > 100


@pytest.mark.parametrize("capture", [False, None], ids=["plain", "captured"])
def test_an_interrupt_from_a_timer(rng, capture):
    """As Ctrl-C comes: at any time, whatever runs."""
    with fc.use_backend("numba"):
        model, other = model_of(), model_of(seed=7)
        trainer = trainer_of(model, capture=capture)
        batches = [batch_of(rng, 200) for _ in range(4)]
        for x, y in batches:
            trainer.train_step(x, y)
        begin = time.perf_counter()
        for x, y in batches:
            trainer.train_step(x, y)
        length = (time.perf_counter() - begin) / 4
        before, begun = state_of(trainer), trainer.step
        handler = signal.signal(signal.SIGALRM, signal.default_int_handler)
        interrupts = 0
        try:
            for after in np.linspace(0.02, 1.2, 60) * length:
                model(x[:4])
                try:
                    signal.setitimer(signal.ITIMER_REAL, after)
                    trainer.train_step(*batches[trainer.step % 4])
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except KeyboardInterrupt:
                    interrupts += 1
                assert trainer.step == trainer.optimizer.steps
                assert_fresh(model, other, x[:4])
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
        assert interrupts > 5
        done, now = trainer.step, state_of(trainer)
        # the same steps without an interrupt
        calm = trainer_of(model_of(), capture=capture)
        for i in range(begun):
            calm.train_step(*batches[i % 4])
        assert same(state_of(calm), before)
        for i in range(begun, done):
            calm.train_step(*batches[i % 4])
        assert same(state_of(calm), now)


def test_a_second_interrupt_leaves_no_stale_weights(rng, monkeypatch):
    """It comes while the first one is dealt with, before anything is said of the parameters again."""
    with fc.use_backend("numba"):
        model, other, (x, _) = model_of(), model_of(seed=7), batch_of(rng)
        optimizer = SGD(model.parameters(), 0.5)
        model.backward(np.ones((6, 3), np.float32), model.forward(x, training=True)[1])
        model(x)

        def interrupt(*_):
            raise KeyboardInterrupt

        def change():
            optimizer.update()
            raise KeyboardInterrupt

        monkeypatch.setattr(optimizer, "_is_done", interrupt)
        before = np.array(model(x))
        with pytest.raises(KeyboardInterrupt):
            optimizer.apply(change)
        assert not np.array_equal(model(x), before)
        assert_fresh(model, other, x)


def test_a_state_is_restored_whole_or_not_at_all(rng, tmp_path):
    """Weights, the optimizer's state, counters and history: all from the file, or all from before."""
    with fc.use_backend("numpy"):
        data, other = batch_of(rng), model_of(seed=7)
        saved = trainer_of(model_of(2))
        saved.fit(data, 3)
        saved.save(tmp_path / "state")
        trainer = trainer_of(model_of(3))
        trainer.fit(data, 1)
        before, history, tensors = state_of(trainer), dict(trainer.history.history), trainer.optimizer.state_dict()

        def prepare():
            put_back(trainer, before, tensors)
            trainer.epoch, trainer.history.history = 1, dict(history)
            trainer.model(data[0])

        def look(broken):
            whole = same(state_of(trainer), state_of(saved))
            assert whole or same(state_of(trainer), before)
            assert trainer.history.history == (saved.history.history if whole else history)
            assert whole or broken
            assert_fresh(trainer.model, other, data[0])

        assert every_place(lambda: trainer.restore(tmp_path / "state"), prepare, look, stride=13) > 300


def test_weights_are_loaded_whole_or_not_at_all(rng, tmp_path):
    with fc.use_backend("numpy"):
        model, source, other, x = model_of(1), model_of(2), model_of(3), batch_of(rng)[0]
        source.save_weights(tmp_path / "weights")
        values = [[np.array(tensor.data) for tensor in m.tensors()] for m in (source, model)]

        def prepare():
            for tensor, value in zip(model.tensors(), values[1], strict=True):
                tensor.data = value
            model(x)

        def look(broken):
            now = [tensor.data for tensor in model.tensors()]
            loaded, kept = (all(map(np.array_equal, now, wanted)) for wanted in values)
            assert loaded or (kept and broken)
            assert_fresh(model, other, x)

        assert every_place(lambda: model.load_weights(tmp_path / "weights"), prepare, look, stride=7) > 100


@pytest.mark.parametrize("change", ["to", "build", "share"])
def test_a_model_moves_whole_or_not_at_all(rng, change):
    """Moved, built again, or its layers built into another model: afterwards it computes what it did, or the new."""
    x = batch_of(rng)[0]
    with fc.use_backend("numpy"):
        model = model_of(1)
        want = np.array(model(x))
        changes = {
            "to": lambda: model.to("numba"),
            "build": lambda: model.build((4, 4, 2), seed=5),
            "share": lambda: nn.Sequential(*model.layers[:-1], nn.Dense(2)).build((4, 4, 2), seed=5),
        }

        def prepare():
            nonlocal model
            model = model_of(1)
            np.testing.assert_array_equal(model(x), want)

        def look(broken):
            homes = {tensor.arena.backend.name for tensor in model.tensors()} | {model.backend.name}
            assert len(homes) == 1
            assert len({layer.backend.name for layer in model.walk()}) == 1
            with fc.use_backend(homes.pop()):
                got = fc.to_numpy(model(x))
                if change == "build" and not broken:
                    np.testing.assert_array_equal(got, model_of(5)(x))
                elif not (change == "build" and np.array_equal(got, model_of(5)(x))):
                    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
                optimizer = SGD(model.parameters(), 0.1)
                fc.Trainer(model, SoftmaxCrossEntropy(), optimizer, capture=False).train_step(x, np.zeros(6, np.int32))

        assert every_place(changes[change], prepare, look, stride=31) > 100


def test_what_looks_only_changes_nothing(rng):
    """Evaluation, prediction and compilation may break off anywhere."""
    with fc.use_backend("numba"):
        model, other, (x, y) = model_of(), model_of(seed=7), batch_of(rng)
        trainer = trainer_of(model)
        trainer.train_step(x, y)
        before = state_of(trainer)

        def look(broken):
            assert same(state_of(trainer), before)
            assert_fresh(model, other, x)

        for use in (lambda: trainer.evaluate((x, y)), lambda: model.predict(x, 4), lambda: model.compile(x.shape)(x)):
            use()  # compiles its kernels: LLVM complains of code whose compilation broke off
            assert every_place(use, lambda: [p.touch() for p in model.parameters()], look, stride=83) > 100


def test_an_epoch_is_counted_with_its_history(rng):
    with fc.use_backend("numpy"):
        trainer, data = trainer_of(model_of()), batch_of(rng)

        def look(broken):
            assert trainer.epoch == trainer.history.epochs
            assert len({len(values) for values in trainer.history.history.values()}) <= 1

        every_place(lambda: trainer.fit(data, 1, data), lambda: None, look, stride=37)


def test_the_pool_goes_on_behind_an_interrupt():
    """A block that was on its way is lost, and nothing else."""
    pool = Pool()

    def look(broken):
        arrays = [pool.empty((100,), np.float32) for _ in range(3)]
        for i, array in enumerate(arrays):
            array[...] = i
        assert [array[0] for array in arrays] == [0, 1, 2]

    where = (memory.__file__,)
    assert every_place(lambda: pool.empty((100,), np.float32), lambda: None, look, where=where, instructions=True) > 50
    every_place(lambda: pool.empty((100,), np.float32), lambda: None, lambda broken: None, where=where)
    look(broken=False)
