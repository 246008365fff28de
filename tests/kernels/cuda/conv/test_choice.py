"""The variants of the tensor-core kernels that a shape is given, best first."""

from __future__ import annotations

import pytest

from fastconv.kernels.cuda.conv.choice import ProductGeometry, gather_variants, halo_table_bytes

SAME = ((1, 1), (1, 1))


@pytest.mark.parametrize(
    ("channels", "math", "flat", "row"),
    [
        (3, "TF32", 1, 128),  # 27 numbers of all taps, 108 bytes
        (3, "BF16", 1, 64),  # 54 bytes
        (64, "TF32", 0, 128),  # two rows a tap
        (24, "TF32", 0, 32),  # three rows of 32 bytes a tap, where one of 128 has a quarter empty
        (16, "TF32", 0, 64),
        (16, "BF16", 0, 32),
    ],
)
def test_rows_of_depth_leave_the_least_empty(channels: int, math: str, flat: int, row: int) -> None:
    """Of few channels depth runs over all taps, else over those of one."""
    geometry = ProductGeometry((3, 3), padding=SAME, channels=channels, columns=64)
    best = next(gather_variants(geometry, (8, 32, 32, 64), math, padded_input=False))
    macros = dict(best.kernel.defines)
    assert (macros["FLAT"], macros["ROW_BYTES"]) == (flat, row)


@pytest.mark.parametrize(("tile", "nbytes"), [((2, 4, 8), 1920), ((1, 8, 8), 1664)])
def test_table_of_cells_holds_the_margins_and_ends_on_a_boundary(tile: tuple[int, int, int], nbytes: int) -> None:
    """Sixteen bytes for each of 2 x 6 x 10 and 10 x 10 cells; 100 are rounded up to a multiple of 128 bytes."""
    assert halo_table_bytes(tile, (3, 3)) == nbytes
