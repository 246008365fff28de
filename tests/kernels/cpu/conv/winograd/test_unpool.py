"""Gradients taken through a pooling in Winograd's transforms are those behind the pooling's own, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv.backends import get_backend
from fastconv.kernels.pointwise import RELU
from tests.backends.cases.conv import Conv, pad, prepared_weight
from tests.backends.cases.fused.parts import SQUARES

UNPOOLED = [
    Conv("round", 20, (14, 14), 32, 32, padding=pad(0, 0)),
    Conv("odd-maps", 16, (15, 13), 17, 33, padding=pad(0, 0)),
    Conv("cut-windows", 16, (11, 17), 40, 16, padding=pad(0, 0)),
    Conv("padded-by-2", 30, (9, 10), 16, 48, padding=pad(2, 2)),
    Conv("many-tiles", 40, (15, 15), 16, 64, padding=pad(0, 0)),
    Conv("rows-only", 60, (6, 20), 33, 65, padding=pad(0, 0)),
    Conv("same", 20, (15, 15), 32, 32),
    Conv("same-cut", 16, (7, 13), 17, 33),
    Conv("same-narrow", 30, (9, 11), 16, 16),
]


def _gradients(c: Conv, x: np.ndarray, weight: np.ndarray, rectified: bool) -> tuple[dict, dict, set[str]]:
    """Return what the operation gives, what its parts give, and the kernels of the former."""
    backend = get_backend()
    rng = np.random.default_rng(1)
    pooled = (c.y_shape[0], c.y_shape[1] // 2, c.y_shape[2] // 2, c.y_shape[3])
    grad = rng.standard_normal(pooled).astype(np.float32)
    argmax = rng.integers(0, 4, pooled).astype(np.uint8)
    prepared = prepared_weight(backend, weight, "backward_input", c, backend.pool)
    one = {"grad_weight": np.empty_like(weight), "grad_input": np.empty_like(x)}
    one["grad_bias"] = np.empty(c.c, np.float32) if rectified else None
    kernels: list[str] = []
    with backend.trace(kernels.append):
        backend.conv2d_max_pool2d_backward(
            *(grad, argmax, x, prepared),
            geometry=c.geometry,
            windows=SQUARES,
            precision="default",
            algorithm="shapes",
            **one,
            **({"activation": RELU, "saved": x} if rectified else {}),
            workspace=backend.pool,
        )
    whole = np.empty(c.y_shape, np.float32)
    backend.max_pool2d_backward(grad, argmax, windows=SQUARES, out=whole)
    more = {"workspace": backend.pool}
    parts = {name: None if array is None else np.empty_like(array) for name, array in one.items()}
    how = {"geometry": c.geometry, "precision": "default", "algorithm": "shapes"}
    backend.conv2d_backward_weight(whole, x, **how, **more, out=parts["grad_weight"])
    if rectified:
        arguments = {"activation": RELU, "saved": x, "out": parts["grad_input"], "grad_bias": parts["grad_bias"]}
        backend.conv2d_backward_input(whole, prepared, **more, **arguments)
    else:
        backend.conv2d_backward_input(whole, prepared, **more, out=parts["grad_input"])
    return one, parts, set(kernels)


_LATER = [pytest.param(c, marks=pytest.mark.slow) for c in UNPOOLED[1:]]  # each has kernels of its own to compile


@pytest.mark.parametrize("rectified", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["rectified", "plain"])
@pytest.mark.parametrize("c", [UNPOOLED[0], *_LATER], ids=lambda c: c.id)
def test_same_bits_as_the_parts(c: Conv, rectified: bool, rng: np.random.Generator) -> None:
    x = np.maximum(rng.standard_normal(c.x_shape), 0).astype(np.float32)
    weight = rng.standard_normal(c.w_shape).astype(np.float32)
    with fc.use_backend("numba"):
        one, parts, kernels = _gradients(c, x, weight, rectified)
    assert sum("unpool" in name for name in kernels) == 2
    assert not any("max_pool" in name for name in kernels)
    for name, array in parts.items():
        if array is not None:
            np.testing.assert_array_equal(one[name], array, err_msg=name)


@pytest.mark.slow
def test_infinite_gradients_stay_where_they_are(rng: np.random.Generator) -> None:
    """A window's gradient meets zero nowhere: cells that did not win are zero, whatever it is."""
    c = UNPOOLED[0]
    pooled = (20, 6, 6, 32)
    grad = rng.standard_normal(pooled).astype(np.float32)
    grad[0, 0, 0] = np.nan
    x = rng.standard_normal(c.x_shape).astype(np.float32)
    weight = rng.standard_normal(c.w_shape).astype(np.float32)
    with fc.use_backend("numba") as backend:
        prepared = prepared_weight(backend, weight, "backward_input", c, backend.pool)
        out = np.empty_like(x)
        backend.conv2d_max_pool2d_backward(
            *(grad, np.zeros(pooled, np.uint8), x, prepared),
            geometry=c.geometry,
            windows=SQUARES,
            precision="default",
            algorithm="shapes",
            **{"grad_weight": np.empty_like(weight), "grad_input": out},
            workspace=backend.pool,
        )
    assert np.isnan(out[0, :3, :3]).all()
    assert np.isfinite(out[0, 8:]).all()
    assert np.isfinite(out[1:]).all()
