"""Pruning: zeros stay zero whatever trains, captured or not, and a run is taken up again to the bit."""

import functools

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError
from fastconv.optim import EMA, SGD, Adam, AdamW, Combined, Lookahead, Muon, Pruning, no_decay_groups
from tests.optim import test_optim
from tests.optim.test_optim import combined, give_grads, values

X, Y = np.random.default_rng(2).standard_normal((12, 4)).astype(np.float32), np.arange(12) % 3
model_of = functools.partial(test_optim.model_of, np.float32)
INNER = {
    "momentum": lambda p: SGD(p, 0.1, 0.9, weight_decay=0.01),
    "adam": lambda p: Adam(p, 0.01),
    "groups": lambda p: AdamW(no_decay_groups(p, lr=0.05), 0.1),
    "muon": combined,
    "averages": lambda p: EMA(Lookahead(SGD(p, 0.1, 0.9), k=2), decay=0.5),
}


def images_model(seed=1):
    layers = nn.Conv2d(6, 3, padding=1), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dense(3)
    return nn.Sequential(*layers).build((8, 8, 2), seed=seed)


def zeros(optimizer):
    """Return the pruned weights, their gradients and what is kept of them, where masks are zero."""
    masks, found = optimizer.masks(), []
    tensors = optimizer.state_dict()["tensors"]
    for parameter in optimizer.pruned:
        gone = ~masks[parameter.name]
        own = [array for key, array in tensors.items() if key.partition("/")[2] == parameter.name]
        found += [np.asarray(array)[gone] for array in (fc.to_numpy(parameter.data), fc.to_numpy(parameter.grad), *own)]
    return found


@pytest.mark.parametrize("name", INNER)
@pytest.mark.parametrize("capture", [False, True])
def test_what_is_pruned_stays_zero_in_every_step(name, capture):
    with fc.use_backend("numba"):
        model = model_of()
        optimizer = Pruning(INNER[name](model.parameters()), 6, target=0.8, begin=1, frequency=2)
        clip = fc.training.ClipGlobalNorm(1.0)
        trainer = fc.Trainer(
            model, fc.losses.SoftmaxCrossEntropy(), optimizer, clip=clip, accumulate=2, seed=1, capture=capture
        )
        counts = []
        for _ in range(9):
            trainer.train_step(X, Y)
            counts.append([int(np.count_nonzero(fc.to_numpy(p.data) == 0)) for p in optimizer.pruned])
            assert all(not array.any() and not np.signbit(array).any() for array in zeros(optimizer))
        if capture:
            assert trainer._captured.works
    # 20 and 15 weights; 0.8 * (1 - (1 - (t - 1) / 5)**3) behind steps 1, 3, 5 and 6
    assert counts == [[0, 0], [0, 0], [13, 9], [13, 9], [16, 12], *[[16, 12]] * 4]


@pytest.mark.parametrize("precision", ["strict", "default", "fast"])
def test_prepared_weights_follow_the_masks(precision):
    with fc.use_backend("numba") as backend:
        if precision not in backend.precisions:
            pytest.skip(backend.fast_needs)
        with fc.precision(precision):
            model = images_model()
            x = np.random.default_rng(0).standard_normal((4, 8, 8, 2)).astype(np.float32)
            y = np.arange(4) % 3
            optimizer = Pruning(SGD(model.parameters(), 0.05), 3, target=0.9, frequency=1)
            trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer, seed=1)
            for _ in range(3):
                trainer.train_step(x, y)
                got = model(x).copy()
                fresh = images_model(seed=5)
                for mine, other in zip(model.tensors(), fresh.tensors(), strict=True):
                    other.data = mine.data
                np.testing.assert_array_equal(got, fresh(x))
            assert abs(optimizer.quantities()["sparsity"] - 0.9) < 0.01


def test_scopes_layers_and_the_last_one(backend):
    def shares(**settings):
        model = model_of()
        first = fc.to_numpy(model.parameters()[0].data) * 0.1
        model.parameters()[0].data = first
        return Pruning(SGD(model.parameters(), 0.1), 0, **settings).sparsity

    assert shares(target=0.6) == {"0.weight": 0.6, "2.weight": 0.6}
    by_size = shares(target=0.6, scope="global")
    assert by_size["0.weight"] == 1.0
    assert round(20 + 15 * by_size["2.weight"]) == round(0.6 * 35)
    assert shares(keep_last=True) == {"0.weight": 0.5}
    assert shares(layers=["2"]) == {"2.weight": round(0.5 * 15) / 15}
    assert set(shares(layers=lambda p: p.name.startswith("2."))) == {"2.weight", "2.bias"}


@pytest.mark.parametrize("other", ["numba", pytest.param("cuda-emulator", marks=pytest.mark.emulator)])
def test_one_rule_on_all_backends(other):
    """To the same masks, and weights that differ by rounding."""
    results = {}
    if other not in fc.available_backends():
        pytest.skip(f"{other} is not there")
    for name in ("numpy", other):
        with fc.use_backend(name):
            model = model_of()
            optimizer = Pruning(Adam(model.parameters(), 0.05), 4, target=0.7, frequency=1, scope="global")
            for step in range(5):
                give_grads(model, step)
                optimizer.step()
            results[name] = optimizer.masks(), values(model)
    masks, weights = results["numpy"]
    for others, theirs in results.values():
        for key, mask in masks.items():
            np.testing.assert_array_equal(others[key], mask)
        for a, b in zip(weights, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_gradients_of_pruned_weights_do_not_count_where_they_are_clipped(backend):
    model = model_of()
    optimizer = Pruning(SGD(model.parameters(), 0.0), 0, target=0.5)
    trainer = fc.Trainer(
        model, fc.losses.SoftmaxCrossEntropy(), optimizer, clip=fc.training.ClipGlobalNorm(1e9), seed=1
    )
    trainer.train_step(fc.asarray(X), fc.asarray(Y))
    kept = np.concatenate([fc.to_numpy(p.grad).reshape(-1) for p in model.parameters()])
    assert trainer.gradient_norm == pytest.approx(np.linalg.norm(kept.astype(np.float64)), rel=1e-6)
    assert np.count_nonzero(kept == 0) >= 10 + 8


@pytest.mark.parametrize("backend_name", ["numpy", "numba"])
def test_a_run_is_taken_up_in_mid_epoch_to_the_bit(tmp_path, backend_name):
    with fc.use_backend(backend_name):

        def trainer():
            model = model_of()
            optimizer = Pruning(EMA(SGD(model.parameters(), 0.1, 0.9), decay=0.9), 7, target=0.8, frequency=3)
            stop = fc.training.ModelCheckpoint(tmp_path / backend_name, save_every_steps=1)
            return fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer, seed=3, callbacks=stop)

        class Break(fc.training.Callback):
            def on_step_end(self, trainer, info):
                trainer.stop_now = trainer.step == 5

        whole, first = trainer(), trainer()
        whole.fit((X, Y), 3, batch_size=4)
        first.callbacks = (*first.callbacks, Break())
        first.fit((X, Y), 3, batch_size=4)
        first.save(tmp_path / "state")
        resumed = trainer()
        resumed.restore(tmp_path / "state")
        assert resumed.optimizer.sparsity == first.optimizer.sparsity
        resumed.fit((X, Y), 2, batch_size=4)
        for a, b in zip(values(whole.model), values(resumed.model), strict=True):
            np.testing.assert_array_equal(a, b)
        one, other = whole.optimizer.state_dict(), resumed.optimizer.state_dict()
        assert one["changed_at"] == other["changed_at"] == 7
        for key, array in one["tensors"].items():
            np.testing.assert_array_equal(array, other["tensors"][key])
        told = ("sparsity", "sparsity/0.weight", "sparsity/2.weight")
        assert [resumed.history.history[name] for name in told] == [whole.history.history[name] for name in told]
        assert whole.history.history["sparsity"][-1] == 28 / 35
        assert set(told) < set(whole.quantities)


def test_averages_are_as_sparse():
    with fc.use_backend("numba"):
        model = model_of()
        average = EMA(SGD(model.parameters(), 0.1), decay=0.9)
        optimizer = Pruning(average, 3, target=0.6, frequency=1)
        for step in range(6):
            give_grads(model, step)
            optimizer.step()
        gone = {name: ~mask for name, mask in optimizer.masks().items()}
        with average.averaged():
            for parameter in optimizer.pruned:
                np.testing.assert_array_equal(fc.to_numpy(parameter.data) == 0, gone[parameter.name])
            with pytest.raises(ArgumentError, match=r"step: got a call within averaged\(\)"):
                optimizer.step()


def test_an_interrupt_leaves_a_step_with_its_masks_or_none(monkeypatch):
    """At each operation of a step behind which masks change."""
    with fc.use_backend("numpy") as backend:
        results, real, whole = [], type(backend).update, []
        for number in [None, *range(20)]:
            model = model_of()
            optimizer = Pruning(SGD(model.parameters(), 0.1, 0.9), 1, target=0.5, begin=1)
            give_grads(model, 0)
            begin, calls = values(model), iter(range(100))

            def fails(self, *arguments, at=number, calls=calls, **more):
                if next(calls) == at:
                    raise KeyboardInterrupt
                real(self, *arguments, **more)

            interrupted = False
            with monkeypatch.context() as patched:
                patched.setattr(type(backend), "update", fails)
                try:
                    optimizer.step()
                except KeyboardInterrupt:
                    interrupted = True
            results.append((interrupted, optimizer.steps))
            assert (optimizer.sparsity["0.weight"] == 0.5) == bool(optimizer.steps)
            whole = whole or values(model)
            for a, b in zip(values(model), whole if optimizer.steps else begin, strict=True):
                np.testing.assert_array_equal(a, b)
        assert {(True, 0), (True, 1), (False, 1)} == set(results)


def test_masks_left_behind_by_an_interrupt_come_before_the_next_step(monkeypatch):
    """Where the interrupt comes behind the step, before its masks: with them next, as without it."""

    def trained(fails_at):
        with fc.use_backend("numpy"):
            model = model_of()
            optimizer = Pruning(SGD(model.parameters(), 0.1, 0.9), 4, target=0.8, begin=1, frequency=1)
            real, calls = type(optimizer.schedule).last_change, iter(range(100))

            def last_change(self, step):
                if next(calls) == fails_at:
                    raise KeyboardInterrupt
                return real(self, step)

            with monkeypatch.context() as patched:
                patched.setattr(type(optimizer.schedule), "last_change", last_change)
                interrupted = False
                while optimizer.steps < 5:
                    give_grads(model, optimizer.steps)
                    try:
                        optimizer.step()
                    except KeyboardInterrupt:
                        interrupted = True
                    optimizer.zero_grad()
            return interrupted, optimizer.steps, values(model)

    interrupted, _, wanted = trained(None)
    assert not interrupted
    for fails_at in range(8):
        interrupted, steps, got = trained(fails_at)
        assert (interrupted, steps) == (True, 5)
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"end": 3, "begin": 5}, r"end: got 3, before the step at which pruning begins; allowed: 5 or later"),
        ({"end": 3, "target": 1.0}, r"target: got 1.0; allowed: .*below 1"),
        ({"end": 3, "target": "0.5"}, r"target: got '0.5'; allowed: a finite number at least 0 and below 1"),
        ({"end": 3, "target": -0.1}, r"target: got -0.1; allowed: .*at least 0"),
        ({"end": 3, "initial": 0.6}, r"initial: got 0.6; allowed: at most the target, 0.5: nothing comes back"),
        ({"end": 3, "frequency": 0}, r"frequency: got 0; allowed: .*1"),
        ({"end": -1}, r"end: got -1; allowed: .*0"),
        ({"end": 3, "exponent": 0}, r"exponent: got 0; allowed: .*above 0"),
        ({"end": 3, "scope": "net"}, r"scope: got 'net'; allowed: 'layer', 'global'"),
        ({"end": 3, "layers": 3}, r"layers: got 3; allowed: names of layers with weights, or a function of a Param"),
        ({"end": 3, "layers": ["3"]}, r"layers: got '3'; allowed: names of layers with weights \(nearest: '\d'\)"),
        ({"end": 3, "layers": lambda p: False}, r"layers: got none with weights to prune; allowed: convolutions"),
        ({"end": 3, "layers": ["0"], "keep_last": True}, r"layers: got none .* apart from the last one; allowed"),
    ],
)
def test_settings_that_cannot_be_are_told(settings, message):
    with fc.use_backend("numpy"), pytest.raises(ArgumentError, match=message):
        Pruning(SGD(model_of().parameters(), 0.1), **settings)


def test_what_is_frozen_is_not_pruned():
    with fc.use_backend("numpy"):
        model = model_of()
        model.layers[0].freeze()
        with pytest.raises(
            ArgumentError, match=r"layers: got 0.weight, which is frozen and so stays as it is; allowed"
        ):
            Pruning(SGD(model.parameters(), 0.1), 3)
        optimizer = Pruning(SGD(model.parameters(), 0.1), 1, layers=["2"], target=0.4)
        model.layers[2].freeze()
        model.layers[0].unfreeze()
        give_grads(model, 0)
        with pytest.raises(ArgumentError, match=r"layers: got 2.weight, which is frozen"):
            optimizer.step()
        model.layers[2].unfreeze()
        for step in range(3):  # behind the end of the schedule nothing more is pruned
            give_grads(model, step)
            optimizer.step()
            model.layers[2].freeze()
        assert optimizer.sparsity == {"2.weight": 0.4}


def test_others_do_not_go_around_it():
    with fc.use_backend("numpy"):
        model = model_of()
        pruned = Pruning(SGD(model.parameters()[:2], 0.1), 3)
        allowed = Combined(pruned, Adam(model.parameters()[2:], 0.1))
        assert set(allowed.quantities()) == {"sparsity", "sparsity/0.weight"}
        for inner, name in ((pruned, "Pruning"), (allowed, "Combined")):
            for wrapper in (EMA, Lookahead):
                own = wrapper.__name__
                with pytest.raises(
                    ArgumentError, match=rf"got {name} with pruning, .*; allowed: Pruning\({own}\(...\)\)"
                ):
                    wrapper(inner)
            with pytest.raises(
                ArgumentError, match=rf"optimizer: got {name}, which prunes already; allowed: .* Pruning\(SGD\(...\)\)"
            ):
                Pruning(inner, 3)
        with pytest.raises(ArgumentError, match="optimizer: got Parameters; allowed: an optimizer"):
            Pruning(model.parameters(), 3)


def test_muon_moves_what_is_pruned_nowhere():
    """Its update mixes all elements of a matrix, so masks must come behind it."""
    with fc.use_backend("numpy"):
        model = model_of()
        matrices = [p for p in model.parameters() if len(p.shape) > 1]
        optimizer = Pruning(Muon(matrices, 0.02), 0, target=0.5)
        give_grads(model, 0)
        optimizer.step()
        for p in matrices:
            assert np.count_nonzero(fc.to_numpy(p.data) == 0) == round(0.5 * p.size)


def test_gradients_are_prepared_for_what_is_trained_again():
    """The norm that clipping limits counted those of pruned weights, in the first step behind unfreeze."""
    with fc.use_backend("numpy"):
        model = nn.Sequential(nn.Dense(4), nn.Dense(3)).build((5,), seed=0)
        optimizer = Pruning(SGD(model.parameters(), 0.1), end=0, target=0.5)
        model.freeze("0")
        optimizer.step()
        model.unfreeze("0")
        for parameter in model.parameters():
            parameter.add_grad(np.ones(parameter.shape, np.float32))
        optimizer.prepare_gradients()
        for name, mask in optimizer.masks().items():
            gradient = model.named_tensors()[name].grad
            np.testing.assert_array_equal(gradient, mask.astype(np.float32))
