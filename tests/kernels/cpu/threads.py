"""What convolutions in the active precision give with different numbers of threads."""

from __future__ import annotations

import numpy as np

from fastconv import functional as F
from fastconv.kernels.cpu.runtime import launch


def bits_by_threads(shape: tuple[int, ...], rng: np.random.Generator) -> list[list[bytes]]:
    """Return the results of the three passes of a 3x3 convolution, (N, H, W, C, K), with 1, 2 and 4 threads."""
    n, h, w, c, k = shape
    x, weight = rng.standard_normal((n, h, w, c), np.float32), rng.standard_normal((3, 3, c, k), np.float32)
    grad = rng.standard_normal((n, h, w, k), np.float32)
    before, results = launch.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            launch.set_num_threads(threads)
            found = (
                F.conv2d(x, weight, padding=1),
                F.conv2d_backward_input(grad, weight, input_shape=x.shape, padding=1),
                F.conv2d_backward_weight(grad, x, weight_shape=weight.shape, padding=1),
            )
            results.append([a.tobytes() for a in found])
    finally:
        launch.set_num_threads(before)
    return results
