"""Convolution on the GPU: the choice of kernel and tiles for each direction, and the launches.

All choices depend on shapes, precision and the shared memory that a block may have, so results have the same bits on
every GPU that has as much of it.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass, fields

import numpy as np

from ...algorithm import Algorithm
from ...geometry import ConvGeometry
from ..elementwise.elementwise import fill
from ..elementwise.reduce import sum_rows
from ..runtime.device import Kernel, SharedMemoryError
from ..runtime.grids import THREADS, typed

MATHS = {"default": "TF32", "fast": "BF16"}
"""What the tensor cores multiply at each precision; "strict" and float64 go without them."""
_SIZES = {"TF32": 4, "BF16": 2, "HALF": 2}
_STAGES = 3
# Blocks that fill an H100 twice: 132 multiprocessors. With fewer of 128 pixels, blocks take 64.
_ENOUGH_BLOCKS = 264
# Blocks wanted at most for the gradient of a weight, whose results alone are few: 3 for each multiprocessor of an H100,
# so that they all run at once. Each sums at least so many steps of 32 pixels.
_WEIGHT_BLOCKS = 396
_LEAST_STEPS = 8
_PIXELS = 32
_MOST_TAPS = 25  # of conv2d_halo: margins of larger kernels outgrow their patches
_LEAST_SHARE = 0.7  # of the pixels of its patches that must lie in the map
PIXEL_BYTES = 24  # of a pixel in the tables that conv2d_gather keeps in shared memory
_CELL_BYTES = 16  # of a cell of the patch in the table of conv2d_halo
_LEAST_ROW, _LEAST_TILE = 32, 16
_PLAIN_TILE, _PLAIN_STEP = 64, 16
_DEPTHWISE_PIXELS = 256  # that one thread of conv2d_depthwise_weight sums
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


# The weight's form


def is_flat(geometry, math_):
    """Tell whether the depth runs on over the taps: with so few channels that one tap fills no 32 bytes."""
    return geometry.channels * _SIZES[math_] < 32 and not (geometry.is_transposed and geometry.stride != (1, 1))


def _padded(count, math_):
    vector = 16 // _SIZES[math_]
    return -(-count // vector) * vector


def pack_weight(device, weight, geometry, math_, workspace):
    """Return the weight as conv2d_gather reads it."""
    flat, taps = is_flat(geometry, math_), math.prod(geometry.kernel_size)
    length = _padded(taps * geometry.channels, math_) if flat else taps * _padded(geometry.channels, math_)
    size = geometry.groups * geometry.columns * length
    packed = workspace.empty((size,), np.float32 if math_ == "TF32" else np.uint16)
    macros = (("MATH", math_), ("FLAT", int(flat)), ("TAPS", taps), ("BACKWARD", int(geometry.is_transposed)))
    shape = (("GROUPS", geometry.groups), ("CHANNELS", geometry.channels), ("COLUMNS", geometry.columns))
    device.launch(Kernel("pack.cu", "pack_weight", (*macros, *shape)), *_strided(device, size), (weight, packed))
    return packed


def pack_input(device, x, geometry_channels, groups, math_, workspace):
    """Return activations rounded to 16 bits, the channels of each group padded to 16 bytes."""
    pixels = x.size // (groups * geometry_channels)
    size = pixels * groups * _padded(geometry_channels, math_)
    packed = workspace.empty((size,), np.uint16)
    macros = (("MATH", math_), ("FLAT", 0), ("TAPS", 1), ("BACKWARD", 0))
    shape = (("GROUPS", groups), ("CHANNELS", geometry_channels), ("COLUMNS", 1))
    kernel = Kernel("pack.cu", "pack_input", (*macros, *shape))
    device.launch(kernel, *_strided(device, size), (x, packed, np.int64(pixels)))
    return packed


def _strided(device, size):
    blocks = min(-(-size // THREADS), 8 * device.multiprocessors)
    return (max(1, blocks), 1, 1), (THREADS, 1, 1)


# Forward and backward-input


def run(device, x, prepared, geometry, *, bias=None, addend=None, rectify=False, out, workspace):
    """One direction of a convolution into `out`, with what is done to its results."""
    if not out.size:
        return
    prepared.algorithm.function(device, x, prepared, geometry, (bias, addend, rectify), out, workspace)


def _depthwise_macros(geometry):
    # Of the convolution itself, in either direction: one channel each, `multiplier` results.
    multiplier = geometry.channels if geometry.is_transposed else geometry.columns
    return (
        *(pair for pair in geometry.macros() if pair[0] not in {"GROUPS", "CHANNELS", "COLUMNS"}),
        ("CHANNELS", geometry.groups),
        ("MULTIPLIER", multiplier),
        ("BACKWARD", int(geometry.is_transposed)),
    )


def run_depthwise(device, x, prepared, geometry, after, out, workspace):
    """Launch it; `after` as of `run_tensor`."""
    bias, addend, rectify = after
    kernel = typed("conv2d_depthwise.cu", "conv2d_depthwise", x.dtype, *_depthwise_macros(geometry))
    numbers = geometry.numbers(x.shape, out.shape)
    device.launch(
        kernel, *_strided(device, out.size), (x, prepared.weight, bias, addend, out, np.int32(rectify), *numbers)
    )


def places(geometry, out_shape):
    """Return how many results the first phase has, and how many phases there are."""
    if not geometry.is_transposed:
        return math.prod(out_shape[:3]), 1
    per_axis = [-(-n // s) for n, s in zip(out_shape[1:3], geometry.stride, strict=True)]
    return out_shape[0] * math.prod(per_axis), math.prod(geometry.stride)


def run_plain(device, x, prepared, geometry, after, out, workspace):
    """Launch it; `after` as of `run_tensor`."""
    bias, addend, rectify = after
    macros = (*geometry.macros(), ("BACKWARD", int(geometry.is_transposed)))
    kernel = typed("conv2d_plain.cu", "conv2d_plain", x.dtype, *macros)
    count, phases = places(geometry, out.shape)
    grid = (-(-count // _PLAIN_TILE), -(-geometry.columns // _PLAIN_TILE), geometry.groups * phases)
    numbers = geometry.numbers(x.shape, out.shape)
    arguments = (x, prepared.weight, bias, addend, out, np.int32(rectify), *numbers)
    device.launch(kernel, grid, (256, 1, 1), arguments)


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
    for pixels, columns, row in _smaller(tile_m, tile_n, row_bytes(length * _SIZES[math_])):
        warps_m, warps_n = _warps(columns)
        macros = (
            *(("MATH", math_), ("FLAT", int(flat)), ("PADDED_INPUT", int(padded_input))),
            *geometry.macros(),
            ("BACKWARD", int(geometry.is_transposed)),
            *(("TILE_M", pixels), ("TILE_N", columns), ("WARPS_M", warps_m), ("WARPS_N", warps_n)),
            *(("ROW_BYTES", row), ("STAGES", _STAGES)),
        )
        kernel, shared = Kernel("conv2d_gather.cu", "conv2d_gather", macros), _STAGES * (pixels + columns) * row
        yield Variant(kernel, shared, PIXEL_BYTES * pixels, warps_m * warps_n * 32, (pixels, columns))


def _warps(columns):
    return (2, 2) if columns >= 64 else (4, 1)


def halo_tiles(geometry, out_shape, math_):
    """Return images, height and width of the patches for conv2d_halo, or None where conv2d_gather does better.

    It wants stride 1, several taps, channels that fill copies of 16 bytes, and maps that fill the patches.
    """
    taps, size = math.prod(geometry.kernel_size), _SIZES[math_]
    if geometry.stride != (1, 1) or geometry.dilation != (1, 1) or not _STAGES - 1 <= taps <= _MOST_TAPS:
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
    length = geometry.channels * _SIZES[math_]
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
            *(("PITCH", pitch), ("ROW_BYTES", row), ("STAGES", _STAGES)),
        )
        patches = 1 + (length > row)
        shared = (patches * images * (height + geometry.kernel_size[0] - 1) * pitch + _STAGES * columns) * row
        kernel, static = Kernel("conv2d_halo.cu", "conv2d_halo", macros), halo_table_bytes(tile, geometry.kernel_size)
        yield Variant(kernel, shared, static, warps_m * warps_n * 32, (tile, columns))


def _halved(tile):
    images, height, width = tile
    return (images // 2, height, width) if images > 1 else (images, height // 2, width)


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


# Backward-weight


def backward_weight(device, grad_output, x, geometry, *, precision, out, workspace):
    """Gradient of the weight, summed in parts whose number depends on the shapes."""
    if not (grad_output.size and x.size):
        fill(device, 0, out=out)
    elif geometry.channels == 1 and geometry.groups > 1:
        _backward_weight_depthwise(device, grad_output, x, geometry, out, workspace)
    elif precision == "strict" or x.dtype != np.float32:
        _backward_weight_plain(device, grad_output, x, geometry, out, workspace)
    else:
        _backward_weight_tensor(device, grad_output, x, geometry, MATHS[precision], out, workspace)


def _backward_weight_depthwise(device, grad_output, x, geometry, out, workspace):
    macros = _depthwise_macros(geometry)
    results, taps = grad_output.shape[3], math.prod(geometry.kernel_size)
    pixels = math.prod(grad_output.shape[:3])
    parts = -(-pixels // _DEPTHWISE_PIXELS)
    sums = out if parts == 1 else workspace.empty((parts, out.size), out.dtype)
    kernel = typed("conv2d_depthwise.cu", "conv2d_depthwise_weight", x.dtype, *macros)
    threads = min(256, -(-results // 32) * 32)
    numbers = (np.int32(_DEPTHWISE_PIXELS), *geometry.numbers(x.shape, grad_output.shape))
    grid = (parts, taps, -(-results // threads))
    device.launch(kernel, grid, (threads, 1, 1), (grad_output, x, sums, *numbers))
    if parts > 1:
        sum_rows(device, sums, out=out, workspace=workspace)


def _splits(blocks, steps, least):
    """Return the number of parts, and the steps of each, for a sum of `steps` by so many blocks a part."""
    parts = max(1, min(_WEIGHT_BLOCKS // blocks, steps // least))
    each = -(-steps // parts)
    return -(-steps // each), each


def _sum_splits(device, sums, splits, grad_output, x, geometry, out):
    kernel = typed("conv2d_splits.cu", "sum_splits", out.dtype, *geometry.macros())
    arguments = (sums, grad_output, x, out, np.int32(splits), *geometry.numbers(x.shape, grad_output.shape))
    device.launch(kernel, *_strided(device, out.size), arguments)


def _backward_weight_plain(device, grad_output, x, geometry, out, workspace):
    rows = math.prod(geometry.kernel_size) * geometry.channels
    tiles = -(-rows // _PLAIN_TILE) * -(-geometry.columns // _PLAIN_TILE)
    steps = -(-math.prod(grad_output.shape[:3]) // _PLAIN_STEP)
    splits, each = _splits(tiles * geometry.groups, steps, _LEAST_STEPS)
    sums = workspace.empty((splits, out.size), out.dtype)
    kernel = typed("conv2d_weight_plain.cu", "conv2d_weight_plain", x.dtype, *geometry.macros())
    numbers = (np.int32(each), *geometry.numbers(x.shape, grad_output.shape))
    device.launch(kernel, (tiles, 1, geometry.groups * splits), (256, 1, 1), (grad_output, x, sums, *numbers))
    _sum_splits(device, sums, splits, grad_output, x, geometry, out)


def _as_rows(geometry, read, written):
    """Return the shapes of a 1x1 convolution as one row of pixels, so that strips are full; others as they are."""
    plain = geometry.kernel_size == geometry.stride == (1, 1) and not any(map(any, geometry.padding))
    pixels = math.prod(written[:3])
    if not plain or pixels >= 2**31:
        return read, written
    return (1, 1, pixels, read[3]), (1, 1, pixels, written[3])


def strip_of(width):
    """Return the length of strips that leaves the least of a row of the map empty."""
    return min((32, 16, 8, 4), key=lambda strip: -(-width // strip) * strip)


def weight_variants(geometry, out_width, math_, *, padded_input):
    """Yield conv2d_weight for a shape, with smaller and smaller tiles."""
    taps, size = math.prod(geometry.kernel_size), _SIZES[math_]
    flat = geometry.channels * size < 32 and taps > 1
    rows = taps * geometry.channels if flat else geometry.channels
    together = geometry.kernel_size[1] == 3 and geometry.stride[1] == geometry.dilation[1] == 1 and not flat
    row_taps, strip = 3 if together else 1, strip_of(out_width)
    x_strip = strip + row_taps - 1
    x_rows = _PIXELS // strip * (x_strip + (12 - x_strip % 8) % 8 if strip == 4 else x_strip)
    tap_blocks = 1 if flat else taps // row_taps
    for tile_m, tile_n in itertools.product(_weight_tiles(rows), _weight_tiles(geometry.columns)):
        warps_m, warps_n = 1 + (tile_m > 16), 1 + (tile_n > 16)
        macros = (
            *(("MATH", math_), ("FLAT", int(flat)), ("PADDED_INPUT", int(padded_input))),
            *geometry.macros(),
            *(("TILE_M", tile_m), ("TILE_N", tile_n), ("WARPS_M", warps_m), ("WARPS_N", warps_n)),
            *(("ROW_TAPS", row_taps), ("STRIP", strip), ("PIXELS", _PIXELS), ("STAGES", _STAGES)),
        )
        shared = _STAGES * (x_rows * (tile_m + 8) + _PIXELS * (tile_n + 8)) * size
        tiles = -(-rows // tile_m) * -(-geometry.columns // tile_n)
        kernel = Kernel("conv2d_weight.cu", "conv2d_weight", macros)
        yield Variant(kernel, shared, 0, warps_m * warps_n * 32, (tiles, tap_blocks))


def _weight_tiles(count):
    """Return the sizes of tiles for so many rows or columns: the one wanted, then smaller ones."""
    wanted = next(n for n in (16, 32, 64) if n >= count or n == 64)
    return [n for n in (64, 32, 16) if n <= wanted]


def _backward_weight_tensor(device, grad_output, x, geometry, math_, out, workspace):
    read, written = _as_rows(geometry, x.shape, grad_output.shape)
    variant = fitting(device, weight_variants(geometry, written[2], math_, padded_input=math_ != "TF32"))
    tiles, tap_blocks = variant.tile
    grad, operand = grad_output, x
    if math_ != "TF32":
        grad = pack_input(device, grad_output, geometry.columns, geometry.groups, math_, workspace)
        operand = pack_input(device, x, geometry.channels, geometry.groups, math_, workspace)
    strip = strip_of(written[2])
    strips = written[0] * written[1] * -(-written[2] // strip)
    steps = -(-strips // (_PIXELS // strip))
    splits, each = _splits(tiles * tap_blocks * geometry.groups, steps, _LEAST_STEPS)
    sums = workspace.empty((splits, out.size), np.float32)
    grid = (tiles, geometry.groups * tap_blocks, splits)
    arguments = (grad, operand, sums, np.int32(each), *geometry.numbers(read, written))
    device.launch(variant.kernel, grid, (variant.threads, 1, 1), arguments, shared_bytes=variant.shared_bytes)
    _sum_splits(device, sums, splits, grad_output, x, geometry, out)
