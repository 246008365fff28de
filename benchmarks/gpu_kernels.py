"""Every kernel variant that the run-book needs, listed without a GPU, so that all can be compiled ahead.

The operations are called on arrays of the emulator with a device that notes launches instead of running them, and that
has an H100's multiprocessors and shared memory: the variants are those that an H100 would be given.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import gpu_probes, gpu_small, gpu_smoke, gpu_steps
from benchmarks.gpu_layers import BATCH, DIRECTIONS, MORE, PRECISIONS, TELLING, operation, result_shape
from benchmarks.gpu_record import open_backend
from benchmarks.gpu_results import Setting
from benchmarks.gpu_work import Item
from benchmarks.shapes import Conv
from fastconv.backends.emulator.dry import DryBackend, dry_backend
from fastconv.kernels.cuda.runtime import cubins
from fastconv.kernels.cuda.runtime.device import Kernel

TARGET = "sm_90"


def items(setting: Setting, stage: str) -> Iterator[Item]:
    """Yield the compilation of what each stage needs and no folder holds."""
    del stage
    device: Any = open_backend(setting).device
    target = getattr(device, "target", "")
    needed = variants(target or TARGET, setting.stages)
    for first in dict.fromkeys(needed.values()):
        yield f"for {first}", partial(compiled, [k for k, stage in needed.items() if stage == first], target)


def compiled(kernels: list[Kernel], target: str) -> dict[str, Any]:
    """Compile variants that are not there; return how many those were."""
    if not target:
        return {"status": "skipped", "message": "the emulator compiles by itself", "modules": len(kernels)}
    missing = sum(cubins.find(kernel, target) is None for kernel in kernels)
    cubins.compile_all(kernels, target)
    return {"modules": len(kernels), "compiled": missing, "folder": cubins.directory(target)}


def carry(folder: Path, jobs: int) -> str:
    """Compile all variants for an H100 into a folder, probes too, and say what lies there."""
    os.environ["FASTCONV_CACHE_DIR"] = str(folder)
    cubins.compile_all(variants(), TARGET, jobs=jobs)
    gpu_probes.compile_ahead(TARGET)
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    return f"{folder}: {sum(path.suffix == '.cubin' for path in files)} modules, {len(files)} files, {size:.1f} MB"


def variants(target: str = TARGET, stages: Collection[str] = ()) -> dict[Kernel, str]:
    """Return the variants in the order of the run-book, each with the stage that needs it first.

    Parameters
    ----------
    target : str
        Of the device; what it gives a block of shared memory decides on tiles.
    stages : collection of str, optional
        Those that count; all if empty.
    """
    found: dict[Kernel, str] = {}
    parts: tuple[tuple[str, Callable[[DryBackend], None]], ...] = (
        *(("smoke", _smoke), ("tests", _large), ("tests", _models), ("ops", partial(_layers, TELLING))),
        *(("ncu", partial(_layers, TELLING)), ("steps", partial(_steps, gpu_steps.STEPS))),
        *(("rest", _cases), ("sanitizer", _small), ("more", partial(_layers, MORE))),
        ("compiled", partial(_steps, gpu_steps.COMPILED)),
    )
    for stage, part in parts:
        if stages and stage not in stages:
            continue
        with dry_backend(target) as backend, backend.device.listening(partial(_note, found, stage)):
            part(backend)
    return found


def _note(found: dict[Kernel, str], stage: str, launch: Any) -> None:
    found.setdefault(launch.kernel, stage)


def _smoke(backend: DryBackend) -> None:
    for (conv, direction, _), precision in itertools.product(gpu_smoke.CASES, ("strict", *PRECISIONS)):
        _pass(backend, conv, direction, precision)


def _layers(layers: Sequence[Conv], backend: DryBackend) -> None:
    sized = [replace(conv, batch=BATCH) for conv in layers]
    for conv, direction, precision in itertools.product(sized, DIRECTIONS, PRECISIONS):
        _pass(backend, conv, direction, precision)


def _pass(backend: DryBackend, conv: Conv, direction: str, precision: Any) -> None:
    shapes = {"x": conv.x_shape, "weight": conv.weight_shape, "grad": result_shape(conv, "forward")}
    arrays = {name: backend.empty(shape, np.float32) for name, shape in shapes.items()}
    arrays["out"] = backend.empty(result_shape(conv, direction), np.float32)
    operation(backend, conv, direction, precision, arrays)()


def _steps(steps: Sequence[tuple[str, int, str]], backend: DryBackend) -> None:
    for name, batch, precision in steps:
        x, y = backend.empty((batch, 32, 32, 3), np.float32), np.zeros(batch, np.int32)
        gpu_steps.our_step(name, x, y, precision, capture=False)()
        gpu_steps.our_step(name, x, y, precision, capture=True)()


def _small(backend: DryBackend) -> None:
    gpu_small.run()


def _large(backend: DryBackend) -> None:
    from tests.backends.cuda import test_gpu

    makes = test_gpu.forward, test_gpu.backward_input, test_gpu.backward_weight
    for make, conv, precision in itertools.product(makes, test_gpu.LARGE, ("strict", *PRECISIONS)):
        _case(backend, make(replace(conv, precision=precision)), "float32")


def _cases(backend: DryBackend) -> None:
    from tests.backends.cuda import test_gpu

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
    from tests.backends.cuda import test_gpu

    test_gpu.checked_gradients(raise_on_failure=False)
    for precision, capture in itertools.product(("strict", *PRECISIONS), (False, True)):
        test_gpu.losses("cuda-emulator", capture=capture, precision=precision, steps=2)
