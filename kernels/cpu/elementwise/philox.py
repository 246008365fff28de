"""Philox4x32-10, the counter-based random generator (Salmon et al., SC 2011, https://doi.org/10.1145/2063384.2063405).

A block of four 32-bit words is a function of a 128-bit counter and a 64-bit key, so any number can be had at once, on
any thread.
"""

import numpy as np

from ..runtime.launch import device
from ..vector.simd import vsplat

_MULTIPLIER0, _MULTIPLIER1 = 0xD2511F53, 0xCD9E8D57
_WEYL0, _WEYL1 = 0x9E3779B9, 0xBB67AE85
_LOW = 0xFFFFFFFF
ROUNDS = 10


@device
def philox_block(c0, c1, c2, c3, key0, key1):
    """Return the four words of one block; all arguments are uint64 below 2**32."""
    low = np.uint64(_LOW)
    half = np.uint64(32)
    for _ in range(ROUNDS):
        product0, product1 = np.uint64(_MULTIPLIER0) * c0, np.uint64(_MULTIPLIER1) * c2
        c0, c1, c2, c3 = (product1 >> half) ^ c1 ^ key0, product1 & low, (product0 >> half) ^ c3 ^ key1, product0 & low
        key0, key1 = (key0 + np.uint64(_WEYL0)) & low, (key1 + np.uint64(_WEYL1)) & low
    return c0, c1, c2, c3


@device
def philox_vectors(c0, c1, c2, c3, key0, key1, dt):
    """Return the four words of as many blocks as a vector of uint64 has lanes; every lane is below 2**32."""
    low, half = vsplat(np.uint64(_LOW), dt), vsplat(np.uint64(32), dt)
    multiplier0, multiplier1 = vsplat(np.uint64(_MULTIPLIER0), dt), vsplat(np.uint64(_MULTIPLIER1), dt)
    weyl0, weyl1 = vsplat(np.uint64(_WEYL0), dt), vsplat(np.uint64(_WEYL1), dt)
    for _ in range(ROUNDS):
        # The masks tell LLVM that a 32 x 32 bit multiplication will do.
        product0, product1 = multiplier0 * (c0 & low), multiplier1 * (c2 & low)
        c0, c1, c2, c3 = (product1 >> half) ^ c1 ^ key0, product1 & low, (product0 >> half) ^ c3 ^ key1, product0 & low
        key0, key1 = (key0 + weyl0) & low, (key1 + weyl1) & low
    return c0, c1, c2, c3
