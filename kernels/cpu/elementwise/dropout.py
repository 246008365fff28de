"""Dropout: the mask is computed, not stored; the gradient computes it again from the same key.

A task is a chunk of elements. As many Philox blocks as a vector of uint64 has lanes are computed at once, their words
put in the order of the elements, and the elements kept whose word reaches the threshold. Bound by the generator: about
100 vector instructions for 32 elements.

x and out are flat, (elements,); scratch is a row of words for each thread.
"""

import numpy as np

from ..runtime.launch import kernel, launch, thread_rows
from ..vector.memory import TASK_ELEMENTS, load, store
from ..vector.simd import address, itemsize, lanes, vload, vselect_reached, vsplat, vstore, vzip
from .philox import philox_vectors

_WORDS = 4  # of a Philox block


@kernel
def dropout_elements(begin, end, scratch, x, threshold, scale, seed, stream, steps, out):
    """One chunk a task."""
    dt, word_dt = x.dtype, scratch.dtype
    size = itemsize(dt)
    width, blocks = lanes(dt), lanes(word_dt)
    words = address(scratch)
    vector_bytes = blocks * itemsize(word_dt)
    for i in range(blocks):
        scratch[i] = i
    numbers = vload(words, word_dt)
    low, half = vsplat(np.uint64(0xFFFFFFFF), word_dt), vsplat(np.uint64(32), word_dt)
    key0, key1 = vsplat(seed & np.uint64(0xFFFFFFFF), word_dt), vsplat(seed >> np.uint64(32), word_dt)
    c2, c3 = vsplat(stream, word_dt), vsplat(np.uint64(steps[0]) & np.uint64(0xFFFFFFFF), word_dt)
    factor, zero = vsplat(scale, dt), vsplat(0, dt)
    stop = min(end * TASK_ELEMENTS, x.size)
    for first in range(begin * TASK_ELEMENTS, stop, _WORDS * blocks):
        block = vsplat(np.uint64(first // _WORDS), word_dt) + numbers
        w = philox_vectors(block & low, block >> half, c2, c3, key0, key1, word_dt)
        # Two words of a block in one lane each, then the lanes in turn: the order of the elements.
        pairs = vzip(w[0] | (w[1] << half), w[2] | (w[3] << half))
        vstore(words, pairs[0])
        vstore(words + vector_bytes, pairs[1])
        last = min(first + _WORDS * blocks, stop)
        for i in range(first, last, width):
            count = min(width, last - i)
            value = load(address(x) + i * size, count, dt) * factor
            kept = vselect_reached(words + 4 * (i - first), threshold, value, zero)
            store(address(out) + i * size, kept, count, dt)


def dropout(x, *, p, key, out):
    """Dropout, and its gradient."""
    scratch = thread_rows(512, np.uint64)
    threshold = int(p * 2**32)
    scale = x.dtype.type(1 / (1 - p) if p < 1 else 0)
    steps = key.step if isinstance(key.step, np.ndarray) else np.array([key.step], np.int64)
    place = (np.uint64(key.seed), np.uint64(key.stream), steps)
    tasks = -(-x.size // TASK_ELEMENTS)
    launch(dropout_elements, tasks, x.reshape(-1), threshold, scale, *place, out.reshape(-1), scratch=scratch)
