"""Every kernel variant that the run-book needs, listed without a GPU, so that all can be compiled ahead.

The operations are called on arrays of the emulator with a device that notes launches instead of running them, and that
has an H100's multiprocessors and shared memory: the variants are those that an H100 would be given.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

import fastconv as fc
from benchmarks import gpu_counters, gpu_small, gpu_smoke, gpu_steps
from benchmarks.dry_run import DryBackend, dry_backend
from benchmarks.gpu_layers import BATCH, DIRECTIONS, LAYERS, MORE, PRECISIONS, operation, result_shape
from benchmarks.shapes import Conv
from fastconv.kernels.cuda.device import Kernel


def variants() -> dict[Kernel, str]:
    """Return all variants in the order of the run-book, each with the stage that needs it first."""
    found: dict[Kernel, str] = {}
    parts: tuple[tuple[str, Callable[[DryBackend], None]], ...] = (
        *(("smoke", _smoke), ("tests", _large), ("tests", _models), ("ops", _layers), ("steps", _steps)),
        *(("rest", _cases), ("sanitizer", _small)),
    )
    for stage, part in parts:
        with dry_backend() as backend, backend.device.listening(lambda l, stage=stage: found.setdefault(l.kernel, stage)):
            part(backend)
    return found


def _smoke(backend: DryBackend) -> None:
    for (conv, direction, _), precision in itertools.product(gpu_smoke.CASES, ("strict", *PRECISIONS)):
        _pass(backend, conv, direction, precision)


def _layers(backend: DryBackend) -> None:
    sized = [replace(conv, batch=BATCH) for conv in dict.fromkeys((*LAYERS, *MORE))]
    for conv, direction, precision in itertools.product(sized, DIRECTIONS, PRECISIONS):
        _pass(backend, conv, direction, precision)


def _pass(backend: DryBackend, conv: Conv, direction: str, precision: Any) -> None:
    shapes = {"x": conv.x_shape, "weight": conv.weight_shape, "grad": result_shape(conv, "forward")}
    arrays = {name: backend.empty(shape, np.float32) for name, shape in shapes.items()}
    arrays["out"] = backend.empty(result_shape(conv, direction), np.float32)
    operation(backend, conv, direction, precision, arrays)()


def _steps(backend: DryBackend) -> None:
    for name, batch, precision in (*gpu_steps.STEPS, *gpu_steps.COMPILED):
        x, y = backend.empty((batch, 32, 32, 3), np.float32), np.zeros(batch, np.int32)
        gpu_steps.our_step(name, x, y, precision, capture=False)()
        gpu_steps.our_step(name, x, y, precision, capture=True)()


def _small(backend: DryBackend) -> None:
    gpu_small.run()


def _large(backend: DryBackend) -> None:
    from tests.backends import test_gpu

    makes = test_gpu.forward, test_gpu.backward_input, test_gpu.backward_weight
    for make, conv, precision in itertools.product(makes, test_gpu.LARGE, ("strict", *PRECISIONS)):
        _case(backend, make(replace(conv, precision=precision)), "float32")


def _cases(backend: DryBackend) -> None:
    from tests.backends import test_gpu

    for case, dtype in itertools.product(test_gpu.CASES, ("float32", "float64")):
        _case(backend, case, dtype)


def _case(backend: DryBackend, case: Any, dtype: str) -> None:
    arrays = {name: backend.asarray(a) for name, a in case.arrays(np.random.default_rng(0), dtype).items()}
    results = {}
    for name, spec in case.outputs.items():
        shape, kind = spec if spec and isinstance(spec[0], tuple) else (spec, dtype)
        results[name] = backend.empty(shape, kind)
    case.call(backend, arrays, results, backend.pool)


def _models(backend: DryBackend) -> None:
    """The models of the tests: their gradients, and their training steps, plain and captured."""
    from tests.backends import test_gpu

    test_gpu.checked_gradients(raise_on_failure=False)
    for precision, capture in itertools.product(("strict", *PRECISIONS), (False, True)):
        test_gpu.losses("cuda-emulator", capture=capture, precision=precision, steps=2)
