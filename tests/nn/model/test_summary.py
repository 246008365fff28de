"""The summary of a model: shapes, parameters, multiplications, bytes."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError
from tests.nn.small import small


def test_summary():
    with fc.use_backend("numpy"):
        model = small()
    summary = model.summary()
    assert summary.parameters == model.parameters().count
    assert summary.macs == 36 * 5 * 27 + 9 * 7 * 45 + 9 * 3 * 7 + 10 * 4
    with fc.use_backend("numpy"):
        wide = small(np.float64).summary()
    assert wide.nbytes == 2 * summary.nbytes == sum(row.nbytes for row in wide.rows)
    conv = summary.rows[0]
    assert (conv.name, conv.kind, conv.output_shape, conv.nbytes) == ("0", "Conv2d", (6, 6, 5), 720)
    assert "6 x 6 x 5" in str(summary)
    assert "3.body.0" in str(summary)
    unbuilt = nn.Sequential(nn.Conv2d(5, 3), nn.Flatten(), nn.Dense(2))
    assert unbuilt.summary((6, 6, 3)).parameters == 140 + 80 * 2 + 2
    with pytest.raises(ArgumentError, match="not built"):
        unbuilt.parameters()
    with pytest.raises(ArgumentError, match="not built"):
        unbuilt.summary()


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (lambda: nn.Conv2d(8, 3, padding=1, groups=4), (6, 5, 8), 6 * 5 * 8 * 9 * 2),
        (lambda: nn.Conv2d(8, 3, padding=1, groups=8), (6, 5, 8), 6 * 5 * 8 * 9),
        (lambda: nn.Conv2d(16, (3, 1), groups=8), (6, 5, 8), 4 * 5 * 16 * 3),
        (lambda: nn.Conv2d(6, 3, stride=2, padding="same", groups=3), (7, 7, 9), 4 * 4 * 6 * 9 * 3),
        (lambda: nn.Conv2d(6, 3, dilation=2), (7, 6, 9), 3 * 2 * 6 * 9 * 9),
        (lambda: nn.Dense(7), (12,), 84),
        (nn.BatchNorm2d, (6, 5, 8), 0),
    ],
)
def test_multiplications_with_weights(layer, shape, macs):
    """Every output element takes one for each cell of the window and each input channel of its group."""
    made = layer()
    summary = nn.Sequential(made).summary(shape)
    assert summary.macs == summary.rows[0].macs == made.macs(shape) == macs
    with fc.use_backend("numpy"):
        made.build(shape)
    if macs:
        cells = np.prod(made.infer(shape)[:-1], dtype=int)
        assert macs == cells * made.weight.size


def test_sparsity_stands_in_the_table_where_weights_are_zero():
    with fc.use_backend("numpy"):
        model = nn.Sequential(nn.Conv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.Dense(2)).build((4, 4, 1), seed=0)
        assert "sparsity" not in str(model.summary())
        weight = np.array(model.layers[0].weight.data)
        weight[..., :3] = 0
        model.layers[0].weight.data = weight
        summary = model.summary()
        assert [(row.weights, row.zeros) for row in summary.rows] == [(36, 27), (0, 0), (0, 0), (32, 0)]
        assert (summary.rows[0].sparsity, summary.sparsity) == (0.75, 27 / 68)
        lines = [line.split() for line in str(summary).splitlines()]
        assert [line[-1] for line in lines if line[0] in ("layer", "0", "3", "total")] == [
            *("sparsity", "75.00%", "0.00%"),
            "39.71%",
        ]


def test_weights_of_a_layer_that_is_used_again_count_once():
    with fc.use_backend("numpy"):
        conv = nn.Conv2d(2, 3, padding=1)
        model = nn.Sequential(conv, conv).build((4, 4, 2), seed=0)
        conv.weight.data = np.zeros((3, 3, 2, 2))
        assert [(row.weights, row.zeros) for row in model.summary().rows] == [(36, 36), (0, 0)]
