"""The two ceilings of a GPU, and each pass of each layer against PyTorch with cuDNN, by CUDA events.

Ours and PyTorch's run in turn on several sets of random data, so that no set stays in the L2 cache. The data is made by
PyTorch and shared, not copied (DLPack). PyTorch gets both layouts with `cudnn.benchmark` on, and TF32 where ours uses
it; each side runs plain and as a graph, and the better counts. The results are compared before anything is timed.
Where PyTorch cannot be imported ours is timed alone, and compared with its own strict kernels.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.gpu_layers import DIRECTIONS, MORE, PRECISIONS, TELLING, operation, result_shape, tiny
from benchmarks.gpu_record import (
    ROUNDS,
    Clock,
    as_tensor,
    clock_of,
    compare,
    device_of,
    load_torch,
    open_backend,
    ratio,
    release,
    shared_array,
)
from benchmarks.gpu_results import Setting
from benchmarks.gpu_work import Item, cuda_is_broken
from benchmarks.shapes import Conv
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array

SETS = 3
BOUNDS = {"default": 5e-3, "fast": 2e-2}  # of the difference by the result, both as norms
LAYOUTS = ("channels_last", "contiguous_format")
_BATCH = 512
Data = dict[str, Any]


def items(setting: Setting, stage: str) -> Iterator[Item]:
    """Yield the ceilings and the passes of the layers that tell most ("ops"), or of the others ("more")."""
    torch, backend = load_torch(), open_backend(setting)
    clock = clock_of(backend, setting)
    device = device_of(torch, setting) if torch is not None else None
    if stage == "ops" and torch is not None:
        size = 64 if setting.rehearsal else 8192
        yield "ceilings", partial(ceilings, torch, clock, device, size=size, rounds=ROUNDS)
    how: dict[str, Any] = {"device": device, "rounds": ROUNDS, "times": 12, "sets": SETS}
    if setting.rehearsal:
        how |= {"rounds": 1, "times": 1, "sets": 1}
    for conv in TELLING if stage == "ops" else MORE:
        sized = tiny(conv) if setting.rehearsal else replace(conv, batch=_BATCH)
        for direction, precision in itertools.product(DIRECTIONS, PRECISIONS):
            if conv.channels == 3 and direction == "backward_input":
                continue  # no model asks for the gradient of its images
            run = partial(measure_pass, torch, backend, clock, sized, direction, precision, **how)
            yield f"{conv.name} {direction} {precision}", run
        release(backend, torch)


def ceilings(torch: Any, clock: Clock, device: Any, *, size: int, rounds: int) -> dict[str, Any]:
    """Time a copy of `size` x `size` float32 numbers, and products of such matrices on random data."""
    a, b = torch.randn(size, size, device=device), torch.empty(size, size, device=device)
    found = compare({"copy": lambda: b.copy_(a)}, clock, rounds=rounds, times=10)
    moved = 2 * a.numel() * a.element_size()
    rates = {"copy_gigabytes_per_second": moved / found["medians"]["copy"] / 1e3}
    for name, dtype, tf32 in (("tf32", "float32", True), ("bf16", "bfloat16", False)):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        x, y = (torch.randn(size, size, device=device).to(getattr(torch, dtype)) for _ in range(2))
        found = compare({name: lambda x=x, y=y: x @ y}, clock, rounds=rounds, times=3)
        rates[f"{name}_teraflops"] = 2 * size**3 / found["medians"][name] / 1e6
    return rates


def data_of(torch: Any, backend: Backend, conv: Conv, device: Any, precision: str) -> tuple[Data, Data]:
    """Return the same random input, weight and gradient as PyTorch's tensors, logically NCHW, and as our arrays.

    Ours are float32; PyTorch's, bfloat16 for "fast", hold the same numbers.
    """
    shapes = {"x": conv.x_shape, "weight": conv.weight_shape, "grad": result_shape(conv, "forward")}
    if torch is None:
        rng = np.random.default_rng(0)
        made = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
        return {}, {name: backend.asarray(array) for name, array in made.items()}
    tensors, arrays = {}, {}
    for name, shape in shapes.items():
        tensor = torch.randn(shape, device=device)
        if precision == "fast":
            tensor = tensor.bfloat16().float()
        arrays[name] = shared_array(backend, tensor)
        logical = tensor.permute(3, 2, 0, 1) if name == "weight" else tensor.permute(0, 3, 1, 2)
        tensors[name] = logical.to(torch.float32 if precision == "default" else torch.bfloat16)
    return tensors, arrays


def in_layout(torch: Any, tensors: Data, layout: str) -> Data:
    """Return copies of tensors stored in a layout."""
    how = {"memory_format": getattr(torch, layout)}
    return {name: tensor.contiguous(**how).clone(**how) for name, tensor in tensors.items()}


def torch_pass(torch: Any, conv: Conv, direction: str, tensors: Data) -> Callable[[], Any]:
    """Return PyTorch's computation of a pass."""
    pair, pad = [conv.stride] * 2, [conv.padding] * 2
    x, weight, grad = tensors["x"], tensors["weight"], tensors["grad"]
    if direction == "forward":
        return lambda: torch.nn.functional.conv2d(x, weight, None, pair, pad)
    mask = [direction == "backward_input", direction == "backward_weight", False]
    rest = (None, pair, pad, [1, 1], False, [0, 0], 1, mask)
    return lambda: torch.ops.aten.convolution_backward(grad, x, weight, *rest)[mask.index(True)]


def difference(torch: Any, backend: Backend, out: Array, expected: Any, direction: str) -> float:
    """Return the norm of the difference by that of PyTorch's result, computed where the results lie."""
    axes = (2, 3, 1, 0) if direction == "backward_weight" else (0, 2, 3, 1)
    got, want = as_tensor(torch, backend, out), expected.float().permute(axes)
    return float((got - want).norm() / want.norm())


def difference_from_strict(
    backend: Backend, conv: Conv, direction: str, arrays: dict[str, Array], out: Array
) -> float | None:
    """Return the same by the result of our own strict kernels."""
    strict = arrays | {"out": backend.empty(out.shape, np.float32)}
    operation(backend, conv, direction, "strict", strict)()
    want = backend.to_numpy(strict["out"]).astype(np.float64)
    return float(np.linalg.norm(backend.to_numpy(out) - want) / np.linalg.norm(want))


def in_turn(runs: Sequence[Callable[[], Any]]) -> Callable[[], Any]:
    """Return what calls the next of `runs`, again and again."""
    following = itertools.cycle(runs)
    return lambda: next(following)()


def graphed(torch: Any, run: Callable[[], Any]) -> Callable[[], Any]:
    """Return a CUDA graph of PyTorch's computation.

    The graph holds addresses, not tensors: what it reads lives only as long as `run`, which therefore stays with it.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()

    def replay(run: Callable[[], Any] = run) -> Any:
        return graph.replay()

    return replay


@dataclass(frozen=True)
class Made:
    """Contenders by name: what runs each, the error of those that could not be made, and the seconds that each took."""

    runs: dict[str, Callable[[], Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def made(makers: dict[str, Callable[[], Callable[[], Any]]], clock: Clock) -> Made:
    """Make each contender and run it once, to its end; one that fails costs no other.

    Unless CUDA does not work any more: then the error names whose fault it was.
    """
    found = Made()
    for name, make in makers.items():
        begin = time.perf_counter()
        try:
            run = make()
            clock(run, 1)
        except Exception as error:
            if cuda_is_broken():
                raise RuntimeError(f"{name}: {type(error).__name__}: {error}") from error
            found.failed[name] = f"{type(error).__name__}: {str(error)[:500]}"
        else:
            found.runs[name] = run
        found.seconds[name] = round(time.perf_counter() - begin, 2)
    return found


def peers_of(torch: Any, conv: Conv, direction: str, sets: Sequence[Data], device: Any) -> dict[str, Any]:
    """Return what makes PyTorch's contenders: both layouts, on a GPU as graphs too."""
    makers: dict[str, Any] = {}
    for layout in LAYOUTS if torch is not None else ():

        def runs(layout: str = layout) -> list[Callable[[], Any]]:
            return [torch_pass(torch, conv, direction, in_layout(torch, tensors, layout)) for tensors in sets]

        makers[f"torch {layout}"] = lambda runs=runs: in_turn(runs())
        if device == "cuda":
            makers[f"torch {layout} graph"] = lambda runs=runs: in_turn([graphed(torch, run) for run in runs()])
    return makers


def measure_pass(
    torch: Any,
    backend: Backend,
    clock: Clock,
    conv: Conv,
    direction: str,
    precision: Any,
    *,
    device: Any,
    rounds: int,
    times: int,
    sets: int,
) -> dict[str, Any]:
    """Check and time one pass of one layer. A wrong result is timed too, and its row says so."""
    if torch is not None:
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = True
    data = [data_of(torch, backend, conv, device, precision) for _ in range(sets)]
    out = {"out": backend.empty(result_shape(conv, direction), np.float32)}
    runs = [operation(backend, conv, direction, precision, arrays | out) for _, arrays in data]
    runs[0]()
    if torch is None:
        error = difference_from_strict(backend, conv, direction, data[0][1], out["out"])
    else:
        expected = torch_pass(torch, conv, direction, data[0][0])()
        error = difference(torch, backend, out["out"], expected, direction)
    ours: dict[str, Any] = {
        "fastconv": lambda: in_turn(runs),
        "fastconv graph": lambda: in_turn([captured(backend, run) for run in runs]),
    }
    contenders = made(ours | peers_of(torch, conv, direction, [tensors for tensors, _ in data], device), clock)
    failed = contenders.failed
    found = compare(contenders.runs, clock, rounds=rounds, times=times)
    times_of_ours = [value for name, value in found["medians"].items() if name in ours]
    rate = {"teraflops": conv.flops / min(times_of_ours) / 1e6} if times_of_ours else {}
    status = "ok" if error < BOUNDS[precision] and not ours.keys() & failed.keys() else "wrong"
    names = {"layer": conv.name, "direction": direction, "precision": precision, "batch": conv.batch}
    result = {**names, **found, **ratio(found["medians"]), **rate, "failed": failed}
    return {"status": status, **result, "difference": error, "compared_with": "strict" if torch is None else "torch"}


def captured(backend: Backend, run: Callable[[], None]) -> Callable[[], Any]:
    """Return a graph of ours."""
    replay = backend.capture(run)
    if replay is None:
        raise RuntimeError("the backend could not capture it")
    return replay
