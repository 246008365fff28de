"""The second pass of a batch normalisation, with what follows it: addition of a shortcut, activation, max pooling.

``y = activation((x - mean) / sqrt(var + eps) * gamma + beta + addend)``. A task is a block of rows (pixels), or a row
of pooled pixels; the constants of a channel come from the L1 cache, so memory is walked once, in order. Large results
go past the caches.

Statistics may have a second row, as batch_norm.py writes them: what the rounding of the mean left, and the standard
deviation, for variances out of range. ``1 / sqrt(var + eps)`` multiplies before gamma does: their product may be
subnormal, and is 0 then, where this is not.

Bound by memory: a read (two with a shortcut) and a write, of a quarter and of the places if pooled.
"""

import math
from typing import NamedTuple

from ..elementwise.following import activated, in_lanes
from ..runtime.launch import device, kernel
from ..vector.bf16_storage import load_stored, put_stored, stored_bytes
from ..vector.memory import load, store
from ..vector.simd import (
    address,
    itemsize,
    lanes,
    vfma,
    vselect_gt,
    vselect_max,
    vsplat,
    vsqrt,
    vstore_index,
)


@device
def vector_rstd(var, channels, c, eps, count, dt):
    """``1 / sqrt(var + eps)`` for `count` channels from `c` on; `var` is flat, with a second row or without."""
    place, one = address(var) + c * itemsize(dt), vsplat(1, dt)
    variance = load(place, count, dt)
    rstd = one / vsqrt(variance + vsplat(eps, dt))
    if var.size > channels:
        deviation = load(place + channels * itemsize(dt), count, dt)
        rstd = vselect_gt(vsplat(math.inf, dt), variance, rstd, one / deviation)
    return rstd


@device
def shift_of(gamma, beta, mean, rstd, c, count, dt):
    """Beta, less what the rounded mean takes too little, for `count` channels from `c` on."""
    channels, size = gamma.size, itemsize(dt)
    shift = load(address(beta) + c * size, count, dt)
    if mean.size > channels:
        rest = load(address(mean) + (channels + c) * size, count, dt)
        shift = shift - rest * rstd * load(address(gamma) + c * size, count, dt)
    return shift


@device
def norm_constants(norm, scratch, dt):
    """Addresses of mean, ``1 / sqrt(var + eps)``, gamma, and beta less what the rounded mean takes too little."""
    gamma, beta, mean, var, eps = norm
    channels, size = gamma.size, itemsize(dt)
    rstds, shifts = scratch, scratch + channels * size
    for c in range(0, channels, lanes(dt)):
        count = min(lanes(dt), channels - c)
        rstd = vector_rstd(var, channels, c, eps, count, dt)
        store(rstds + c * size, rstd, count, dt)
        store(shifts + c * size, shift_of(gamma, beta, mean, rstd, c, count, dt), count, dt)
    return address(mean), rstds, address(gamma), shifts


@device
def _scaled(source, constants, shift, count, stored, dt):
    """(x - mean) * rstd * gamma + beta for `count` channels, `shift` bytes of float32 or float64 into their row."""
    mean, rstd, gamma, beta = constants
    away = load_stored(source + stored_bytes(shift, stored, dt), count, stored, dt) - load(mean + shift, count, dt)
    return vfma(away * load(rstd + shift, count, dt), load(gamma + shift, count, dt), load(beta + shift, count, dt))


class NormaliseRow(NamedTuple):
    """Addresses of a row, and the types of the arrays; that of the addend is 0 if there is none."""

    source: int
    addend: int
    target: int
    types: tuple


@device
def _normalise_part(row, constants, shift, count, epilogue, dt):
    """`epilogue` is (what follows, whether the result goes past the caches)."""
    source, addend, target, (x_type, addend_type, out_type) = row
    follows, stream = epilogue
    value = _scaled(source, constants, shift, count, x_type, dt)
    if addend != 0:
        place = addend + stored_bytes(shift, addend_type, dt)
        value = value + load_stored(place, count, addend_type, dt)
    value = activated(value, follows, dt)
    put_stored(target + stored_bytes(shift, out_type, dt), value, count, stream, out_type, dt)


@kernel
def normalise(begin, end, scratch, x, norm, addend, follows, out, block_rows, stream):
    """A block of rows a task; `norm` is (gamma, beta, mean, var, eps), and there is no addend if that is empty."""
    dt = norm[0].dtype
    size = itemsize(dt)
    width = lanes(dt)
    rows, channels = x.shape
    follows = in_lanes(follows, dt)
    constants = norm_constants(norm, address(scratch), dt)
    types = x.dtype, addend.dtype, out.dtype
    whole = channels // width * width
    for i in range(begin * block_rows, min(end * block_rows, rows)):
        place = i * channels * size
        shortcut = address(addend) + stored_bytes(place, addend.dtype, dt) if addend.size else 0
        source = address(x) + stored_bytes(place, x.dtype, dt)
        target = address(out) + stored_bytes(place, out.dtype, dt)
        row = NormaliseRow(source, shortcut, target, types)
        for c in range(0, whole, width):
            _normalise_part(row, constants, c * size, width, (follows, stream), dt)
        if whole < channels:
            _normalise_part(row, constants, whole * size, channels - whole, (follows, False), dt)


@device
def _pool_part(source, steps, constants, part, follows, stored, dt):
    """Largest of four values after the activation, and its place; `part` is (bytes into the row, channels)."""
    (row_bytes, pixel_bytes), (shift, count) = steps, part
    best = _scaled(source, constants, shift, count, stored, dt)
    best, place = activated(best, follows, dt), vsplat(0, dt)
    value = _scaled(source + pixel_bytes, constants, shift, count, stored, dt)
    value = activated(value, follows, dt)
    place, best = vselect_max(value, best, vsplat(1, dt), place), vselect_max(value, best, value, best)
    value = _scaled(source + row_bytes, constants, shift, count, stored, dt)
    value = activated(value, follows, dt)
    place, best = vselect_max(value, best, vsplat(2, dt), place), vselect_max(value, best, value, best)
    value = _scaled(source + row_bytes + pixel_bytes, constants, shift, count, stored, dt)
    value = activated(value, follows, dt)
    return vselect_max(value, best, value, best), vselect_max(value, best, vsplat(3, dt), place)


@kernel
def normalise_max_pool2d(begin, end, scratch, x, norm, follows, out, argmax):
    """A row of pixels pooled 2x2, after normalisation and activation, a task; `norm` as of `normalise`."""
    dt, stored, out_stored, index_dt = norm[0].dtype, x.dtype, out.dtype, argmax.dtype
    size, index_size = itemsize(dt), itemsize(index_dt)
    width = lanes(dt)
    _, in_h, in_w, channels = x.shape
    _, out_h, out_w, _ = out.shape
    follows, constants = in_lanes(follows, dt), norm_constants(norm, address(scratch), dt)
    pixel_bytes = channels * itemsize(stored)
    steps = in_w * pixel_bytes, pixel_bytes
    for row in range(begin, end):
        image, p = row // out_h, row % out_h
        for q in range(out_w):
            source = address(x) + ((image * in_h + 2 * p) * in_w + 2 * q) * pixel_bytes
            pixel = (row * out_w + q) * channels
            for c in range(0, channels, width):
                count = min(width, channels - c)
                best, place = _pool_part(source, steps, constants, (c * size, count), follows, stored, dt)
                put_stored(address(out) + (pixel + c) * itemsize(out_stored), best, count, False, out_stored, dt)
                vstore_index(address(argmax) + (pixel + c) * index_size, place, count, index_dt)
