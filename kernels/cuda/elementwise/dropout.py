"""Dropout with a mask computed from Philox, forward and backward."""

from __future__ import annotations

import numpy as np

from ..runtime.grids import flat, typed


def dropout(device, x, *, p, key, out):
    """Dropout, and its gradient."""
    if x.size:
        grid, block = flat(device, x.size, np.float32)  # four elements a thread in either type
        threshold, scale = np.uint64(int(p * 2**32)), x.dtype.type(1 / (1 - p) if p < 1 else 0)
        step = (
            (np.uint32(key.step % 2**32), None) if isinstance(key.step, int | np.integer) else (np.uint32(0), key.step)
        )
        place = (np.uint64(key.seed), np.uint32(key.stream % 2**32), *step)
        arguments = (x, out, np.int64(x.size), threshold, scale, *place)
        device.launch(typed("dropout.cu", "dropout_elements", x.dtype), grid, block, arguments)
