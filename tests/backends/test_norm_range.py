"""Batch normalisation far from zero, huge and tiny numbers: against higher precision, within the contract's bounds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

import fastconv as fc
from fastconv import functional as F
from fastconv import nn
from fastconv.backends import use_backend
from fastconv.backends.contract.backend import Backend
from tests.backends.emulator.emulated import emulator_or_skip

Arrays = dict[str, np.ndarray]
SHAPES = [(2, 1), (2, 16), (31, 33), (3, 5, 7, 17), (4, 8, 8, 64), (5, 16, 16, 24)]
# Offset in units of the spread, and the spread. A float32 keeps 7 digits: x itself is rounded to multiples of these.
NUMBERS = [
    *itertools.product([0.0, 1e3, -1e6], [1e-30, 1e-3, 1.0, 1e10, 1e20, 1e30]),
    (0.0, 2.0**124),
]
EPS = [1e-5, 0.3]


@pytest.fixture(params=["numpy", "numba", pytest.param("cuda-emulator", marks=pytest.mark.emulator)])
def each(request: pytest.FixtureRequest) -> Iterator[Backend]:
    if request.param == "cuda-emulator":
        emulator_or_skip()
    with use_backend(request.param) as backend:
        yield backend


def _make(rng: np.random.Generator, shape: tuple[int, ...], offset: float, scale: float, dtype: str) -> Arrays:
    channels = shape[-1:]
    x = (rng.uniform(-2, 2, shape) + offset) * scale
    if offset:  # neighbours as close as the type has them, in every other channel
        step = np.spacing(np.abs(np.asarray(offset * scale, dtype)))
        near = offset * scale + step * rng.integers(-2, 3, shape)
        x = np.where(np.arange(channels[0]) % 2 == 0, near, x)
    made = {"x": x, "gamma": rng.standard_normal(channels), "beta": rng.standard_normal(channels)}
    made["grad"] = rng.standard_normal(shape)
    return {name: a.astype(dtype) for name, a in made.items()}


def _exact(a: Arrays, eps: float) -> tuple[Arrays, Arrays]:
    """Return results and sizes, by the formulas, in the widest type of NumPy."""
    x, g = (a[name].reshape(-1, a["x"].shape[-1]).astype(np.longdouble) for name in ("x", "grad"))
    gamma, beta, count = a["gamma"].astype(np.longdouble), a["beta"].astype(np.longdouble), len(x)
    away = x - x[0]
    away -= away.sum(0) / count
    var = (away * away).sum(0) / count
    rstd = 1 / np.sqrt(var + np.longdouble(eps))
    z = away * rstd
    sum_g, sum_gz = g.sum(0), (g * z).sum(0)
    results = {"y": gamma * z + beta, "grad_gamma": sum_gz, "grad_beta": sum_g, "var": var}
    results["grad_input"] = gamma * rstd * (g - sum_g / count - z * sum_gz / count)
    size_z, size_g = np.abs(z) + 1, np.abs(g)
    sizes = {"y": np.abs(gamma) * size_z + np.abs(beta), "var": var, "grad_beta": size_g.sum(0)}
    sizes["grad_gamma"] = (size_g * size_z).sum(0)
    sums = size_g.sum(0) / count + size_z * sizes["grad_gamma"] / count
    sizes["grad_input"] = np.abs(gamma) * rstd * (size_g + sums)
    return results, sizes


def _assert_near(got: Arrays, want: Arrays, sizes: Arrays, what: str, roundings: float = 20) -> None:
    """Within some roundings of the sizes: what the contract allows is the worst case."""
    for name, value in got.items():
        limits = np.finfo(value.dtype)
        error = np.abs(value.reshape(want[name].shape).astype(np.longdouble) - want[name])
        bound = roundings * limits.eps / 2 * sizes[name] + 4 * limits.tiny
        assert (error <= bound).all(), f"{name} of {what}: {(error / bound).max():.3g} times the bound"


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("offset", "scale"), NUMBERS)
def test_functions(offset: float, scale: float, dtype: str, each: Backend, rng) -> None:
    offset *= 1e8 if dtype == "float64" else 1
    for shape, eps in itertools.product(SHAPES[: 4 if each.name == "cuda-emulator" else None], EPS):
        a = _make(rng, shape, offset, scale, dtype)
        if not np.isfinite(a["x"]).all() or np.abs(a["x"]).max() >= 2.0**126:
            continue
        want, sizes = _exact(a, eps)
        x, gamma, beta, grad = (each.asarray(a[name]) for name in ("x", "gamma", "beta", "grad"))
        y, mean, var = F.batch_norm(x, gamma, beta, eps=eps)
        got = {"y": y}
        if want["var"].max() < np.finfo(dtype).max / 2:
            names = ("grad_input", "grad_gamma", "grad_beta")
            got |= dict(zip(names, F.batch_norm_backward(grad, x, gamma, mean, var, eps=eps), strict=True))
            got["var"] = var
        _assert_near({name: fc.to_numpy(value) for name, value in got.items()}, want, sizes, f"{shape}, eps {eps}")


def test_the_rows_that_statistics_may_have(each: Backend, rng) -> None:
    """The mean is the sum of its rows to twice the digits; the deviation is there where the variance overflows."""
    x = each.asarray(
        (np.array([1e6, -3e5, 7e19]) + rng.integers(-3, 4, (40, 3)) * [0.0625, 1, 1e19]).astype(np.float32)
    )
    ones = each.asarray(np.ones(3, np.float32))
    rows = [each.empty((2, 3), np.float32) for _ in range(2)]
    y = each.empty(x.shape, np.float32)
    each.batch_norm(x, ones, ones, eps=1e-5, out=y, mean=rows[0], var=rows[1], workspace=each.pool)
    mean, var = (each.to_numpy(a).astype(np.float64) for a in rows)
    exact = each.to_numpy(x).astype(np.float64)
    np.testing.assert_allclose(mean.sum(0), exact.mean(0), rtol=1e-12)
    assert (np.abs(mean[1]) <= np.spacing(np.abs(mean[0]).astype(np.float32))).all()
    np.testing.assert_allclose(var[1], exact.std(0), rtol=1e-6)
    assert np.isinf(var[0]).tolist() == [False, False, True]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_spoils_its_channel_alone(value: float, each: Backend, rng) -> None:
    x = rng.standard_normal((3, 5, 4, 19)).astype(np.float32)
    x[1, 2, 3, 5] = value
    gamma, beta = np.ones(19, np.float32), np.zeros(19, np.float32)
    y = fc.to_numpy(F.batch_norm(*map(each.asarray, (x, gamma, beta)))[0])
    assert np.isnan(y[..., 5]).any()
    assert np.isfinite(np.delete(y, 5, axis=-1)).all()


BEHIND = {
    "nothing": list,
    "relu": lambda: [nn.ReLU()],
    "pool": lambda: [nn.ReLU(), nn.MaxPool2d(2)],
    "conv": lambda: [nn.ReLU(), nn.Conv2d(16, 3, padding=1)],
    "residual": lambda: [],
}
LONGER = ("relu", "pool", "conv")  # their kernels take long to compile


def _model(behind: str, dtype: type) -> nn.Sequential:
    """Build a convolution that gives back its input, exactly, a normalisation, and what stands behind."""
    conv, norm = nn.Conv2d(16, 1, bias=False), nn.BatchNorm2d(eps=1e-3)
    layers = [nn.Residual(nn.Sequential(conv, norm)), nn.ReLU()] if behind == "residual" else [conv, norm]
    model = nn.Sequential(*layers, *BEHIND[behind]()).build((8, 8, 16), dtype, seed=1)
    conv.weight.data = np.eye(16, dtype=dtype).reshape(1, 1, 16, 16)
    return model


@pytest.mark.parametrize("algorithm", ["shapes", pytest.param("winograd", marks=pytest.mark.slow)])
@pytest.mark.parametrize("behind", ["nothing", "residual", *(pytest.param(b, marks=pytest.mark.slow) for b in LONGER)])
@pytest.mark.parametrize(("offset", "scale"), [(1e3, 1.0), (-1e6, 1.0), (3e5, 1e-3), (0.0, 1e21)])
def test_fused_layers(offset: float, scale: float, behind: str, algorithm, rng) -> None:
    """A convolution that changes nothing, a normalisation and what is fused with it, as without fusion in float64."""
    x = ((offset + rng.integers(-8, 9, (3, 8, 8, 16)) / 8) * scale).astype(np.float32)
    model = _model(behind, np.float32)
    with use_backend("numpy"):
        wide = _model(behind, np.float64)
        for parameter, source in zip(wide.parameters(), model.parameters(), strict=True):
            parameter.data = source.data.astype(np.float64)
    grad = rng.standard_normal((3, *model.infer((8, 8, 16)))).astype(np.float32)
    with fc.algorithm(algorithm):
        y, context = model.forward(x, training=True)
        grad_input = model.backward(grad, context)
    with use_backend("numpy"):
        wide_y, context = wide.forward(x.astype(np.float64), training=True)
        wide_grad = wide.backward(grad.astype(np.float64), context)
        pairs = [(p.name, p.grad, q.grad) for p, q in zip(model.parameters(), wide.parameters(), strict=True)]
    for name, got, want in [("y", y, wide_y), ("grad_input", grad_input, wide_grad), *pairs]:
        if not name.endswith("weight"):  # a sum of products with x: as large as these
            size = max(np.abs(want).max(), 1e-30 if name == "grad_input" else 0.1)
            np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 * size, err_msg=name)


@pytest.mark.parametrize("size", [1e-20, 1.0, 1e12, 1e13, 1e15, 1e18])
def test_local_response_of_huge_numbers(each: Backend, size: float, rng: np.random.Generator) -> None:
    """The gradient's last factor, scale**(-beta - 1), is below what float32 has long before the squares are above."""
    x = (rng.standard_normal((2, 3, 3, 7)) * size).astype(np.float32)
    grad = rng.standard_normal(x.shape).astype(np.float32)
    layer = nn.LocalResponseNorm(5).build((3, 3, 7))
    y, context = layer.forward(fc.asarray(x), training=True)
    grad_input = layer.backward(fc.asarray(grad), context)
    with use_backend("numpy"):
        exact = nn.LocalResponseNorm(5).build((3, 3, 7), np.float64)
        want, context = exact.forward(x.astype(np.float64), training=True)
        want_grad = exact.backward(grad.astype(np.float64), context)
    np.testing.assert_allclose(fc.to_numpy(y), want, rtol=2e-6, atol=0)
    tolerance = 2e-6 * np.abs(want_grad).max()
    np.testing.assert_allclose(fc.to_numpy(grad_input), want_grad, rtol=0, atol=tolerance)
