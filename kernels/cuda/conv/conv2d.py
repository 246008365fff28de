"""Launches of a convolution and of the gradient of its input; choice.py has the kernel and its tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...pointwise import RELU, Activation
from ..elementwise.pointwise import numbered
from ..runtime.device import Kernel
from ..runtime.grids import one_by_one, typed
from .choice import PLAIN_TILE, SIZES, fitting, gather_variants, halo_variants, is_flat, places, product_geometry


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


@dataclass(frozen=True, eq=False)
class Finish:
    """What becomes of the sums of a convolution: the arrays and the function of epilogue.cuh."""

    out: Any
    bias: Any = None
    addend: Any = None
    activation: Activation | None = None
    saved: Any = None
    before: Any = None

    @property
    def is_plain(self):
        """Whether bias, addend and rectifier are all."""
        return self.activation in (None, RELU) and self.saved is None and self.before is None

    def arguments(self):
        """Return the arguments of a kernel."""
        arrays = (self.bias, self.addend, self.saved, self.before, self.out)
        return *arrays, *numbered(self.activation, self.out.dtype)


def run(device, x, prepared, finish, workspace):
    """One direction of a convolution."""
    if finish.out.size:
        geometry = product_geometry(prepared.geometry, prepared.weight.shape)
        prepared.algorithm.function(device, x, prepared, geometry, finish, workspace)


def run_depthwise(device, x, prepared, geometry, finish, workspace):
    """Launch a depthwise convolution, a thread for each output."""
    macros = (*geometry.depthwise_macros(), *(() if finish.is_plain else (("NOT_PLAIN", 1),)))
    kernel = typed("conv2d_depthwise.cu", "conv2d_depthwise", x.dtype, *macros)
    arguments = (x, prepared.weight, *finish.arguments(), *geometry.numbers(x.shape, finish.out.shape))
    device.launch(kernel, *one_by_one(device, finish.out.size), arguments)


def run_plain(device, x, prepared, geometry, finish, workspace):
    """Launch a convolution that computes in the arrays' own type."""
    macros = (*geometry.macros(), ("BACKWARD", int(geometry.is_transposed)))
    kernel = typed("conv2d_plain.cu", "conv2d_plain", x.dtype, *macros)
    count, phases = places(geometry, finish.out.shape)
    grid = (-(-count // PLAIN_TILE), -(-geometry.columns // PLAIN_TILE), geometry.groups * phases)
    arguments = (x, prepared.weight, *finish.arguments(), *geometry.numbers(x.shape, finish.out.shape))
    device.launch(kernel, grid, (256, 1, 1), arguments)


def run_tensor(device, x, prepared, geometry, finish, workspace):
    """Launch a kernel of the tensor cores."""
    math_, operand, shape = prepared.algorithm.multiplies, x, finish.out.shape
    if math_ != "TF32":
        operand = pack_input(device, x, geometry.channels, geometry.groups, math_, workspace)
    halo = prepared.algorithm.form == "halo"
    variants = halo_variants if halo else gather_variants
    variant = fitting(device, variants(geometry, shape, math_, padded_input=math_ != "TF32"))
    tile, tile_n = variant.tile
    columns = -(-geometry.columns // tile_n)
    if halo:
        count = math.prod(-(-n // t) for n, t in zip(shape[:3], tile, strict=True))
        grid = (count, columns, geometry.groups)
    else:
        count, phases = places(geometry, shape)
        grid = (-(-count // tile), columns, geometry.groups * phases)
    arrays = (operand, prepared.packed, prepared.weight)
    arguments = (*arrays, *finish.arguments(), *geometry.numbers(x.shape, shape))
    device.launch(variant.kernel, grid, (variant.threads, 1, 1), arguments, shared_bytes=variant.shared_bytes)
