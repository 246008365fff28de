"""Local response normalisation across channels and its gradient.

Backward, a window and 256 channels must fit into the shared memory of a block: windows of thousands of channels do not.
"""

from __future__ import annotations

import numpy as np

from ..runtime.grids import BLOCKS_PER_MULTIPROCESSOR, THREADS, typed

_QUARTERS = 8  # powers up to -2 are products of roots


def local_response_norm(device, x, *, size, alpha, beta, k, out):
    """Divide each element by a power of the squares around it."""
    _launch(device, "local_response_norm_rows", (x, out), size, (alpha, beta, k))


def local_response_norm_backward(device, grad_output, x, *, size, alpha, beta, k, out):
    """Gradient of `local_response_norm`."""
    _launch(device, "local_response_norm_gradient", (grad_output, x, out), size, (alpha, beta, k), shares=True)


def _launch(device, name, arrays, size, setting, *, shares=False):
    """Launch over pixels and channels; a window goes no further than the channels do."""
    out, (alpha, beta, k) = arrays[-1], setting
    if not out.size:
        return
    channels, kind = out.shape[-1], out.dtype.type
    rows = out.size // channels
    low, high = min(size // 2, channels - 1), min((size - 1) // 2, channels - 1)
    quarters = int(4 * beta) if 4 * beta == int(4 * beta) <= _QUARTERS else -1
    columns = min(THREADS, 1 << (channels - 1).bit_length())
    lines = THREADS // columns
    blocks = max(1, min(-(-rows // lines), BLOCKS_PER_MULTIPROCESSOR * device.multiprocessors))
    sizes = (np.int64(rows), *map(np.int32, (channels, low, high, quarters)))
    arguments = (*arrays, *sizes, kind(alpha / size), kind(k), np.float64(beta))
    grid, block = (blocks, -(-channels // columns), 1), (columns, lines, 1)
    shared = lines * (columns + low + high) * out.dtype.itemsize if shares else 0
    device.launch(typed("local_response.cu", name, out.dtype), grid, block, arguments, shared_bytes=shared)
