"""What each backend declares to do in one pass is what its kernels do: nothing else is composed, and nothing more."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv.algorithm import algorithm
from fastconv.backends import use_backend
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.composing import asked
from fastconv.backends.cuda.backend import CudaBackend
from fastconv.backends.emulator.dry import DryBackend
from fastconv.backends.reference.backend import NumpyBackend
from fastconv.kernels.cuda import TABLE as CUDA_TABLE
from fastconv.kernels.epilogue import Native
from fastconv.kernels.pointwise import POINTWISE
from tests.backends.cases.fused import SMALL
from tests.backends.op_case import Case

ALL = frozenset(POINTWISE)
CPU = {
    "conv2d": Native(adds=True, activations=ALL, pools=True, keeps=True),
    "conv2d_backward_input": Native(adds=True, activations=ALL),
    "conv2d_max_pool2d_backward": Native(activations=ALL),
    "conv2d_backward_input_norm": Native(adds=True, activations=ALL, pools=True),
    "conv2d_statistics": Native(pools=True),
    "normalise": Native(adds=True, activations=ALL, pools=True, keeps=True),
    "batch_norm_backward": Native(adds=True, activations=ALL, pools=True, keeps=True),
    "activate_backward_bias": Native(activations=ALL),
}
CUDA = {
    "conv2d": Native(adds=True, activations=ALL, keeps=True),
    "conv2d_backward_input": Native(adds=True, activations=ALL),
    "normalise": Native(adds=True, activations=ALL),
    "batch_norm_backward": Native(adds=True, activations=ALL),
    "activate_backward_bias": Native(activations=ALL),
}
PARTS = ("activate", "activate_backward", "add", "max_pool2d", "max_pool2d_backward")


def test_what_is_native() -> None:
    """A list of its own: what is lost from a backend's would be composed, silently."""
    numba = pytest.importorskip("fastconv.backends.cpu.backend").NumbaBackend
    assert dict(numba.native) == CPU
    assert dict(CudaBackend.native) == CUDA
    assert dict(NumpyBackend.native) == {}


def _parts(table: dict[str, tuple[str, ...]]) -> set[str]:
    return {name.rpartition(".")[2] for operation in PARTS for name in table[operation]}


def _is_native(case: Case, backend: Backend) -> bool:
    """Tell whether the backend declares to do all of a case in one pass."""
    calls: list[bool] = []

    class Listener:
        def __getattr__(self, name: str) -> Any:
            def call(*arrays: Any, **more: Any) -> None:
                if name == case.op:
                    native = backend.native.get(name)
                    kept = more.get("before") is not None
                    calls.append(native is not None and asked(arrays, more) in native and (native.keeps or not kept))

            return call

    arrays = case.arrays(np.random.default_rng(0), "float32")
    case.call(Listener(), arrays, dict.fromkeys(case.outputs, np.empty(1)), None)
    (native,) = calls
    return native


def _results(case: Case, make: Callable[..., Any]) -> dict[str, Any]:
    """Return arrays for the outputs of a case, made by ``make(shape, dtype)``."""
    specs = case.outputs.items()
    return {name: make(*(spec if isinstance(spec[0], tuple) else (spec, np.float32))) for name, spec in specs}


class _Zeros:
    """Workspace in which nothing is infinite, for what is computed again then."""

    def empty(self, shape: Any, dtype: Any) -> np.ndarray:
        return np.zeros(shape, dtype)


def _note_alone(note: Any, function: Any, *_: Any) -> None:
    note(function.function.__name__)


@pytest.mark.parametrize("case", SMALL, ids=lambda case: f"{case.op}-{case.id}")
def test_on_the_cpu(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """With Winograd, whose tiles are those that can be pooled; nothing is compiled or run: the launches tell."""
    table = pytest.importorskip("fastconv.kernels.cpu").TABLE
    monkeypatch.setattr(importlib.import_module("fastconv.kernels.cpu.runtime.launch"), "_launch_traced", _note_alone)
    launched: list[str] = []
    arrays, results = case.arrays(np.random.default_rng(0), "float32"), _results(case, np.zeros)
    with use_backend("numba") as backend, algorithm("winograd"), backend.trace(launched.append):
        case.call(backend, arrays, results, _Zeros())
        if "pool" in case.id and "conv2d_winograd_shared" in launched:
            pytest.skip("tasks of so few tiles share what they transform, on this CPU, and do nothing behind it")
        assert (not _parts(table) & set(launched)) == _is_native(case, backend), launched


@pytest.mark.parametrize("case", SMALL, ids=lambda case: f"{case.op}-{case.id}")
def test_in_cuda(case: Case) -> None:
    """Nothing is run: the launches tell."""
    backend, launched = DryBackend(), set()
    arrays = {n: backend.asarray(a) for n, a in case.arrays(np.random.default_rng(0), "float32").items()}
    results = _results(case, backend.empty)
    with backend.device.listening(lambda launch: launched.add(launch.kernel.name)):
        case.call(backend, arrays, results, backend.pool)
    assert (not _parts(CUDA_TABLE) & launched) == _is_native(case, backend), launched


def test_every_activation_is_asked_for() -> None:
    assert {name for name in POINTWISE if any(f"{name}-" in case.id for case in SMALL)} == set(POINTWISE)
