"""Launches of a convolution and of the gradient of its input; choice.py has the kernel and its tiles."""

from __future__ import annotations

import math

import numpy as np

from ..runtime.device import Kernel
from ..runtime.grids import one_by_one, typed
from .choice import PLAIN_TILE, SIZES, fitting, gather_variants, halo_variants, is_flat, places


def pack_weight(device, weight, geometry, math_, workspace):
    """Return the weight as conv2d_gather reads it."""
    flat, taps = is_flat(geometry, math_), math.prod(geometry.kernel_size)
    length = _padded(taps * geometry.channels, math_) if flat else taps * _padded(geometry.channels, math_)
    size = geometry.groups * geometry.columns * length
    packed = workspace.empty((size,), np.float32 if math_ == "TF32" else np.uint16)
    macros = (("MATH", math_), ("FLAT", int(flat)), ("TAPS", taps), ("BACKWARD", int(geometry.is_transposed)))
    shape = (("GROUPS", geometry.groups), ("CHANNELS", geometry.channels), ("COLUMNS", geometry.columns))
    device.launch(Kernel("pack.cu", "pack_weight", (*macros, *shape)), *one_by_one(device, size), (weight, packed))
    return packed


def pack_input(device, x, geometry_channels, groups, math_, workspace):
    """Return activations rounded to 16 bits, the channels of each group padded to 16 bytes."""
    pixels = x.size // (groups * geometry_channels)
    size = pixels * groups * _padded(geometry_channels, math_)
    packed = workspace.empty((size,), np.uint16)
    macros = (("MATH", math_), ("FLAT", 0), ("TAPS", 1), ("BACKWARD", 0))
    shape = (("GROUPS", groups), ("CHANNELS", geometry_channels), ("COLUMNS", 1))
    kernel = Kernel("pack.cu", "pack_input", (*macros, *shape))
    device.launch(kernel, *one_by_one(device, size), (x, packed, np.int64(pixels)))
    return packed


def _padded(count, math_):
    vector = 16 // SIZES[math_]
    return -(-count // vector) * vector


def run(device, x, prepared, geometry, *, bias=None, addend=None, rectify=False, out, workspace):
    """One direction of a convolution into `out`, with what is done to its results."""
    if not out.size:
        return
    prepared.algorithm.function(device, x, prepared, geometry, (bias, addend, rectify), out, workspace)


def run_depthwise(device, x, prepared, geometry, after, out, workspace):
    """Launch it; `after` as of `run_tensor`."""
    bias, addend, rectify = after
    kernel = typed("conv2d_depthwise.cu", "conv2d_depthwise", x.dtype, *geometry.depthwise_macros())
    numbers = geometry.numbers(x.shape, out.shape)
    device.launch(
        kernel, *one_by_one(device, out.size), (x, prepared.weight, bias, addend, out, np.int32(rectify), *numbers)
    )


def run_plain(device, x, prepared, geometry, after, out, workspace):
    """Launch it; `after` as of `run_tensor`."""
    bias, addend, rectify = after
    macros = (*geometry.macros(), ("BACKWARD", int(geometry.is_transposed)))
    kernel = typed("conv2d_plain.cu", "conv2d_plain", x.dtype, *macros)
    count, phases = places(geometry, out.shape)
    grid = (-(-count // PLAIN_TILE), -(-geometry.columns // PLAIN_TILE), geometry.groups * phases)
    numbers = geometry.numbers(x.shape, out.shape)
    arguments = (x, prepared.weight, bias, addend, out, np.int32(rectify), *numbers)
    device.launch(kernel, grid, (256, 1, 1), arguments)


def run_tensor(device, x, prepared, geometry, after, out, workspace):
    """Launch a kernel of the tensor cores; `after` is (bias, addend, whether to rectify)."""
    bias, addend, rectify = after
    math_, operand = prepared.algorithm.multiplies, x
    if math_ != "TF32":
        operand = pack_input(device, x, geometry.channels, geometry.groups, math_, workspace)
    halo = prepared.algorithm.form == "halo"
    variants = halo_variants if halo else gather_variants
    variant = fitting(device, variants(geometry, out.shape, math_, padded_input=math_ != "TF32"))
    tile, tile_n = variant.tile
    columns = -(-geometry.columns // tile_n)
    if halo:
        count = math.prod(-(-n // t) for n, t in zip(out.shape[:3], tile, strict=True))
        grid = (count, columns, geometry.groups)
    else:
        count, phases = places(geometry, out.shape)
        grid = (-(-count // tile), columns, geometry.groups * phases)
    arrays = (operand, prepared.packed, prepared.weight, bias, addend, out)
    arguments = (*arrays, np.int32(rectify), *geometry.numbers(x.shape, out.shape))
    device.launch(variant.kernel, grid, (variant.threads, 1, 1), arguments, shared_bytes=variant.shared_bytes)
