"""The state of pruning: masks that are given, and a state that is taken whole, fits, or is refused."""

import functools
import re

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError, CheckpointError, DTypeError, ShapeError
from fastconv.optim import SGD, Pruning
from tests.interrupts import every_place
from tests.optim.test_optim import give_grads, values
from tests.optim.test_pruning import X, Y, model_of


def test_masks_that_are_given_are_taken(backend):
    model = model_of()
    optimizer = Pruning(SGD(model.parameters(), 0.1), 100, target=0.5)
    masks = {"0.weight": np.arange(20).reshape(4, 5) % 2 == 0, "2.weight": np.ones((5, 3), bool)}
    optimizer.set_masks(masks)
    np.testing.assert_array_equal(fc.to_numpy(model.parameters()[0].data) != 0, masks["0.weight"])
    assert optimizer.quantities() == {"sparsity": 10 / 35, "sparsity/0.weight": 0.5, "sparsity/2.weight": 0.0}
    with pytest.raises(ArgumentError, match=r"masks: got those of another model \(such as '0.weight'\)"):
        optimizer.set_masks({"2.weight": masks["2.weight"]})
    with pytest.raises(ShapeError, match=r"masks: got shape \(3, 5\) for 2.weight; allowed: \(5, 3\)"):
        optimizer.set_masks(masks | {"2.weight": np.ones((3, 5))})


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (np.full((5, 3), np.nan), ArgumentError, "masks: got nan for 2.weight; allowed: True and False, or 1 and 0"),
        (np.full((5, 3), 0.25), ArgumentError, "masks: got 0.25 for 2.weight"),
        (np.full((5, 3), -1), ArgumentError, "masks: got -1 for 2.weight"),
        (np.full((5, 3), "False"), DTypeError, "masks: got <U5 for 2.weight; allowed: bool, or the numbers 0 and 1"),
        (np.ma.masked_all((5, 3), bool), DTypeError, "masks: got a masked array"),
        ([[True], [True, False]], ArgumentError, "masks: got .*inhomogeneous"),
        (None, ArgumentError, "masks: got None; allowed: numbers"),
    ],
)
def test_what_is_no_mask_is_refused_and_changes_nothing(wrong, error, message):
    with fc.use_backend("numpy"):
        optimizer = Pruning(SGD(model_of().parameters(), 0.1), 100, target=0.5)
        masks = {"0.weight": np.arange(20).reshape(4, 5) % 2 == 0}
        with pytest.raises(error, match=message):
            optimizer.set_masks(masks | {"2.weight": wrong})
        for none in (None, 3, "0.weight"):
            with pytest.raises(ArgumentError, match=r"masks: got \w+; allowed: a dict, as masks\(\) returns it"):
                optimizer.set_masks(none)
        with pytest.raises(ArgumentError, match=r"masks: got those of another model \(such as '0.weight'\)"):
            optimizer.set_masks({0: np.ones((4, 5))})
        assert optimizer.quantities()["sparsity"] == 0


def test_zeros_and_ones_are_masks_as_well():
    with fc.use_backend("numpy"):
        optimizer = Pruning(SGD(model_of().parameters(), 0.1), 100, target=0.5)
        kept = np.arange(15).reshape(5, 3) % 2
        for dtype in (np.uint8, np.float32):
            optimizer.set_masks({"0.weight": np.ones((4, 5), dtype), "2.weight": kept.astype(dtype)})
            np.testing.assert_array_equal(optimizer.masks()["2.weight"], kept == 1)


def test_a_state_is_loaded_whole_or_not_at_all():
    with fc.use_backend("numpy"):

        def made(steps):
            model = model_of()
            optimizer = Pruning(SGD(model.parameters(), 0.1, 0.9), 4, target=0.8, begin=1, frequency=1)
            for number in range(steps):
                give_grads(model, number)
                optimizer.step()
                optimizer.zero_grad()
            return optimizer

        optimizer, states = made(2), [made(2).state_dict(), made(4).state_dict()]
        sparsities = [made(2).sparsity, made(4).sparsity]

        def same(a, b):
            arrays = [(a["tensors"][name], b["tensors"][name]) for name in b["tensors"]]
            return a["changed_at"] == b["changed_at"] and all(np.array_equal(x, y) for x, y in arrays)

        def look(broken):
            now = optimizer.state_dict()
            loaded = same(now, states[1])
            assert loaded or (broken and same(now, states[0]))
            assert optimizer.sparsity == sparsities[loaded]
            assert optimizer.steps == (4 if loaded else 2)

        places = every_place(
            lambda: optimizer.load_state_dict(states[1]), lambda: optimizer.load_state_dict(states[0]), look, stride=7
        )
        assert places > 100


def test_a_state_of_something_else_is_refused():
    with fc.use_backend("numpy"):
        optimizer = Pruning(SGD(model_of().parameters(), 0.1), 0, target=0.5)
        state = optimizer.state_dict()
        mask = state["tensors"]["mask/0.weight"]
        without = {name: value for name, value in state.items() if name != "changed_at"}
        others = {**state, "tensors": {**state["tensors"], "mask/0.weight": mask * 0.5}}
        foreign = {**state, "tensors": {name: each for name, each in state["tensors"].items() if "2." not in name}}
        for wrong, message in (
            (without, "of when masks changed"),
            (others, "other numbers than 0 and 1 in the mask of 0.weight"),
            (foreign, r"of other parameters \(such as mask/2.weight\)"),
        ):
            with pytest.raises(CheckpointError, match=message):
                optimizer.load_state_dict(wrong)
        assert optimizer.sparsity["0.weight"] == 0.5


OTHERS = {"begin": 2, "frequency": 2, "initial": 0.1, "target": 0.3, "exponent": 1.0, "scope": "global"}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("inner", [SGD, functools.partial(type("Own", (SGD,), {"_update": None}), lr=0.1)])
def test_masks_of_another_schedule_are_refused(name, inner):
    """Of an optimizer inside whose settings are not known too."""
    with fc.use_backend("numpy"):
        made = functools.partial(Pruning, end=4, target=0.8, begin=1, frequency=1)
        state = made(inner(model_of().parameters(), lr=0.1)).state_dict()
        model = model_of()
        optimizer = Pruning(
            inner(model.parameters(), lr=0.1),
            **{"end": 4, "target": 0.8, "begin": 1, "frequency": 1, name: OTHERS[name]},
        )
        before, theirs = values(model), state["settings"][name]
        message = (
            f"state: got that of a pruning with {name}={theirs!r}; allowed: {name}={OTHERS[name]!r}, as of this one"
        )
        with pytest.raises(CheckpointError, match=re.escape(message)):
            optimizer.load_state_dict(state)
        for a, b in zip(before, values(model), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_file_with_masks_of_another_schedule_is_refused(tmp_path):
    with fc.use_backend("numpy"):

        def trainer(**settings):
            model = model_of()
            optimizer = Pruning(SGD(model.parameters(), 0.1, 0.9), **settings)
            return fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer, seed=3)

        first = trainer(end=4, target=0.9)
        first.fit((X, Y), 2, batch_size=4)
        first.save(tmp_path / "state")
        other = trainer(end=400, begin=300, target=0.3)
        with pytest.raises(
            CheckpointError, match="does not fit the optimizer; state: got that of a pruning with begin=0"
        ):
            other.restore(tmp_path / "state")
        assert (other.step, other.optimizer.quantities()["sparsity"]) == (0, 0)
        longer = trainer(end=8, target=0.9)  # as `fastconv resume --epochs` makes it
        longer.restore(tmp_path / "state")
        assert longer.optimizer.sparsity == first.optimizer.sparsity


def test_a_longer_run_prunes_for_longer_and_what_is_pruned_stays_so():
    with fc.use_backend("numpy"):
        model = model_of()
        short = Pruning(SGD(model.parameters(), 0.1), 4, target=0.8, frequency=1)
        for step in range(2):
            give_grads(model, step)
            short.step()
        longer = Pruning(SGD(model.parameters(), 0.1), 16, target=0.8, frequency=1)
        longer.load_state_dict(short.state_dict())
        shares, gone = [], {name: ~mask for name, mask in short.masks().items()}
        for step in range(2, 17):
            give_grads(model, step)
            longer.step()
            shares.append(longer.sparsity["0.weight"])
            assert all((~mask)[gone[name]].all() for name, mask in longer.masks().items())
        # of 20 weights: 0.8 * (1 - (1 - 2 / 4)**3) = 0.7 behind step 2, which the longer schedule has behind step 8
        assert shares[:5] == [0.7] * 5
        assert shares == sorted(shares)
        assert shares[-3:] == [0.8] * 3
