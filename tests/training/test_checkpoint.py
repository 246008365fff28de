"""The state of a training in a file: from between two epochs or the middle of one, with the state of all parts."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, CheckpointError, DivergenceError
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.metrics import F1, Accuracy, ConfusionMatrix, MeanBiasError
from fastconv.nn.model.weights import read_tensors, write_tensors
from fastconv.optim import SGD, Adam, schedules
from fastconv.training import Callback, ModelCheckpoint
from fastconv.training.checkpoint import KIND

from .trainers import assert_same_bits, data_of, model_of, trainer_of, weights

BATCHES = 7


class Halving:
    """A schedule with a state: it halves after each epoch."""

    def __init__(self):
        self.rate = 0.01

    def __call__(self, step):
        return self.rate

    def state_dict(self):
        return {"rate": self.rate}

    def load_state_dict(self, state):
        self.rate = float(state["rate"])


class Follower(Callback):
    """It keeps a running sum over steps and epochs, and halves the rate of a schedule with a state."""

    def __init__(self, stop_at=None):
        self.sum, self.seen, self.stop_at = np.zeros(2), [], stop_at

    def on_step_end(self, trainer, info):
        self.sum += (info.batch, float(info.loss))

    def on_epoch_end(self, trainer, logs):
        self.seen.append(logs["loss"])
        trainer.schedule.rate /= 2
        if trainer.epoch == self.stop_at:
            trainer.stop = True

    def state_dict(self):
        return {"sum": self.sum.copy(), "nested": {"seen": tuple(self.seen), "none": None, "count": np.int64(3)}}

    def load_state_dict(self, state):
        self.sum, self.seen = state["sum"].copy(), list(state["nested"]["seen"])


class LeftError(Exception):
    pass


class LeaveAt(Callback):
    """Breaks off behind a step, as a kill would."""

    saves = True  # and behind whoever wrote the state

    def __init__(self, step):
        self.step = step

    def on_step_end(self, trainer, info):
        if trainer.step == self.step:
            raise LeftError


def new_trainer(seed=1, callbacks=(), **settings):
    model = model_of(seed)
    follower = Follower()
    return trainer_of(
        model,
        Adam(model.parameters(), 0.01),
        schedule=Halving(),
        callbacks=[*callbacks, follower],
        seed=seed,
        **settings,
    )


def figures(history):
    return {name: values for name, values in history.history.items() if name not in ("seconds", "images_per_second")}


PLACES = [(3, None), (7, (Accuracy(), F1())), (10, (ConfusionMatrix(),)), (14, ())]


@pytest.mark.parametrize(("step", "metrics"), PLACES, ids=str)
def test_taken_up_in_mid_epoch(backend, rng, tmp_path, step, metrics):
    """Weights, history, schedule and callbacks end with the bits of the undisturbed training."""
    data = data_of(rng, 16 * BATCHES - 5)
    straight = new_trainer(metrics=metrics)
    straight.fit(data, 3, data, batch_size=16)
    checkpoint = ModelCheckpoint(tmp_path, save_every_steps=1)
    first = new_trainer(metrics=metrics, callbacks=[checkpoint, LeaveAt(step)])
    with pytest.raises(LeftError):
        first.fit(data, 3, data, batch_size=16)
    second = new_trainer(2, metrics=metrics)
    second.restore(checkpoint.last_path)
    assert (second.step, second.epoch, second.position["done"]) == (
        step,
        (step - 1) // BATCHES,
        (step - 1) % BATCHES + 1,
    )
    second.save(tmp_path / "again")
    second = new_trainer(3, metrics=metrics)
    second.restore(tmp_path / "again")
    second.fit(data, 3 - second.epoch, data, batch_size=16)
    assert second.position is None
    assert_same_bits(weights(second.model), weights(straight.model))
    assert figures(second.history) == figures(straight.history)
    assert second.schedule.rate == straight.schedule.rate == 0.01 / 8
    np.testing.assert_array_equal(second.callbacks[0].sum, straight.callbacks[0].sum)
    assert second.callbacks[0].seen == straight.callbacks[0].seen


def test_the_state_is_written_behind_all_other_callbacks():
    checkpoint, follower = ModelCheckpoint("x"), Follower()
    assert trainer_of(model_of(), callbacks=[checkpoint, follower]).callbacks == (follower, checkpoint)


def test_what_ended_a_training_is_known_afterwards(rng, tmp_path):
    with fc.use_backend("numpy"):
        data = data_of(rng, 32)
        checkpoint = ModelCheckpoint(tmp_path)
        first = trainer_of(model_of(), schedule=Halving(), callbacks=[checkpoint, Follower(stop_at=2)])
        assert first.fit(data, 9, batch_size=16).epochs == 2
        second = trainer_of(model_of(), schedule=Halving(), callbacks=[Follower()])
        second.restore(checkpoint.last_path)
        assert second.stop
        assert second.fit(data, 1, batch_size=16).epochs == 3  # who goes on may


def test_a_stop_in_mid_epoch_is_kept(rng, tmp_path):
    class StopAt(LeaveAt):
        saves = False

        def on_step_end(self, trainer, info):
            trainer.stop = trainer.stop or trainer.step == self.step

    with fc.use_backend("numpy"):
        data = data_of(rng, 64)
        checkpoint = ModelCheckpoint(tmp_path, save_every_steps=3)
        first = trainer_of(model_of(), callbacks=[StopAt(6), checkpoint, LeaveAt(7)])
        with pytest.raises(LeftError):
            first.fit(data, 9, batch_size=16)
        second = trainer_of(model_of())
        second.restore(checkpoint.last_path)
        assert second.fit(data, 8, batch_size=16).epochs == 2


def left_in_mid_epoch(rng, tmp_path, **settings):
    data = data_of(rng, 64)
    with pytest.raises(LeftError):
        new_trainer(callbacks=[ModelCheckpoint(tmp_path, save_every_steps=2), LeaveAt(3)], **settings).fit(
            data, 1, batch_size=16
        )
    return data, tmp_path / "last.safetensors"


def test_another_number_of_batches_is_refused(rng, tmp_path):
    with fc.use_backend("numpy"):
        data, path = left_in_mid_epoch(rng, tmp_path)
        second = new_trainer()
        second.restore(path)
        with pytest.raises(ArgumentError, match=r"train: got 8 batches; allowed: 4, as in .* \(after 2 of them\)"):
            second.fit(data, 1, batch_size=8)
        assert second.fit(data, 1, batch_size=16).epochs == 1  # nothing was lost


def test_a_copy_goes_on_in_the_middle_too(rng, tmp_path):
    import copy

    with fc.use_backend("numpy"):
        data, path = left_in_mid_epoch(rng, tmp_path)
        second = new_trainer()
        second.restore(path)
        other = copy.deepcopy(second)
        for trainer in (second, other):
            trainer.fit(data, 1, batch_size=16)
        assert other.step == second.step == 4
        assert_same_bits(weights(other.model), weights(second.model))


def test_a_copy_that_a_callback_makes_goes_on_in_the_middle(backend, rng):
    """It began the epoch again, and took the first batches twice."""
    import copy

    class Copying(Callback):
        def on_step_end(self, trainer, info):
            if trainer.step == 7:
                twin = copy.copy(trainer)
                twin.callbacks = ()
                copies.append(copy.deepcopy(twin))

    copies = []
    trainer, data = trainer_of(model_of(), callbacks=Copying()), data_of(rng)
    trainer.fit(data, 2, batch_size=16)
    (twin,) = copies
    twin.fit(data, 1, batch_size=16)
    assert twin.step == trainer.step == 12
    assert twin.history.history["loss"] == trainer.history.history["loss"]
    assert_same_bits(weights(twin.model), weights(trainer.model))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrics": MeanBiasError()}, "sums of other metrics"),
        ({"metrics": (Accuracy(), F1())}, r"sums of other metrics \(such as 'f1'\)"),
        ({"callbacks": ()}, "with the state of a callback Follower; allowed: that of what the trainer has"),
        ({"schedule": schedules.Constant(0.1)}, "with the state of a schedule Halving"),
    ],
    ids=["bias", "f1", "callbacks", "schedule"],
)
def test_the_state_of_other_parts_is_refused_whole(rng, tmp_path, settings, message):
    with fc.use_backend("numpy"):
        _, path = left_in_mid_epoch(rng, tmp_path, metrics=Accuracy())
        second = new_trainer(5, metrics=Accuracy())
        for name, value in settings.items():
            setattr(second, name, value)
        before = weights(second.model)
        with pytest.raises(CheckpointError, match=message):
            second.restore(path)
        assert_same_bits(weights(second.model), before)
        assert (second.step, second.position) == (0, None)


@pytest.mark.parametrize("broken", ["schedule", "callback"])
def test_a_part_that_fails_leaves_all_as_it_was(rng, tmp_path, broken):
    with fc.use_backend("numpy"):
        _, path = left_in_mid_epoch(rng, tmp_path)
        second = new_trainer(5)
        second.schedule.rate = 0.5
        part = second.schedule if broken == "schedule" else second.callbacks[0]
        load, refused = part.load_state_dict, []

        def fail(state):
            load(state)
            if not refused:
                refused.append(state)
                raise ValueError("mine")

        part.load_state_dict = fail
        before, state = weights(second.model), second.optimizer.state_dict()
        with pytest.raises(ValueError, match="mine"):
            second.restore(path)
        assert_same_bits(weights(second.model), before)
        assert_same_bits(second.optimizer.state_dict()["tensors"], state["tensors"])
        assert (second.step, second.position, second.schedule.rate, second.callbacks[0].seen) == (0, None, 0.5, [])


def test_two_callbacks_of_a_class_have_a_state_each(rng, tmp_path):
    with fc.use_backend("numpy"):
        first, second = (trainer_of(model_of(), callbacks=[Follower(), Follower()]) for _ in range(2))
        first.callbacks[0].sum[:], first.callbacks[1].sum[:] = 1, 2
        first.save(tmp_path / "state")
        second.restore(tmp_path / "state")
        assert [callback.sum.tolist() for callback in second.callbacks] == [[1, 1], [2, 2]]


@pytest.mark.parametrize("value", [{1: 2}, object(), {"a": {3, 4}}], ids=["key", "object", "set"])
def test_a_state_that_no_file_can_hold_is_named(rng, tmp_path, value):
    with fc.use_backend("numpy"):
        trainer = new_trainer()
        trainer.callbacks[0].state_dict = lambda: {"odd": value}
        with pytest.raises(ArgumentError, match=r"state_dict: got .* parts/callback Follower/odd"):
            trainer.save(tmp_path / "state")
        assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"history": None}, "whose state cannot be read"),
        ({"history": {"loss": ["high"]}}, "whose state cannot be read .*'high'"),
        ({"position": "here"}, "whose state cannot be read"),
        ({"position": {"batches": 4}}, "a state without 'totals'"),
        ({"frozen": ["9.weight"]}, "whose state cannot be read .it froze '9.weight', which the model has not"),
    ],
    ids=str,
)
def test_a_state_of_another_form_is_refused_whole(rng, tmp_path, change, words):
    with fc.use_backend("numpy"):
        _, path = left_in_mid_epoch(rng, tmp_path)
        tensors, metadata = read_tensors(path, kind=KIND)
        write_tensors(path, tensors, metadata | change)
        second = new_trainer(5)
        before = weights(second.model)
        with pytest.raises(CheckpointError, match=rf"^path: got '.*', {words}.*; allowed: one that this version of"):
            second.restore(path)
        assert_same_bits(weights(second.model), before)
        assert (second.step, second.position, second.history.epochs) == (0, None, 0)


class GoesBack(Callback):
    """Takes up a state once, and writes it again."""

    def __init__(self, path):
        self.path, self.saved, self.went = path, path.with_name("saved"), False

    def go_back(self, trainer, *told):
        if not self.went:
            self.went = True
            trainer.restore(self.path)
            trainer.save(self.saved)
        return ""


def goes_back_in(where, path):
    return type("GoesBackThere", (GoesBack,), {where: GoesBack.go_back})(path)


@pytest.mark.parametrize("where", ["on_step_begin", "on_step_end"])
def test_a_state_is_refused_while_an_epoch_is_under_way(rng, tmp_path, where):
    with fc.use_backend("numpy"):
        data, path = left_in_mid_epoch(rng, tmp_path)
        second = new_trainer(5, callbacks=[goes_back_in(where, path)])
        with pytest.raises(ArgumentError, match=r"^restore: got a call while an epoch of fit is under way; allowed: "):
            second.fit(data, 1, batch_size=16)
        second.restore(path)
        assert (second.step, second.position["done"]) == (2, 2)


@pytest.mark.parametrize("where", ["on_train_begin", "on_epoch_end", "on_divergence", "on_train_end"])
def test_a_state_is_taken_up_where_no_step_of_the_epoch_follows(rng, tmp_path, where):
    """And the training goes on from there to the bits of one that was not disturbed."""
    with fc.use_backend("numpy"):
        data, path = left_in_mid_epoch(rng, tmp_path)
        straight = new_trainer()
        straight.fit(data, 2, batch_size=16)
        callback = goes_back_in(where, path)
        second = new_trainer()
        second.callbacks = (*second.callbacks, callback)  # the last, as others would change what it took up
        if where == "on_divergence":
            second.model.parameters()[0].data = np.full(second.model.parameters()[0].shape, np.nan)
            with pytest.raises(DivergenceError):
                second.fit(data, 1, batch_size=16)
        else:
            second.fit(data, 1, batch_size=16)
        third = new_trainer(7)
        third.restore(callback.saved)
        assert (third.step, third.epoch, third.position["done"]) == (2, 0, 2)
        for trainer in (second, third):
            trainer.fit(data, 2 - trainer.epoch, batch_size=16)
            assert_same_bits(weights(trainer.model), weights(straight.model))


def test_a_state_of_another_seed_brings_its_order(rng, tmp_path):
    """Taken up before the first batch, where the batches of that call are made already."""
    with fc.use_backend("numpy"):
        data, path = left_in_mid_epoch(rng, tmp_path)
        straight = new_trainer()
        straight.fit(data, 1, batch_size=16)
        second = new_trainer(7)
        second.callbacks = (*second.callbacks, goes_back_in("on_train_begin", path))
        second.fit(data, 1, batch_size=16)
        assert second.seed == straight.seed
        assert_same_bits(weights(second.model), weights(straight.model))


def test_a_state_has_the_names_of_its_model(backend, tmp_path):
    """Those of tensors are another model's, where layers were built into it since."""

    def trained(steps):
        model = nn.Sequential(nn.Dense(4), nn.Dense(4)).build((4,), seed=1)
        trainer = fc.Trainer(model, SoftmaxCrossEntropy(), SGD(model.parameters(), 0.1, momentum=0.9), seed=0)
        x = fc.asarray(np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32))
        y = fc.asarray(np.array([0, 1, 2], np.int32))
        return trainer, lambda: [float(trainer.train_step(x, y)) for _ in range(steps)]

    (old, train), (_, train_whole) = trained(3), trained(5)
    train()
    nn.Sequential(old.model[1], nn.ReLU(), old.model[0]).build((4,))
    old.save(tmp_path / "state")
    new, go_on = trained(2)
    new.restore(tmp_path / "state")
    assert go_on() == train_whole()[3:]
    old.restore(tmp_path / "state")
