"""Results that no kernel could write as they are asked for: one error that names them, and nothing written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastconv.backends import use_backend
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.checking import CHECKS
from fastconv.backends.contract.fused import FusedOperations
from fastconv.backends.contract.normalisation import Normalisations
from fastconv.errors import ArgumentError, DTypeError
from fastconv.kernels.epilogue import NO_EPILOGUE, Epilogue
from fastconv.kernels.geometry import ConvGeometry, PoolWindows
from fastconv.kernels.pointwise import POINTWISE, RELU, Activation
from tests.backends.emulator.emulated import emulator_or_skip
from tests.conftest import CPU_BACKENDS

SHAPE, SMALLER = (1, 4, 4, 16), (1, 2, 2, 16)
WINDOWS = PoolWindows((2, 2), (2, 2))
GELU = POINTWISE["gelu"]()
STORED, OTHER = np.uint16, np.float64


@pytest.fixture(params=[*CPU_BACKENDS, pytest.param("cuda-emulator", marks=pytest.mark.emulator)])
def backend(request: pytest.FixtureRequest) -> Any:
    """Each in turn."""
    if request.param == "cuda-emulator":
        yield emulator_or_skip()
    else:
        with use_backend(request.param) as active:
            yield active


class _Conv:
    """A convolution with 3x3 taps, of which only results are given."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.written = backend, []

    def array(self, shape: tuple[int, ...] = SHAPE, dtype: Any = np.float32) -> Any:
        array = self.backend.asarray(np.ones(shape, dtype))
        self.written.append(array)
        return array

    def weight(self, geometry: ConvGeometry) -> Any:
        how: Any = {"input_shape": SHAPE, "precision": "default", "algorithm": "winograd"}
        weight, pool = self.array((3, 3, 16, 16)), self.backend.pool
        return self.backend.prepare_conv2d_weight(weight, geometry=geometry, **how, workspace=pool)

    def forward(self, epilogue: Epilogue, **results: Any) -> None:
        weight = self.weight(GEOMETRY)
        self.backend.conv2d(self.array(), weight, None, epilogue, **results, workspace=self.backend.pool)

    def is_unchanged(self) -> bool:
        return all((self.backend.to_numpy(array) == 1).all() for array in self.written)


GEOMETRY = ConvGeometry((3, 3), padding=((1, 1), (1, 1)))


@pytest.mark.parametrize("dtype", [STORED, OTHER])
@pytest.mark.parametrize("activation", [None, RELU, GELU], ids=str)
def test_what_is_pooled_is_of_the_type_of_the_weight(
    dtype: Any, activation: Activation | None, backend: Backend
) -> None:
    conv = _Conv(backend)
    results = {"out": conv.array(SMALLER, dtype), "argmax": conv.array(SMALLER, np.uint8)}
    message = rf"out: got {np.dtype(dtype)}; allowed: float32, that of the weight, in front of a pooling"
    with pytest.raises(DTypeError, match=message):
        conv.forward(Epilogue(False, activation, WINDOWS), **results)
    assert conv.is_unchanged()


@pytest.mark.parametrize(("out", "before"), [(np.float32, STORED), (STORED, np.float32), (np.float32, OTHER)])
@pytest.mark.parametrize("adds", [False, True])
def test_what_comes_before_is_of_the_type_of_the_result(out: Any, before: Any, adds: bool, backend: Backend) -> None:
    conv = _Conv(backend)
    results = {"out": conv.array(dtype=out), "before": conv.array(dtype=before)}
    results |= {"addend": conv.array()} if adds else {}
    with pytest.raises(DTypeError, match=rf"before: got {np.dtype(before)}; allowed: {np.dtype(out)}, that of out"):
        conv.forward(Epilogue(adds, GELU), **results)
    assert conv.is_unchanged()


@pytest.mark.parametrize("windows", [None, WINDOWS], ids=["", "pooled"])
@pytest.mark.parametrize("activation", [None, RELU, POINTWISE["tanh"]()], ids=str)
def test_nothing_is_kept_that_no_gradient_needs(
    activation: Activation | None, windows: PoolWindows | None, backend: Backend
) -> None:
    conv, name = _Conv(backend), "no activation" if activation is None else activation.name
    results = {"out": conv.array(SHAPE if windows is None else SMALLER), "before": conv.array()}
    results |= {} if windows is None else {"argmax": conv.array(SMALLER, np.uint8)}
    epilogue = NO_EPILOGUE if (activation, windows) == (None, None) else Epilogue(False, activation, windows)
    with pytest.raises(ArgumentError, match=rf"before: got an array with {name}; allowed: .* else None"):
        conv.forward(epilogue, **results)
    assert conv.is_unchanged()


@pytest.mark.parametrize("dtype", [STORED, OTHER])
def test_gradients_of_the_input_are_of_the_type_of_the_weight(dtype: Any, backend: Backend) -> None:
    conv, pool = _Conv(backend), backend.pool
    weight, out = conv.weight(GEOMETRY.transposed()), conv.array(dtype=dtype)
    allowed = rf"got {np.dtype(dtype)}; allowed: float32, that of"
    with pytest.raises(DTypeError, match=f"out: {allowed} the weight"):
        backend.conv2d_backward_input(conv.array(), weight, out=out, workspace=pool)
    channels = [conv.array((16,)) for _ in range(5)]
    norm, (gamma, beta) = (conv.array(), *channels[:3]), channels[3:]
    more: Any = {"saved": conv.array(), "grad_gamma": gamma, "grad_beta": beta, "eps": 1e-5, "workspace": pool}
    with pytest.raises(DTypeError, match=f"out: {allowed} the weight"):
        backend.conv2d_backward_input_norm(conv.array(), weight, *norm, Epilogue(False, RELU), out=out, **more)
    pooled: Any = (conv.array(SMALLER), conv.array(SMALLER, np.uint8), conv.array(), weight)
    how: Any = {"geometry": GEOMETRY, "windows": WINDOWS, "precision": "default", "algorithm": "winograd"}
    results: Any = {"grad_weight": backend.empty((3, 3, 16, 16), np.float32), "grad_input": out, "workspace": pool}
    with pytest.raises(DTypeError, match=r"(grad_input|out): " + allowed):
        backend.conv2d_max_pool2d_backward(*pooled, **how, **results)
    assert conv.is_unchanged()


def test_checks_are_of_operations() -> None:
    operations = {name for cls in (FusedOperations, Normalisations) for name in vars(cls)}
    assert set(CHECKS) <= operations
