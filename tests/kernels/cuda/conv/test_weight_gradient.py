"""Into how many parts the gradient of a weight is summed."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv import functional as F
from fastconv.backends.emulator.dry import dry_backend
from fastconv.kernels.cuda.conv.weight_gradient import _LEAST_STEPS, _WEIGHT_BLOCKS, _splits


@pytest.mark.parametrize(("batch", "parts"), [(1, 1), (4, 1), (5, 2), (8, 2), (33, 9)])
def test_a_thread_of_a_depthwise_gradient_sums_256_pixels(batch, parts):
    launches = []
    with dry_backend() as backend, backend.device.listening(launches.append):
        x, grad = (backend.asarray(np.ones((batch, 8, 8, 16), np.float32)) for _ in range(2))
        F.conv2d_backward_weight(grad, x, weight_shape=(3, 3, 1, 16), padding=1, groups=16)
    by_name = {launch.kernel.name: launch for launch in launches}
    assert by_name["conv2d_depthwise_weight"].grid == (parts, 9, 1)
    assert len(by_name) == (1 if parts == 1 else 2)


def test_parts_share_all_steps_evenly():
    for blocks in (1, 3, 36, 200, 396, 1000):
        for steps in range(1, 600):
            splits, each = _splits(blocks, steps)
            assert (splits - 1) * each < steps <= splits * each
            assert splits == 1 or (splits * blocks <= _WEIGHT_BLOCKS and each >= _LEAST_STEPS)
