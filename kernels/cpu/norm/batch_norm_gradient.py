"""Gradients of a batch normalisation, alone or with an activation, a shortcut's addition or a 2x2 max pooling after.

Two passes. The first sums, for each channel, the gradient g and its product with z = (x - mean) / sqrt(var + eps); the
second applies them:

    grad_input = a * g + k * z + b,    a = gamma / sqrt(var + eps), b from the mean of g, k from that of the products

Both passes subtract the mean as it was rounded. What the rounding left, e deviations, enters with the sums: the product
with the exact z is ``sum of g * z - e * sum of g``, and b has ``- k * e`` in it. Where the caller has the rounded mean
alone, the first pass finds e as the mean of z.

The first may have been done by the next convolution (conv/winograd/norm.py); then the second is all that is left.

What follows the normalisation forward stands before it backward, and both passes compute it anew instead of storing
it: after a rectifier g counts where y > 0 (or is NaN), after a pooling where the cell won its window. Of other
activations the first pass writes the gradient, and the second reads it: as many bytes, and half the arithmetic.

x, y and grad are (rows, channels), mean and var (channels,), sums of the parts (part, channels). Rows are cut into
parts by shape. Within a part four rows at a time are added to sums in the L1 cache, every 256 rows
those to float64 sums; parts are added in order. So a sum is off by at most 68 u * sum |g| (u = 2^-24), as in reduce.py.
Bound by memory: the inputs are read twice, the gradient written once.
"""

import math
from typing import NamedTuple

import numpy as np

from ..elementwise.following import by_need, gradient_of
from ..runtime.launch import device, kernel, thread_rows
from ..vector.bf16_storage import load_stored, put_stored, stored_bytes
from ..vector.memory import NOTHING, load, store
from ..vector.simd import (
    LINE_BYTES,
    VECTOR_BYTES,
    address,
    itemsize,
    lanes,
    prefetch,
    vfma,
    vselect_not_le,
    vsplat,
    vstore_stream,
)
from .normalise import norm_constants, vector_rstd

PART_ROWS = 2048
_AHEAD_BYTES = 4096  # a page, where the hardware stops reading ahead: sums of 128x32x32x64 on Zen 5 0.78 ms, 0.68 so
_FLUSH_ROWS = 256  # short enough for float32 sums to lose next to nothing
_SECTIONS = 6  # of a thread's scratch: three sums, and rstd; two constants of an activation's


@device
def rectified_gradient(grad, y, place, count, y_stored, dt):
    """The gradient through the rectifier whose result is at `y` (no rectifier: 0), `place` bytes from the start."""
    g = load(grad + place, count, dt)
    if y != 0:
        zero = vsplat(0, dt)
        g = vselect_not_le(load_stored(y + stored_bytes(place, y_stored, dt), count, y_stored, dt), zero, g, zero)
    return g


class Saved(NamedTuple):
    """What the activation's gradient is computed from: the address of y, or of what was added to the normalised x.

    0 where there is none: no rectifier, or nothing was added.
    """

    address: int
    stored: np.dtype


class Scaling(NamedTuple):
    """Addresses of what makes the normalised x of its distance from the mean, as `norm_constants` gives them."""

    mean: int
    rstd: int
    gamma: int
    beta: int


@device
def _load_saved(saved, place, count, dt):
    """The vector `place` bytes of the gradient's type from the start."""
    return load_stored(saved.address + stored_bytes(place, saved.stored, dt), count, saved.stored, dt)


@device
def _through_rectifier(g, saved, away, scaling, part, follows, dt):
    if saved.address != 0:
        g = gradient_of(g, _load_saved(saved, part[0], part[2], dt), follows, dt)
    return g


@device
def _through_from_y(g, saved, away, scaling, part, follows, dt):
    return gradient_of(g, _load_saved(saved, part[0], part[2], dt), follows, dt)


@device
def _through_from_x(g, saved, away, scaling, part, follows, dt):
    place, shift, count = part
    scaled = away * load(scaling.rstd + shift, count, dt)
    value = vfma(scaled, load(scaling.gamma + shift, count, dt), load(scaling.beta + shift, count, dt))
    if saved.address != 0:
        value = value + _load_saved(saved, place, count, dt)
    return gradient_of(g, value, follows, dt)


through_activation = by_need(_through_rectifier, _through_from_y, _through_from_x)
"""The gradient through the activation; ``part`` is (bytes from the start, bytes into the row, channels).

`away` is the distance of x from its mean: what came before the activation is computed of it as forward did.
"""


@device
def _no_scaling(norm, scratch, follows, dt):
    return Scaling(0, 0, 0, 0)


@device
def _scaling(norm, scratch, follows, dt):
    return Scaling(*norm_constants(norm, scratch, dt))


scaling_of = by_need(_no_scaling, _no_scaling, _scaling)


class GradientSums(NamedTuple):
    """Addresses of the sums in the cache: of g, of g * z, of z, and ``1 / sqrt(var + eps)``."""

    gradients: int
    products: int
    distances: int
    rstds: int


@device
def clear_sums(cached, channels, dt):
    """Zero the sums in the cache."""
    for c in range(0, channels, lanes(dt)):
        count = min(lanes(dt), channels - c)
        store(cached[0] + c * itemsize(dt), vsplat(0, dt), count, dt)
        store(cached[1] + c * itemsize(dt), vsplat(0, dt), count, dt)
        store(cached[2] + c * itemsize(dt), vsplat(0, dt), count, dt)


@device
def cached_sums(scratch, var, channels, eps, dt):
    """Where a thread's sums of g, g * z and z are in the cache, and ``1 / sqrt(var + eps)``, which is written there."""
    start, section = address(scratch), scratch.size // _SECTIONS * itemsize(dt)
    for c in range(0, channels, lanes(dt)):
        count = min(lanes(dt), channels - c)
        rstd = vector_rstd(var, channels, c, eps, count, dt)
        store(start + 3 * section + c * itemsize(dt), rstd, count, dt)
    return GradientSums(start, start + section, start + 2 * section, start + 3 * section)


@device
def room_after_sums(scratch, dt):
    """Where a thread's scratch has room for the two rows of `norm_constants`."""
    return address(scratch) + 4 * (scratch.size // _SECTIONS) * itemsize(dt)


@device
def flush_sums(scratch, sums, products, distances, part, channels, first):
    """Add the sums in the cache to those of the part, in float64, or start them."""
    section = scratch.size // _SECTIONS
    for c in range(channels):
        sums[part, c] = np.float64(scratch[c]) + (0.0 if first else sums[part, c])
        products[part, c] = np.float64(scratch[section + c]) + (0.0 if first else products[part, c])
    if distances.size:
        for c in range(channels):
            distances[part, c] = np.float64(scratch[2 * section + c]) + (0.0 if first else distances[part, c])


@device
def _away(x, place, centre, count, stored, dt):
    """Distance of x from its mean, `place` bytes of the gradient's type from the start."""
    return load_stored(x + stored_bytes(place, stored, dt), count, stored, dt) - centre


class Arrays(NamedTuple):
    """What the first pass reads and writes: addresses, 0 of what there is not, and the type of x."""

    grad: int
    saved: Saved
    kept: int
    x: int
    mean: int
    x_type: np.dtype
    scaling: Scaling


@device
def _row_of(arrays, place, centre, part, follows, dt):
    """The gradient of a row, written where it is kept, and the distance of x from its mean."""
    shift, count = part
    g, away = load(arrays.grad + place, count, dt), _away(arrays.x, place, centre, count, arrays.x_type, dt)
    g = through_activation(g, arrays.saved, away, arrays.scaling, (place, shift, count), follows, dt)
    if arrays.kept != 0:
        store(arrays.kept + place, g, count, dt)
    return g, away


@device
def _add_rows(arrays, place, rows, row_bytes, cached, part, follows, dt):
    """Add up to four rows of one vector of channels; `part` is (bytes into the row, channels, whether z counts)."""
    shift, count, apart = part
    part = shift, count
    place += shift
    sums, products, distances, rstds = cached
    for ahead in range(place + _AHEAD_BYTES, place + _AHEAD_BYTES + 4 * row_bytes, row_bytes):
        prefetch(arrays.grad + ahead)
        prefetch(arrays.x + stored_bytes(ahead, arrays.x_type, dt))
    centre = load(arrays.mean + shift, count, dt)
    g, away = _row_of(arrays, place, centre, part, follows, dt)
    total, product, distance = g, g * away, away
    if rows > 1:
        place += row_bytes
        g, away = _row_of(arrays, place, centre, part, follows, dt)
        total, product, distance = total + g, vfma(g, away, product), distance + away
    if rows > 2:
        place += row_bytes
        g, away = _row_of(arrays, place, centre, part, follows, dt)
        total, product, distance = total + g, vfma(g, away, product), distance + away
    if rows > 3:
        place += row_bytes
        g, away = _row_of(arrays, place, centre, part, follows, dt)
        total, product, distance = total + g, vfma(g, away, product), distance + away
    rstd = load(rstds + shift, count, dt)
    store(sums + shift, load(sums + shift, count, dt) + total, count, dt)
    store(products + shift, vfma(product, rstd, load(products + shift, count, dt)), count, dt)
    if apart:
        store(distances + shift, vfma(distance, rstd, load(distances + shift, count, dt)), count, dt)


@kernel
def batch_norm_gradient_sums(begin, end, scratch, grad, saved, x, norm, follows, masked, results):
    """For each part, the sum of the gradient and of its product with z, in float64, and of z unless that is empty.

    `norm` is (gamma, beta, mean, var, eps), `results` (sums, products, distances). The gradient through the activation
    is written to `masked` unless that is empty. See `Saved`.
    """
    (_, _, mean, var, eps), (sums, products, distances) = norm, results
    dt = mean.dtype
    size = itemsize(dt)
    width = lanes(dt)
    rows, channels = x.shape
    row_bytes = channels * size
    whole = channels // width * width
    cached = cached_sums(scratch, var, channels, eps, dt)
    places = Saved(address(saved) if saved.size else 0, saved.dtype), address(masked) if masked.size else 0
    scaling = scaling_of(norm, room_after_sums(scratch, dt), follows, dt)
    arrays = Arrays(address(grad), *places, address(x), address(mean), x.dtype, scaling)
    apart = distances.size > 0
    for part in range(begin, end):
        stop = min((part + 1) * PART_ROWS, rows)
        for block in range(part * PART_ROWS, stop, _FLUSH_ROWS):
            clear_sums(cached, channels, dt)
            last = min(block + _FLUSH_ROWS, stop)
            for i in range(block, last, 4):
                place, several = i * row_bytes, min(4, last - i)
                for shift in range(0, whole * size, VECTOR_BYTES):
                    _add_rows(arrays, place, several, row_bytes, cached, (shift, width, apart), follows, dt)
                if whole < channels:
                    rest = whole * size, channels - whole, apart
                    _add_rows(arrays, place, several, row_bytes, cached, rest, follows, dt)
            flush_sums(scratch, sums, products, distances, part, channels, block == part * PART_ROWS)


@device
def _rstd(var, channels, c, eps):
    """``1 / sqrt(var + eps)`` of one channel in float64; see `vector_rstd`."""
    if var.size > channels and var[c] == math.inf:
        return 1.0 / np.float64(var[channels + c])
    return 1.0 / np.sqrt(np.float64(var[c]) + eps)


@device
def _rest(distances, rows, mean, rstd, c):
    """What the rounding of a mean left, from the sums of z; 0 where that is more: then another mean was given."""
    total = 0.0
    for part in range(distances.shape[0]):
        total += distances[part, c]
    rest = total / rows / rstd if rstd > 0.0 else 0.0
    most = 2.0**-23 if itemsize(mean.dtype) == 4 else 2.0**-52
    return rest if abs(rest) <= most * abs(np.float64(mean[c])) else 0.0


@kernel
def combine_gradients(begin, end, sums, products, distances, rows, mean, rests, var, eps, grad_gamma, grad_beta):
    """Add the parts in order; `rests` are written if there are distances."""
    channels = grad_gamma.size
    for c in range(channels):
        total, product = 0.0, 0.0
        for part in range(sums.shape[0]):
            total += np.float64(sums[part, c])
            product += np.float64(products[part, c])
        if rests.size:
            rstd = _rstd(var, channels, c, eps)
            if distances.size:
                rests[c] = _rest(distances, rows, mean, rstd, c)
            product -= rests[c] * rstd * total
        grad_beta[c], grad_gamma[c] = total, product


@kernel
def gradient_constants(begin, end, rows, grad_gamma, grad_beta, gamma, rests, var, eps, constants):
    """Constants of ``grad_input = a * g + k * (x - mean) * rstd + b``: rstd, a, b and k, a row each."""
    channels = gamma.size
    for c in range(channels):
        rstd = _rstd(var, channels, c, eps)
        a = gamma[c] * rstd
        k = -a * grad_gamma[c] / rows
        b = -a * grad_beta[c] / rows
        if rests.size:
            b -= k * (rests[c] * rstd)
        constants[0, c], constants[1, c], constants[2, c], constants[3, c] = rstd, a, b, k


@device
def constants_at(mean, constants, dt):
    """Addresses of the mean and of each row of constants."""
    place, row = address(constants), constants.shape[1] * itemsize(dt)
    return address(mean), place, place + row, place + 2 * row, place + 3 * row


@device
def applied(g, x, constants, shift, count, stored, dt):
    """Return ``a * g + k * z + b``."""
    mean, rstd, a, b, k = constants
    z = _away(x, shift, load(mean + shift, count, dt), count, stored, dt) * load(rstd + shift, count, dt)
    value = vfma(load(k + shift, count, dt), z, load(b + shift, count, dt))
    return vfma(load(a + shift, count, dt), g, value)


class GradientRow(NamedTuple):
    """Addresses of a row in the second pass, 0 of what there is not, and the types of x, y and the result."""

    grad: int
    y: int
    x: int
    grad_addend: int
    target: int
    types: tuple


@device
def _apply_part(row, constants, shift, count, stream, dt):
    grad, y, x, grad_addend, target, (x_type, y_type, out_type) = row
    g = rectified_gradient(grad, y, shift, count, y_type, dt)
    value = applied(g, x, constants, shift, count, x_type, dt)
    if grad_addend != 0 and stream:
        vstore_stream(grad_addend + shift, g)
    elif grad_addend != 0:
        store(grad_addend + shift, g, count, dt)
    put_stored(target + stored_bytes(shift, out_type, dt), value, count, stream, out_type, dt)


@kernel
def batch_norm_gradient_apply(begin, end, grad, y, x, mean, constants, out, grad_addend, block_rows, stream):
    """A block of rows a task; the gradient of the shortcut goes to `grad_addend` unless that is empty."""
    dt, types = grad.dtype, (x.dtype, y.dtype, out.dtype)
    size = itemsize(dt)
    width = lanes(dt)
    rows, channels = x.shape
    whole = channels // width * width
    places = constants_at(mean, constants, dt)
    for i in range(begin * block_rows, min(end * block_rows, rows)):
        place = i * channels * size
        rectified = address(y) + stored_bytes(place, y.dtype, dt) if y.size else 0
        shortcut = address(grad_addend) + place if grad_addend.size else 0
        source, target = address(grad) + place, address(out) + stored_bytes(place, out.dtype, dt)
        values = address(x) + stored_bytes(place, x.dtype, dt)
        row = GradientRow(source, rectified, values, shortcut, target, types)
        for c in range(0, whole, width):
            _apply_part(row, places, c * size, width, stream, dt)
        if whole < channels:
            _apply_part(row, places, whole * size, channels - whole, False, dt)


NO_DISTANCES = np.empty((0, 0), np.float64)


def sum_scratch(channels, dtype):
    """Sums in the cache, a row for each thread, each section on lines of its own."""
    section = -(-channels * dtype.itemsize // LINE_BYTES) * LINE_BYTES
    return thread_rows(_SECTIONS * section, dtype)


def rests_of(mean):
    """Return what the rounding of a mean left, an empty array where that is not there."""
    return mean[1] if mean.ndim > 1 else NOTHING[mean.dtype]
