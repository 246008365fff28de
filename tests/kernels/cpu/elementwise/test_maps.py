"""Flat kernels: our exponential and what is made of it over their whole range, and moving memory of any type."""

import math

import numpy as np
import pytest

from fastconv.kernels.cpu.elementwise import maps, optimizer, pointwise
from fastconv.kernels.cpu.elementwise.maps import TASK_BYTES, make_unary, run_unary
from fastconv.kernels.cpu.elementwise.pointwise import vector_exp, vector_log1p
from fastconv.kernels.cpu.runtime import launch
from fastconv.kernels.cpu.runtime.launch import device
from fastconv.kernels.cpu.vector.memory import TASK_ELEMENTS
from fastconv.kernels.pointwise import POINTWISE
from fastconv.kernels.update_rules import UPDATE_RULES


@device
def _exp(x, parameter, dt):
    return vector_exp(x, dt)


@device
def _log1p(x, parameters, dt):
    return vector_log1p(x, dt)


exp_of_test = make_unary("exp_of_test", _exp)
log1p_of_test = make_unary("log1p_of_test", _log1p)
DTYPES = [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)]


def _exponential(x):
    out = np.empty_like(x)
    run_unary(exp_of_test, x, out)
    return out


def _apply(name, x, *values):
    out = np.empty_like(x)
    pointwise.activate(POINTWISE[name](*values), x, out=out)
    return out


def _ulps(actual, expected):
    """Largest error in units of the last place; what is below the smallest normal number may be 0."""
    tiny = np.finfo(actual.dtype).tiny
    unit = np.spacing(np.maximum(np.abs(expected), tiny).astype(actual.dtype)).astype(np.float64)
    same = (actual == expected) | ((actual == 0) & (np.abs(expected) < tiny))
    return np.where(same, 0, np.abs(actual.astype(np.float64) - expected) / unit).max()


def _points(dtype, end):
    """Numbers all over -end to end, crowded around 0."""
    small = 10.0 ** np.linspace(-30, 0, 20_001)
    return np.concatenate([np.linspace(-end, end, 200_001), small, -small]).astype(dtype)


def _ends(dtype):
    """Smallest argument of exp whose result is normal, and largest whose result is finite, in `dtype`."""
    limits = np.finfo(dtype)
    least, most = dtype(math.log(limits.tiny)), dtype(math.log(limits.max))
    while np.float64(least) < math.log(limits.tiny):
        least = np.nextafter(least, dtype(0))
    while np.float64(most) > math.log(limits.max):
        most = np.nextafter(most, dtype(0))
    return least, most


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_over_its_whole_range(dtype):
    least, most = _ends(dtype)
    x = np.concatenate([np.linspace(least, most, 500_001), 10.0 ** np.linspace(-30, 0, 20_001)]).astype(dtype)
    x = x[(x >= least) & (x <= most)]
    assert _ulps(_exponential(x), np.exp(x.astype(np.float64))) <= 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_log1p_from_0_to_1(dtype):
    x = np.concatenate([np.linspace(0, 1, 200_001), 10.0 ** np.linspace(-30, 0, 20_001)]).astype(dtype)
    out = np.empty_like(x)
    run_unary(log1p_of_test, x, out)
    assert _ulps(out, np.log1p(x.astype(np.longdouble))) <= 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_ends_where_the_type_does(dtype):
    least, most = _ends(dtype)
    inside = _exponential(np.array([least + dtype(1e-4 if dtype == np.float32 else 1e-10), most], dtype))
    assert (inside > 0).all()
    assert np.isfinite(inside).all()
    above, below = np.nextafter(most, dtype(np.inf)), least - dtype(1e-2)
    outside = _exponential(np.array([above, most + dtype(1), 1e30, np.inf, below, -1e30, -np.inf], dtype))
    np.testing.assert_array_equal(outside, [np.inf] * 4 + [0] * 3)


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [
        (np.float32, [0x7FC00000, 0xFFC00000, 0x7FC00001, 0x7FFFFFFF, 0xFFFFFFFF]),
        pytest.param(
            np.float64,
            [0x7FF8000000000000, 0xFFF8000000000000, 0x7FF8000000000001, 0x7FFFFFFFFFFFFFFF],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_every_nan_stays_nan(dtype, bits):
    """Whatever its sign and payload: exp computes with the bits of its argument."""
    x = np.array(bits, f"u{np.dtype(dtype).itemsize}").view(dtype)
    assert np.isnan(_exponential(x)).all()
    for name in POINTWISE:
        assert np.isnan(_apply(name, x)).all(), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_are_exact_to_a_few_units(dtype):
    x = _points(dtype, 30)
    wide = x.astype(np.float64)
    assert _ulps(_apply("tanh", x), np.tanh(wide)) <= 4
    assert _ulps(_apply("elu", x), np.where(wide > 0, wide, np.expm1(wide))) <= 3
    with np.errstate(over="ignore"):
        sigmoid = 1 / (1 + np.exp(-wide))
    assert _ulps(_apply("sigmoid", x), sigmoid) <= 4
    assert _ulps(_apply("silu", x), wide * sigmoid) <= 6


@pytest.mark.parametrize("dtype", DTYPES)
def test_gelu_to_a_few_roundings(dtype):
    x = np.concatenate([np.linspace(-45, 45, 30_001), np.linspace(-3, 3, 10_001)]).astype(dtype)
    wide = x.astype(np.float64)
    phi = np.array([0.5 * math.erfc(-value * math.sqrt(0.5)) for value in wide])
    slope = phi + wide * np.exp(-wide * wide / 2) / math.sqrt(2 * math.pi)
    eps = np.finfo(dtype).eps
    assert (np.abs(_apply("gelu", x) - wide * phi) <= 4 * eps * np.abs(wide)).all()
    gradient = np.empty_like(x)
    pointwise.activate_backward(POINTWISE["gelu"](), np.ones_like(x), x, out=gradient)
    assert np.abs(gradient - slope).max() <= 4 * eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_gelu_is_a_step_far_from_zero(dtype):
    """As large as x or 0, with a slope of 1 or 0; and of no other sign than x in between."""
    near, far = np.linspace(0, 7, 100_001, dtype=dtype), np.geomspace(45, 1e38, 1001, dtype=dtype)
    assert (_apply("gelu", near) >= 0).all()
    assert (_apply("gelu", -near) <= 0).all()
    assert (_apply("gelu", far) == far).all()
    assert not _apply("gelu", -far).any()
    for sign, slope in ((1, 1), (-1, 0)):
        gradient = np.empty_like(far)
        pointwise.activate_backward(POINTWISE["gelu"](), np.ones_like(far), sign * far, out=gradient)
        assert (gradient == slope).all()


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8", "i4", "i2", "u1", "?"])
@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, TASK_BYTES - 1, 2 * TASK_BYTES + 3])
def test_copy_and_fill_take_any_type_and_length(dtype, size):
    x = np.random.default_rng(size).integers(0, 100, size).astype(dtype)
    frame = np.full(size + 2, 1, dtype)
    inside = frame[1:-1]
    maps.copy(x, out=inside)
    assert inside.tobytes() == x.tobytes()
    maps.fill(0, out=inside)
    assert not inside.any()
    maps.fill(7, out=inside)
    assert (inside == np.array(7, dtype)).all()
    assert (frame[[0, -1]] == np.array(1, dtype)).all()


def test_copy_keeps_the_bits_of_nan():
    x = np.array([0x7FC00001, 0xFFC00123, 0x7F800001, 1], np.uint32).view(np.float32)
    out = np.empty_like(x)
    maps.copy(x, out=out)
    assert out.tobytes() == x.tobytes()


def test_arrays_without_axes():
    out = np.zeros((), np.float32)
    maps.copy(np.array(2.5, np.float32), out=out)
    assert out == 2.5
    maps.fill(-1, out=out)
    assert out == -1


def test_threads_change_no_bit():
    rng = np.random.default_rng(5)
    size = 9 * TASK_ELEMENTS + 11
    x, grad = rng.standard_normal((2, size)).astype(np.float32)
    lr, step = np.array([0.1]), np.array([3])
    adam, sgd = UPDATE_RULES["adam"](0.9, 0.99, 1e-8, 0.1), UPDATE_RULES["sgd"](0.9, True, 0.1)
    before, results = launch.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            launch.set_num_threads(threads)
            p, m, v = x.copy(), grad.copy(), np.abs(grad)
            optimizer.update(adam, p, grad, {"m": m, "v": v}, lr=lr, step=step)
            optimizer.update(sgd, p, grad, {"velocity": m}, lr=lr, step=step)
            results.append([array.tobytes() for array in (p, m, v, _apply("gelu", x), _apply("tanh", x))])
    finally:
        launch.set_num_threads(before)
    assert results[0] == results[1] == results[2]
