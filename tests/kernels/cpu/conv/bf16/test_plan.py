"""Plans of convolutions in bfloat16 on any CPU: each output pixel reads, through its tap, the pixel that it should."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")
from fastconv.kernels.cpu.conv.bf16.plan import bf16_runs, bf16_squares
from fastconv.kernels.cpu.conv.plan import conv_gathers, conv_output_shape
from fastconv.kernels.geometry import ConvGeometry

GEOMETRIES = {
    "3x3": ((2, 7, 5, 32), 64, ConvGeometry((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1)),
    "3x3 of few channels": ((3, 6, 6, 8), 16, ConvGeometry((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1)),
    "no padding": ((2, 9, 8, 16), 32, ConvGeometry((3, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 1)),
    "stride": ((2, 9, 11, 16), 32, ConvGeometry((3, 3), (2, 3), ((1, 1), (2, 0)), (1, 1), 1)),
    "dilation": ((1, 12, 9, 16), 32, ConvGeometry((3, 3), (1, 1), ((2, 2), (3, 1)), (2, 3), 1)),
    "groups": ((2, 6, 6, 64), 32, ConvGeometry((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 2)),
    "in bands": ((1, 64, 40, 128), 128, ConvGeometry((5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), 1)),
    "1x1": ((3, 4, 4, 512), 16, ConvGeometry((1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1)),
}


def _shapes(name):
    x_shape, outputs, geometry = GEOMETRIES[name]
    weight_shape = (*geometry.kernel_size, x_shape[3] // geometry.groups, outputs)
    return x_shape, weight_shape, conv_output_shape(x_shape, weight_shape, geometry), geometry


def _check_reads(plan, cells_of_taps, offsets):
    """Check what all output pixels of a block read; cells between the rows and images of its strip stand for zeros."""
    block = np.stack(np.meshgrid(*map(np.arange, (plan.block_images, plan.block_rows, plan.grid_w)), indexing="ij"), -1)
    image, row, col = block.reshape(-1, 3).T
    first = (image * plan.image_rows + row) * plan.pitch + col
    held = {}
    assert min(cells_of_taps) == 0
    for cell, (dh, dw) in zip(cells_of_taps, offsets, strict=True):
        h, w = row * plan.stride_h + dh, col * plan.stride_w + dw
        for place, n, y, x in zip((first + cell).tolist(), image.tolist(), h.tolist(), w.tolist(), strict=True):
            # Rows outside of the block may be those of another one: only columns are known to be outside.
            inside = 0 <= x < plan.in_w and (plan.bands > 1 or 0 <= y < plan.in_h)
            what = (n, y, x) if inside else "zero"
            assert held.setdefault(place, what) == what
    pixels = [what for what in held.values() if what != "zero"]
    assert len(set(pixels)) == len(pixels)
    return max(held)


@pytest.mark.parametrize("direction", ["forward", "backward_input"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_each_output_reads_its_pixels(name, direction):
    x_shape, weight_shape, _, geometry = _shapes(name)
    way = geometry.transposed() if direction == "backward_input" else geometry
    for gather in conv_gathers(direction, weight_shape, x_shape, way, 4):
        plan, runs, taps = bf16_runs(gather, transposed=direction == "backward_input")
        if not len(taps):
            continue
        offsets = {tuple(tap): offset for tap, offset in zip(gather.taps.tolist(), gather.offsets, strict=True)}
        cells = [place + i for place, count, _ in runs.tolist() for i in range(count)]
        last = _check_reads(plan, cells, [offsets[tuple(tap)] for tap in taps.tolist()])
        assert (last + 1) * plan.pixel * 2 <= plan.strip_bytes
        assert (np.diff(cells) > 0).all()
        assert plan.chunks == runs[:, 2].sum() == sum(-(-count * plan.group_in // 32) for _, count, _ in runs.tolist())


@pytest.mark.parametrize("name", GEOMETRIES)
def test_each_gradient_reads_its_pixels(name):
    x_shape, weight_shape, grad_shape, geometry = _shapes(name)
    plan, squares, cells = bf16_squares(x_shape, grad_shape, weight_shape, geometry)
    (gather,) = conv_gathers("forward", weight_shape, x_shape, geometry, 4)
    last = _check_reads(plan, cells.tolist(), gather.offsets)
    assert last < plan.line
    assert len(squares) % 2 == 0
    assert plan.taps == len(cells) == np.prod(weight_shape[:2])
