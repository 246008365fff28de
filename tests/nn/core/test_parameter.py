"""Parameters: places in an arena, versions, gradients that add up, slices of neighbours."""

import pickle
from itertools import pairwise

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, DTypeError, ShapeError
from fastconv.nn.core.parameter import arena_slices
from tests.nn.small import grads_of, small


def test_parameters_live_in_one_arena(backend):
    model = small()
    parameters = model.parameters()
    assert [p.name for p in parameters] == [
        *("0.weight", "1.gamma", "1.beta", "3.body.0.weight", "3.body.0.bias"),
        *("4.0.weight", "4.0.bias", "6.weight", "6.bias"),
    ]
    assert [b.name for b in model.buffers()] == ["1.running_mean", "1.running_var"]
    assert len(arena_slices(parameters)) == 1
    assert len({id(p.arena) for p in parameters}) == 1
    assert all(p.array.ctypes.data % 64 == 0 and p.grad.ctypes.data % 64 == 0 for p in parameters)
    ends = [(p.offset, p.offset + p.size) for p in parameters]
    assert all(end <= begin for (_, end), (begin, _) in pairwise(ends))
    assert parameters.count == sum(p.size for p in parameters) == model.summary().parameters


def test_some_parameters_make_several_runs(backend):
    parameters = small().parameters()
    assert [len(piece.parameters) for piece in arena_slices([*parameters[:2], *parameters[4:]])] == [2, 5]


def test_a_copy_of_what_was_replaced_knows_that_it_was(backend):
    layer = nn.Dense(3).build((4,))
    before = layer.weight
    layer.build((5,))
    assert [pickle.loads(pickle.dumps(p)).retired for p in (before, layer.weight)] == [True, False]


def test_versions_and_assignment(backend, rng):
    layer = nn.Dense(3).build((4,))
    x = fc.asarray(rng.standard_normal((2, 4)).astype(np.float32))
    layer(x)
    version = layer.weight.version
    new = rng.standard_normal((4, 3))
    layer.weight.data = new
    assert layer.weight.version > version
    want = fc.to_numpy(x) @ new.astype(np.float32) + fc.to_numpy(layer.bias.data)
    np.testing.assert_allclose(fc.to_numpy(layer(x)), want, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        layer.weight.data[0, 0] = 1.0
    with pytest.raises(ShapeError, match="weight"):
        layer.weight.data = new.T


@pytest.mark.float64
def test_gradients_accumulate_until_zero_grad(backend, rng):
    model = small(np.float64)
    x = fc.asarray(rng.standard_normal((2, 6, 6, 3)))
    once = grads_of(model, x)
    y, context = model.forward(x, training=True)
    model.backward(fc.asarray(np.ones(y.shape)), context)
    for p, g in zip(model.parameters(), once, strict=True):
        np.testing.assert_allclose(fc.to_numpy(p.grad), 2 * g, rtol=1e-12, atol=1e-14)
    model.zero_grad()
    assert not any(fc.to_numpy(p.grad).any() for p in model.parameters())
    for g, again in zip(once, grads_of(model, x), strict=True):
        np.testing.assert_array_equal(g, again)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 31, 32, 33])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_frozen_parameter_is_not_trained(size, dtype):
    """However small: neighbours are joined into one kernel over gaps, and never over a parameter that is left out."""
    with fc.use_backend("numpy"):
        layers = [nn.Dense(16, bias=False), nn.Dense(size), nn.Dense(16, bias=False), nn.Dense(2)]
        model = nn.Sequential(*layers).build((16,), dtype, seed=0)
        parameters = list(model.parameters())
        for frozen in parameters:
            rest = [p for p in parameters if p is not frozen]
            for piece in arena_slices(rest):
                assert not piece.begin <= frozen.offset < piece.end
            assert sum(len(piece.parameters) for piece in arena_slices(rest)) == len(rest)
            before = frozen.data.copy()
            for p in parameters:
                p.add_grad(np.ones(p.shape, dtype))
            fc.optim.SGD(rest, 0.5).step()
            np.testing.assert_array_equal(frozen.data, before)
            model.zero_grad()


@pytest.mark.parametrize("order", ["reversed", "shuffled"])
def test_runs_of_parameters_in_another_order(order):
    with fc.use_backend("numpy"):
        parameters = list(nn.Sequential(nn.Dense(3), nn.Dense(5), nn.Dense(2)).build((4,), seed=0).parameters())
        again = parameters[::-1] if order == "reversed" else [parameters[i] for i in (2, 0, 1, 5, 3, 4)]
        found = arena_slices(again)
        assert [p for piece in found for p in piece.parameters] == again
        for piece in found:
            inside = [p for p in parameters if piece.begin <= p.offset < piece.end]
            assert inside == list(piece.parameters)


@pytest.mark.parametrize("place", ["parameters", "buffers"])
def test_a_mask_is_not_lost_in_values(backend, place):
    tensor = getattr(small(), place)()[0]
    before = tensor.data.copy()
    with pytest.raises(DTypeError, match=f"^{tensor.name}: got a masked array, whose mask would be lost"):
        tensor.data = np.ma.masked_array(np.ones(tensor.shape, np.float32), True)
    np.testing.assert_array_equal(tensor.data, before)


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize(
    "made",
    [
        lambda g: g.astype(np.float64),
        lambda g: g.astype(">f4"),
        lambda g: g.astype(np.int64),
        lambda g: np.repeat(g, 2, axis=-1)[..., ::2],
        lambda g: g.tolist(),
    ],
    ids=["float64", "big-endian", "int", "strided", "list"],
)
def test_a_gradient_in_any_memory_is_counted_as_its_values(backend, made, second):
    parameter = small().parameters()[0]
    grad = np.arange(parameter.size, dtype=np.float32).reshape(parameter.shape)
    for _ in range(1 + second):
        parameter.add_grad(made(grad))
    np.testing.assert_array_equal(parameter.grad, grad * (1 + second))


@pytest.mark.parametrize("second", [False, True])
def test_a_gradient_of_another_shape_is_refused(backend, second):
    """A larger one was written over the neighbour's."""
    first, neighbour = small().parameters()[:2]
    neighbour.add_grad(np.full(neighbour.shape, 7, np.float32))
    if second:
        first.add_grad(np.ones(first.shape, np.float32))
    for shape in ((), (1,), (2, *first.shape), (2 * first.size,)):
        with pytest.raises(ShapeError, match=f"^{first.name}: got a gradient of shape"):
            first.add_grad(np.ones(shape, np.float32))
    np.testing.assert_array_equal(neighbour.grad, 7)


def test_a_gradient_can_be_set_and_forgotten():
    weight = fc.nn.Dense(2).build((3,)).weight
    weight.grad = np.ones((3, 2))
    assert weight.has_grad
    assert weight.grad.sum() == 6
    weight.grad = np.full((3, 2), 2.0)
    assert weight.grad.sum() == 12
    weight.grad = None
    assert not weight.has_grad
    assert not weight.grad.any()
    with pytest.raises(ShapeError, match=r"weight: got a gradient of shape \(\); allowed: \(3, 2\)"):
        weight.grad = 0


def test_the_array_of_a_parameter_is_not_replaced():
    """Another one would be computed with, and neither trained nor seen by what looks at all at once."""
    layer = fc.nn.BatchNorm2d().build((2,))
    for tensor in (layer.gamma, layer.running_mean):
        before = tensor.array
        with pytest.raises(ArgumentError, match=rf"array: got array.* for {tensor.name}; allowed: values written into"):
            tensor.array = np.zeros(2)
        tensor.array += 1
        assert tensor.array is before


def test_values_of_another_kind_are_not_taken():
    """NumPy drops imaginary parts with a warning."""
    weight = fc.nn.Dense(1).build((1,)).weight
    before = weight.data.copy()
    for values in (np.full((1, 1), 1j, np.complex64), np.array([["1"]])):
        with pytest.raises(DTypeError, match=r"got .*; allowed: numbers that float32 holds"):
            weight.data = values
        with pytest.raises(DTypeError, match=r"got .*; allowed: numbers that float32 holds"):
            weight.add_grad(values)
    assert weight.data == before
    assert not weight.has_grad


def test_numpy_takes_the_values(backend):
    """It took a parameter for an object, of which nothing can be computed."""
    layer = fc.nn.BatchNorm2d().build((2,))
    gamma, mean = np.array(layer.gamma), np.asarray(layer.buffers()[0], np.float64)
    assert (gamma.tolist(), gamma.dtype, mean.tolist(), mean.dtype) == ([1, 1], np.float32, [0, 0], np.float64)
    gamma[:] = 5  # a copy
    assert np.mean(layer.gamma) == 1
    np.testing.assert_array_equal(layer.gamma, [1, 1])


def test_numpy_takes_its_values(tmp_path):
    """Not the object, of which it made an array of one, that `numpy.savez` pickled."""
    with fc.use_backend("numpy"):
        model = nn.Sequential(nn.Dense(2), nn.BatchNorm2d()).build((3,), seed=0)
        twin = nn.Sequential(nn.Dense(2), nn.BatchNorm2d()).build((3,), seed=0)
        np.savez(tmp_path / "w.npz", **{tensor.name: tensor for tensor in model.tensors()})
        with np.load(tmp_path / "w.npz", allow_pickle=False) as saved:
            for tensor, other in zip(model.tensors(), twin.tensors(), strict=True):
                np.testing.assert_array_equal(saved[tensor.name], tensor.data)
                assert np.array_equal(tensor, other)
                assert isinstance(fc.to_numpy(tensor), np.ndarray)
                assert np.asarray(tensor, np.float64).dtype == np.float64
                other.data = tensor
        weight = model.layers[0].weight
        np.array(weight)[...] = 7.0
        with pytest.raises(ValueError, match="Unable to avoid copy"):
            np.array(weight, np.float64, copy=False)
        with pytest.raises(ValueError, match="read-only"):
            np.asarray(weight)[...] = 7.0
        assert not (weight.data == 7.0).any()
