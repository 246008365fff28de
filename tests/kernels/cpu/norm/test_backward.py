"""A normalisation with any activation behind it: ragged maps against float64, in the passes that a rectifier takes."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv.backends import get_backend
from fastconv.kernels.epilogue import Epilogue
from fastconv.kernels.geometry import PoolWindows
from fastconv.kernels.pointwise import POINTWISE

SQUARES, OTHERS = PoolWindows((2, 2), (2, 2)), PoolWindows((3, 3), (2, 2), ((1, 1), (1, 1)))
ACTIVATIONS = [
    POINTWISE["gelu"](),
    *(
        pytest.param(POINTWISE[name](*values), marks=pytest.mark.slow)
        for name, values in (("silu", ()), ("leaky_relu", (0.2,)), ("tanh", ()), ("softplus", (2.0, 3.0)))
    ),
]


def _run(backend, dtype, activation, adds, windows):
    """Return results of forward and backward, and the names of the kernels."""
    rng, pool, names = np.random.default_rng(0), backend.pool, []
    x, shortcut = (rng.standard_normal((3, 9, 7, 19)).astype(dtype) for _ in range(2))
    gamma, beta = rng.standard_normal((2, 19)).astype(dtype)
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    epilogue = Epilogue(adds, activation, windows)
    addend = shortcut if adds else None
    shape = x.shape if windows is None else (3, *windows.output_size(9, 7), 19)
    y, argmax, grad = np.empty(shape, dtype), np.empty(shape, np.uint8), rng.standard_normal(shape).astype(dtype)
    grads = [np.empty(size, dtype) for size in (x.shape, 19, 19, x.shape)]
    norm = x, gamma, beta, mean, var
    pooled = None if windows is None else argmax
    with backend.trace(names.append):
        backend.normalise(*norm, epilogue, addend=addend, eps=1e-5, out=y, argmax=pooled, workspace=pool)
        backend.batch_norm_backward(
            *(grad, x, gamma, mean, var, epilogue),
            **dict(zip(("grad_input", "grad_gamma", "grad_beta", "grad_addend"), grads, strict=True))
            | ({} if adds else {"grad_addend": None}),
            **{"beta": beta, "addend": addend, "saved": y if activation.function.needs == "y" else None},
            **{"argmax": pooled, "eps": 1e-5, "workspace": pool},
        )
    return (y, *grads[: 4 if adds else 3]), names


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("adds", "windows"),
    [(False, None), (True, None), *(pytest.param(False, each, marks=pytest.mark.slow) for each in (SQUARES, OTHERS))],
)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_any_activation(activation, adds, windows, dtype) -> None:
    want, _ = _run(get_backend("numpy"), np.float64, activation, adds, windows)
    got, names = _run(get_backend("numba"), dtype, activation, adds, windows)
    most = 2e-5 if dtype == np.float32 else 1e-12
    for a, b in zip(got, want, strict=True):
        assert np.abs(a - b).max() <= most * np.abs(b).max()
    alone = {f"{activation.name}_{way}" for way in ("forward", "gradient")}
    if windows is not OTHERS:
        assert alone.isdisjoint(names), names
