"""Reference of the random operations."""

from __future__ import annotations

import numpy as np

from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array, RandomKey

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox4x32(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Philox4x32-10: four random 32-bit words for each counter.

    Parameters
    ----------
    counter : (..., 4) uint64 array of 32-bit words, the lowest first
    key : two 32-bit words, the lower first

    Returns
    -------
    (..., 4) uint64 array of 32-bit words
    """
    c0, c1, c2, c3 = np.moveaxis(counter.astype(np.uint64), -1, 0)
    k0, k1 = key
    for _ in range(10):
        product0, product1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0 = (product1 >> _HALF) ^ c1 ^ np.uint64(k0)
        c2 = (product0 >> _HALF) ^ c3 ^ np.uint64(k1)
        c1, c3 = product1 & _LOW, product0 & _LOW
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return np.stack([c0, c1, c2, c3], axis=-1)


def random_words(blocks: int, key: RandomKey) -> np.ndarray:
    """Return the (blocks, 4) words of the Philox blocks 0, 1, ... under `key`."""
    counter = np.empty((blocks, 4), np.uint64)
    index = np.arange(blocks, dtype=np.uint64)
    counter[:, 0], counter[:, 1] = index & _LOW, index >> _HALF
    counter[:, 2], counter[:, 3] = key.stream % 2**32, key.step % 2**32
    return philox4x32(counter, (key.seed % 2**32, key.seed // 2**32 % 2**32))


class NumpyTraining(Backend):
    """Random operations."""

    @np.errstate(all="ignore")
    def dropout(self, x: Array, *, p: float, key: RandomKey, out: Array) -> None:
        words = random_words(-(-x.size // 4), key).reshape(-1)[: x.size].reshape(x.shape)
        kept = words >= np.uint64(int(p * 2**32))
        out[...] = np.where(kept, x * x.dtype.type(1 / (1 - p)), 0)

    def augment(
        self,
        images: Array,
        indices: Array,
        *,
        mean: Array,
        std: Array,
        flip: bool,
        pad: int,
        key: RandomKey,
        out: Array,
    ) -> None:
        height, width = images.shape[1:3]
        words = random_words(len(indices), key)
        span = np.uint64(2 * pad + 1)
        for b, (index, (word0, word1, word2, _)) in enumerate(zip(indices, words, strict=True)):
            dy, dx = int(word1 * span >> _HALF), int(word2 * span >> _HALF)
            canvas = np.zeros((height + 2 * pad, width + 2 * pad, images.shape[3]), out.dtype)
            canvas[pad : pad + height, pad : pad + width] = images[index]
            crop = canvas[dy : dy + height, dx : dx + width]
            if flip and word0 & np.uint64(1):
                crop = crop[:, ::-1]
            out[b] = (crop / 255 - mean) / std
