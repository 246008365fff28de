"""Branches that are joined have what their layers said: kernels would read past the end of what is smaller."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ShapeError


class Short(nn.Layer):
    """Says that it keeps the shape, and returns two rows, forward or backward."""

    def __init__(self, where):
        self.where = where

    def forward(self, x, *, training):
        return (x[:2].copy() if self.where == "forward" else x), None

    def backward(self, grad_output, context, *, needs_input_grad=True):
        return grad_output[:2].copy() if self.where == "backward" else grad_output


MODELS = {
    "sum": lambda layer: nn.Parallel(layer, nn.Conv2d(3, 1), mode="sum"),
    "concatenate": lambda layer: nn.Parallel(nn.Conv2d(3, 1), layer, mode="concatenate"),
    "residual": nn.Residual,
    "fused": lambda layer: nn.Sequential(
        nn.Residual(nn.Sequential(nn.Conv2d(3, 1, bias=False), nn.BatchNorm2d()), layer), nn.ReLU()
    ),
    "graph": lambda layer: nn.Graph(
        {"own": (layer, "input"), "conv": (nn.Conv2d(3, 1), "input"), "both": ("sum", "own", "conv")}, "both"
    ),
}


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_what_is_joined_has_one_shape(kind, where, backend):
    with fc.use_backend(backend):
        model = MODELS[kind](Short(where)).build((4, 4, 3), seed=0)
        with pytest.raises(ShapeError, match=r"branches: got \(.*\) and \(.*\) to join; allowed: the same from each"):
            _run(model)


def _run(model):
    y, context = model.forward(np.ones((5, 4, 4, 3), np.float32), training=True)
    model.backward(np.ones_like(y), context)
