"""Batches from images in memory: each changed by numbers of its own."""

from __future__ import annotations

import numpy as np

from ..runtime.grids import THREADS, typed

_MOST_BLOCKS = 65535


def transform_images(device, images, indices, changes, *, mean, std, out):
    """Normalised batch of changed images."""
    if out.size:
        batch, height, width, channels = out.shape
        sizes = (np.int64(batch), *map(np.int32, (height, width, channels)))
        kernel = typed("transform.cu", "transform_each", out.dtype)
        arguments = (images, indices, changes, mean, std, out, *sizes)
        device.launch(kernel, (min(batch, _MOST_BLOCKS), 1, 1), (THREADS, 1, 1), arguments)
