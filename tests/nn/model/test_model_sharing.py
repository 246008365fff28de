"""Layers that are built and become part of another model: they keep what they have, and both models work."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, BackendMismatchError, DTypeError, FastconvError, ShapeError
from fastconv.nn.core.parameter import arena_slices
from fastconv.nn.model.weights import read_tensors

SHAPE = (8, 7, 3)


def conv(channels: int = 5) -> list[nn.Layer]:
    return [nn.Conv2d(channels, 3, padding=1), nn.BatchNorm2d(), nn.ReLU()]


def body() -> list[nn.Layer]:
    block = nn.Sequential(*conv(), nn.Conv2d(5, 3, padding=1), nn.BatchNorm2d())
    shared = nn.Conv2d(5, 1)
    return [*conv(), nn.Residual(block), nn.ReLU(), shared, nn.ReLU(), shared, nn.GlobalAvgPool2d()]


def head(classes: int = 4) -> list[nn.Layer]:
    return [nn.Dense(6), nn.Tanh(), nn.Dense(classes)]


# How the layers of a trained model come into another one; each returns that model, not built.
MOVES = {
    "last-layer": lambda old: nn.Sequential(*old.layers[:-1], nn.Dense(3)),
    "list": lambda old: nn.Sequential([*old.layers[:-3], nn.Dense(3)]),
    "moved-on": lambda old: nn.Sequential(nn.Conv2d(3, 1), *old.layers[:-1], nn.Dense(3)),
    "nested": lambda old: nn.Sequential(nn.Sequential(*old.layers[:-1]), nn.Dense(3)),
    "whole-model": lambda old: nn.Sequential(old, nn.Dense(3)),
    "residual": lambda old: nn.Residual(nn.Sequential(old, nn.Dense(3)), nn.Sequential(nn.Flatten(), nn.Dense(3))),
    "parallel": lambda old: nn.Parallel(old, nn.Sequential(nn.Flatten(), nn.Dense(3)), mode="concatenate"),
    "part-in-parallel": lambda old: nn.Sequential(
        nn.Parallel(nn.Sequential(*old.layers[:3]), nn.Conv2d(2, 3, padding=1), mode="concatenate"),
        *(nn.GlobalAvgPool2d(), nn.Dense(3)),
    ),
    "used-twice": lambda old: nn.Sequential(*old.layers[:7], old.layers[5], *old.layers[7:-1], nn.Dense(3)),
    "last-part-only": lambda old: nn.Sequential(nn.GlobalAvgPool2d(), nn.Dense(5), *old.layers[-3:]),
}


def trained(dtype: type = np.float32, seed: int = 5) -> nn.Sequential:
    """Return a model whose values are all other than those it would be drawn."""
    model = nn.Sequential(*body(), *head()).build(SHAPE, dtype, seed=seed)
    rng = np.random.default_rng(1)
    for tensor in model.tensors():
        values = rng.standard_normal(tensor.shape)
        tensor.data = np.abs(values) + 0.5 if tensor.name.endswith("var") else values
    return model


def values(model: nn.Layer) -> list[np.ndarray]:
    return [fc.to_numpy(tensor.data).copy() for tensor in model.tensors()]


def train(model: nn.Layer, rng: np.random.Generator, steps: int = 2) -> None:
    x = fc.asarray(rng.standard_normal((4, *SHAPE)).astype(model.dtype))
    trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), fc.optim.SGD(model.parameters(), 0.01, momentum=0.9))
    for _ in range(steps):
        trainer.train_step(x, fc.asarray(np.array([0, 1, 2, 0], np.int32)))


@pytest.mark.parametrize("move", MOVES)
def test_values_are_kept(rng, move):
    old = trained()
    x = fc.asarray(rng.standard_normal((3, *SHAPE)).astype(np.float32))
    y, context = old.forward(x, training=True)
    old.backward(y, context)
    tensors, before, prediction = old.tensors(), values(old), fc.to_numpy(old(x)).copy()
    new = MOVES[move](old).build(SHAPE, seed=9)
    shared = [tensor for tensor in tensors if tensor in new.tensors()]
    assert len(shared) >= 4
    for tensor, value in zip(tensors, before, strict=True):
        np.testing.assert_array_equal(fc.to_numpy(tensor.data), value)
    np.testing.assert_array_equal(fc.to_numpy(old(x)), prediction)
    assert not any(p.has_grad for p in new.parameters())
    # What is new is what it would be in a model of its own names, and all of it lies in one arena.
    fresh = [p for p in new.parameters() if p not in tensors]
    assert fresh
    for p in fresh:
        assert np.any(fc.to_numpy(p.data)) or p.name.endswith("beta")
    assert len(arena_slices(new.parameters())) == 1
    assert len({tensor.name for tensor in new.tensors()}) == len(new.tensors())
    assert list(new.named_tensors()) == [tensor.name for tensor in new.tensors()]


@pytest.mark.parametrize("move", MOVES)
def test_both_models_can_be_trained(rng, move):
    """What trains one of them trains what they share; the old one needs an optimizer that knows the new arenas."""
    old = trained()
    before = fc.optim.SGD(old.parameters(), 0.01)
    new = MOVES[move](old).build(SHAPE)
    for _ in range(2):
        for model, other in ((new, old), (old, new)):
            try:
                parameters = model.parameters()
            except ArgumentError:  # two of one name: told, and mended by building it again
                assert move in ("moved-on", "last-part-only")
                shapes = [p.shape for p in model.tensors()]
                kept = values(model)
                parameters = model.build(SHAPE).parameters()
                assert [p.shape for p in model.tensors()] == shapes
                for value, again in zip(kept, values(model), strict=True):
                    np.testing.assert_array_equal(value, again)
            begin = values(model)
            train(model, rng)
            assert all(p.has_grad for p in parameters)
            moved = [not np.array_equal(a, b) for a, b in zip(begin, values(model), strict=True)]
            # A bias before a normalisation has no gradient.
            assert sum(moved) >= len(moved) - 3
            for tensor, value in zip(model.tensors(), values(model), strict=True):
                if tensor in other.tensors():
                    np.testing.assert_array_equal(fc.to_numpy(tensor.data), value)
    with pytest.raises(ArgumentError, match="built into another model"):
        before.step()


def test_training_is_that_of_a_model_of_its_own(backend, rng):
    """The same bits as a model that never shared a layer and was given the same values."""
    x = fc.asarray(rng.standard_normal((4, *SHAPE)).astype(np.float32))
    y = fc.asarray(np.array([0, 1, 2, 0], np.int32))
    old = trained()
    new = nn.Sequential(*old.layers[:-1], nn.Dense(3)).build(SHAPE, seed=3)
    alone = nn.Sequential(*body(), *head(3)).build(SHAPE, seed=4)
    for mine, tensor in zip(alone.tensors(), new.tensors(), strict=True):
        mine.data = fc.to_numpy(tensor.data)
    for model in (new, alone):
        trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), fc.optim.Adam(model.parameters(), 0.01))
        for _ in range(3):
            trainer.train_step(x, y)
    for got, want in zip(values(new), values(alone), strict=True):
        np.testing.assert_array_equal(got, want)


def test_optimizers_made_before_are_refused(backend, rng):
    """Whichever of the parameters moved: the first of the run, or one in the middle of it."""
    for part in (slice(0, 3), slice(3, 5), slice(-1, None)):
        old = trained()
        optimizer = fc.optim.Adam(old.parameters(), 0.01)
        kept = values(old)
        layers = [nn.Conv2d(5, 1)] if part.start == 3 else [nn.GlobalAvgPool2d(), nn.Dense(6)] if part.start < 0 else []
        nn.Sequential(*layers, *old.layers[part]).build(SHAPE)
        with pytest.raises(ArgumentError, match="built into another model since"):
            optimizer.step()
        for value, want in zip(values(old), kept, strict=True):
            np.testing.assert_array_equal(value, want)


def test_weights_files_have_the_names_of_their_model(tmp_path):
    with fc.use_backend("numpy"):
        old = trained()
        want = old.named_tensors()
        old.save_weights(tmp_path / "before")
        nn.Sequential(nn.Conv2d(3, 1), nn.Sequential(*old.layers[:-1]), nn.Dense(3)).build(SHAPE)
        assert list(old.named_tensors()) == list(want)
        old.save_weights(tmp_path / "after")
        files = [read_tensors(tmp_path / name, "weights")[0] for name in ("before", "after")]
        assert files[0].keys() == files[1].keys() == want.keys()
        other = nn.Sequential(*body(), *head()).build(SHAPE)
        other.load_weights(tmp_path / "after")
        for got, tensor in zip(values(other), old.tensors(), strict=True):
            np.testing.assert_array_equal(got, tensor.data)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"dtype": np.float64}, DTypeError, r"layer 0 \(Conv2d\): dtype: got float64; allowed: float32"),
        ({"input_shape": (8, 7, 4)}, ShapeError, r"layer 0 \(Conv2d\): weight: got shape \(3, 3, 4, 5\)"),
        ({"backend": "numpy"}, BackendMismatchError, r"layer 0 \(Conv2d\): backend: got 'numpy'; allowed: 'numba'"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(rng, change, error, message):
    with fc.use_backend("numba"):
        old = trained()
        before, x = values(old), rng.standard_normal((2, *SHAPE)).astype(np.float32)
        want, arenas = old(x).copy(), [tensor.arena for tensor in old.tensors()]
        new = nn.Sequential(*old.layers[:-1], nn.Dense(3))
        shape, dtype = change.get("input_shape", SHAPE), change.get("dtype", np.float32)
        with fc.use_backend(change.get("backend", "numba")), pytest.raises(error, match=message):
            new.build(shape, dtype)
        with pytest.raises(ArgumentError, match="not built"):
            new(x)
        with pytest.raises(ArgumentError, match="not built"):
            new.layers[-1](x)
        assert [tensor.arena for tensor in old.tensors()] == arenas
        np.testing.assert_array_equal(old(x), want)
        for value, kept in zip(values(old), before, strict=True):
            np.testing.assert_array_equal(value, kept)
        train(old, rng)


def test_a_build_that_fails_leaves_no_trace():
    """Neither in layers that were never built, nor in those of a model that was."""
    with fc.use_backend("numpy"):
        first, built = nn.Dense(3), nn.Sequential(nn.Dense(4), nn.BatchNorm2d()).build((3,), seed=1)
        model = nn.Sequential(first, built, nn.Dense(2, in_features=9))
        everything = [(layer, dict(vars(layer))) for layer in (first, model, *built.walk())]
        with pytest.raises(ShapeError, match=r"layer 2 \(Dense\).*in_features"):
            model.build((5,))
        for layer, attributes in everything:
            assert vars(layer).keys() == attributes.keys()
            assert all(vars(layer)[name] is value for name, value in attributes.items())


def test_other_sizes_that_fit_are_taken(backend):
    """A convolution does not mind the size of its images, a dense layer does: the message names it."""
    old = trained()
    new = nn.Sequential(*old.layers[:-1], nn.Dense(3)).build((12, 5, 3))
    assert new(fc.asarray(np.zeros((1, 12, 5, 3), np.float32))).shape == (1, 3)
    flat = nn.Sequential(nn.Flatten(), nn.Dense(4), nn.ReLU()).build((3, 3, 2))
    with pytest.raises(ShapeError, match=r"layer 1 \(Dense\): weight: got shape \(12, 4\) of a layer that is built"):
        nn.Sequential(*flat.layers, nn.Dense(2)).build((3, 2, 2))


def test_layers_without_values_live_in_one_type_too():
    """A rectifier of two models cannot be of float32 for one and of float64 for the other."""
    with fc.use_backend("numpy"):
        relu = nn.ReLU()
        first = nn.Sequential(nn.Dense(2), relu).build((3,))
        nn.Sequential(nn.Dense(4), relu).build((5,))
        with pytest.raises(DTypeError, match=r"layer 1 \(ReLU\)"):
            nn.Sequential(nn.Dense(2), relu).build((3,), np.float64)
        assert first(np.ones((1, 3), np.float32)).shape == (1, 2)
        before = values(first)
        first.build((3,), seed=7)  # shares no values: starts anew
        assert not np.array_equal(values(first)[0], before[0])


def test_own_layers_keep_what_they_declare(backend):
    """Lists of parameters and buffers of a layer of one's own too, by the names that it declared."""

    class Own(nn.Layer):
        def setup(self, input_shape, scope):
            self.weights = [scope.parameter(f"w{i}", input_shape, init="default", fan_in=2) for i in range(3)]
            self.seen = {"count": scope.buffer("count", (), value=1.0)}
            return input_shape

        def forward(self, x, *, training):
            return x, None

        def backward(self, grad_output, context, *, needs_input_grad=True):
            return grad_output

    own = Own()
    old = nn.Sequential(own, nn.Dense(2)).build((4,), seed=1)
    assert [p.name for p in old.parameters()] == ["0.w0", "0.w1", "0.w2", "1.weight", "1.bias"]
    own.weights[1].data = np.arange(4)
    own.seen["count"].data = 3.0
    weights = own.weights
    new = nn.Sequential(nn.Dense(4), own).build((4,))
    assert all(a is b for a, b in zip(own.weights, weights, strict=True))
    np.testing.assert_array_equal(fc.to_numpy(own.weights[1].data), np.arange(4))
    assert float(own.seen["count"].data) == 3.0
    assert [p.name for p in new.parameters()][2:] == ["1.w0", "1.w1", "1.w2"]


def test_moving_what_is_shared():
    """A model moves whole, also when another one has taken part of it along."""
    if "numba" not in fc.available_backends():
        pytest.skip("the backend numba is not there")
    x = np.ones((1, *SHAPE), np.float32)
    with fc.use_backend("numpy"):
        old = trained()
        want = old(x)
        new = nn.Sequential(*old.layers[:-1], nn.Dense(3)).build(SHAPE)
        new.to("numba")
        with pytest.raises(BackendMismatchError):
            old(x)
        np.testing.assert_array_equal(old.to("numpy")(x), want)
        with pytest.raises(FastconvError):
            new(x)
    with fc.use_backend("numba"):
        np.testing.assert_allclose(old.to("numba")(x), want, rtol=1e-3, atol=1e-3 * np.abs(want).max())


def test_built_again_after_sharing_keeps_its_values(backend):
    """Nothing that another model trains is ever drawn anew; a model that shares nothing starts anew."""
    old = trained()
    new = nn.Sequential(*old.layers[:-1], nn.Dense(3)).build(SHAPE)
    for model in (old, new, old):
        before = values(model)
        model.build(SHAPE, seed=77)
        for value, again in zip(before, values(model), strict=True):
            np.testing.assert_array_equal(value, again)
        assert len(arena_slices(model.parameters())) == 1


def test_each_build_draws_its_own_values():
    def weights(model: nn.Layer) -> np.ndarray:
        return np.array(model.parameters()[0].data)

    def build(seed: int | None = None) -> np.ndarray:
        return weights(nn.Sequential(nn.Dense(3)).build((4,), np.float64, seed=seed))

    with fc.use_backend("numpy"):
        fc.seed(3)
        first = [build() for _ in range(4)]
        named = [weights(fc.models.lenet5()) for _ in range(2)]
        assert len({array.tobytes() for array in first}) == 4
        assert not np.array_equal(*named)
        fc.seed(3)
        for array in first:
            np.testing.assert_array_equal(build(), array)
        np.testing.assert_array_equal(weights(fc.models.lenet5()), named[0])
        np.testing.assert_array_equal(build(seed=3), first[0])
        np.testing.assert_array_equal(build(seed=3), first[0])
        fc.seed(4)
        assert all(not np.array_equal(build(), array) for array in first)


def test_shallow_copies_of_a_built_layer_are_refused():
    """They have the very parameters of the other one, under two names."""
    layer = nn.Dense(4).build((4,))
    with pytest.raises(ArgumentError, match=r"layer 2 \(Dense\): weight: got that of another layer, as a copy.copy"):
        nn.Sequential(copy.copy(layer), nn.ReLU(), layer).build((4,))
    assert len(nn.Sequential(copy.copy(layer), nn.ReLU()).build((4,)).parameters()) == 2
    assert len(nn.Sequential(copy.deepcopy(layer), nn.ReLU(), layer).build((4,)).parameters()) == 4
    assert len(nn.Sequential(layer, nn.ReLU(), layer).build((4,)).parameters()) == 2
