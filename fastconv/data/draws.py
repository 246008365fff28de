"""Random numbers of augmentations: functions of the seed, the epoch and the place in it, the same on every backend."""

from __future__ import annotations

import math

import numpy as np

_IMAGES, _BATCH, _BETA, _DATASET = (
    0x696D61,
    0x626174,
    0x626574,
    0x646174,
)  # keep these numbers apart from others with the same seed


class Draws:
    """What a batch draws from.

    Raw output of Philox, a stream that NumPy promises for good (NEP 19), with a key for each kind of augmentation: so
    that what one draws does not depend on which others there are.

    Attributes
    ----------
    seed, epoch : int
    position : int
        Place of the batch's first image in the epoch.
    indices : (B,) int64 array
        Which images of the data set they are.
    kind : int
        Number of the augmentation that draws.
    """

    def __init__(self, seed: int, epoch: int, position: int, indices: np.ndarray, kind: int = 0) -> None:
        self.seed, self.epoch, self.position, self.indices, self.kind = seed, epoch, position, indices, kind

    def of(self, kind: int) -> Draws:
        """Return what another kind of augmentation draws from."""
        return Draws(self.seed, self.epoch, self.position, self.indices, kind)

    def uniform(self, count: int) -> np.ndarray:
        """Return `count` numbers for each image, (count, B) float64 in [0, 1)."""
        blocks = -(-count // 4)
        stream = self._stream(_IMAGES, self.position * blocks)
        words = stream.random_raw(len(self.indices) * blocks * 4).reshape(-1, blocks * 4)
        return _fractions(words[:, :count].T)

    def of_batch(self, count: int) -> np.ndarray:
        """Return `count` numbers for the batch, float64 in [0, 1)."""
        return _fractions(self._stream(_BATCH, self.position << 64).random_raw(count))

    def of_image(self) -> np.ndarray:
        """Return a number for each image, (B,) float64 in [0, 1), which is the same in every epoch.

        The finaliser of SplitMix64 on seed and index (Steele et al. 2014, https://doi.org/10.1145/2714064.2660195).
        """
        start = np.uint64((self.seed * 0x9E3779B97F4A7C15 + _DATASET) % 2**64)
        words = (self.indices.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + start
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            words = (words ^ (words >> np.uint64(shift))) * np.uint64(factor)
        return _fractions(words ^ (words >> np.uint64(31)))

    def beta(self, alpha: float) -> float:
        """Return a number of the batch with the distribution Beta(alpha, alpha)."""
        stream = self._stream(_BETA, self.position << 64)
        if alpha > 1:  # Ulrich 1984, https://doi.org/10.2307/2347441
            u, v = _fractions(stream.random_raw(2))
            return float((1 + math.sqrt(1 - u ** (2 / (2 * alpha - 1))) * math.cos(2 * math.pi * v)) / 2)
        while True:  # Jöhnk 1964, in logarithms
            logs = np.log1p(-_fractions(stream.random_raw(2))) / alpha
            total = np.logaddexp(*logs)
            if total <= 0:
                return float(np.exp(logs[0] - total))

    def _stream(self, purpose: int, counter: int) -> np.random.Philox:
        key = np.array([self.seed, purpose << 8 | self.kind], np.uint64)
        return np.random.Philox(key=key, counter=(self.epoch << 128) + counter)


def _fractions(words: np.ndarray) -> np.ndarray:
    fractions: np.ndarray = (words >> np.uint64(11)) * 2.0**-53
    return fractions
