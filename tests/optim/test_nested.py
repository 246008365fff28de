"""Optimizers made of optimizers: their formulas, their state, and that their steps are done whole or not at all."""

import itertools
import re

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, CheckpointError
from fastconv.optim import EMA, SGD, Adam, AdamW, Combined, Lookahead, Muon, Pruning
from tests.interrupts import every_place
from tests.optim.test_optim import ALL, combined, give_grads, model_of, values


def stepped(model, optimizer, steps):
    """Yield the parameters after each step, beside those of a plain optimizer's model."""
    for step in range(steps):
        give_grads(model, step)
        optimizer.step()
        yield values(model)


@pytest.mark.float64
def test_lookahead_goes_back_at_every_kth_step(backend):
    model, plain = model_of(), model_of()
    fast, slow = values(model), values(model)
    optimizer = Lookahead(SGD(model.parameters(), 0.1), k=3, alpha=0.25)
    for step, got in enumerate(stepped(model, optimizer, 7), start=1):
        give_grads(plain, step - 1)
        fast = [f - 0.1 * fc.to_numpy(p.grad) for f, p in zip(fast, plain.parameters(), strict=True)]
        if step % 3 == 0:
            fast = slow = [s + 0.25 * (f - s) for f, s in zip(fast, slow, strict=True)]
        for a, b in zip(got, fast, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.float64
@pytest.mark.parametrize("warmup", [False, True])
def test_averages_of_weights(backend, warmup):
    model = model_of()
    average = values(model)
    optimizer = EMA(SGD(model.parameters(), 0.1), decay=0.5, warmup=warmup)
    for step, got in enumerate(stepped(model, optimizer, 4), start=1):
        d = min(0.5, (1 + step) / (10 + step)) if warmup else 0.5
        average = [a + (1 - d) * (p - a) for a, p in zip(average, got, strict=True)]
    weights = values(model)
    x = fc.asarray(np.random.default_rng(0).standard_normal((3, 4)))
    before = fc.to_numpy(model(x)).copy()
    with optimizer.averaged():
        for a, b in zip(values(model), average, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
        assert not np.array_equal(fc.to_numpy(model(x)), before)
        for refused in (optimizer.step, optimizer.state_dict, optimizer.averaged().__enter__):
            with pytest.raises(ArgumentError, match=r"within averaged\(\); allowed: after it"):
                refused()
    for a, b in zip(values(model), weights, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(fc.to_numpy(model(x)), before)


def test_averages_go_back_after_an_error():
    with fc.use_backend("numpy"):
        model = model_of()
        optimizer = EMA(SGD(model.parameters(), 0.1), decay=0.5)
        list(stepped(model, optimizer, 2))
        weights = values(model)
        with pytest.raises(KeyError), optimizer.averaged():
            raise KeyError
        for a, b in zip(values(model), weights, strict=True):
            np.testing.assert_array_equal(a, b)
        optimizer.step()


def test_weights_are_back_whatever_interrupts_the_way_out(monkeypatch):
    """At each copy of it; the interrupt goes on when they are back."""
    with fc.use_backend("numpy") as backend:
        model = model_of()
        optimizer = EMA(SGD(model.parameters(), 0.1), decay=0.5)
        list(stepped(model, optimizer, 2))
        weights = values(model)
        for place in range(4):  # weights and averages are kept, and exchanged
            left = itertools.count()

            def copy(array, *, out, real=backend.copy, left=left, place=place):
                if next(left) == place:
                    raise KeyboardInterrupt
                real(array, out=out)

            with pytest.raises(KeyboardInterrupt), optimizer.averaged():
                monkeypatch.setattr(backend, "copy", copy)
            monkeypatch.undo()
            for a, b in zip(values(model), weights, strict=True):
                np.testing.assert_array_equal(a, b)
            optimizer.state_dict()  # which is refused within


def test_weights_are_back_whatever_line_is_interrupted():
    with fc.use_backend("numpy"):
        model = model_of()
        optimizer = EMA(SGD(model.parameters(), 0.1), decay=0.5)
        list(stepped(model, optimizer, 2))
        weights = values(model)

        def evaluate():
            with optimizer.averaged():
                assert not np.array_equal(values(model)[0], weights[0])

        def look(broken):
            for a, b in zip(values(model), weights, strict=True):
                np.testing.assert_array_equal(a, b)
            optimizer.state_dict()  # which is refused within

        assert every_place(evaluate, lambda: None, look) > 200


def test_rates_of_several_keep_their_ratio():
    with fc.use_backend("numpy"):
        model = model_of()
        optimizer = combined(model.parameters())
        assert (optimizer.lr, optimizer.rates()) == (0.02, [0.02, 0.01])
        optimizer.lr = 0.01
        assert optimizer.rates() == [0.01, 0.005]
        optimizer.lr = 0.0
        optimizer.lr = 0.04
        assert optimizer.rates() == [0.04, 0.02]


@pytest.mark.float64
def test_each_of_several_does_its_step(backend):
    model, other = model_of(), model_of()
    matrices = [p for p in other.parameters() if len(p.shape) > 1]
    alone = Muon(matrices, 0.02), AdamW([p for p in other.parameters() if len(p.shape) < 2], 0.01)
    optimizer = combined(model.parameters())
    for step in range(3):
        give_grads(model, step)
        give_grads(other, step)
        optimizer.step()
        for each in alone:
            each.step()
    for a, b in zip(values(model), values(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert optimizer.steps == 3


@pytest.mark.parametrize("name", ["muon", "lookahead", "ema"])
def test_state_of_something_else_is_refused(name):
    with fc.use_backend("numpy"):
        model = model_of()
        optimizer = ALL[name](model.parameters())
        list(stepped(model, optimizer, 2))
        before = optimizer.state_dict()
        other = model_of(np.float32)
        wrong = ALL[name](other.parameters()).state_dict()
        for state in (wrong, {**before, "kind": "SGD"}, {**before, "optimizers": []}):
            with pytest.raises(CheckpointError, match="state: got"):
                optimizer.load_state_dict(state)
        extra = {**before, "tensors": {**before["tensors"], "m/nobody": np.zeros(3)}}
        with pytest.raises(CheckpointError, match="state: got"):
            optimizer.load_state_dict(extra)
        after = optimizer.state_dict()["tensors"]
        for key, array in before["tensors"].items():
            np.testing.assert_array_equal(after[key], array)


NO_STATES = {
    "another's": ({"state": {}, "param_groups": []}, "state: got one without 'kind', 'steps', 'lr', 'tensors'"),
    "nothing": ({}, "state: got one without 'kind', 'steps', 'lr', 'tensors'"),
    "none": (None, "state: got None; allowed: what state_dict gave"),
    "a list": ([1], "state: got [1]; allowed: what state_dict gave"),
    "arrays left out": ({"tensors": None}, "state: got tensors = None; allowed: NumPy arrays by their names"),
    "lists": ({"tensors": {"m/0.weight": [1.0]}}, "state: got list for m/0.weight; allowed: a NumPy array"),
    "steps": ({"steps": "7"}, "state: got one that cannot be taken; steps: got '7'; allowed: an int of at least 0"),
    "a step less": ({"steps": -1}, "state: got one that cannot be taken; steps: got -1; allowed: an int of at least 0"),
    "rate": ({"lr": "fast"}, "state: got one that cannot be taken; lr: got 'fast'; allowed: a finite number"),
}


@pytest.mark.parametrize("case", NO_STATES)
@pytest.mark.parametrize("name", ["adagrad", "groups", "muon", "pruned", "ema"])
def test_what_no_state_dict_gave_is_refused_in_words(name, case):
    with fc.use_backend("numpy"):
        model = model_of()
        optimizer = ALL[name](model.parameters())
        before = optimizer.state_dict()
        state, words = NO_STATES[case]
        whole = {**before, **state} if isinstance(state, dict) and state and "state" not in state else state
        with pytest.raises(CheckpointError, match=f"^{re.escape(words)}"):
            optimizer.load_state_dict(whole)
        assert (optimizer.steps, optimizer.lr) == (before["steps"], before["lr"])


@pytest.mark.parametrize("name", ["muon", "lookahead", "ema", "groups"])
def test_an_update_that_fails_changes_nothing(name, monkeypatch):
    """At each of its operations."""
    with fc.use_backend("numpy") as backend:
        model = model_of()
        optimizer = ALL[name](model.parameters())
        list(stepped(model, optimizer, 2))
        weights, tensors = values(model), optimizer.state_dict()["tensors"]
        give_grads(model, 5)
        real, failed = type(backend).update, 0
        for number in range(10):
            calls = iter(range(100))

            def fails(self, *arguments, at=number, calls=calls, **more):
                if next(calls) == at:
                    raise KeyboardInterrupt
                real(self, *arguments, **more)

            with monkeypatch.context() as patched:
                patched.setattr(type(backend), "update", fails)
                try:
                    optimizer.step()
                    break
                except KeyboardInterrupt:
                    failed += 1
            assert optimizer.steps == 2
            for a, b in zip(values(model), weights, strict=True):
                np.testing.assert_array_equal(a, b)
            for key, array in optimizer.state_dict()["tensors"].items():
                np.testing.assert_array_equal(array, tensors[key])
        assert failed > 1
        assert optimizer.steps == 3


class Foreign(SGD):
    """Somebody's own, which computes in NumPy."""

    def _update(self, data, grad, state, lr, step):
        data -= float(lr[0]) * np.sign(grad)


def test_a_foreign_optimizer_within_is_not_captured():
    with fc.use_backend("numba"):
        model = model_of()
        optimizer = EMA(Foreign(model.parameters(), 0.125))
        begin = values(model)
        for step in range(2):
            give_grads(model, step)
            optimizer.step()
        assert optimizer._captured is None
        moved = np.abs(values(model)[0] - begin[0])
        assert np.all((moved < 1e-12) | (np.abs(moved - 0.25) < 1e-12))


@pytest.mark.slow
@pytest.mark.float64
def test_a_trainer_goes_on_from_its_file(tmp_path):
    """With averages, lookahead and groups: the same bits as if it had not been interrupted."""
    x, y = np.random.default_rng(2).standard_normal((6, 4)), np.arange(6) % 3
    with fc.use_backend("numba"):

        def trainer():
            model = nn.Sequential(nn.Dense(5), nn.Tanh(), nn.Dense(3)).build((4,), np.float64, seed=1)
            return fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), ALL["ema"](model.parameters()), seed=3)

        straight = trainer()
        for _ in range(2):
            straight.train_step(x, y)
        straight.save(tmp_path / "state")
        resumed = trainer()
        resumed.restore(tmp_path / "state")
        for each in (straight, resumed):
            for _ in range(3):
                each.train_step(x, y)
        first, second = straight.optimizer.state_dict()["tensors"], resumed.optimizer.state_dict()["tensors"]
        assert first.keys() == second.keys()
        for key, array in first.items():
            np.testing.assert_array_equal(array, second[key])
        for a, b in zip(values(straight.model), values(resumed.model), strict=True):
            np.testing.assert_array_equal(a, b)


def test_parameters_of_a_part_only_are_averaged():
    with fc.use_backend("numpy"):
        model = model_of()
        chosen = [model.parameters()[0], model.parameters()[3]]
        optimizer = EMA(Adam(chosen, 0.1), decay=0.5)
        model.parameters()[1].data = np.full(5, 7.0)
        list(stepped(model, optimizer, 2))
        with optimizer.averaged():
            np.testing.assert_array_equal(fc.to_numpy(model.parameters()[1].data), 7.0)


@pytest.mark.parametrize("wrap", [EMA, Lookahead, lambda cls: fc.optim.Combined(cls, cls)])
def test_a_class_in_place_of_an_optimizer_is_told(wrap):
    with pytest.raises(ArgumentError, match=r"^optimizer: got the class SGD; allowed: an optimizer, such as"):
        wrap(SGD)


TWICE = {
    "averages": lambda p: EMA(EMA(SGD(p, 0.1, 0.9), decay=0.5), decay=0.9),
    "three": lambda p: EMA(EMA(EMA(SGD(p, 0.1), decay=0.1), decay=0.5), decay=0.9),
    "lookaheads": lambda p: Lookahead(EMA(Lookahead(SGD(p, 0.1), k=2)), k=3),
    "several": lambda p: Combined(EMA(EMA(SGD(p[:2], 0.1), decay=0.5), decay=0.9), EMA(Adam(p[2:]), decay=0.3)),
    "pruned": lambda p: Pruning(EMA(EMA(SGD(p, 0.1), decay=0.5), decay=0.9), end=2, frequency=1),
}


@pytest.mark.parametrize("name", TWICE)
def test_two_of_a_kind_have_a_state_each(name):
    """The arrays of the inner one were left out of the state, which could then not be taken."""
    with fc.use_backend("numpy"):
        models = [model_of() for _ in range(2)]
        optimizers = [TWICE[name](list(model.parameters())) for model in models]
        list(stepped(models[0], optimizers[0], 3))
        optimizers[1].load_state_dict(optimizers[0].state_dict())
        for mine, theirs in zip(models[1].tensors(), models[0].tensors(), strict=True):
            mine.data = theirs.data
        for model, optimizer in zip(models, optimizers, strict=True):
            list(stepped(model, optimizer, 4))
        states = [optimizer.state_dict()["tensors"] for optimizer in optimizers]
        assert states[0].keys() == states[1].keys()
        for key, array in states[0].items():
            np.testing.assert_array_equal(array, states[1][key])


MODELS_TOGETHER = {
    "one": lambda a, b: SGD([*a, *b], 0.1, 0.9),
    "averaged": lambda a, b: EMA(SGD([*a, *b], 0.1)),
    "several": lambda a, b: Combined(SGD(a, 0.1, 0.9), SGD(b, 0.1, 0.9)),
}


@pytest.mark.parametrize("name", MODELS_TOGETHER)
def test_the_state_of_two_models_with_the_same_names_is_refused(name):
    """One's was written over the other's."""
    with fc.use_backend("numpy"):
        first, second = model_of(), model_of()
        optimizer = MODELS_TOGETHER[name](list(first.parameters()), list(second.parameters()))
        for model in (first, second):
            give_grads(model, 0)
        optimizer.step()
        with pytest.raises(ArgumentError, match=r"^parameters: got two that are called '0\.weight', .* for each model"):
            optimizer.state_dict()
        with pytest.raises(ArgumentError, match=r"^parameters: got two that are called '0\.weight'"):
            Pruning(optimizer, end=1)
        assert SGD([*first.parameters(), *second.parameters()], 0.1).state_dict()["tensors"] == {}
