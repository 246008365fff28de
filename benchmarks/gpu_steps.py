"""A training step of a model against PyTorch's: ours plain and as a graph; its own eager, compiled and as a graph."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastconv as fc
from benchmarks.gpu_ops import graphed
from benchmarks.gpu_record import Clock, compare, ratio
from benchmarks.torch_models import make_model

MODELS = ("resnet9", "resnet20")
BATCHES = (128, 512)


def our_step(name: str, x: np.ndarray, y: np.ndarray, precision: Any, *, capture: bool) -> Callable[[], Any]:
    """Return a training step of ours on the active backend; its result is the loss, on the device."""
    model = getattr(fc.models, name)(seed=0)
    optimizer = fc.optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer, capture=capture)
    images, labels = fc.asarray(x), fc.asarray(y)

    def step() -> Any:
        with fc.precision(precision):
            return trainer.train_step(images, labels)

    return step


def torch_step(
    torch: Any, name: str, x: np.ndarray, y: np.ndarray, *, device: str, bf16: bool, compiled: bool
) -> Callable[[], Any]:
    """Return a training step of PyTorch's; its result is the loss, on the device."""
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    model = make_model(torch, name).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    images = torch.from_numpy(x).permute(0, 3, 1, 2).to(device).contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(y).long().to(device)
    forward = torch.compile(model) if compiled else model

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            loss = torch.nn.functional.cross_entropy(forward(images), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def _contenders(
    torch: Any, name: str, x: np.ndarray, y: np.ndarray, precision: Any, device: str, compiled: bool
) -> tuple[dict[str, Callable[[], Any]], dict[str, str]]:
    """Return what ran once with a loss that makes sense, and what did not, with its error."""
    how: dict[str, Any] = {"device": device, "bf16": precision == "fast"}
    makers: dict[str, Callable[[], Callable[[], Any]]] = {
        "fastconv": lambda: our_step(name, x, y, precision, capture=False),
        "fastconv graph": lambda: our_step(name, x, y, precision, capture=True),
        "torch": lambda: torch_step(torch, name, x, y, compiled=False, **how),
    }
    if device == "cuda":
        makers["torch graph"] = lambda: graphed(torch, torch_step(torch, name, x, y, compiled=False, **how))
    if compiled:
        makers["torch compiled"] = lambda: torch_step(torch, name, x, y, compiled=True, **how)
    ran, failed = {}, {}
    for contender, make in makers.items():
        try:
            step = make()
            loss = step()
            if loss is not None and not 0.5 < float(loss) < 5:  # a graph's replay returns none
                raise AssertionError(f"the first loss is {float(loss)}")
            ran[contender] = step
        except Exception as error:  # a peer that does not work here must not cost the others
            failed[contender] = f"{type(error).__name__}: {str(error)[:500]}"
    return ran, failed


def measure_step(
    torch: Any,
    clock: Clock,
    name: str,
    batch: int,
    precision: Any,
    *,
    device: str,
    rounds: int,
    times: int,
    compiled: bool,
) -> dict[str, Any]:
    """Time one model at one batch; what cannot run is noted under "failed"."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((batch, 32, 32, 3)).astype(np.float32), rng.integers(0, 10, batch).astype(np.int32)
    contenders, failed = _contenders(torch, name, x, y, precision, device, compiled)
    found = compare(contenders, clock, rounds=rounds, times=times)
    row = {"model": name, "batch": batch, "precision": precision, **found, **ratio(found["medians"])}
    return row | {"failed": failed}


def measure_all(
    torch: Any, clock: Clock, *, device: str, rounds: int, times: int, seconds: float
) -> list[dict[str, Any]]:
    """Measure all models; compiled peers, which take a minute each to make, only while less than `seconds` went by."""
    rows, began = [], time.monotonic()
    for name, batch, precision in itertools.product(MODELS, BATCHES, ("default", "fast")):
        compiled = time.monotonic() - began < seconds
        how: dict[str, Any] = {"device": device, "rounds": rounds, "times": times, "compiled": compiled}
        row = measure_step(torch, clock, name, batch, precision, **how)
        rows.append(row)
        print(name, batch, precision, row["medians"], row.get("ratio"), row["failed"], flush=True)
    return rows
