"""The first seconds on a machine: versions, the card, and each kind of tensor-core kernel in three precisions.

Each convolution is compared with the NumPy reference in float64, and where PyTorch is there with its float64 too.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import partial
from typing import Any, get_args

import numpy as np

from benchmarks.gpu_layers import operation, result_shape
from benchmarks.gpu_record import environment, load_torch, open_backend
from benchmarks.gpu_results import Setting
from benchmarks.gpu_work import Item
from benchmarks.shapes import Conv
from fastconv.backends import get_backend
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import PrecisionChoice

BOUNDS = {"strict": 1e-5, "default": 2e-3, "fast": 1.5e-2}  # of the largest difference by the largest result
_HALO = Conv("halo", 64, 16, 64, batch=2)
_GATHER = Conv("gather", 32, 14, 48, stride=2, batch=2)
CASES = (
    *((_HALO, "forward", "conv2d_halo"), (_GATHER, "forward", "conv2d_gather")),
    *((_HALO, "backward_weight", "conv2d_weight"), (_GATHER, "backward_input", "conv2d_gather")),
)


def items(setting: Setting, stage: str) -> Iterator[Item]:
    """Yield what is looked at, in an order in which each tells what the next one needs."""
    del stage
    yield "nvidia-smi", smi
    backend = open_backend(setting)
    yield "environment", partial(environment, setting, backend)
    for precision in get_args(PrecisionChoice):
        for conv, direction, kernel in CASES:
            run = partial(convolution, backend, conv, direction, precision, kernel)
            yield f"{conv.name} {direction} {precision}", run
    yield "torch", partial(torch_agrees, setting)


def smi() -> dict[str, Any]:
    """Return what nvidia-smi prints."""
    command = ["nvidia-smi"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return {"message": str(error)}
    return {"exit": done.returncode, "output": (done.stdout + done.stderr)[-4000:]}


def data(conv: Conv, direction: str) -> dict[str, np.ndarray]:
    """Return random arrays for a convolution, float64, and room for the result."""
    rng = np.random.default_rng(7)
    shapes = {"x": conv.x_shape, "weight": conv.weight_shape, "grad": result_shape(conv, "forward")}
    arrays = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    return arrays | {"out": np.full(result_shape(conv, direction), np.nan)}


def convolution(backend: Backend, conv: Conv, direction: str, precision: Any, kernel: str) -> dict[str, Any]:
    """Compute one pass and compare."""
    host = data(conv, direction)
    arrays = {name: backend.asarray(a, np.float32) for name, a in host.items()}
    names: list[str] = []
    with backend.trace(names.append):
        operation(backend, conv, direction, precision, arrays)()
    got = backend.to_numpy(arrays["out"])
    reference = get_backend("numpy")
    rounded = {name: a.astype(np.float32).astype(np.float64) for name, a in host.items()}
    operation(reference, conv, direction, "strict", rounded)()
    error = _largest(got, rounded["out"])
    found = {"kernels": names, "error": error, "bound": BOUNDS[precision]}
    expected = kernel if precision != "strict" else ""
    right = error < BOUNDS[precision] and any(name.startswith(expected) for name in names)
    return {"status": "ok" if right else "wrong", **found}


def _largest(got: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference by the largest expected value; NaN where there is one."""
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def torch_agrees(setting: Setting) -> dict[str, Any]:
    """Compare the reference itself with PyTorch in float64: what nobody here wrote; and say what PyTorch sees."""
    torch = load_torch()
    if torch is None:
        return {"status": "skipped", "message": "torch cannot be imported"}
    found: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda, "gpu": torch.cuda.is_available()}
    device = "cuda" if found["gpu"] and not setting.rehearsal else "cpu"
    found["cudnn"] = torch.backends.cudnn.version() if found["gpu"] else None
    for conv in (_HALO, _GATHER):
        arrays = data(conv, "forward")
        operation(get_backend("numpy"), conv, "forward", "strict", arrays)()
        x = torch.from_numpy(arrays["x"]).permute(0, 3, 1, 2).to(device)
        weight = torch.from_numpy(arrays["weight"]).permute(3, 2, 0, 1).to(device)
        y = torch.nn.functional.conv2d(x, weight, None, conv.stride, conv.padding).permute(0, 2, 3, 1)
        found[conv.name] = _largest(y.cpu().numpy(), arrays["out"])
    right = found["halo"] < 1e-12 and found["gather"] < 1e-12 and (found["gpu"] or setting.rehearsal)
    return {"status": "ok" if right else "wrong", **found}
