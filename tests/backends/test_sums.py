"""Sums over rows, pixels and batches stay within the bounds of the contract, however long; exact values by `fsum`."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

import fastconv as fc
from fastconv import functional as F
from fastconv.backends import get_backend, use_backend
from fastconv.backends.contract.backend import Backend
from fastconv.kernels.pointwise import RELU
from tests.backends.emulator.emulated import emulator_or_skip

# Numbers that leave something at each addition: in one long sum all roundings have the same sign.
NUMBERS = {
    "constant": lambda rng, shape: np.full(shape, 0.1),
    "positive": lambda rng, shape: rng.uniform(0.5, 1.5, shape),
    "wide-range": lambda rng, shape: rng.standard_normal(shape) * 10.0 ** rng.uniform(-6, 6, shape),
}
LONG = [(2**22, 1), (1_000_003, 3), (300_007, 17), (65_537, 64), (1_001, 5_000)]
OFTEN = {(300_007, 17)}  # of the long ones, in the default suite
SHORT = [(1, 5), (255, 1), (257, 16), (1_025, 33)]
WINDOWS = [  # map, channels, window, stride
    ((700, 600), 1, (700, 600), (1, 1)),
    ((513, 301), 17, (513, 301), (1, 1)),
    ((127, 130), 5, (127, 130), (1, 1)),
    ((97, 103), 5, (40, 33), (17, 9)),
    ((90, 40), 3, (64, 1), (5, 3)),
    ((9, 7), 16, (3, 5), (2, 1)),
]


def shapes(long: list[tuple[int, ...]]) -> list:
    marked = [pytest.param(s, marks=() if s in OFTEN else pytest.mark.slow, id=str(s)) for s in long]
    return [*(pytest.param(s, id=str(s)) for s in SHORT), *marked]


@pytest.fixture(params=["numpy", "numba", pytest.param("cuda-emulator", marks=pytest.mark.emulator)])
def each(request: pytest.FixtureRequest) -> Iterator[Backend]:
    if request.param == "cuda-emulator":
        emulator_or_skip()
    with use_backend(request.param) as backend:
        yield backend


def _skip_if_slow(backend: Backend, size: int, cells: int = 0) -> None:
    if (backend.name == "cuda-emulator" and size > 100_000) or (backend.name == "numpy" and cells > 20_000):
        pytest.skip("takes long")


def _sums(x: np.ndarray) -> np.ndarray:
    """Exact sums over all axes but the last."""
    rows = x.reshape(-1, x.shape[-1]).astype(np.float64)
    if rows.shape[0] * rows.shape[1] > 2_000_000 or rows.shape[1] > 100:
        return np.ascontiguousarray(rows.T).astype(np.longdouble).sum(1).astype(np.float64)
    return np.array([math.fsum(rows[:, c]) for c in range(rows.shape[1])])


def _assert_within(got: np.ndarray, want: np.ndarray, sizes: np.ndarray, roundings: float) -> None:
    bound = roundings * np.finfo(got.dtype).eps / 2 * sizes
    worst = (np.abs(got.astype(np.float64) - want) / np.maximum(bound, np.finfo(got.dtype).tiny)).max()
    assert worst <= 1, f"{worst:.3g} times the bound"


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.float64)])
@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("shape", shapes(LONG))
def test_gradient_of_a_bias(shape: tuple[int, int], numbers: str, dtype: str, each: Backend, rng) -> None:
    _skip_if_slow(each, math.prod(shape))
    if shape in LONG and (dtype, numbers) == ("float64", "wide-range"):
        pytest.skip("float32 says as much")
    grad = NUMBERS[numbers](rng, shape).astype(dtype)
    got = fc.to_numpy(F.conv2d_backward_bias(each.asarray(grad.reshape(1, shape[0], 1, shape[1]))))
    _assert_within(got, _sums(grad), _sums(np.abs(grad)), 100)


@pytest.mark.parametrize("shape", shapes(LONG[1:4]))
def test_gradient_behind_a_rectifier(shape: tuple[int, int], each: Backend, rng) -> None:
    _skip_if_slow(each, math.prod(shape))
    grad, y = (rng.uniform(0.5, 1.5, shape).astype(np.float32) for _ in range(2))
    out, total = each.empty(shape, np.float32), each.empty(shape[1:], np.float32)
    arrays = each.asarray(grad), each.asarray(y)
    each.activate_backward_bias(RELU, *arrays, out=out, grad_bias=total, workspace=each.pool)
    np.testing.assert_array_equal(each.to_numpy(out), grad)
    _assert_within(each.to_numpy(total), _sums(grad), _sums(grad), 100)


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize(("size", "channels", "kernel", "stride"), WINDOWS, ids=str)
def test_mean_of_windows(size, channels: int, kernel, stride, numbers: str, each: Backend, rng) -> None:
    _skip_if_slow(each, math.prod(size) * channels, math.prod(kernel))
    x = NUMBERS[numbers](rng, (1, *size, channels)).astype(np.float32)
    got = fc.to_numpy(F.avg_pool2d(each.asarray(x), kernel, stride=stride))
    for p, q in {(0, 0), (got.shape[1] - 1, got.shape[2] - 1)}:
        window = x[:, p * stride[0] :, q * stride[1] :][:, : kernel[0], : kernel[1]]
        count = math.prod(kernel)
        _assert_within(got[0, p, q], _sums(window) / count, _sums(np.abs(window)) / count, 40)


def test_global_mean(each: Backend) -> None:
    size = {"numba": (1_500, 1_400), "numpy": (200, 150), "cuda-emulator": (300, 300)}[each.name]
    x = np.full((1, *size, 1), 0.1, np.float32)
    got = fc.to_numpy(F.global_avg_pool2d(each.asarray(x)))
    assert got.ravel() == pytest.approx(np.float64(np.float32(0.1)), rel=40 * 2.0**-24)


def test_gradient_of_a_mean_of_large_windows(each: Backend, rng) -> None:
    """A cell in the middle is in all windows."""
    kernel = (24, 23) if each.name == "cuda-emulator" else (60, 61)
    size = tuple(2 * n - 1 for n in kernel)
    grad = rng.uniform(0.5, 1.5, (1, *kernel, 3)).astype(np.float32)
    got = F.avg_pool2d_backward(each.asarray(grad), input_shape=(1, *size, 3), kernel_size=kernel, stride=1)
    middle = fc.to_numpy(got)[0, kernel[0] - 1, kernel[1] - 1]
    want = _sums(grad) / math.prod(kernel)
    _assert_within(middle, want, want, 40)


@pytest.mark.float64
def test_windows_and_slopes_in_float64(each: Backend) -> None:
    """No wider type is left to add in: of 30,000 constants one after the other 3,000 roundings were left."""
    if each.name == "cuda-emulator":
        pytest.skip("there they are added one after the other")
    size = (300, 100)
    x = each.asarray(np.full((1, *size, 3), 0.1))
    adaptive, gathered, slope = (each.empty(shape, np.float64) for shape in ((1, 1, 1, 3), (1, 1, 1, 3), (3,)))
    each.adaptive_avg_pool2d(x, out=adaptive)
    each.upsample2d_backward(x, scale=size, out=gathered)
    below, ones = each.asarray(np.full((1, *size, 3), -0.1)), each.asarray(np.ones(3))
    into = each.empty(x.shape, np.float64)
    each.prelu_backward(
        each.asarray(np.ones((1, *size, 3))), below, ones, out=into, grad_slope=slope, workspace=each.pool
    )
    whole, mean = 0.1 * math.prod(size), np.full(3, 0.1)
    for got in (F.avg_pool2d(x, size), F.global_avg_pool2d(x), adaptive):
        _assert_within(fc.to_numpy(got).reshape(3), mean, mean, 40)
    for got, want in ((gathered, whole), (slope, -whole)):
        _assert_within(fc.to_numpy(got).reshape(3), np.full(3, want), np.full(3, whole), 100)


@pytest.mark.parametrize("shape", [(300_007, 1), (70_001, 17)], ids=str)
def test_sums_of_a_normalisation(shape: tuple[int, int], rng) -> None:
    """Mean and gradient of beta, on the CPU."""
    x = NUMBERS["constant"](rng, shape).astype(np.float32)
    x[::2] *= 3
    gamma = np.ones(shape[1:], np.float32)
    for name in ("numpy", "numba"):
        with use_backend(name):
            _, mean, var = F.batch_norm(x, gamma, gamma)
            _, _, grad_beta = F.batch_norm_backward(np.abs(x), x, gamma, mean, var)
        _assert_within(mean, _sums(x) / shape[0], _sums(x) / shape[0], 20)
        _assert_within(grad_beta, _sums(x), _sums(x), 100)


def test_mean_of_many_losses(each: Backend) -> None:
    rows = 5_000 if each.name == "cuda-emulator" else 200_000
    logits = np.tile(np.array([[0.3, -0.2]], np.float32), (rows, 1))
    loss, _ = F.softmax_cross_entropy(each.asarray(logits), each.asarray(np.zeros(rows, np.int32)))
    shift = float(logits[0, 1]) - float(logits[0, 0])
    assert float(each.to_numpy(loss)) == pytest.approx(math.log1p(math.exp(shift)), rel=2.0**-22)


@pytest.mark.parametrize("numbers", [2.0**118, -(2.0**118), 2.0**-30])
def test_range_of_means(numbers: float, each: Backend) -> None:
    """Up to here no short sum overflows or loses small numbers; 2^118 is in NUMERICS.md and in the contract."""
    x = each.asarray(np.full((2, 16, 16, 20), numbers, np.float32))
    np.testing.assert_array_equal(fc.to_numpy(F.global_avg_pool2d(x)), np.full((2, 20), numbers, np.float32))
    np.testing.assert_array_equal(fc.to_numpy(F.avg_pool2d(x, 7)), np.full((2, 2, 2, 20), numbers, np.float32))
    rows = each.asarray(np.full((4_096, 1), numbers, np.float32))
    for loss in (fc.losses.MeanAbsoluteError(), fc.losses.Huber(1.0)):
        value, grad = loss(rows, each.asarray(np.zeros((4_096, 1), np.float32)))
        squared = isinstance(loss, fc.losses.Huber) and abs(numbers) < 1
        cost = numbers**2 / 2 if squared else abs(numbers)
        assert float(fc.to_numpy(value)) == pytest.approx(cost, rel=40 * 2.0**-24)
        assert np.isfinite(fc.to_numpy(grad)).all()


def test_infinities_stay_what_they_are() -> None:
    """Compensated sums subtract what they added: of an infinity NaN would be left."""
    x = np.ones((1, 40, 40, 20), np.float32)
    x[0, 3, 3, 0], x[0, 5, 5, 1], x[0, 7, 7, 2] = np.inf, -np.inf, np.nan
    with use_backend("numba"):
        mean = F.global_avg_pool2d(x)[0]
        np.testing.assert_array_equal(mean[:4], [np.inf, -np.inf, np.nan, 1])
        np.testing.assert_array_equal(F.conv2d_backward_bias(x)[:4], [np.inf, -np.inf, np.nan, 1600])
        assert get_backend().name == "numba"
