"""Rows in parts."""

from __future__ import annotations

import pytest

from fastconv.data.rows import bounds


@pytest.mark.parametrize(
    ("rows", "parts"), [(0, 8), (1, 8), (7, 8), (8, 8), (9, 8), (64, 8), (100, 8), (1, 1), (10, 4), (3, 3), (128, 3)]
)
def test_parts_cover_the_rows_and_differ_by_one(rows, parts):
    cuts = bounds(rows, parts)
    assert len(cuts) == parts
    assert [begin for begin, _ in cuts] == [0, *(end for _, end in cuts[:-1])]
    assert cuts[-1][1] == rows
    sizes = [end - begin for begin, end in cuts]
    assert max(sizes) - min(sizes) <= 1
