"""Vectors and tiles against NumPy, on both float types."""

import numpy as np
import pytest

from fastconv.kernels.cpu.runtime.launch import kernel, launch
from fastconv.kernels.cpu.vector import simd
from fastconv.kernels.cpu.vector.simd import (
    VECTOR_BYTES,
    address,
    itemsize,
    lanes,
    vfloor,
    vfma,
    vload,
    vload_index,
    vload_part,
    vscale_by_power,
    vselect_eq,
    vselect_gt,
    vselect_max,
    vselect_not_le,
    vselect_reached,
    vsplat,
    vsqrt,
    vstore,
    vstore_index,
    vstore_part,
    vsum,
    vzip,
)
from fastconv.kernels.cpu.vector.stack import stack_vectors, unknown
from fastconv.kernels.cpu.vector.tile import (
    row_steps,
    square_load,
    square_store,
    square_transpose,
    tile_load,
    tile_multiply_add,
    tile_store,
    tile_zero,
)

FLOATS = [np.float32, np.float64]
SPECIAL = [0.0, -0.0, 1.0, -2.5, np.inf, -np.inf, np.nan, 3.0]


def width_of(dtype):
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def pairs(dtype):
    """Two vectors in which every pair of special values occurs over a few calls."""
    a, b = np.meshgrid(SPECIAL, SPECIAL)
    a, b = a.ravel().astype(dtype), b.ravel().astype(dtype)
    return a, b


@kernel
def binary_operations(begin, end, a, b, out):
    dt = a.dtype
    size, width = itemsize(dt), lanes(dt)
    for i in range(0, a.size, width):
        x, y = vload(address(a) + i * size, dt), vload(address(b) + i * size, dt)
        one, zero = vsplat(1, dt), vsplat(0, dt)
        results = (
            x + y,
            x - y,
            x * y,
            x / y,
            vfma(x, y, one),
            vselect_gt(x, y, one, zero),
            vselect_eq(x, y, one, zero),
            vselect_not_le(x, y, one, zero),
            vselect_max(x, y, one, zero),
            vsqrt(x),
            vfloor(x, y),
        )
        place = address(out) + i * size
        row = a.size * size
        vstore(place, results[0])
        vstore(place + row, results[1])
        vstore(place + 2 * row, results[2])
        vstore(place + 3 * row, results[3])
        vstore(place + 4 * row, results[4])
        vstore(place + 5 * row, results[5])
        vstore(place + 6 * row, results[6])
        vstore(place + 7 * row, results[7])
        vstore(place + 8 * row, results[8])
        vstore(place + 9 * row, results[9])
        vstore(place + 10 * row, results[10])


@pytest.mark.parametrize("dtype", FLOATS)
def test_operations_match_numpy_on_special_values(dtype):
    a, b = pairs(dtype)
    out = np.empty((11, a.size), dtype)
    launch(binary_operations, 1, a, b, out)
    with np.errstate(all="ignore"):
        wide = (a.astype(np.longdouble) * b + 1).astype(dtype)
        takes = (a > b) | (np.isnan(a) & ~np.isnan(b))
        floored = np.where(b > a, b, a)
        expected = [a + b, a - b, a * b, a / b, wide, a > b, a == b, ~(a <= b), takes, np.sqrt(a), floored]
    for row, values in zip(out, expected, strict=True):
        np.testing.assert_array_equal(row, values.astype(dtype))


@kernel
def copy_parts(begin, end, x, out):
    dt = x.dtype
    size, width = itemsize(dt), lanes(dt)
    for count in range(width + 1):
        value = vload_part(address(x) + count * size, count, dt)
        vstore(address(out) + 2 * count * width * size, value)
        vstore_part(address(out) + (2 * count + 1) * width * size, value, count)


@pytest.mark.parametrize("dtype", FLOATS)
def test_parts_touch_their_elements_only(dtype):
    width = width_of(dtype)
    x = np.arange(1, 2 * width + 1, dtype=dtype)
    out = np.full((width + 1, 2, width), -1, dtype)
    launch(copy_parts, 1, x, out)
    for count in range(width + 1):
        assert (out[count, 0, :count] == x[count : 2 * count]).all()
        assert (out[count, 0, count:] == 0).all()
        assert (out[count, 1, :count] == x[count : 2 * count]).all()
        assert (out[count, 1, count:] == -1).all()


@kernel
def transpose_parts(begin, end, x, rows, count, out):
    dt = x.dtype
    size, width = itemsize(dt), lanes(dt)
    square = square_load(address(x), x.shape[1] * size, rows, count, dt)
    square_store(square_transpose(square), address(out), width * size, count, rows)


@pytest.mark.parametrize("dtype", FLOATS)
def test_square_transpose(dtype):
    width = width_of(dtype)
    x = np.arange(width * (width + 3), dtype=dtype).reshape(width, width + 3)
    for rows, count in ((width, width), (width - 1, width), (3, 2), (1, width), (width, 1)):
        out = np.full((width, width), -1, dtype)
        launch(transpose_parts, 1, x, rows, count, out)
        assert (out[:count, :rows] == x[:rows, :count].T).all()
        assert (out[count:] == -1).all()
        assert (out[:, rows:] == -1).all()


@kernel
def multiply_tile(begin, end, a, b, out):
    dt = a.dtype
    size = itemsize(dt)
    acc = tile_zero(5, 2, dt)
    for c in range(a.shape[1]):
        rows = row_steps(5, address(a), a.shape[1] * size)
        acc = tile_multiply_add(acc, rows, c * size, address(b) + c * b.shape[1] * size)
    targets = row_steps(5, address(out), out.shape[1] * size)
    tile_store(acc, targets)
    acc = tile_load(acc, targets)
    tile_store(acc, row_steps(5, address(out) + 5 * out.shape[1] * size, out.shape[1] * size))


@pytest.mark.parametrize("dtype", FLOATS)
def test_tile_is_a_matrix_product(dtype):
    rng = np.random.default_rng(0)
    a = rng.integers(-9, 9, (5, 7)).astype(dtype)
    b = rng.integers(-9, 9, (7, 2 * width_of(dtype))).astype(dtype)
    out = np.empty((2, 5, b.shape[1]), dtype)
    launch(multiply_tile, 1, a, b, out.reshape(10, -1))
    assert (out == a @ b).all()


@kernel
def through_integers(begin, end, x, small, out):
    dt = x.dtype
    size, width = itemsize(dt), lanes(dt)
    for i in range(0, x.size, width):
        count = min(width, x.size - i)
        place = address(small) + i * itemsize(small.dtype)
        vstore_index(place, vload_part(address(x) + i * size, count, dt), count, small.dtype)
        vstore_part(address(out) + i * size, vload_index(place, count, small.dtype, dt), count)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("integer", [np.uint8, np.int32])
def test_integers_of_the_argmax(dtype, integer):
    x = np.arange(0, 256, dtype=dtype)[:251]
    small, out = np.zeros(251, integer), np.zeros(251, dtype)
    launch(through_integers, 1, x, small, out)
    assert (small == x).all()
    assert (out == x).all()


@kernel
def integer_operations(begin, end, a, b, words, threshold, out, power):
    dt = a.dtype
    size, width = itemsize(dt), lanes(dt)
    x, y = vload(address(a), dt), vload(address(b), dt)
    four = vsplat(np.uint64(4), dt)
    low = vzip(x, y)
    vstore(address(out), low[0])
    vstore(address(out) + width * size, low[1])
    vstore(address(out) + 2 * width * size, ((x & y) | (x ^ y)) + (x >> four) * (y << four))
    fdt = power.dtype
    value = vselect_reached(address(words), threshold, vsplat(1, fdt), vsplat(0, fdt))
    vstore(address(power), value)


@pytest.mark.parametrize("dtype", FLOATS)
def test_integer_vectors(dtype):
    rng = np.random.default_rng(0)
    width = width_of(np.uint64)
    a, b = (rng.integers(0, 2**40, width, dtype=np.uint64) for _ in range(2))
    words = rng.integers(0, 2**32, 64, dtype=np.uint32)
    out, power = np.zeros(3 * width, np.uint64), np.zeros(width_of(dtype), dtype)
    threshold = 2**31 + 5
    words[0], words[1] = threshold, threshold - 1
    launch(integer_operations, 1, a, b, words, threshold, out, power)
    assert (out[: 2 * width] == np.stack([a, b], 1).ravel()).all()
    four = np.uint64(4)
    assert (out[2 * width :] == ((a & b) | (a ^ b)) + (a >> four) * (b << four)).all()
    assert (power == (words[: power.size] >= threshold)).all()


@kernel
def scale_powers(begin, end, x, shifted, out):
    dt = x.dtype
    vstore(address(out), vscale_by_power(vload(address(x), dt), vload(address(shifted), dt)))


@pytest.mark.parametrize(("dtype", "magic"), [(np.float32, 12582912.0), (np.float64, 6755399441055744.0)])
def test_scale_by_power(dtype, magic):
    width = width_of(dtype)
    x = np.linspace(1, 1.9, width, dtype=dtype)
    powers = np.arange(width) - width // 2
    out = np.empty_like(x)
    launch(scale_powers, 1, x, (magic + powers).astype(dtype), out)
    assert (out == x * 2.0**powers).all()


@kernel
def sum_of_lanes(begin, end, x, out):
    out[0] = vsum(vload(address(x), x.dtype))


@pytest.mark.parametrize("dtype", FLOATS)
def test_sum_adds_halves(dtype):
    width = width_of(dtype)
    x = np.random.default_rng(0).standard_normal(width).astype(dtype)
    out, halves = np.zeros(1, dtype), x
    launch(sum_of_lanes, 1, x, out)
    while halves.size > 1:
        halves = halves[: halves.size // 2] + halves[halves.size // 2 :]
    assert out[0] == halves[0]
    x[width - 1] = np.nan
    launch(sum_of_lanes, 1, x, out)
    assert np.isnan(out[0])


@kernel
def reverse_through_the_stack(begin, end, x, out):
    dt = x.dtype
    count = x.size // lanes(dt)
    kept = stack_vectors(3, dt)
    for i in range(unknown(count)):
        vstore(kept + i * VECTOR_BYTES, vload(address(x) + i * VECTOR_BYTES, dt))
    for i in range(unknown(count)):
        vstore(address(out) + i * VECTOR_BYTES, vload(kept + (count - 1 - i) * VECTOR_BYTES, dt))


@pytest.mark.parametrize("dtype", FLOATS)
def test_vectors_on_the_stack_keep_their_values(dtype):
    x = np.arange(3 * width_of(dtype), dtype=dtype)
    out = np.empty_like(x)
    launch(reverse_through_the_stack, 1, x, out)
    np.testing.assert_array_equal(out.reshape(3, -1), x.reshape(3, -1)[::-1])


@pytest.mark.parametrize(
    ("name", "width"),
    [("skylake-avx512", 64), ("x86-64-v4", 64), ("znver5", 64), ("haswell", 32), ("x86-64-v3", 32), ("x86-64", 16)],
)
def test_vectors_are_as_wide_as_the_named_cpu_has_them(name, width, monkeypatch):
    monkeypatch.setattr(simd.numba.config, "CPU_NAME", name)
    assert simd._vector_bytes() == width


@pytest.mark.parametrize("dtype", [np.complex64, np.bool_])
def test_vectors_of_what_no_register_holds_are_not_compiled(dtype):
    @kernel
    def of_something(begin, end, x, out):
        vstore(address(out), vload(address(x), x.dtype))

    with pytest.raises(TypeError, match="allowed: integers, float32, float64, of which vectors are made"):
        launch(of_something, 1, np.zeros(64, dtype), np.zeros(64, dtype))
