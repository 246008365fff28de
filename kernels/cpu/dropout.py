"""Dropout: the mask is computed, not stored; the gradient computes it again from the same key.

A task is a chunk of elements. As many Philox blocks as a vector of uint64 has lanes are computed at once, their words put in the
order of the elements, and the elements kept whose word reaches the threshold. Bound by the generator: about 100 vector
instructions for 32 elements.
"""

import numpy as np

from .elementwise import CHUNK
from .launch import get_num_threads, kernel, launch
from .philox import philox_vectors
from .simd import address, itemsize, lanes, vload, vsplat, vstore

_WORDS = 4  # of a Philox block


@kernel
def dropout_elements(begin, end, scratch, x, threshold, scale, seed, stream, step, out):
    words = scratch[:64]
    dt = words.dtype
    width = lanes(dt)
    vector_bytes = width * itemsize(dt)
    for i in range(width):
        words[i] = i
    numbers = vload(address(words), dt)
    low = np.uint64(0xFFFFFFFF)
    key0, key1 = vsplat(seed & low, dt), vsplat(seed >> np.uint64(32), dt)
    c2, c3 = vsplat(stream, dt), vsplat(step, dt)
    stop = min(end * CHUNK, x.size)
    for i in range(begin * CHUNK, stop, _WORDS * width):
        block = vsplat(np.uint64(i // _WORDS), dt) + numbers
        w = philox_vectors(
            block & vsplat(low, dt), block >> vsplat(np.uint64(32), dt), c2, c3, key0, key1, dt
        )
        vstore(address(words), w[0])
        vstore(address(words) + vector_bytes, w[1])
        vstore(address(words) + 2 * vector_bytes, w[2])
        vstore(address(words) + 3 * vector_bytes, w[3])
        for b in range(min(width, (stop - i + _WORDS - 1) // _WORDS)):
            for j in range(min(_WORDS, stop - i - _WORDS * b)):
                kept = words[j * width + b] >= threshold
                element = i + _WORDS * b + j
                out[element] = x[element] * scale if kept else x.dtype.type(0)


def dropout(x, *, p, key, out):
    """Dropout, and its gradient."""
    scratch = np.empty((get_num_threads(), 64), np.uint64)
    threshold = np.uint64(int(p * 2**32))
    scale = x.dtype.type(1 / (1 - p) if p < 1 else 0)
    place = (np.uint64(key.seed), np.uint64(key.stream), np.uint64(key.step))
    tasks = -(-x.size // CHUNK)
    launch(dropout_elements, tasks, x.reshape(-1), threshold, scale, *place, out.reshape(-1), scratch=scratch)
