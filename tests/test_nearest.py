"""The name that was meant, at the end of a message."""

from __future__ import annotations

import pytest

from fastconv._nearest import nearest


@pytest.mark.parametrize(
    ("value", "names", "likeness", "end"),
    [
        ("rely", ("relu", "elu"), 0.6, " (nearest: 'relu')"),
        ("xyz", ("relu", "elu"), 0.6, ""),
        ("xlz", ("relu", "elu"), 0.0, " (nearest: 'elu')"),
        ("conv2d", {"conv2d": "Conv2d", "dense": "Dense"}, 0.6, " (nearest: 'Conv2d')"),
        (7, ("relu",), 0.6, ""),
        ("relu", (), 0.0, ""),
    ],
)
def test_the_nearest_name_is_told_as_it_is_called(value, names, likeness, end):
    assert nearest(value, names, likeness) == end
