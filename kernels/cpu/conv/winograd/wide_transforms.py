"""Transforms of wide tiles: F(4x8, 3x3), 60 multiplications for 32 outputs instead of the 72 of two tiles of 4x4.

Along a column four outputs come from six inputs, with points 0, +-5/8, +-3/2 and infinity; along a row eight from ten,
with points 0, +-3/8, +-3/4, +-5/4, +-5/2 and infinity. Both sets are chosen for small errors, by trial: sets of
integers and their inverses round two to five times as much (Barabasz, Anderson, Soodhalter and Gregg,
https://arxiv.org/abs/1803.10986, found the same). All coefficients of B^T and A^T are exact in float32.

A patch of 6x10 vectors is twice the registers of AVX-512. So it is transformed by rows of the result: those at points
+-p come from the same four rows of the patch, which are read again for the next pair: 140 reads of a patch instead of
60, but nothing on the stack. Each address is the one before and a step, hidden from LLVM (`step_on`): from a formula
for each it computes them all first and keeps them on the stack, so that reads wait for reads (input of 128x16x16x128
on Zen 5: 0.85 ms, 0.54 so; the same in C 0.45).
"""

from ...runtime.launch import device
from ...vector.simd import VECTOR_BYTES, prefetch, vfma, vload, vsplat, vstore
from ...vector.stack import unknown
from .transforms import AHEAD, PATCHES, WIDE, load_whole_or_part

WIDE_PATCH = PATCHES[WIDE][1]
_COLUMN_POINTS = 5 / 8, 3 / 2
_ROW_POINTS = 3 / 8, 3 / 4, 5 / 4, 5 / 2


def _product(squares):
    """Coefficients of the product of (t - q) for all q in `squares`, the constant first."""
    coefficients = [1.0]
    for q in squares:
        shifted = [0.0, *coefficients]
        coefficients = [a - q * b for a, b in zip(shifted, [*coefficients, 0.0], strict=True)]
    return tuple(coefficients)


def _others(points, p):
    """As `_product`, of the squares of all points but p."""
    return _product([q * q for q in points if q != p])


def _scale(points, p):
    """1 / N(p) for N(x) = x (x + p) times all (x^2 - q^2) of other points q."""
    value = 2 * p * p
    for q in points:
        if q != p:
            value *= p * p - q * q
    return 1 / value


P, Q = _COLUMN_POINTS
_PP, _QQ = P * P, Q * Q
_COLUMN = _product((_PP, _QQ))
A, B, C, D = _ROW_POINTS
_ROW = _product([p * p for p in _ROW_POINTS])
_OTHERS_A, _OTHERS_B, _OTHERS_C, _OTHERS_D = (_others(_ROW_POINTS, p) for p in _ROW_POINTS)
_SCALES_COLUMN = tuple(_scale(_COLUMN_POINTS, p) for p in _COLUMN_POINTS)
_SCALES_ROW = tuple(_scale(_ROW_POINTS, p) for p in _ROW_POINTS)


@device
def step_on(place, step):
    """Return ``place + step``, an address that LLVM cannot compute in another way."""
    return unknown(place + step)


@device
def prefetch_wide_patch(first, row_bytes, pixel_bytes):
    """As `prefetch_patch`, for the patch of 6x10 whose first pixel is at `first`."""
    place, past_row = first + AHEAD * row_bytes + pixel_bytes, row_bytes - (WIDE[1] - 1) * pixel_bytes
    for _ in range(unknown(WIDE[0])):
        for _ in range(WIDE[1] - 1):
            prefetch(place)
            place = step_on(place, pixel_bytes)
        prefetch(place)
        place = step_on(place, past_row)


@device
def _outer(rows, count, step, stored, dt):
    """B^T d of one column at the point 0, of rows 0, 2 and 4, or at infinity, of rows 1, 3 and 5; and the next rows."""
    total = load_whole_or_part(rows[1], count, stored, dt)
    total = vfma(total, vsplat(_COLUMN[1], dt), load_whole_or_part(rows[2], count, stored, dt))
    total = vfma(load_whole_or_part(rows[0], count, stored, dt), vsplat(_COLUMN[0], dt), total)
    return total, _next_outer(rows, step)


@device
def _next_outer(rows, step):
    return step_on(rows[0], step), step_on(rows[1], step), step_on(rows[2], step)


@device
def _outer_row(rows, counts, step, planes, stored, dt):
    """Transform ten columns at one of the outer points, and write the planes; return where the next one begins."""
    first, last = counts
    target, plane_bytes = planes
    a, rows = _outer(rows, first, step, stored, dt)
    b, rows = _outer(rows, None, step, stored, dt)
    c, rows = _outer(rows, None, step, stored, dt)
    d, rows = _outer(rows, None, step, stored, dt)
    e, rows = _outer(rows, None, step, stored, dt)
    f, rows = _outer(rows, None, step, stored, dt)
    g, rows = _outer(rows, None, step, stored, dt)
    h, rows = _outer(rows, None, step, stored, dt)
    i, rows = _outer(rows, None, step, stored, dt)
    j, _ = _outer(rows, last, step, stored, dt)
    return _store_row((a, b, c, d, e, f, g, h, i, j), target, plane_bytes, dt)


@device
def _inner(rows, count, step, points, stored, dt):
    """B^T d of one column at the points +-p, from rows 1 to 4, and the next rows; see `_inner_rows`."""
    point, other = points
    odd = load_whole_or_part(rows[0], count, stored, dt)
    odd = vfma(odd, vsplat(-other, dt), load_whole_or_part(rows[2], count, stored, dt))
    even = load_whole_or_part(rows[1], count, stored, dt)
    even = vfma(even, vsplat(-other, dt), load_whole_or_part(rows[3], count, stored, dt))
    values = vfma(odd, vsplat(point, dt), even), vfma(odd, vsplat(-point, dt), even)
    return values, _next_inner(rows, step)


@device
def _next_inner(rows, step):
    return step_on(rows[0], step), step_on(rows[1], step), step_on(rows[2], step), step_on(rows[3], step)


@device
def _inner_rows(rows, counts, step, points, planes, stored, dt):
    """As `_outer_row` at two of the inner points; `points` is (p, square of the other point)."""
    first, last = counts
    target, plane_bytes = planes
    a, rows = _inner(rows, first, step, points, stored, dt)
    b, rows = _inner(rows, None, step, points, stored, dt)
    c, rows = _inner(rows, None, step, points, stored, dt)
    d, rows = _inner(rows, None, step, points, stored, dt)
    e, rows = _inner(rows, None, step, points, stored, dt)
    f, rows = _inner(rows, None, step, points, stored, dt)
    g, rows = _inner(rows, None, step, points, stored, dt)
    h, rows = _inner(rows, None, step, points, stored, dt)
    i, rows = _inner(rows, None, step, points, stored, dt)
    j, _ = _inner(rows, last, step, points, stored, dt)
    plus = (a[0], b[0], c[0], d[0], e[0], f[0], g[0], h[0], i[0], j[0])
    minus = (a[1], b[1], c[1], d[1], e[1], f[1], g[1], h[1], i[1], j[1])
    return _store_row(minus, _store_row(plus, target, plane_bytes, dt), plane_bytes, dt)


@device
def _cubic(d0, d1, d2, d3, coefficients, dt):
    total = vfma(d1, vsplat(coefficients[1], dt), vfma(d2, vsplat(coefficients[2], dt), d3))
    return vfma(d0, vsplat(coefficients[0], dt), total)


@device
def _store_pair(place, d, point, coefficients, step, dt):
    """Write the two values at the points +-p."""
    even = _cubic(d[2], d[4], d[6], d[8], coefficients, dt)
    odd = _cubic(d[1], d[3], d[5], d[7], coefficients, dt)
    vstore(place, vfma(odd, vsplat(point, dt), even))
    place = step_on(place, step)
    vstore(place, vfma(odd, vsplat(-point, dt), even))
    return step_on(place, step)


@device
def _quartic(d0, d1, d2, d3, d4, dt):
    return vfma(d0, vsplat(_ROW[0], dt), _cubic(d1, d2, d3, d4, _ROW[1:], dt))


@device
def _store_row(d, place, step, dt):
    """Write B^T d for one row of ten, `step` bytes apart; return the address after it."""
    vstore(place, _quartic(d[0], d[2], d[4], d[6], d[8], dt))
    place = step_on(place, step)
    place = _store_pair(place, d, A, _OTHERS_A, step, dt)
    place = _store_pair(place, d, B, _OTHERS_B, step, dt)
    place = _store_pair(place, d, C, _OTHERS_C, step, dt)
    place = _store_pair(place, d, D, _OTHERS_D, step, dt)
    vstore(place, _quartic(d[1], d[3], d[5], d[7], d[9], dt))
    return step_on(place, step)


@device
def transform_wide_patch(rows, shift, counts, step, planes, stored, dt):
    """V = B^T d B of a patch of 6x10 whose rows begin at these addresses, for a vector `shift` bytes into each pixel.

    Pixels are `step` bytes apart. Of the first and the last column `counts` says how many channels to read: none
    outside the image.
    """
    target, plane_bytes = planes
    upper, lower = (rows[0], rows[2], rows[4]), (rows[1], rows[3], rows[5])
    middle = _next_inner((rows[1], rows[2], rows[3], rows[4]), shift)
    target = _outer_row(_next_outer(upper, shift), counts, step, (target, plane_bytes), stored, dt)
    target = _inner_rows(middle, counts, step, (P, _QQ), (target, plane_bytes), stored, dt)
    target = _inner_rows(middle, counts, step, (Q, _PP), (target, plane_bytes), stored, dt)
    _outer_row(_next_outer(lower, shift), counts, step, (target, plane_bytes), stored, dt)


@device
def _weight_pair(g0, g1, g2, point, scale, dt):
    even = vfma(g2, vsplat(point * point * scale, dt), g0 * vsplat(scale, dt))
    odd = g1 * vsplat(point * scale, dt)
    return even + odd, even - odd


@device
def wide_weight_column(g0, g1, g2, dt):
    """G g for one column of a kernel: six values."""
    a, b = _weight_pair(g0, g1, g2, P, _SCALES_COLUMN[0], dt)
    e, f = _weight_pair(g0, g1, g2, Q, _SCALES_COLUMN[1], dt)
    return g0 * vsplat(1 / _COLUMN[0], dt), a, b, e, f, g2


@device
def _store_weight_pair(place, g0, g1, g2, point, scale, step, dt):
    a, b = _weight_pair(g0, g1, g2, point, scale, dt)
    vstore(place, a)
    vstore(place + step, b)
    return place + 2 * step


@device
def store_weight_row(g0, g1, g2, place, step, dt):
    """Write G g for one row, ten values `step` bytes apart."""
    vstore(place, g0 * vsplat(1 / _ROW[0], dt))
    place = _store_weight_pair(place + step, g0, g1, g2, A, _SCALES_ROW[0], step, dt)
    place = _store_weight_pair(place, g0, g1, g2, B, _SCALES_ROW[1], step, dt)
    place = _store_weight_pair(place, g0, g1, g2, C, _SCALES_ROW[2], step, dt)
    place = _store_weight_pair(place, g0, g1, g2, D, _SCALES_ROW[3], step, dt)
    vstore(place, g2)


@device
def _column_output(m0, m1, m2, m3, m4, m5, dt):
    """A^T m for one column of products: four values from six."""
    s1, d1, s2, d2 = m1 + m2, m1 - m2, m3 + m4, m3 - m4
    return (
        m0 + s1 + s2,
        vfma(d2, vsplat(Q, dt), vsplat(P, dt) * d1),
        vfma(s2, vsplat(_QQ, dt), vsplat(_PP, dt) * s1),
        vfma(d2, vsplat(Q * _QQ, dt), vfma(d1, vsplat(P * _PP, dt), m5)),
    )


@device
def _weighted(values, a, b, c, d, dt):
    one = vfma(values[1], vsplat(b, dt), values[0] * vsplat(a, dt))
    return vfma(values[3], vsplat(d, dt), vfma(values[2], vsplat(c, dt), one))


@device
def _half_row(outer, values, odd, dt):
    """Outputs 0, 2, 4 and 6 of a row from the sums of pairs, or 1, 3, 5 and 7 from their differences."""
    if odd:
        return (
            _weighted(values, A, B, C, D, dt),
            _weighted(values, A**3, B**3, C**3, D**3, dt),
            _weighted(values, A**5, B**5, C**5, D**5, dt),
            _weighted(values, A**7, B**7, C**7, D**7, dt) + outer,
        )
    return (
        outer + ((values[0] + values[1]) + (values[2] + values[3])),
        _weighted(values, A**2, B**2, C**2, D**2, dt),
        _weighted(values, A**4, B**4, C**4, D**4, dt),
        _weighted(values, A**6, B**6, C**6, D**6, dt),
    )


@device
def _pair(place, first, step, odd, dt):
    """Sum, or difference, of the products at points +-p of a row, `first` and the one after it."""
    a, b = vload(place + first * step, dt), vload(place + (first + 1) * step, dt)
    return a - b if odd else a + b


@device
def _products_row(place, step, odd, dt):
    """Even or odd outputs along a row of ten products, four of them; and where the next row begins.

    With the odd ones it asks for the products of the next vector, which lie after these; see wide.py.
    """
    a, b = _pair(place, 1, step, odd, dt), _pair(place, 3, step, odd, dt)
    c, d = _pair(place, 5, step, odd, dt), _pair(place, 7, step, odd, dt)
    outer = vload(place + 9 * step if odd else place, dt)
    if odd:
        for k in range(WIDE_PATCH):
            prefetch(place + k * step + VECTOR_BYTES)
    return _half_row(outer, (a, b, c, d), odd, dt), step_on(place, WIDE_PATCH * step)


@device
def half_outputs(place, plane_bytes, odd, dt):
    """Y = A^T M A of a 4x8 tile: its even or odd columns from left to right, four outputs each."""
    a, place = _products_row(place, plane_bytes, odd, dt)
    b, place = _products_row(place, plane_bytes, odd, dt)
    c, place = _products_row(place, plane_bytes, odd, dt)
    d, place = _products_row(place, plane_bytes, odd, dt)
    e, place = _products_row(place, plane_bytes, odd, dt)
    f, place = _products_row(place, plane_bytes, odd, dt)
    return (
        _column_output(a[0], b[0], c[0], d[0], e[0], f[0], dt),
        _column_output(a[1], b[1], c[1], d[1], e[1], f[1], dt),
        _column_output(a[2], b[2], c[2], d[2], e[2], f[2], dt),
        _column_output(a[3], b[3], c[3], d[3], e[3], f[3], dt),
    )
