"""How work is cut into blocks of threads; all functions depend on shapes only.

Two shapes of work cover the simple kernels: flat arrays (`flat`), and rows of channels (`rows_of_channels`), where a
thread keeps its channels and walks over rows.
"""

from __future__ import annotations

import math

import numpy as np

from .device import Kernel

THREADS = 256
BLOCKS_PER_MULTIPROCESSOR = 8  # of 256 threads: as many as a multiprocessor holds at once
_CTYPES = {"float32": "float", "float64": "double"}


def typed(source, name, dtype, *defines):
    """Return the variant of a kernel for arrays of a floating type.

    The macro is ELEMENT, which each source calls T: NVRTC's own headers have templates over T, and a macro spoils them.
    """
    return Kernel(source, name, (("ELEMENT", _CTYPES[np.dtype(dtype).name]), *defines))


def width(dtype):
    """Return how many elements sixteen bytes hold."""
    return 16 // np.dtype(dtype).itemsize


def flat(device, size, dtype):
    """Return grid and block for `size` elements."""
    blocks = math.ceil(size / (width(dtype) * THREADS))
    return (max(1, min(blocks, BLOCKS_PER_MULTIPROCESSOR * device.multiprocessors)), 1, 1), (THREADS, 1, 1)


def one_by_one(device, size):
    """Return grid and block for `size` elements that threads take one at a time."""
    blocks = min(-(-size // THREADS), BLOCKS_PER_MULTIPROCESSOR * device.multiprocessors)
    return (max(1, blocks), 1, 1), (THREADS, 1, 1)


def channel_block(channels, dtype):
    """Return the block's (columns, lines), powers of two: a column of threads keeps its channels."""
    columns = min(THREADS, 1 << (_vectors(channels, dtype) - 1).bit_length())
    return columns, THREADS // columns


def channel_chunks(channels, dtype):
    """Return how many blocks lie side by side over the channels."""
    return math.ceil(_vectors(channels, dtype) / channel_block(channels, dtype)[0])


def rows_of_channels(device, rows, channels, dtype):
    """Return grid and block for an array of `rows` x `channels`; blocks stride over the rows."""
    columns, lines = channel_block(channels, dtype)
    chunks = channel_chunks(channels, dtype)
    most = max(1, BLOCKS_PER_MULTIPROCESSOR * device.multiprocessors // chunks)
    return (max(1, min(math.ceil(rows / lines), most)), chunks, 1), (columns, lines, 1)


def launch_over_rows(device, kernel, arrays, shape, *numbers):
    """Launch ``kernel(*arrays, rows, *numbers)`` over the rows of channels of an array of this shape, if it has any."""
    if math.prod(shape):
        rows, dtype = math.prod(shape[:-1]), arrays[0].dtype
        grid, block = rows_of_channels(device, rows, shape[-1], dtype)
        device.launch(kernel, grid, block, (*arrays, np.int64(rows), *map(np.int32, numbers)))


def _vectors(channels, dtype):
    """Vectors of a row where they divide it, else its elements."""
    return channels // width(dtype) if channels % width(dtype) == 0 else channels
