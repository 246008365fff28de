"""Mean and deviation of images, exactly and piece by piece."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fastconv.errors import FastconvError

_PIECE = 2**26  # values at once


def check_units(mean: Sequence[float], std: Sequence[float], error: type[FastconvError]) -> None:
    """Raise an error where mean or std of uint8 images are in units of their bytes, or of what pixels cannot be."""
    for name, numbers in (("mean", mean), ("std", std)):
        if not all(0 <= number <= 1 for number in numbers):
            raise error(
                f"{name}: got {tuple(numbers)}; allowed: numbers from 0 to 1, units of the full range (of values from 0"
                " to 255, divide by 255)"
            )


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of uint8 images (M, H, W, C), per channel, in units of the full range 1.0.

    They come from counts of the 256 values, so no rounding adds up. A channel of one value has the deviation 1; without
    images the mean is 0.
    """
    channels = images.shape[3]
    counts = np.zeros((channels, 256), np.int64)
    step = max(1, _PIECE // max(1, math.prod(images.shape[1:])))
    for begin in range(0, len(images), step):
        piece = np.asarray(images[begin : begin + step])
        for channel in range(channels):
            counts[channel] += np.bincount(piece[..., channel].ravel(), minlength=256)
    levels = np.arange(256) / 255
    total = max(1, int(counts.sum() // max(1, channels)))
    mean = counts @ levels / total
    variance = (counts * (levels - mean[:, None]) ** 2).sum(1) / total
    one_value = (counts > 0).sum(1) <= 1
    return tuple(mean.tolist()), tuple(np.where(one_value, 1.0, np.sqrt(variance)).tolist())
