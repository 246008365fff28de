"""The choice of kernel and tiles for each direction of a convolution.

All choices depend on shapes, precision and the shared memory that a block may have, so results have the same bits on
every GPU that has as much of it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, fields

import numpy as np

from ...algorithm import Algorithm
from ...geometry import ConvGeometry
from ..runtime.device import Kernel, SharedMemoryError

MATHS = {"default": "TF32", "fast": "BF16"}
"""What the tensor cores multiply at each precision; "strict" and float64 go without them."""
SIZES = {"TF32": 4, "BF16": 2, "HALF": 2}
"""Bytes of what is multiplied."""
STAGES = 3
"""Buffers of a main loop that copies fill ahead."""
# Blocks that fill an H100 twice: 132 multiprocessors. With fewer of 128 pixels, blocks take 64.
_ENOUGH_BLOCKS = 264
_MOST_TAPS = 25  # of conv2d_halo: margins of larger kernels outgrow their patches
_LEAST_SHARE = 0.7  # of the pixels of its patches that must lie in the map
PIXEL_BYTES = 24  # of a pixel in the tables that conv2d_gather keeps in shared memory
_CELL_BYTES = 16  # of a cell of the patch in the table of conv2d_halo
_LEAST_ROW, _LEAST_TILE = 32, 16
PLAIN_TILE = 64  # pixels and columns of a block of the kernels without tensor cores
LEAST_SHARED_MEMORY = 48 << 10
"""Bytes of shared memory for a block with which every convolution has a variant that fits; GPUs from Ampere on have 99
KB (sm_86, sm_89, sm_120), 163 (sm_80) or 227 (sm_90) at least."""


@dataclass(frozen=True)
class Variant:
    """A kernel of the tensor cores with its tile.

    Attributes
    ----------
    kernel : Kernel
    shared_bytes, static_bytes : int
        Shared memory that a launch asks for, and that the kernel declares itself.
    threads : int
        Of a block.
    tile : tuple
        What a block computes: pixels, or images, height and width of a patch, and columns; of the gradient of the
        weight the number of tiles and of blocks of taps.
    """

    kernel: Kernel
    shared_bytes: int
    static_bytes: int
    threads: int
    tile: tuple


def fitting(device, variants):
    """Return the first of the variants, the best one first, for which a block of the device has the shared memory."""
    limit, need = device.shared_memory_per_block, 0
    for variant in variants:
        need = variant.shared_bytes + variant.static_bytes
        if need <= limit:
            return variant
    name = variant.kernel.name
    raise SharedMemoryError(
        f"{name}: a block has {limit} bytes of shared memory, and the smallest variant needs {need}"
    )


def _smaller(tile_m, tile_n, row):
    """Yield pixels, columns and bytes of a row: what is wanted first, at last the smallest.

    A shorter row comes after all smaller tiles, as it alone changes the order of sums.
    """
    while row >= _LEAST_ROW:
        columns = tile_n
        while columns >= _LEAST_TILE:
            for pixels in sorted({tile_m, 64}, reverse=True):
                yield pixels, columns, row
            columns //= 2
        row //= 2


@dataclass(frozen=True)
class ProductGeometry(ConvGeometry):
    """One direction of a convolution as a product of matrices: `channels` of a group are summed to `columns`."""

    channels: int = 1
    columns: int = 1

    __hash__ = ConvGeometry.__hash__

    def macros(self):
        """Return what the kernels know of it at compile time."""
        pairs = {"KERNEL": self.kernel_size, "STRIDE": self.stride, "DILATION": self.dilation}
        axes = [(f"{name}_{axis}", n) for name, pair in pairs.items() for axis, n in zip("HW", pair, strict=True)]
        return (*axes, ("GROUPS", self.groups), ("CHANNELS", self.channels), ("COLUMNS", self.columns))

    def depthwise_macros(self):
        """Return the same of a depthwise convolution, in either direction: one channel each, `multiplier` results."""
        multiplier = self.channels if self.is_transposed else self.columns
        return (
            *(pair for pair in self.macros() if pair[0] not in {"GROUPS", "CHANNELS", "COLUMNS"}),
            ("CHANNELS", self.groups),
            ("MULTIPLIER", multiplier),
            ("BACKWARD", int(self.is_transposed)),
        )

    def numbers(self, read, written):
        """Return the arguments that follow the arrays: batch, sizes of the maps, padding before."""
        (top, _), (left, _) = self.padding
        return tuple(np.int32(n) for n in (read[0], *read[1:3], *written[1:3], top, left))


@functools.lru_cache(maxsize=1024)
def product_geometry(geometry, weight_shape):
    """Return the geometry of a convolution with the channels of its weight."""
    channels, columns = weight_shape[2], weight_shape[3] // geometry.groups
    if geometry.is_transposed:
        channels, columns = columns, channels
    values = {field.name: getattr(geometry, field.name) for field in fields(geometry)}
    return ProductGeometry(**values, channels=channels, columns=columns)


def is_depthwise(weight, groups):
    """Tell whether each result has one input channel."""
    return weight.shape[2] == 1 and groups > 1


def result_shape(geometry, input_shape):
    """Return the shape of what one direction writes, for the convolution's input."""
    if geometry.is_transposed:
        return input_shape
    return (input_shape[0], *geometry.output_size(*input_shape[1:3]), geometry.groups * geometry.columns)


def _tensor(form, math_):
    name = f"conv2d_{form}_{math_.lower()}"
    return Algorithm(name, form, run="cuda.conv.conv2d.run_tensor", multiplies=math_, fuses=True)


DEPTHWISE = Algorithm("conv2d_depthwise", "depthwise", run="cuda.conv.conv2d.run_depthwise", fuses=True)
PLAIN = Algorithm("conv2d_plain", "plain", run="cuda.conv.conv2d.run_plain", fuses=True)
TENSOR = {(form, math_): _tensor(form, math_) for form in ("halo", "gather") for math_ in ("TF32", "BF16", "HALF")}
"""By form and what the tensor cores multiply; no precision chooses fp16."""


def choose(weight, geometry, precision, input_shape):
    """Return what computes one direction; its name says what is multiplied where that is not the arrays' type."""
    if is_depthwise(weight, geometry.groups):
        return DEPTHWISE
    if precision == "strict" or weight.dtype != np.float32:
        return PLAIN
    math_ = MATHS[precision]
    return TENSOR["halo" if halo_tiles(geometry, result_shape(geometry, input_shape), math_) else "gather", math_]


def is_flat(geometry, math_):
    """Tell whether the depth runs on over the taps: with so few channels that one tap fills no 32 bytes."""
    return geometry.channels * SIZES[math_] < 32 and not (geometry.is_transposed and geometry.stride != (1, 1))


def places(geometry, out_shape):
    """Return how many results the first phase has, and how many phases there are."""
    if not geometry.is_transposed:
        return math.prod(out_shape[:3]), 1
    per_axis = [-(-n // s) for n, s in zip(out_shape[1:3], geometry.stride, strict=True)]
    return out_shape[0] * math.prod(per_axis), math.prod(geometry.stride)


def row_bytes(length):
    """Return the bytes of a row of depth: those that leave the least of it empty."""
    return min((128, 64, 32), key=lambda row: -(-length // row) * row)


def gather_tiles(geometry, out_shape):
    """Return the tile of pixels and columns, and the warps that share it."""
    tile_n = next(n for n in (16, 32, 64, 128) if n >= geometry.columns or n == 128)
    count, phases = places(geometry, out_shape)
    blocks = -(-count // 128) * -(-geometry.columns // tile_n) * geometry.groups * phases
    tile_m = 128 if blocks >= _ENOUGH_BLOCKS else 64
    return tile_m, tile_n, *_warps(tile_n)


def gather_variants(geometry, out_shape, math_, *, padded_input):
    """Yield conv2d_gather for a shape, with smaller and smaller tiles."""
    flat = is_flat(geometry, math_)
    tile_m, tile_n, *_ = gather_tiles(geometry, out_shape)
    length = geometry.channels * (math.prod(geometry.kernel_size) if flat else 1)
    for pixels, columns, row in _smaller(tile_m, tile_n, row_bytes(length * SIZES[math_])):
        warps_m, warps_n = _warps(columns)
        macros = (
            *(("MATH", math_), ("FLAT", int(flat)), ("PADDED_INPUT", int(padded_input))),
            *geometry.macros(),
            ("BACKWARD", int(geometry.is_transposed)),
            *(("TILE_M", pixels), ("TILE_N", columns), ("WARPS_M", warps_m), ("WARPS_N", warps_n)),
            *(("ROW_BYTES", row), ("STAGES", STAGES)),
        )
        kernel, shared = Kernel("conv2d_gather.cu", "conv2d_gather", macros), STAGES * (pixels + columns) * row
        yield Variant(kernel, shared, PIXEL_BYTES * pixels, warps_m * warps_n * 32, (pixels, columns))


def _warps(columns):
    return (2, 2) if columns >= 64 else (4, 1)


def halo_tiles(geometry, out_shape, math_):
    """Return images, height and width of the patches for conv2d_halo, or None where conv2d_gather does better.

    It wants stride 1, several taps, channels that fill copies of 16 bytes, and maps that fill the patches.
    """
    taps, size = math.prod(geometry.kernel_size), SIZES[math_]
    if geometry.stride != (1, 1) or geometry.dilation != (1, 1) or not STAGES - 1 <= taps <= _MOST_TAPS:
        return None
    if geometry.channels * size < 32 or (math_ == "TF32" and geometry.channels % 4) or not math.prod(out_shape):
        return None
    images, rows, columns = out_shape[:3]
    width = min((16, 8, 4), key=lambda w: -(-columns // w) * w)
    height = min((8, 4), key=lambda h: -(-rows // h) * h)

    def blocks(pixels):
        tile = (max(1, pixels // (height * width)), height, width)
        return math.prod(-(-n // t) for n, t in zip((images, rows, columns), tile, strict=True)), tile

    count, tile = blocks(128)
    if count * -(-geometry.columns // 128) * geometry.groups < _ENOUGH_BLOCKS:
        if height * width > 64:
            height = 4
        count, tile = blocks(64)
    if images * rows * columns < _LEAST_SHARE * count * math.prod(tile):
        return None
    return tile


def halo_table_bytes(tile, kernel):
    """Return the bytes of conv2d_halo's table of cells for images, height and width of a tile; 128 is its alignment."""
    images, *pixels = tile
    cells = images * math.prod(n + k - 1 for n, k in zip(pixels, kernel, strict=True))
    return -(-cells * _CELL_BYTES // 128) * 128


def halo_variants(geometry, out_shape, math_, *, padded_input):
    """Yield conv2d_halo for a shape, with smaller and smaller tiles."""
    wanted = halo_tiles(geometry, out_shape, math_)
    tile_n = next(n for n in (16, 32, 64, 128) if n >= geometry.columns or n == 128)
    length = geometry.channels * SIZES[math_]
    for pixels, columns, row in _smaller(math.prod(wanted), tile_n, row_bytes(length)):
        tile = images, height, width = wanted if pixels == math.prod(wanted) else _halved(wanted)
        warps_m, warps_n = _warps(columns)
        pitch = width + geometry.kernel_size[1] - 1
        if width == 4:  # eight pixels lie in two lines, which begin at a multiple of 128 bytes
            pitch += -pitch % (128 // row)
        macros = (
            *(("MATH", math_), ("PADDED_INPUT", int(padded_input))),
            *(pair for pair in geometry.macros() if not pair[0].startswith(("STRIDE", "DILATION"))),
            *(
                ("BACKWARD", int(geometry.is_transposed)),
                ("TILE_IMAGES", images),
                ("TILE_H", height),
                ("TILE_W", width),
            ),
            *(("TILE_N", columns), ("WARPS_M", warps_m), ("WARPS_N", warps_n)),
            *(("PITCH", pitch), ("ROW_BYTES", row), ("STAGES", STAGES)),
        )
        patches = 1 + (length > row)
        shared = (patches * images * (height + geometry.kernel_size[0] - 1) * pitch + STAGES * columns) * row
        kernel, static = Kernel("conv2d_halo.cu", "conv2d_halo", macros), halo_table_bytes(tile, geometry.kernel_size)
        yield Variant(kernel, shared, static, warps_m * warps_n * 32, (tile, columns))


def _halved(tile):
    images, height, width = tile
    return (images // 2, height, width) if images > 1 else (images, height // 2, width)
