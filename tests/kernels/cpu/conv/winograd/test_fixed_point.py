"""Winograd's products in 16-bit fixed point: within their bound, in range, and rounded about as in bfloat16."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import fastconv as fc
from fastconv import functional as F
from fastconv.backends import get_backend, use_backend
from fastconv.kernels.pointwise import RELU
from tests.backends.cases import conv as cases_conv
from tests.backends.cases import fused as cases_fused
from tests.backends.cases.conv import CONVS
from tests.backends.cases.fused.convolutions import backward_input_norm, backward_input_through, conv_pool_backward
from tests.backends.cases.fused.parts import AFTER, FUSED_CONVS, SQUARES
from tests.backends.op_case import Case, check, check_captured

pytest.importorskip("numba")
from fastconv.kernels.cpu.conv import choice
from fastconv.kernels.cpu.vector import amx, bf16, fixed_point
from tests.kernels.cpu.conv.winograd.test_convolve import NUMBERS, largest_of_patches
from tests.kernels.cpu.threads import bits_by_threads

if not (fixed_point.FIXED and bf16.DOT):
    pytest.skip("compiled for a CPU without AVX512_BF16 and VNNI", allow_module_level=True)

BF16 = 2.0**-7  # by which a product of two factors in bfloat16 may be off
LEAST, MOST = 2e-5, 5e-3  # relative errors: float32 would have less, and bfloat16 has 2.4e-3
# Images, rows, columns, channels in and out.
SHAPES = [
    (2, 9, 7, 16, 16),
    (3, 8, 8, 96, 33),
    (1, 8, 8, 512, 16),
    (2, 5, 6, 33, 40),
]

FAST = [
    replace(c, precision="fast")
    for c in CONVS
    if c.precision == "default" and not c.infinite and c.kernel in ((3, 3), (5, 5)) and c.stride == c.dilation == (1, 1)
]
_FUSED = [
    *cases_fused.CONVOLUTIONS,
    partial(backward_input_through, activation=RELU),
    *(partial(backward_input_norm, epilogue=AFTER, add=add) for add in (False, True)),
]
_BEHIND = [replace(c, precision="fast") for c in FUSED_CONVS if not c.infinite and c.precision == "default"]
CASES = [
    *(make(c) for c in FAST for make in (cases_conv.forward, cases_conv.backward_input, cases_conv.backward_weight)),
    *(make(c) for c in _BEHIND for make in _FUSED),
    *(conv_pool_backward(c, SQUARES, RELU if c.bias else None) for c in _BEHIND if min(c.y_shape[1:3]) > 1),
]


@pytest.fixture(autouse=True)
def _fixed_point(monkeypatch: pytest.MonkeyPatch):
    """Winograd in fixed point for everything that it can compute, however few the channels."""
    monkeypatch.setattr(amx, "usable", lambda: False)
    monkeypatch.setattr(choice, "_FIXED_CHANNELS", 1)
    choice._no_winograd.cache_clear()
    with use_backend("numba"), fc.algorithm("winograd"), fc.precision("fast"):
        yield
    choice._no_winograd.cache_clear()


def _used(run: Callable[[], np.ndarray]) -> np.ndarray:
    """Run it; fail unless Winograd's kernels did."""
    names: list[str] = []
    with get_backend().trace(names.append):
        result = run()
    assert any("winograd" in name for name in names), names
    assert not any("bf16" in name for name in names), names
    return result


def _relative(got: np.ndarray, exact: np.ndarray) -> float:
    """Root mean square of the error by that of the result."""
    return float(np.sqrt(((got - exact) ** 2).mean() / (exact**2).mean()))


def _exact(run: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    with use_backend("numpy"), fc.precision("strict"):
        return run(*(a.astype(np.float64) for a in arrays))


def _convolve(which: str, padding: int, input_shape: tuple[int, ...]) -> Callable[..., np.ndarray]:
    def run(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        if which == "forward":
            return F.conv2d(x, weight, padding=padding)
        return F.conv2d_backward_input(x, weight, input_shape=input_shape, padding=padding)

    return run


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("which", ["forward", "backward_input"])
def test_convolution_is_within_its_bound(which: str, shape, numbers: str, kernel: int) -> None:
    n, h, w, c, k = shape
    rng = np.random.default_rng(7)
    make, padding = NUMBERS[numbers], kernel // 2
    x = make(rng, (n, h, w, c)).astype(np.float32)
    weight = make(rng, (kernel, kernel, *((c, k) if which == "forward" else (k, c)))).astype(np.float32)
    run = _convolve(which, padding, (n, h, w, k))
    got, exact = _used(lambda: run(x, weight)), _exact(run, x, weight)
    tile = (4, 4) if kernel == 3 else (2, 2)
    largest = largest_of_patches(x.astype(np.float64), kernel, padding, (h, w), tile)
    summed, axis = ((0, 1), -2) if which == "forward" else ((0, 1), -1)
    norm = np.sqrt((np.abs(weight.astype(np.float64)).sum(summed) ** 2).sum(axis))
    error = np.abs(got - exact)
    bound = 0.03 * c * largest * norm
    assert (error <= bound).all(), float((error / bound).max())
    assert LEAST < _relative(got, exact) < MOST


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradient_of_the_weight_is_within_its_bound(shape, numbers: str, kernel: int) -> None:
    n, h, w, c, k = shape
    rng = np.random.default_rng(8)
    make = NUMBERS[numbers]
    x, grad = make(rng, (n, h, w, c)).astype(np.float32), make(rng, (n, h, w, k)).astype(np.float32)

    def run(grad: np.ndarray, x: np.ndarray) -> np.ndarray:
        return F.conv2d_backward_weight(grad, x, weight_shape=(kernel, kernel, c, k), padding=kernel // 2)

    got, exact = _used(lambda: run(grad, x)), _exact(run, grad, x)
    tile = 4 if kernel == 3 else 2
    tiles = n * -(-h // tile) * -(-w // tile)
    largest, total = np.abs(x.astype(np.float64)).max((0, 1, 2)), np.abs(grad.astype(np.float64)).sum((0, 1, 2))
    bound = 0.03 * tiles * largest[:, None] * total
    error = np.abs(got - exact)
    assert (error <= bound).all(), float((error / bound).max())
    assert LEAST < _relative(got, exact) < MOST


@pytest.mark.parametrize("channels", [16, 64, 512])
def test_it_rounds_about_as_bfloat16_does(channels: int, rng: np.random.Generator) -> None:
    """Root mean square on normal numbers: bfloat16 gives 2.4e-3 whatever the channels."""
    x = rng.standard_normal((2, 12, 12, channels), np.float32)
    weight = rng.standard_normal((3, 3, channels, 48), np.float32)
    grad = rng.standard_normal((2, 12, 12, 48), np.float32)
    runs = {
        "forward": (lambda x, w: F.conv2d(x, w, padding=1), x, weight),
        "weight": (lambda g, x: F.conv2d_backward_weight(g, x, weight_shape=weight.shape, padding=1), grad, x),
    }
    for name, (run, *arrays) in runs.items():
        exact = _exact(run, *arrays)
        relative = _relative(_used(lambda run=run, arrays=arrays: run(*arrays)), exact)
        assert LEAST < relative < MOST, (name, relative)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.op}-{case.id}")
def test_matches_reference(case: Case) -> None:
    got = check(case, get_backend(), "float32", products=BF16)
    seed = np.random.default_rng(zlib.crc32(f"{case.op}-{case.id}".encode()))
    expected, _ = case.reference(case.arrays(seed, "float32"))
    for name, value in got.items():
        if value.size and expected[name].any():
            assert _relative(value, expected[name]) < 2 * MOST, name


@pytest.mark.parametrize("case", CASES[::6], ids=lambda case: f"{case.op}-{case.id}")
def test_captured_gives_the_same_bits(case: Case) -> None:
    check_captured(case, get_backend(), "float32")


@pytest.mark.parametrize("channels", [32, 2048])
def test_sums_do_not_wrap_around(channels: int) -> None:
    """Input and weight in one direction reach the largest sum that there can be."""
    x, weight = np.ones((1, 8, 8, channels), np.float32), np.ones((3, 3, channels, 16), np.float32)
    weight[..., ::2] *= -1
    run = _convolve("forward", 1, x.shape)
    np.testing.assert_allclose(_used(lambda: run(x, weight)), _exact(run, x, weight), rtol=4e-3)
    grad = np.ones((64, 8, 8, 16), np.float32)
    grad[..., ::2] *= -1
    many = np.ones((64, 8, 8, 32), np.float32)

    def gradient(grad: np.ndarray, x: np.ndarray) -> np.ndarray:
        return F.conv2d_backward_weight(grad, x, weight_shape=(3, 3, 32, 16), padding=1)

    np.testing.assert_allclose(_used(lambda: gradient(grad, many)), _exact(gradient, grad, many), rtol=4e-3)


@pytest.mark.parametrize("power", [-40, 7, 40])
def test_a_power_of_two_changes_nothing_else(power: int, rng: np.random.Generator) -> None:
    x, weight = rng.standard_normal((2, 9, 9, 40), np.float32), rng.standard_normal((3, 3, 40, 33), np.float32)
    scale = np.float32(2.0**power)
    plain = F.conv2d(x, weight, padding=1)
    assert (F.conv2d(x * scale, weight, padding=1) == plain * scale).all()
    assert (F.conv2d(x, weight * scale, padding=1) == plain * scale).all()


@pytest.mark.parametrize("size", [1e-25, 1e-18, 1e19, 1e30])
def test_squares_may_leave_the_range_of_float32(size: float, rng: np.random.Generator) -> None:
    x, weight = rng.standard_normal((2, 9, 9, 40), np.float32), rng.standard_normal((3, 3, 40, 33), np.float32)
    grad = rng.standard_normal((2, 9, 9, 33), np.float32)
    scale = np.float32(size)

    def gradient(grad: np.ndarray, x: np.ndarray) -> np.ndarray:
        return F.conv2d_backward_weight(grad, x, weight_shape=weight.shape, padding=1)

    def forward(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return F.conv2d(x, weight, padding=1)

    for run, arrays in ((forward, (x * scale, weight)), (forward, (x, weight * scale)), (gradient, (grad, x * scale))):
        exact = _exact(run, *arrays)
        assert np.abs(run(*arrays) - exact).max() < 0.03 * np.abs(exact).max()


def test_zeros_give_zeros(rng: np.random.Generator) -> None:
    x, weight = np.zeros((2, 9, 9, 40), np.float32), rng.standard_normal((3, 3, 40, 33), np.float32)
    assert not F.conv2d(x, weight, padding=1).any()
    assert not F.conv2d(rng.standard_normal(x.shape, np.float32), 0 * weight, padding=1).any()
    x[1, 4:] = 1
    y = F.conv2d(x, weight, padding=1)
    assert not y[0].any()
    assert y[1].any()
    grad = rng.standard_normal((2, 9, 9, 33), np.float32)
    assert not F.conv2d_backward_weight(grad, 0 * x, weight_shape=weight.shape, padding=1).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_tiles(value: float, rng: np.random.Generator) -> None:
    x, weight = rng.standard_normal((2, 16, 16, 40), np.float32), rng.standard_normal((3, 3, 40, 33), np.float32)
    plain = F.conv2d(x, weight, padding=1)
    x[1, 5, 6, 7] = value
    y = F.conv2d(x, weight, padding=1)
    touched = np.zeros(y.shape, bool)
    touched[1, 4:8, 4:8] = True
    assert not np.isfinite(y[touched]).any()
    np.testing.assert_array_equal(y[~touched], plain[~touched])
    weight[1, 1, 2, 3] = value
    z = F.conv2d(np.ones_like(x), weight, padding=1)
    assert not np.isfinite(z[..., 3]).any()
    assert np.isfinite(np.delete(z, 3, -1)).all()


@pytest.mark.parametrize("shape", [(2, 8, 8, 64, 64), (90, 9, 7, 33, 17), (30, 16, 15, 32, 48)], ids=str)
def test_pooling_behind_it_finds_what_the_convolution_gives(shape, rng: np.random.Generator) -> None:
    """The largest of a window by the fused kernel, against the convolution by itself and NumPy."""
    n, h, w, c, k = shape
    conv = fc.nn.Conv2d(k, 3, padding=1)
    model = fc.nn.Sequential(conv, fc.nn.ReLU(), fc.nn.MaxPool2d(2)).build((h, w, c), seed=0)
    x = rng.standard_normal((n, h, w, c), np.float32)
    names: list[str] = []
    with get_backend().trace(names.append):
        pooled, _ = model.forward(x, training=True)
    assert any("winograd_pool" in name for name in names) == (n > 9)
    y = np.maximum(F.conv2d(x, conv.weight.data, conv.bias.data, padding=1), 0)
    p, q = h // 2, w // 2
    windows = y[:, : 2 * p, : 2 * q].reshape(n, p, 2, q, 2, k)
    np.testing.assert_array_equal(pooled, windows.max((2, 4)))


@pytest.mark.parametrize("shape", [(3, 9, 11, 24, 40), (40, 6, 6, 32, 32), (2, 8, 8, 96, 64)])
def test_same_bits_with_any_number_of_threads(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    with fc.precision("fast"):
        one, two, four = bits_by_threads(shape, rng)
    assert one == two == four


def test_explain_says_so() -> None:
    model = fc.nn.Sequential(fc.nn.Conv2d(64, 3, padding=1), fc.nn.ReLU()).build((8, 8, 32), seed=0)
    (row,) = fc.explain(model, (4, 8, 8, 32)).rows
    assert row.reasons[0] == "forward Winograd: asked for"
    with fc.algorithm("shapes"):
        (row,) = fc.explain(model, (4, 8, 8, 32)).rows
    assert row.reasons[0] == "forward Winograd: 3x3 with stride 1 in 16-bit fixed point"
    assert {"conv2d_winograd_shared", "winograd_transform_input"} <= set(row.forward)
