"""The transforms of Winograd's minimal filtering, F(4x4, 3x3) and F(2x2, 5x5), as values in vector registers.

With points 0, 1, -1, 2, -2 and infinity (Lavin and Gray, https://arxiv.org/abs/1509.09308) six elements of the input
give four outputs of a kernel of 3, or two of a kernel of 5:

    Y = A^T [ (G g G^T) * (B^T d B) ] A

Each function here applies one matrix to some vectors; applied to columns and then to rows it is the two-dimensional
transform. B^T costs 12 operations on six vectors, A^T 10, A 8.

A patch is read where it lies. A row outside the image is read from a buffer of zeros with the same step between
pixels, a column outside gives zeros without a read, so nothing is copied. Reading patches is a pattern that the
hardware does not foresee: asked for two tile rows ahead, a patch comes two to three times as fast (input of
128x32x32x64, one core: 4.9 ms without, 2.0 with). What the next block of tiles reads is asked for in small parts
between the products of this one, so that memory works while the multipliers do (forward of 128x32x32x64 on two cores of
Zen 3: 24 ms without, 20 with).

Each transform is there twice: as straight code for what lies inside, whole, and as loops for borders and the last
channels. One code for both, with its branches, took 188 cycles a patch and vector on Zen 3, where straight code takes
120. Where the processor has mask registers (AVX-512), straight code loads or stores nothing of what is not there, and
is all that is needed: 75 cycles a patch of any kind on Zen 5, against 75 inside and 200 at a border.
"""

from typing import NamedTuple

from ...runtime.launch import device
from ...vector.bf16_storage import vload_part_stored, vload_stored
from ...vector.simd import LINE_BYTES, VECTOR_BYTES, itemsize, lanes, prefetch, vfma, vload, vsplat, vstore
from ...vector.stack import stack_vectors, unknown
from ..algorithms import SMALL, SQUARE, WIDE

TILE, SMALL_TILE = SQUARE[0], SMALL[0]  # outputs along one side; of F(2x2, 5x5)
PATCH = 6  # inputs
PATCHES = {SQUARE: (PATCH, PATCH), SMALL: (PATCH, PATCH), WIDE: (PATCH, 2 * TILE + 2)}
PLANES = PATCH * PATCH
HALF = PATCH * TILE  # vectors between the two halves of a transform from or to a tile
MASKS = VECTOR_BYTES == LINE_BYTES  # masked loads and stores are as fast as others
AHEAD = PATCH + TILE  # rows from a patch to those asked for


def plane_elements(rows, row, size=4):
    """Return the elements, of `size` bytes, from plane to plane of `rows` rows: an odd number of lines.

    The planes of a patch are written at once; a power of two between them would put them all into one set of the L1
    cache (transforms of 128x64x8x8 backward-weight: 0.78 ms then, 0.28 so).
    """
    line = LINE_BYTES // size
    return (-(-rows * row // line) | 1) * line


@device
def input_row(d0, d1, d2, d3, d4, d5, dt):
    """B^T d for one column of a patch."""
    two, four = vsplat(2, dt), vsplat(4, dt)
    even, odd = vfma(d2, vsplat(-4, dt), d4), vfma(d1, vsplat(-4, dt), d3)
    even2, odd2 = d4 - d2, d3 - d1
    return (
        vfma(d0, four, vfma(d2, vsplat(-5, dt), d4)),
        even + odd,
        even - odd,
        vfma(odd2, two, even2),
        vfma(odd2, vsplat(-2, dt), even2),
        vfma(d1, four, vfma(d3, vsplat(-5, dt), d5)),
    )


@device
def output_row(m0, m1, m2, m3, m4, m5, dt):
    """A^T m for one column of products."""
    s1, d1, s2, d2 = m1 + m2, m1 - m2, m3 + m4, m3 - m4
    return (
        m0 + s1 + s2,
        vfma(d2, vsplat(2, dt), d1),
        vfma(s2, vsplat(4, dt), s1),
        vfma(d2, vsplat(8, dt), d1 + m5),
    )


@device
def small_output_row(m0, m1, m2, m3, m4, m5, dt):
    """A^T m for one column of products of F(2x2, 5x5): two outputs; the others stand in for those of F(4x4, 3x3)."""
    d1, d2 = m1 - m2, m3 - m4
    y0, y1 = m0 + (m1 + m2) + (m3 + m4), vfma(d2, vsplat(2, dt), d1 + m5)
    return y0, y1, y0, y1


@device
def small_weight_row(g0, g1, g2, g3, g4, dt):
    """G g for one column of a 5x5 kernel."""
    sixth, twenty_fourth = vsplat(1 / 6, dt), vsplat(1 / 24, dt)
    even, odd = g0 + g2 + g4, g1 + g3
    outer_even = vfma(g4, vsplat(16, dt), vfma(g2, vsplat(4, dt), g0))
    outer_odd = vfma(g3, vsplat(8, dt), vsplat(2, dt) * g1)
    return (
        vsplat(1 / 4, dt) * g0,
        vsplat(-1 / 6, dt) * (even + odd),
        sixth * (odd - even),
        twenty_fourth * (outer_even + outer_odd),
        twenty_fourth * (outer_even - outer_odd),
        g4,
    )


@device
def weight_row(g0, g1, g2, dt):
    """G g for one column of a kernel."""
    quarter, sixth, twenty_fourth = vsplat(1 / 4, dt), vsplat(1 / 6, dt), vsplat(1 / 24, dt)
    twelfth = vsplat(1 / 12, dt)
    even = g0 + g2
    outer = twenty_fourth * g0 + sixth * g2
    zero = vsplat(0, dt)
    return (
        quarter * g0,
        zero - sixth * (even + g1),
        sixth * (g1 - even),
        outer + twelfth * g1,
        outer - twelfth * g1,
        g2,
    )


@device
def gradient_row(g0, g1, g2, g3, dt):
    """A g for one column of a tile of the gradient."""
    four = vsplat(4, dt)
    even, odd = g0 + g2, g1 + g3
    even2, odd2 = vfma(g2, four, g0), vfma(g3, four, g1)
    return g0, even + odd, even - odd, vfma(odd2, vsplat(2, dt), even2), vfma(odd2, vsplat(-2, dt), even2), g3


@device
def small_gradient_row(g0, g1, dt):
    """A g for one column of a tile of two rows."""
    return g0, g0 + g1, g0 - g1, vfma(g1, vsplat(2, dt), g0), vfma(g1, vsplat(-2, dt), g0), g1


@device
def weight_column(m0, m1, m2, m3, m4, m5, dt):
    """G^T m for one column of sums."""
    quarter, sixth, twenty_fourth = vsplat(1 / 4, dt), vsplat(1 / 6, dt), vsplat(1 / 24, dt)
    twelfth = vsplat(1 / 12, dt)
    s1, d1, s2, d2 = m1 + m2, m2 - m1, m3 + m4, m3 - m4
    return (
        quarter * m0 - sixth * s1 + twenty_fourth * s2,
        sixth * d1 + twelfth * d2,
        sixth * (s2 - s1) + m5,
    )


@device
def small_weight_column(m0, m1, m2, m3, m4, m5, dt):
    """G^T m for one column of sums of a 5x5 kernel."""
    sixth, twenty_fourth, two_thirds = vsplat(1 / 6, dt), vsplat(1 / 24, dt), vsplat(2 / 3, dt)
    third, twelfth = vsplat(1 / 3, dt), vsplat(1 / 12, dt)
    inner, odd = sixth * (m1 + m2), sixth * (m2 - m1)
    s2, d2 = m3 + m4, m3 - m4
    return (
        vfma(vsplat(1 / 4, dt), m0, vfma(twenty_fourth, s2, vsplat(0, dt) - inner)),
        vfma(twelfth, d2, odd),
        vfma(sixth, s2, vsplat(0, dt) - inner),
        vfma(third, d2, odd),
        vfma(two_thirds, s2, m5 - inner),
    )


@device
def store_six(place, step, values):
    """Write six vectors, `step` bytes apart."""
    vstore(place, values[0])
    vstore(place + step, values[1])
    vstore(place + 2 * step, values[2])
    vstore(place + 3 * step, values[3])
    vstore(place + 4 * step, values[4])
    vstore(place + 5 * step, values[5])


@device
def store_four(place, step, values):
    """Write four vectors, `step` bytes apart."""
    vstore(place, values[0])
    vstore(place + step, values[1])
    vstore(place + 2 * step, values[2])
    vstore(place + 3 * step, values[3])


@device
def load_six(place, dt):
    """Read six vectors that follow each other."""
    return (
        vload(place, dt),
        vload(place + VECTOR_BYTES, dt),
        vload(place + 2 * VECTOR_BYTES, dt),
        vload(place + 3 * VECTOR_BYTES, dt),
        vload(place + 4 * VECTOR_BYTES, dt),
        vload(place + 5 * VECTOR_BYTES, dt),
    )


@device
def _row_place(row, h, first, row_bytes, zeros, in_h):
    return first + row * row_bytes if 0 <= h + row < in_h else zeros


@device
def patch_rows(first, h, row_bytes, zeros, in_h):
    """Addresses of the six rows of the patch whose first element is at `first`, row `h` of the image."""
    return (
        _row_place(0, h, first, row_bytes, zeros, in_h),
        _row_place(1, h, first, row_bytes, zeros, in_h),
        _row_place(2, h, first, row_bytes, zeros, in_h),
        _row_place(3, h, first, row_bytes, zeros, in_h),
        _row_place(4, h, first, row_bytes, zeros, in_h),
        _row_place(5, h, first, row_bytes, zeros, in_h),
    )


@device
def load_whole_or_part(place, count, stored, dt):
    """Read `count` elements of a vector, nothing of it where that is 0; all without a mask where it is None."""
    if count is None:
        return vload_stored(place, stored, dt)
    return vload_part_stored(place, count, stored, dt)


@device
def _column(rows, shift, count, stored, dt):
    """B^T d for one column of a patch, `count` channels or, if that is None, a whole vector of them."""
    return input_row(
        load_whole_or_part(rows[0] + shift, count, stored, dt),
        load_whole_or_part(rows[1] + shift, count, stored, dt),
        load_whole_or_part(rows[2] + shift, count, stored, dt),
        load_whole_or_part(rows[3] + shift, count, stored, dt),
        load_whole_or_part(rows[4] + shift, count, stored, dt),
        load_whole_or_part(rows[5] + shift, count, stored, dt),
        dt,
    )


class Patch(NamedTuple):
    """Where a patch of the input lies."""

    rows: tuple  # addresses of its six rows, of the first pixel
    column: int  # of the image, in which it begins
    width: int  # of the image
    pixel_bytes: int


class Planes(NamedTuple):
    """Where the planes of a tile are written: plane p at ``address + p * step``."""

    address: int
    step: int


@device
def store_patch(columns, planes, dt):
    """Transform the rows of B^T d, given by its six columns, and write the planes."""
    a, b, e, f, g, h = columns
    target, step = planes
    store_six(target, step, input_row(a[0], b[0], e[0], f[0], g[0], h[0], dt))
    store_six(target + 6 * step, step, input_row(a[1], b[1], e[1], f[1], g[1], h[1], dt))
    store_six(target + 12 * step, step, input_row(a[2], b[2], e[2], f[2], g[2], h[2], dt))
    store_six(target + 18 * step, step, input_row(a[3], b[3], e[3], f[3], g[3], h[3], dt))
    store_six(target + 24 * step, step, input_row(a[4], b[4], e[4], f[4], g[4], h[4], dt))
    store_six(target + 30 * step, step, input_row(a[5], b[5], e[5], f[5], g[5], h[5], dt))


@device
def _transform_inside(patch, shift, planes, stored, dt):
    """V = B^T d B of a patch whose columns all lie in the image, for a whole vector of channels."""
    rows, _, _, step = patch
    a = _column(rows, shift, None, stored, dt)
    b = _column(rows, shift + step, None, stored, dt)
    e = _column(rows, shift + 2 * step, None, stored, dt)
    f = _column(rows, shift + 3 * step, None, stored, dt)
    g = _column(rows, shift + 4 * step, None, stored, dt)
    h = _column(rows, shift + 5 * step, None, stored, dt)
    store_patch((a, b, e, f, g, h), planes, dt)


@device
def _count_in_bounds(column, width, count):
    return count if 0 <= column < width else 0


@device
def _transform_masked(patch, shift, count, planes, stored, dt):
    """V = B^T d B of any patch as straight code: of a column outside the image, no lane is loaded."""
    rows, column, width, step = patch
    a = _column(rows, shift, _count_in_bounds(column, width, count), stored, dt)
    b = _column(rows, shift + step, _count_in_bounds(column + 1, width, count), stored, dt)
    e = _column(rows, shift + 2 * step, _count_in_bounds(column + 2, width, count), stored, dt)
    f = _column(rows, shift + 3 * step, _count_in_bounds(column + 3, width, count), stored, dt)
    g = _column(rows, shift + 4 * step, _count_in_bounds(column + 4, width, count), stored, dt)
    h = _column(rows, shift + 5 * step, _count_in_bounds(column + 5, width, count), stored, dt)
    store_patch((a, b, e, f, g, h), planes, dt)


@device
def _transform_any(patch, shift, count, planes, stored, dt):
    """V = B^T d B of any patch; columns outside the image are zero."""
    rows, column, width, pixel_bytes = patch
    target, step = planes
    kept = stack_vectors(PLANES, dt)
    place = kept
    for j in range(column, column + unknown(PATCH)):
        zero = vsplat(0, dt)
        values = zero, zero, zero, zero, zero, zero
        if 0 <= j < width:
            whole = count == lanes(dt)
            values = _column(rows, shift, None, stored, dt) if whole else _column(rows, shift, count, stored, dt)
        store_six(place, PATCH * VECTOR_BYTES, values)
        place += VECTOR_BYTES
        shift += pixel_bytes
    for _ in range(unknown(PATCH)):
        store_six(target, step, input_row(*load_six(kept, dt), dt))
        kept += PATCH * VECTOR_BYTES
        target += PATCH * step


@device
def transform_patch(patch, shift, count, planes, stored, dt):
    """V = B^T d B for `count` channels, `shift` bytes into each pixel, whose elements are of the type `stored`."""
    if MASKS:
        _transform_masked(patch, shift, count, planes, stored, dt)
    elif patch.column >= 0 and patch.column + PATCH <= patch.width and count == lanes(dt):
        _transform_inside(patch, shift, planes, stored, dt)
    else:
        _transform_any(patch, shift, count, planes, stored, dt)


@device
def prefetch_block(first, rows_ahead, row_bytes, pixel_bytes):
    """Ask for one line of each of 4x4 pixels, `rows_ahead` rows below the pixel at `first`."""
    place = first + rows_ahead * row_bytes
    for _ in range(TILE):
        prefetch(place)
        prefetch(place + pixel_bytes)
        prefetch(place + 2 * pixel_bytes)
        prefetch(place + 3 * pixel_bytes)
        place += row_bytes


@device
def prefetch_patch(first, shift, row_bytes, pixel_bytes):
    """Ask for what the patch two rows of tiles below adds to its neighbours'."""
    prefetch_block(first + pixel_bytes + shift, AHEAD, row_bytes, pixel_bytes)


@device
def map_bytes(array, height, width, channels, plan):
    """Bytes of a map for each of its tiles: in the order of memory, nearly what a tile covers."""
    return height * width * channels * itemsize(array.dtype) // (plan.tiles_h * plan.tiles_w)
