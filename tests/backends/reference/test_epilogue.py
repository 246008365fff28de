"""What follows a convolution or a normalisation, and the way back through it, by formulas and differences alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from fastconv.backends import get_backend
from fastconv.backends.contract.backend import Backend
from fastconv.kernels.epilogue import Epilogue
from fastconv.kernels.geometry import ConvGeometry, PoolWindows
from fastconv.kernels.pointwise import POINTWISE, Activation

EPS = 0.3
SHAPE = (2, 4, 4, 3)
WINDOWS = PoolWindows((2, 2), (2, 2))
_erf = np.vectorize(math.erf)
FORMULAS: dict[str, Callable[..., np.ndarray]] = {
    "relu": lambda z: np.where(z > 0, z, 0),
    "leaky_relu": lambda z, slope: np.where(z > 0, z, slope * z),
    "elu": lambda z, alpha: np.where(z > 0, z, alpha * (np.exp(np.minimum(z, 0)) - 1)),
    "gelu": lambda z: z * (1 + _erf(z / math.sqrt(2))) / 2,
    "silu": lambda z: z / (1 + np.exp(-z)),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": lambda z: (np.exp(2 * z) - 1) / (np.exp(2 * z) + 1),
    "mish": lambda z: z * np.tanh(np.log(1 + np.exp(z))),
    "softplus": lambda z, beta, threshold: np.where(beta * z > threshold, z, np.log(1 + np.exp(beta * z)) / beta),
    "hardswish": lambda z: np.where(z <= -3, 0, np.where(z >= 3, z, z * (z + 3) / 6)),
}
BOTH = list(itertools.product([False, True], repeat=2))
ACTIVATIONS = [POINTWISE[name](*(1.3 * p.default for p in POINTWISE[name].parameters)) for name in FORMULAS]


@pytest.fixture
def reference() -> Backend:
    return get_backend("numpy")


def _applied(activation: Activation, z: np.ndarray) -> np.ndarray:
    return FORMULAS[activation.name](z, *activation.values)


def _slope(activation: Activation, z: np.ndarray) -> np.ndarray:
    return (_applied(activation, z + 1e-6) - _applied(activation, z - 1e-6)) / 2e-6


def _pooled(y: np.ndarray) -> np.ndarray:
    n, h, w, c = y.shape
    return y.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


def _places(y: np.ndarray) -> np.ndarray:
    n, h, w, c = y.shape
    cells = y.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4).reshape(n, h // 2, w // 2, c, 4)
    return cells.argmax(-1).astype(np.uint8)


def _unpooled(grad: np.ndarray, places: np.ndarray) -> np.ndarray:
    n, p, q, c = grad.shape
    cells = (np.arange(4) == places[..., None]) * grad[..., None]
    return cells.reshape(n, p, q, c, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(n, 2 * p, 2 * q, c)


def _normalised(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
    away = x - x.mean((0, 1, 2))
    return gamma * away / np.sqrt((away**2).mean((0, 1, 2)) + EPS) + beta


def _prepared(reference: Backend, weight: np.ndarray, shape: tuple[int, ...], *, transposed: bool = False):
    geometry = ConvGeometry((1, 1))
    how = {"geometry": geometry.transposed() if transposed else geometry, "precision": "strict", "algorithm": "shapes"}
    return reference.prepare_conv2d_weight(weight[None, None], input_shape=shape, **how, workspace=reference.pool)


def _assert_close(got: np.ndarray, want: np.ndarray, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", ["conv2d", "normalise"])
@pytest.mark.parametrize(("adds", "pools"), BOTH)
@pytest.mark.parametrize("activation", [None, *ACTIVATIONS], ids=lambda a: getattr(a, "name", "none"))
def test_what_follows(kind: str, activation: Activation | None, adds: bool, pools: bool, reference, rng) -> None:
    x, addend = rng.standard_normal(SHAPE), 2 * rng.standard_normal(SHAPE)
    weight, first, second = rng.standard_normal((3, 3)), rng.standard_normal(3), rng.standard_normal(3)
    z = x @ weight + first if kind == "conv2d" else _normalised(x, first, second)
    z = z + addend if adds else z
    want = z if activation is None else _applied(activation, z)
    epilogue = Epilogue(adds, activation, WINDOWS if pools else None)
    y, argmax, before = np.empty(_pooled(z).shape if pools else SHAPE), np.empty(_pooled(z).shape, np.uint8), z * 0
    more = {"addend": addend if adds else None, "out": y, "workspace": reference.pool}
    more |= {"argmax": argmax} if pools else {}
    if kind == "normalise":
        statistics = x.mean((0, 1, 2)), x.var((0, 1, 2))
        reference.normalise(x, first, second, *statistics, epilogue, eps=EPS, **more)
    else:
        keeps = activation is not None and activation.function.needs == "x"
        more |= {"before": before} if keeps else {}
        reference.conv2d(x, _prepared(reference, weight, SHAPE), first, epilogue, **more)
        if keeps:
            _assert_close(before, z)
    _assert_close(y, _pooled(want) if pools else want)
    if pools:
        np.testing.assert_array_equal(argmax, _places(want))


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
def test_gradient_behind_a_convolution(activation: Activation, reference, rng) -> None:
    """Of z where ``y = activation(z) @ weight``; pooled too, and where a normalisation made z."""
    z, grad, addend = rng.standard_normal(SHAPE), rng.standard_normal(SHAPE), rng.standard_normal(SHAPE)
    weight, slope, places = rng.standard_normal((3, 3)), _slope(activation, z), _places(rng.standard_normal(SHAPE))
    prepared, pool = _prepared(reference, weight, SHAPE, transposed=True), {"workspace": reference.pool}
    x, out, total = _applied(activation, z), np.empty(SHAPE), np.empty(3)
    through = {"activation": activation, "saved": x if activation.function.needs == "y" else z, "grad_bias": total}
    reference.conv2d_backward_input(grad, prepared, addend=addend, **through, out=out, **pool)
    _assert_close(out, want := (grad @ weight.T + addend) * slope, 1e-8)
    _assert_close(total, want.sum((0, 1, 2)), 1e-8)

    how = {"geometry": ConvGeometry((1, 1)), "windows": WINDOWS, "precision": "strict", "algorithm": "shapes"}
    pooled, grad_weight = rng.standard_normal(places.shape), np.empty((1, 1, 3, 3))
    results = {"grad_weight": grad_weight, "grad_input": out}
    reference.conv2d_max_pool2d_backward(pooled, places, x, prepared, **how, **through, **results, **pool)
    _assert_close(out, want := _unpooled(pooled, places) @ weight.T * slope, 1e-8)
    _assert_close(total, want.sum((0, 1, 2)), 1e-8)
    _assert_close(grad_weight[0, 0], x.reshape(-1, 3).T @ _unpooled(pooled, places).reshape(-1, 3))

    source, gamma, beta, shortcut = (rng.standard_normal(shape) for shape in (SHAPE, (3,), (3,), SHAPE))
    statistics, sums = (source.mean((0, 1, 2)), source.var((0, 1, 2))), (np.empty(3), np.empty(3))
    z = _normalised(source, gamma, beta) + shortcut
    forward = (source, gamma, *statistics, Epilogue(True, activation))
    saved = {"beta": beta, "saved": _applied(activation, z), "norm_addend": shortcut, "addend": addend, "eps": EPS}
    results = {"out": out, "grad_gamma": sums[0], "grad_beta": sums[1]}
    reference.conv2d_backward_input_norm(grad, prepared, *forward, **saved, **results, **pool)
    _assert_close(out, want := (grad @ weight.T + addend) * _slope(activation, z), 1e-8)
    _assert_close(sums[0], (want * _normalised(source, np.ones(3), np.zeros(3))).sum((0, 1, 2)), 1e-7)
    _assert_close(sums[1], want.sum((0, 1, 2)), 1e-8)


@pytest.mark.parametrize(("adds", "pools"), BOTH)
@pytest.mark.parametrize("activation", [None, *ACTIVATIONS], ids=lambda a: getattr(a, "name", "none"))
def test_gradient_of_a_normalisation(activation, adds: bool, pools: bool, reference, rng) -> None:
    """Along one direction in all of x, gamma, beta and the addend."""
    given = {name: rng.standard_normal(SHAPE) for name in ("x", "addend")}
    given |= {name: rng.standard_normal(3) for name in ("gamma", "beta")}
    along = {name: rng.standard_normal(array.shape) for name, array in given.items()}

    def run(step: float) -> np.ndarray:
        x, addend, gamma, beta = (given[name] + step * along[name] for name in ("x", "addend", "gamma", "beta"))
        z = _normalised(x, gamma, beta) + adds * addend
        return z if activation is None else _applied(activation, z)

    y, x = run(0), given["x"]
    places = _places(y)
    grad = rng.standard_normal(places.shape if pools else SHAPE)
    grads = {name: np.empty(given[name].shape) for name in ("gamma", "beta")}
    results = {"grad_input": np.empty(SHAPE), "grad_gamma": grads["gamma"], "grad_beta": grads["beta"]}
    results |= {"grad_addend": np.empty(SHAPE)} if adds else {}
    forward = (
        x,
        given["gamma"],
        x.mean((0, 1, 2)),
        x.var((0, 1, 2)),
        Epilogue(adds, activation, (pools and WINDOWS) or None),
    )
    saved = {"beta": given["beta"], "saved": _pooled(y) if pools else y, "addend": given["addend"] if adds else None}
    saved |= {"argmax": places} if pools else {}
    reference.batch_norm_backward(grad, *forward, **saved, eps=EPS, **results, workspace=reference.pool)
    got = sum((grads[name] * along[name]).sum() for name in grads) + (results["grad_input"] * along["x"]).sum()
    got += (results["grad_addend"] * along["addend"]).sum() if adds else 0
    full = _unpooled(grad, places) if pools else grad
    assert got == pytest.approx((full * (run(1e-6) - run(-1e-6))).sum() / 2e-6, rel=1e-6, abs=1e-6)


def test_an_epilogue_may_be_named(reference: Backend, rng: np.random.Generator) -> None:
    x = rng.standard_normal(SHAPE)
    one, zero = np.ones(SHAPE[-1]), np.zeros(SHAPE[-1])
    named, given = np.empty(SHAPE), np.empty(SHAPE)
    for epilogue in (Epilogue(activation=POINTWISE["gelu"]()), Epilogue()):
        norm = (x, one, zero, zero, one)
        reference.normalise(*norm, epilogue=epilogue, eps=EPS, out=named, workspace=reference.pool)
        reference.normalise(*norm, epilogue, eps=EPS, out=given, workspace=reference.pool)
        np.testing.assert_array_equal(named, given)
