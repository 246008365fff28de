"""Plans of the direct convolution: blocks of whole register tiles, and what is read where it lies."""

from __future__ import annotations

import pytest

pytest.importorskip("numba")
from fastconv.kernels.cpu.gather import ROWS, Gather, flat, forward_gathers


def _forward(x: tuple[int, ...], kernel: int, outputs: int, *, stride: int = 1, pad: int = 0) -> Gather:
    out_h, out_w = ((n + 2 * pad - kernel) // stride + 1 for n in x[1:3])
    weight, padding = (kernel, kernel, x[3], outputs), ((pad, pad), (pad, pad))
    (gather,) = forward_gathers(x, weight, (x[0], out_h, out_w, outputs), (stride, stride), padding, (1, 1), 1, 4)
    return gather


@pytest.mark.parametrize(
    ("x", "outputs"), [((128, 16, 16, 256), 64), ((3, 7, 5, 40), 24), ((2048, 1, 1, 2048), 2048), ((128, 1, 1, 64), 10)]
)
def test_pixels_of_a_1x1_convolution_fill_register_tiles(x: tuple[int, ...], outputs: int) -> None:
    gather = _forward(x, 1, outputs)
    plan = flat(gather.plan, 4)
    pixels = x[0] * x[1] * x[2]
    assert (plan.batch, plan.in_h, plan.in_w, plan.out_h, plan.out_w) == (pixels, 1, 1, 1, 1)
    assert plan.block_images % ROWS == 0
    assert plan.block_images * (plan.blocks - 1) < pixels <= plan.block_images * plan.blocks
    assert plan.in_place or plan.block_images <= gather.plan.block_images * gather.plan.block_rows * x[2]


def test_other_convolutions_keep_their_maps() -> None:
    for gather in (_forward((2, 8, 8, 16), 3, 16), _forward((2, 8, 8, 16), 1, 16, stride=2)):
        assert flat(gather.plan, 4) is gather.plan
