"""What a trainer takes for data, and what it says of everything else."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import (
    ArgumentError,
    DataError,
    DTypeError,
    ShapeError,
)
from fastconv.optim import SGD
from fastconv.training import Callback
from tests.training.trainers import assert_same_bits, data_of, model_of, trainer_of, weights


def test_refuses_what_is_no_data(rng):
    with fc.use_backend("numpy"):
        trainer = trainer_of(model_of())
        x, y = data_of(rng, 8)
        for bad in (x, 3, iter([(x, y)])):
            with pytest.raises(ArgumentError, match="train: got"):
                trainer.fit(bad, 1)
        with pytest.raises(ShapeError, match="y: got shape"):
            trainer.fit((x, y[:-1]), 1)
        with pytest.raises(ArgumentError, match="epochs"):
            trainer.fit((x, y), 0)
        with pytest.raises(DTypeError, match="float64"):
            trainer.train_step(x.astype(np.float64), y)
        with pytest.raises(ArgumentError, match="labels"):
            trainer.train_step(x, y + 3)
        with pytest.raises(ShapeError, match="Conv2d"):
            trainer.train_step(x[..., :1], y)


def test_refuses_to_validate_with_images_that_are_changed_at_random():
    images = fc.data.shapes10("train", size=20)
    plain, changed = (
        fc.data.DataLoader(images, 10, shuffle=False, augmentation=augmentation)
        for augmentation in (None, fc.data.Flip())
    )
    with fc.use_backend("numpy"):
        model = nn.Sequential(nn.GlobalAvgPool2d(), nn.Dense(10)).build((32, 32, 3))
        trainer = trainer_of(model)
        with pytest.raises(ArgumentError, match=r"validation_data: got a DataLoader with augmentation=Flip\("):
            trainer.fit(changed, 1, validation_data=changed)
        trainer.fit(changed, 1, validation_data=plain)
        assert trainer.epoch == 1


class Batches:
    """Batches that claim a length."""

    def __init__(self, batches, length):
        self.batches, self.length = batches, length

    def __len__(self):
        return self.length

    def __iter__(self):
        return iter(self.batches)


def test_no_batches_are_refused(backend, rng):
    """Nothing done is no success: neither a loss of 0, nor the best validation there ever was."""
    x, y = data_of(rng, 8)
    images = fc.data.DataLoader(fc.data.shapes10("test", size=20), 64, drop_last=True)
    once = Batches(iter([(x, y)]), 1)  # has no second epoch
    trainer = trainer_of(model_of())
    nothing = [(x[:0], y[:0]), images, [], Batches([], 3), Batches(iter(()), 1)]
    for data in nothing:
        with pytest.raises(DataError, match=r"train: got .* no batches; allowed: at least one"):
            trainer.fit(data, 1)
        with pytest.raises(DataError, match=r"data: got .* no batches"):
            trainer.evaluate(data)
        with pytest.raises(DataError, match=r"validation_data: got .* no batches"):
            trainer.fit((x, y), 1, data)
    with pytest.raises(DataError, match=r"data: got .* no batches"):
        trainer.evaluate([(x[:0], y[:0])])
    with pytest.raises(ShapeError, match=r"x: got shape \(0, 8, 8, 2\), a batch of nothing"):
        trainer.train_step(x[:0], y[:0])
    assert trainer.epoch == 0
    assert trainer.history.epochs == 0
    with pytest.raises(DataError, match=r"train: got .* no batches"):
        trainer.fit(once, 2)
    assert trainer.epoch == trainer.history.epochs == 1
    assert trainer.evaluate([(x, y), (x[:0], y[:0])]) == trainer.evaluate((x, y))  # an empty one beside others


@pytest.mark.parametrize("length", [1, 2, 4, 9])
def test_batches_are_as_many_as_their_length_says(backend, rng, length):
    """Else a schedule's epochs are not the trainer's, and nothing goes on from the middle of one."""
    x, y = data_of(rng, 8)
    trainer = trainer_of(model_of())
    three = Batches([(x, y)] * 3, length)
    told = f"got a batch {length + 1}; allowed: {length} in all" if length < 3 else f"got 3 batches; allowed: {length}"
    with pytest.raises(DataError, match=f"^train: {told}, as its len says$"):
        trainer.fit(three, 2)
    assert (trainer.epoch, trainer.step, trainer.history.epochs) == (0, min(length, 3), 0)
    with pytest.raises(DataError, match=f"^data: {told}, as its len says$"):
        trainer.evaluate(three)
    with pytest.raises(DataError, match=f"^validation_data: {told}, as its len says$"):
        trainer.fit((x, y), 1, three)
    trainer.fit(Batches([(x, y)] * 3, 3), 1)


class Rows(nn.Layer):
    """Notes which rows it sees."""

    def __init__(self):
        self.seen = []

    def forward(self, x, *, training):
        if training:
            self.seen += fc.to_numpy(x)[:, 0].astype(int).tolist()
        return x, ()

    def backward(self, grad_output, context, *, needs_input_grad=True):
        return grad_output


def test_pairs_are_shuffled_by_seed_and_epoch(backend):
    x, y = fc.asarray(np.arange(20, dtype=np.float32)[:, None]), fc.asarray(np.arange(20, dtype=np.int32) % 3)

    def orders(seed, *epochs, **options):
        rows = Rows()
        trainer = trainer_of(nn.Sequential(rows, nn.Dense(3)).build((1,)), seed=seed)
        for count in epochs:
            trainer.fit((x, y), count, (x, y), batch_size=8, **options)
        return [rows.seen[i : i + 20] for i in range(0, len(rows.seen), 20)]

    first, second = orders(5, 2)
    assert sorted(first) == sorted(second) == list(range(20))
    assert len({tuple(order) for order in (first, second, range(20))}) == 3
    assert orders(5, 1, 1) == [first, second]  # as a run that was taken up again
    assert orders(6, 1) != [first]
    assert orders(5, 1, shuffle=True) == [first]
    assert orders(5, 2, shuffle=False) == [list(range(20))] * 2


TAKES = {
    "a list of two arrays": lambda t, x, y: t.fit([x, y], 1),
    "a list of lists": lambda t, x, y: t.fit([[x, y], [x, y]], 1),
    "one callback": lambda t, x, y: setattr(t, "callbacks", Callback()),
    "a validation pair": lambda t, x, y: t.fit([(x, y)], 1, (x, y), batch_size=4),
}


@pytest.mark.parametrize("habit", TAKES)
def test_takes(rng, habit):
    with fc.use_backend("numpy"):
        trainer, (x, y) = trainer_of(model_of()), data_of(rng, 8)
        TAKES[habit](trainer, x, y)
        assert trainer.epoch == trainer.history.epochs
        assert isinstance(trainer.callbacks, tuple)


REFUSES = {
    "a dict": (lambda t, x, y: t.fit({"x": x, "y": y}, 1), r"train: got dict; allowed: a pair of arrays in one argu"),
    "x alone": (lambda t, x, y: t.fit(x, y, 1), r"train: got ndarray; allowed: a pair of arrays in one argument, \(x"),
    "a string": (lambda t, x, y: t.fit("cifar10", 1), "train: got str"),
    "a data set": (lambda t, x, y: t.fit(fc.data.shapes10(size=8), 1), "train: got Dataset; allowed: .*DataLoader"),
    "lists of numbers": (lambda t, x, y: t.fit((x.tolist(), y.tolist()), 1), "train: got a batch|train: got"),
    "whole numbers": (lambda t, x, y: t.fit((x.astype(int), y), 1), "x of train: got int64"),
    "float64": (lambda t, x, y: t.fit((x.astype(float), y), 1), "x of train: got float64"),
    "a masked array": (lambda t, x, y: t.fit((np.ma.array(x), y), 1), "masked"),
    "batches of four": (lambda t, x, y: t.fit([(x, y, y, y)], 1), "train: got a batch that is tuple of 4"),
    "a batch of one array": (lambda t, x, y: t.fit([x], 1), "train: got a batch that is ndarray"),
    "labels as a list": (lambda t, x, y: t.train_step(x, y.tolist()), "y: got list"),
    "x as a list": (lambda t, x, y: t.train_step(x.tolist(), y), "x: got list"),
    "shuffle of batches": (lambda t, x, y: t.fit([(x, y)], 1, shuffle=True), "shuffle: got True with batches"),
    "batch_size of batches": (lambda t, x, y: t.fit([(x, y)], 1, batch_size=4), "batch_size: got 4 with batches"),
    "batch_size in evaluate": (lambda t, x, y: t.evaluate([(x, y)], batch_size=4), "batch_size: got 4 with batches"),
    "shuffle as a word": (lambda t, x, y: t.fit((x, y), 1, shuffle="yes"), "shuffle: got 'yes'"),
    "half a batch": (lambda t, x, y: t.fit((x, y), 1, batch_size=0.5), "batch_size: got 0.5"),
    "stop_training": (lambda t, x, y: setattr(t, "stop_training", True), "stop_training: got .*trainer.stop"),
    "another model's": (lambda t, x, y: setattr(t, "optimizer", SGD(model_of().parameters(), 1)), "optimizer: got SGD"),
    "a seed of -1": (lambda t, x, y: setattr(t, "seed", -1), "seed: got -1"),
}


@pytest.mark.parametrize("habit", REFUSES)
def test_refuses_a_habit_from_elsewhere(rng, habit):
    """One error, that says what to write, and nothing was done."""
    with fc.use_backend("numpy"):
        trainer, (x, y) = trainer_of(model_of()), data_of(rng, 8)
        before, optimizer = weights(trainer.model), trainer.optimizer
        use, message = REFUSES[habit]
        with pytest.raises(fc.errors.FastconvError, match=message):
            use(trainer, x, y)
        assert_same_bits(weights(trainer.model), before)
        assert (trainer.step, trainer.epoch, trainer.history.epochs) == (0, 0, 0)
        assert trainer.optimizer is optimizer


def test_a_model_of_another_backend_is_told_of_before_its_data(rng):
    """Not that its backend is the active one, and that arrays are to be made for that."""
    with fc.use_backend("numpy"):
        trainer, (x, y) = trainer_of(model_of()), data_of(rng, 8)
    with fc.use_backend("numba"):
        for use in (lambda data: trainer.fit(data, 1), trainer.evaluate):
            with pytest.raises(fc.errors.BackendMismatchError, match=r"lives on the backend 'numpy'; .*model\.to"):
                use((x.tolist(), y))


@pytest.mark.parametrize("more", [{}, {"batch_size": 2}])
@pytest.mark.parametrize("which", ["x", "y"])
def test_a_list_in_a_pair_is_named(rng, which, more):
    pair = {"x": rng.standard_normal((6, 3)).astype(np.float32), "y": np.zeros(6, np.int32)}
    pair[which] = pair[which].tolist()
    model = nn.Sequential(nn.Dense(2)).build((3,))
    trainer = trainer_of(model)
    for use in (lambda data: trainer.fit(data, 1, **more), lambda data: trainer.evaluate(data, **more)):
        for data in (tuple(pair.values()), list(pair.values())):
            with pytest.raises(
                DTypeError, match=rf"^{which}( of \w+)?: got list; allowed: an array.*asarray\({which}\)"
            ):
                use(data)


def forms_of(array):
    """The same values in other forms of memory."""
    room = np.zeros(array.nbytes + 1, np.uint8)
    unaligned = room[1:].view(array.dtype).reshape(array.shape)
    unaligned[...] = array
    frozen = array.copy()
    frozen.flags.writeable = False
    return {
        "big-endian": array.astype(array.dtype.newbyteorder(">")),
        "every-second-row": np.repeat(array, 2, axis=0)[::2],
        "backwards": array[::-1].copy()[::-1],
        "fortran": np.asfortranarray(array),
        "unaligned": unaligned,
        "read-only": frozen,
    }


# In captured steps, which are compiled each time, the default suite has the two forms that once were read wrongly.
FORMS = {
    form: pytest.mark.slow if number > 1 else ()
    for number, form in enumerate(("big-endian", "every-second-row", "backwards", "fortran", "unaligned", "read-only"))
}


@pytest.mark.parametrize(
    ("form", "capture"),
    [
        *(pytest.param(form, False, id=f"{form}-plain") for form in FORMS),
        *(pytest.param(form, None, marks=marks, id=f"{form}-captured") for form, marks in FORMS.items()),
    ],
)
def test_what_is_checked_is_what_is_used(backend, rng, form, capture):
    """Whatever memory a batch comes in, x and y, it is the same batch, wherever it comes in."""
    x, y = (np.array(fc.to_numpy(array)) for array in data_of(rng, 20))
    y = y.astype(rng.choice([np.int16, np.int32, np.int64, np.uint8]))

    others = x[::-1] + 1, y[::-1].copy()

    def run(x, y, *more):
        trainer = trainer_of(model_of(2), seed=1, capture=capture)
        found = [float(trainer.train_step(*batch)) for batch in ((x, y), more, (x, y))]
        found += trainer.fit((x, y), 1, (x, y), batch_size=8).history["loss"]
        found += trainer.fit([(x, y)], 1, [(x, y)]).history["val_loss"]
        found += trainer.evaluate((x, y), batch_size=8).values()
        return {**weights(trainer.model), "found": np.array(found)}

    batches = (x, y, *others)
    assert_same_bits(run(*(forms_of(array)[form] for array in batches)), run(*map(np.ascontiguousarray, batches)))


@pytest.mark.parametrize(
    ("keywords", "setting"),
    [
        ({"augmentation": fc.data.FlipCrop()}, "augmentation=FlipCrop"),
        ({"sampling": "balanced"}, "sampling='balanced'"),
        ({"sampling": [1.0] * 20}, "sampling="),
        ({"drop_last": True}, "drop_last=True"),
    ],
)
def test_samples_are_measured_as_they_are_and_once(keywords, setting):
    with fc.use_backend("numpy"):
        images = fc.data.shapes10("train", size=20)
        model = fc.nn.Sequential(fc.nn.GlobalAvgPool2d(), fc.nn.Dense(10)).build((32, 32, 3), seed=0)
        trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), fc.optim.SGD(model.parameters(), 0.1))
        loader = fc.data.DataLoader(images, 8, **keywords)
        with pytest.raises(ArgumentError, match=f"^data: got a DataLoader with {setting}.*; allowed: one without"):
            trainer.evaluate(loader)
        with pytest.raises(ArgumentError, match=f"^validation_data: got a DataLoader with {setting}"):
            trainer.fit(fc.data.DataLoader(images, 8), 1, loader)
        assert trainer.step == 0
        trainer.evaluate(fc.data.DataLoader(images, 10, drop_last=True))  # which drops nothing
