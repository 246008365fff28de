"""Batches from images in memory: gather, random shift and mirror, normalise; one task an image.

Cost: one byte read and one float written an element; a scalar loop over rows, since the image is small and the order
may reverse.

images are (examples, height, width, channels), indices (batch,), out (batch, height, width, channels).
"""

import numpy as np

from ..runtime.launch import kernel, launch
from .philox import philox_block


@kernel
def augment_images(begin, end, images, indices, mean, factor, flip, pad, seed, stream, step, out):
    """One image a task."""
    _, height, width, channels = images.shape
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    places = np.uint64(2 * pad + 1)
    for b in range(begin, end):
        words = philox_block(np.uint64(b), np.uint64(0), stream, step, seed & low, seed >> half)
        mirrored = flip and (words[0] & np.uint64(1)) == np.uint64(1)
        dy = np.int64((words[1] * places) >> half) - pad
        dx = np.int64((words[2] * places) >> half) - pad
        image = indices[b]
        for h in range(height):
            row = h + dy
            for w in range(width):
                column = (width - 1 - w if mirrored else w) + dx
                inside = 0 <= row < height and 0 <= column < width
                for c in range(channels):
                    value = images[image, row, column, c] if inside else np.uint8(0)
                    out[b, h, w, c] = (value - mean[c]) * factor[c]


def augment(images, indices, *, mean, std, flip, pad, key, out):
    """Normalised batch of shifted and mirrored images."""
    factor = 1 / (255 * std.astype(np.float64))
    place = (np.uint64(key.seed), np.uint64(key.stream), np.uint64(key.step))
    arguments = (images, indices, 255 * mean.astype(np.float64), factor, bool(flip), int(pad), *place, out)
    launch(augment_images, len(indices), *arguments)
