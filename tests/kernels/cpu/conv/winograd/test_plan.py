"""Plans of Winograd convolutions: blocks of tiles that are as large as the cache lets them be, and enough of them."""

from __future__ import annotations

import pytest

pytest.importorskip("numba")
from fastconv.kernels.cpu.conv.winograd.plan import _PLANES_BYTES, _TASKS, winograd_plan
from fastconv.kernels.cpu.conv.winograd.transforms import SMALL, SQUARE
from fastconv.kernels.cpu.vector.tile import ROWS


@pytest.mark.parametrize("tile", [SQUARE, SMALL], ids=["square", "small"])
@pytest.mark.parametrize("channels", [3, 16, 32, 64, 100, 128, 250, 512, 1024])
def test_planes_of_a_block_fit_and_no_smaller_blocks_would_do(channels: int, tile: tuple[int, int]) -> None:
    """From one to four register tiles of rows; of one alone the planes may be larger."""
    plan = winograd_plan((512, 32, 32, channels), (512, 32, 32, 16), 1, 1, tile)
    assert not plan.shared
    row_bytes = plan.planes * plan.row_v * 4
    assert plan.block_tiles % ROWS == 0
    assert plan.block_tiles == ROWS or plan.block_tiles * row_bytes <= _PLANES_BYTES
    assert plan.block_tiles == 4 * ROWS or (plan.block_tiles + ROWS) * row_bytes > _PLANES_BYTES
    assert plan.blocks == -(-plan.tiles // plan.block_tiles) >= _TASKS
