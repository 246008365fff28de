"""Batches from images in memory: gather, shift, mirror, normalise."""

from __future__ import annotations

import numpy as np

from ..runtime.grids import typed

_BLOCK = (32, 8, 1)
_MOST_BLOCKS = 65535


def augment(device, images, indices, *, mean, std, flip, pad, key, out):
    """Normalised batch of shifted and mirrored images."""
    if out.size:
        batch, height, width, channels = out.shape
        sizes = (np.int64(batch), *map(np.int32, (height, width, channels, flip, pad)))
        place = (np.uint64(key.seed), np.uint32(key.stream % 2**32), np.uint32(key.step % 2**32))
        arguments = (images, indices, mean, std, out, *sizes, *place)
        kernel = typed("augment.cu", "augment_images", out.dtype)
        device.launch(kernel, (min(batch, _MOST_BLOCKS), 1, 1), _BLOCK, arguments)
