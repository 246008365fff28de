"""Convolutions with any activation behind or before them: ragged maps against float64, in a rectifier's passes."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv.backends import get_backend
from fastconv.kernels.epilogue import Epilogue
from fastconv.kernels.geometry import ConvGeometry, PoolWindows
from fastconv.kernels.pointwise import POINTWISE

GELU = POINTWISE["gelu"]()
OTHERS = [POINTWISE[name](*values) for name, values in (("silu", ()), ("leaky_relu", (0.2,)), ("sigmoid", ()))]
SQUARES = PoolWindows((2, 2), (2, 2))
# Input, output channels, kernel size: whole and ragged vectors, tiles and blocks; 16 and less are the narrow kernels.
SHAPES = [((3, 9, 11, 20), 40, 3), ((2, 8, 8, 16), 16, 3), ((2, 16, 32, 32), 32, 3), ((3, 9, 11, 20), 19, 5)]


class _Conv:
    """One convolution on one backend, with the kernels that it takes."""

    def __init__(self, backend, dtype, shape, outputs, size, precision, algorithm):
        rng, pad = np.random.default_rng(0), size // 2
        self.draw = lambda *shape: rng.standard_normal(shape).astype(dtype)
        self.backend, self.dtype, self.names = backend, dtype, []
        self.x, self.bias, self.weight = self.draw(*shape), self.draw(outputs), self.draw(size, size, shape[3], outputs)
        self.out_shape = (*shape[:3], outputs)
        geometry = ConvGeometry((size, size), padding=((pad, pad), (pad, pad)))
        how = {"input_shape": shape, "precision": precision, "algorithm": algorithm, "workspace": backend.pool}
        self.forward, self.back = (
            backend.prepare_conv2d_weight(self.weight, geometry=way, **how) for way in (geometry, geometry.transposed())
        )

    def behind(self, activation, adds, keeps):
        """Return what comes out, and what was before the activation."""
        y, before = (np.empty(self.out_shape, self.dtype) for _ in range(2))
        addend = self.draw(*self.out_shape) if adds else None
        more = {"addend": addend, "out": y, "before": before if keeps else None, "workspace": self.backend.pool}
        with self.backend.trace(self.names.append):
            self.backend.conv2d(self.x, self.forward, self.bias, Epilogue(adds, activation), **more)
        return (y, before) if keeps else (y,)

    def pooled(self, activation):
        """Return what comes out of a pooling behind the activation."""
        batch, height, width, channels = self.out_shape
        y = np.empty((batch, height // 2, width // 2, channels), self.dtype)
        more = {"out": y, "argmax": np.empty(y.shape, np.uint8), "workspace": self.backend.pool}
        with self.backend.trace(self.names.append):
            self.backend.conv2d(self.x, self.forward, self.bias, Epilogue(False, activation, SQUARES), **more)
        return (y,)

    def through(self, activation):
        """Return gradients behind the activation that made the input, and of its bias."""
        out, grad_bias = np.empty(self.x.shape, self.dtype), np.empty(self.x.shape[3], self.dtype)
        more = {"activation": activation, "saved": self.x, "grad_bias": grad_bias, "workspace": self.backend.pool}
        with self.backend.trace(self.names.append):
            self.backend.conv2d_backward_input(self.draw(*self.out_shape), self.back, out=out, **more)
        return out, grad_bias

    def through_norm(self, activation, adds):
        """Return gradients behind an activated normalisation that made the input."""
        channels = self.x.shape[3]
        out, grad_gamma, grad_beta = (np.empty(size, self.dtype) for size in (self.x.shape, channels, channels))
        gamma, beta, mean, var = self.draw(channels), self.draw(channels), self.x.mean((0, 1, 2)), self.x.var((0, 1, 2))
        addend, grad = self.draw(*self.x.shape), self.draw(*self.out_shape)
        saved = self.x if activation.function.needs == "y" else None
        more = {"beta": beta, "saved": saved, "norm_addend": addend if adds else None, "eps": 1e-5, "out": out}
        sums = {"grad_gamma": grad_gamma, "grad_beta": grad_beta, "workspace": self.backend.pool}
        norm = self.x, gamma, mean, var, Epilogue(adds, activation)
        with self.backend.trace(self.names.append):
            self.backend.conv2d_backward_input_norm(grad, self.back, *norm, **more, **sums)
        return out, grad_gamma, grad_beta


def _compare(name, arguments, shape, most, *, dtype=np.float32, precision="default", algorithm="auto"):
    """Assert that a method of `_Conv` gives what NumPy does in float64; return the kernels it took."""
    ours = _Conv(get_backend("numba"), dtype, *shape, precision, algorithm)
    reference = _Conv(get_backend("numpy"), np.float64, *shape, "strict", "auto")
    for a, b in zip(getattr(ours, name)(*arguments), getattr(reference, name)(*arguments), strict=True):
        assert np.abs(a - b).max() <= most * np.abs(b).max()
    return ours.names


def _is_alone(names, activation):
    return {f"{activation.name}_forward", f"{activation.name}_gradient"} & set(names)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("adds", [False, True])
def test_direct(adds, keeps, dtype) -> None:
    most = 2e-6 if dtype == np.float32 else 1e-13
    names = _compare("behind", (GELU, adds, keeps), SHAPES[0], most, dtype=dtype, precision="strict")
    assert "conv2d_direct" in names
    assert not _is_alone(names, GELU)


@pytest.mark.slow
def test_parameters_are_told_at_run_time() -> None:
    for slope in (0.1, 0.3):
        activation = POINTWISE["leaky_relu"](slope)
        _compare("behind", (activation, False, False), SHAPES[0], 2e-6, precision="strict")


@pytest.mark.slow
@pytest.mark.parametrize("activation", [GELU, *OTHERS], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_winograd(shape, activation) -> None:
    for adds, keeps in ((False, False), (True, activation.function.needs == "x")):
        names = _compare("behind", (activation, adds, keeps), shape, 1e-4, algorithm="winograd")
        assert not _is_alone(names, activation)
    if shape[2] == 3:
        _compare("pooled", (activation,), shape, 1e-4, algorithm="winograd")
    _compare("through", (activation,), shape, 1e-4, algorithm="winograd")
    for adds in (False, True):
        _compare("through_norm", (activation, adds), shape, 1e-4, algorithm="winograd")


@pytest.mark.slow
def test_winograd_takes_one_pass() -> None:
    shape, how = ((8, 16, 32, 32), 32, 3), {"algorithm": "winograd"}  # tiles for tasks of their own, with any vectors
    for name, arguments in (("pooled", (GELU,)), ("through", (GELU,)), ("through_norm", (GELU, False))):
        names = _compare(name, arguments, shape, 1e-4, **how)
        assert len([kernel for kernel in names if kernel.startswith("conv2d_winograd")]) == 1
        assert not _is_alone(names, GELU)
        assert "max_pool2d_rows" not in names
