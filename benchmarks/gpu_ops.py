"""The two ceilings of a GPU, and each pass of each layer against PyTorch with cuDNN, by CUDA events.

Ours and PyTorch's run in turn on several sets of random data, so that no set stays in the L2 cache. PyTorch's tensors
are in channels_last, `cudnn.benchmark` is on, and TF32 is allowed where ours uses it; each side runs plain and as a
graph, and the better counts. The results are compared before anything is timed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.gpu_layers import DIRECTIONS, LAYERS, PRECISIONS, operation, result_shape
from benchmarks.gpu_record import Clock, compare, ratio
from benchmarks.shapes import Conv
from fastconv.backends.base import Array, Backend

SETS = 3
_BOUNDS = {"default": 5e-3, "fast": 2e-2}  # of the difference by the result, both as norms


def ceilings(torch: Any, clock: Clock, device: str, *, size: int, rounds: int) -> list[dict[str, Any]]:
    """Time a copy of `size` x `size` float32 numbers, and products of such matrices on random data."""
    rows: list[dict[str, Any]] = []
    a, b = torch.randn(size, size, device=device), torch.empty(size, size, device=device)
    found = compare({"copy": lambda: b.copy_(a)}, clock, rounds=rounds, times=10)
    moved = 2 * a.numel() * a.element_size()
    rows.append({"name": "copy", **found, "gigabytes_per_second": moved / found["medians"]["copy"] / 1e3})
    for name, dtype, tf32 in (("fp32", "float32", False), ("tf32", "float32", True), ("bf16", "bfloat16", False)):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        x, y = (torch.randn(size, size, device=device).to(getattr(torch, dtype)) for _ in range(2))
        found = compare({name: lambda x=x, y=y: x @ y}, clock, rounds=rounds, times=3)
        rows.append({"name": f"matmul {name}", **found, "teraflops": 2 * size**3 / found["medians"][name] / 1e6})
    return rows


def tensors_of(torch: Any, conv: Conv, device: str, dtype: Any) -> dict[str, Any]:
    """Return random input, weight and gradient as PyTorch has them: logically NCHW, stored channels_last."""
    out = (conv.batch, conv.outputs, conv.out_size, conv.out_size)
    x = (conv.batch, conv.channels, conv.size, conv.size)
    shapes = {"x": x, "weight": (conv.outputs, conv.channels, conv.kernel, conv.kernel), "grad": out}
    return {
        name: torch.randn(shape, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
        for name, shape in shapes.items()
    }


def torch_pass(torch: Any, conv: Conv, direction: str, tensors: dict[str, Any]) -> Callable[[], Any]:
    """Return PyTorch's computation of a pass."""
    pair, pad = [conv.stride] * 2, [conv.padding] * 2
    x, weight, grad = tensors["x"], tensors["weight"], tensors["grad"]
    if direction == "forward":
        return lambda: torch.nn.functional.conv2d(x, weight, None, pair, pad)
    mask = [direction == "backward_input", direction == "backward_weight", False]
    rest = (None, pair, pad, [1, 1], False, [0, 0], 1, mask)
    return lambda: torch.ops.aten.convolution_backward(grad, x, weight, *rest)[mask.index(True)]


def ours_of(backend: Backend, tensors: dict[str, Any], conv: Conv, direction: str) -> dict[str, Array]:
    """Return the same data as arrays of ours, float32, and room for the result."""
    axes = {"x": (0, 2, 3, 1), "weight": (2, 3, 1, 0), "grad": (0, 2, 3, 1)}
    arrays = {
        name: backend.asarray(np.ascontiguousarray(t.float().cpu().numpy().transpose(axes[name])))
        for name, t in tensors.items()
    }
    return arrays | {"out": backend.empty(result_shape(conv, direction), np.float32)}


def difference(backend: Backend, out: Array, expected: Any, direction: str) -> float:
    """Return the norm of the difference by that of PyTorch's result."""
    axes = (2, 3, 1, 0) if direction == "backward_weight" else (0, 2, 3, 1)
    want = expected.float().cpu().numpy().transpose(axes).astype(np.float64)
    return float(np.linalg.norm(backend.to_numpy(out) - want) / np.linalg.norm(want))


def in_turn(runs: Sequence[Callable[[], Any]]) -> Callable[[], Any]:
    """Return what calls the next of `runs`, again and again."""
    following = itertools.cycle(runs)
    return lambda: next(following)()


def graphed(torch: Any, run: Callable[[], Any]) -> Callable[[], Any]:
    """Return a CUDA graph of PyTorch's computation."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay  # type: ignore[no-any-return]


def measure_pass(
    torch: Any,
    backend: Backend,
    clock: Clock,
    conv: Conv,
    direction: str,
    precision: Any,
    *,
    device: str,
    rounds: int,
    times: int,
    sets: int = SETS,
) -> dict[str, Any]:
    """Check and time one pass of one layer."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = True
    dtype = torch.float32 if precision == "default" else torch.bfloat16
    data = [tensors_of(torch, conv, device, dtype) for _ in range(sets)]
    peers = [torch_pass(torch, conv, direction, tensors) for tensors in data]
    arrays = [ours_of(backend, tensors, conv, direction) for tensors in data]
    runs = [operation(backend, conv, direction, precision, each) for each in arrays]
    runs[0]()
    error = difference(backend, arrays[0]["out"], peers[0](), direction)
    if not error < _BOUNDS[precision]:
        raise AssertionError(f"{conv.name} {direction} {precision}: {error:.1e} from PyTorch's result")
    replays = [backend.capture(run) for run in runs]
    contenders = {"fastconv": in_turn(runs), "torch": in_turn(peers)}
    if all(replays):
        contenders["fastconv graph"] = in_turn([replay for replay in replays if replay])
    if device == "cuda":
        contenders["torch graph"] = in_turn([graphed(torch, run) for run in peers])
    found = compare(contenders, clock, rounds=rounds, times=times)
    names = {"layer": conv.name, "direction": direction, "precision": precision, "batch": conv.batch}
    rate = conv.flops / min(v for n, v in found["medians"].items() if n.startswith("fastconv")) / 1e6
    return {**names, **found, **ratio(found["medians"]), "teraflops": rate, "difference": error}


def measure_all(
    torch: Any, backend: Backend, clock: Clock, *, batch: int, device: str, rounds: int, times: int
) -> list[dict[str, Any]]:
    """Measure every pass of every layer; one that fails is a row with its error."""
    rows = []
    for conv, direction, precision in itertools.product(LAYERS, DIRECTIONS, PRECISIONS):
        sized = replace(conv, batch=batch)
        how = {"device": device, "rounds": rounds, "times": times}
        try:
            row = measure_pass(torch, backend, clock, sized, direction, precision, **how)
        except Exception as error:  # the others are still worth having
            names = {"layer": conv.name, "direction": direction, "precision": precision}
            row = {**names, "error": f"{type(error).__name__}: {error}"}
        rows.append(row)
        print(
            row["layer"], direction, precision, row.get("medians", row.get("error")), row.get("ratio", ""), flush=True
        )
    return rows
