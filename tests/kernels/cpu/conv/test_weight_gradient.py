"""Plans of the gradients of a weight: memory that stays within bounds, and work for two threads."""

from __future__ import annotations

import itertools

import pytest

pytest.importorskip("numba")
from fastconv.algorithm import algorithm
from fastconv.backends import use_backend
from fastconv.kernels.cpu.conv import conv2d
from fastconv.kernels.cpu.conv.weight_gradient import _BLOCK_PIXELS, _BLOCK_ROWS, _STRIP_BYTES, weight_plan
from fastconv.kernels.cpu.conv.winograd.transforms import PLANES
from fastconv.kernels.cpu.conv.winograd.weight_gradient.plan import _SUM_BYTES, winograd_weight_plan
from fastconv.kernels.geometry import DENSE_GEOMETRY, ConvGeometry
from tests.backends.cases.conv import CONVS, Conv, backward_weight
from tests.backends.op_case import PoisonedWorkspace, check

PADDED = [c for c in CONVS if any(map(any, c.padding)) and not (c.infinite or c.id.startswith("strict"))]


@pytest.mark.parametrize("dilation", [1, 15, 31])
def test_strip_of_spread_taps_stays_small(dilation: int) -> None:
    """An image's strip may be as large as the image; several are kept only while they are small."""
    grid = 63 - 2 * dilation
    shapes = (512, 63, 63, 64), (512, grid, grid, 32), (3, 3, 64, 32)
    plan = weight_plan(*shapes, ConvGeometry((3, 3), dilation=(dilation, dilation)), 4)
    one_image = (plan.block_rows + 2 * dilation) * (plan.block_cols + 2 * dilation) * plan.cell * 4
    assert plan.strip_elements * 4 <= max(_STRIP_BYTES, one_image)
    assert plan.block_images >= 1
    assert plan.blocks == -(-512 // plan.block_images) * plan.row_bands * plan.col_bands


@pytest.mark.parametrize(("side", "inputs"), [(3, 512), (3, 100), (5, 96), (1, 4096), (7, 3)])
def test_blocks_of_channels_are_as_large_as_sums_may_be(side: int, inputs: int) -> None:
    shapes = (8, 20, 20, inputs), (8, 21 - side, 21 - side, 32), (side, side, inputs, 32)
    plan = weight_plan(*shapes, ConvGeometry((side, side)), 4)
    taps, blocks = side * side, -(-inputs * side * side // _BLOCK_ROWS)
    assert plan.channel_blocks == -(-inputs // plan.block_channels)
    assert plan.block_channels == -(-inputs // blocks)
    assert (plan.block_channels - 1) * taps < _BLOCK_ROWS


def test_copied_pixels_fill_a_block_whatever_channels_there_are() -> None:
    """Half a block is for maps that are read where they lie, both, and share the L2 cache with the sums."""
    seen = set()
    for inputs, outputs in itertools.product((16, 64, 112), (31, 256, 512, 768, 1024, 2048)):
        shapes = (64, 62, 62, inputs), (64, 64, 64, outputs), (1, 1, inputs, outputs)
        plan = weight_plan(*shapes, ConvGeometry((1, 1), padding=((1, 1), (1, 1))), 4)
        assert not plan.in_place
        assert _BLOCK_PIXELS - 64 < plan.block_rows * plan.block_cols <= _BLOCK_PIXELS
        seen.add(plan.grad_in_place)
    assert seen == {0, 1}


@pytest.mark.parametrize(("size", "inputs", "outputs"), [(8, 256, 256), (13, 96, 208), (16, 128, 128), (32, 16, 16)])
def test_sums_are_within_bounds_and_shared_by_two(size: int, inputs: int, outputs: int) -> None:
    plan = winograd_weight_plan((128, size, size, inputs), (128, size, size, outputs), 1, 1)
    tasks = plan.parts * plan.in_blocks * plan.out_blocks
    assert tasks >= 2
    assert tasks % 2 == 0
    part_bytes = PLANES * plan.in_blocks * plan.rows * plan.padded_out * 4
    assert plan.parts <= 2 or plan.parts * part_bytes <= _SUM_BYTES


@pytest.mark.parametrize(
    ("pixels", "inputs", "outputs"), [(128, 256, 256), (128, 64, 512), (128, 64, 1872), (32768, 64, 256)]
)
def test_matrix_products_are_shared_by_two(pixels: int, inputs: int, outputs: int) -> None:
    """One block of output channels reads the input once, but only where the pixels alone give enough tasks."""
    shapes = (pixels, 1, 1, inputs), (pixels, 1, 1, outputs), (1, 1, inputs, outputs)
    plan = weight_plan(*shapes, DENSE_GEOMETRY, 4)
    assert plan.parts * plan.channel_blocks * plan.out_blocks >= 2
    assert plan.parts <= plan.blocks


@pytest.mark.parametrize("c", PADDED, ids=lambda c: c.id)
def test_finite_numbers_are_not_computed_anew(c: Conv, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not finite comes tap by tap: that would hide memory that was read unwritten, which is NaN here."""
    monkeypatch.setattr(conv2d.taps, "backward_weight", None)
    with use_backend("numba") as backend, algorithm("direct"):
        monkeypatch.setattr(backend, "pool", PoisonedWorkspace(backend))
        check(backward_weight(c), backend, "float32")
