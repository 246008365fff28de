"""A training step of a model against PyTorch's: ours plain and as a graph; its own eager, as a graph and compiled."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import fastconv as fc
from benchmarks.gpu_ops import graphed, made
from benchmarks.gpu_record import ROUNDS, Clock, clock_of, compare, device_of, load_torch, open_backend, ratio, release
from benchmarks.gpu_results import Setting
from benchmarks.gpu_work import Item
from benchmarks.torch_models import make_model

STEPS = (
    *(("resnet9", 512, "fast"), ("resnet9", 512, "default"), ("resnet20", 512, "fast"), ("resnet20", 512, "default")),
    *(("resnet20", 128, "fast"), ("resnet20", 128, "default")),
    *(("keras_cnn", 512, "fast"), ("keras_cnn", 128, "default")),
)
COMPILED = (("resnet9", 512, "fast"), ("resnet20", 512, "fast"))
LAYOUT = "channels_last"
"""Of PyTorch's steps. With cuDNN each layer and pass that was measured on an H200 is faster in it than in NCHW, most of
them by half and more, and cuDNN's search for the best algorithm in two layouts took most of an item's time."""
REHEARSED = (("keras_cnn", 2, "fast"),)


def items(setting: Setting, stage: str) -> Iterator[Item]:
    """Yield the steps, or those that PyTorch is to compile."""
    torch, backend = load_torch(), open_backend(setting)
    if stage == "compiled" and (torch is None or setting.rehearsal):
        return
    how: dict[str, Any] = {"rounds": ROUNDS, "times": 5, "compiled": stage == "compiled"}
    how["device"] = device_of(torch, setting) if torch is not None else None
    if setting.rehearsal:
        how |= {"rounds": 1, "times": 1}
    chosen = COMPILED if stage == "compiled" else STEPS
    for name, batch, precision in REHEARSED if setting.rehearsal else chosen:
        run = partial(measure_step, torch, clock_of(backend, setting), name, batch, precision, **how)
        yield f"{name} {batch} {precision}", run
        release(backend, torch)


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
    torch: Any, name: str, x: np.ndarray, y: np.ndarray, *, device: str, bf16: bool, layout: str, compiled: bool = False
) -> Callable[[], Any]:
    """Return a training step of PyTorch's; its result is the loss, on the device."""
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    memory_format = getattr(torch, layout)
    model = make_model(torch, name).to(device, memory_format=memory_format)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    images = torch.from_numpy(x).permute(0, 3, 1, 2).to(device).contiguous(memory_format=memory_format)
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


def _sensible(step: Callable[[], Any]) -> Callable[[], Any]:
    """Return the step, once run, with a loss that makes sense; a graph's replay has none to look at."""
    loss = step()
    if loss is not None and not 0.5 < float(loss) < 10:
        raise AssertionError(f"the first loss is {float(loss)}")
    return step


def _makers(torch: Any, name: str, x: np.ndarray, y: np.ndarray, precision: Any, device: Any, compiled: bool) -> Any:
    """Return what makes each contender."""
    makers: dict[str, Callable[[], Callable[[], Any]]] = {
        "fastconv graph": lambda: _sensible(our_step(name, x, y, precision, capture=True)),
        "fastconv": lambda: _sensible(our_step(name, x, y, precision, capture=False)),
    }
    how: dict[str, Any] = {"device": device, "bf16": precision == "fast", "layout": LAYOUT}
    if torch is not None and not compiled:
        eager = partial(torch_step, torch, name, x, y, **how)
        makers[f"torch {LAYOUT}"] = lambda: _sensible(eager())
        if device == "cuda":
            makers[f"torch {LAYOUT} graph"] = lambda: graphed(torch, eager())
    if compiled:
        makers["torch compiled"] = lambda: _sensible(torch_step(torch, name, x, y, **how, compiled=True))
        if device == "cuda":
            compiled_step = partial(torch_step, torch, name, x, y, **how, compiled=True)
            makers["torch compiled graph"] = lambda: graphed(torch, compiled_step())
    return makers


def measure_step(
    torch: Any,
    clock: Clock,
    name: str,
    batch: int,
    precision: Any,
    *,
    device: Any,
    rounds: int,
    times: int,
    compiled: bool,
) -> dict[str, Any]:
    """Time one model at one batch; what cannot run is noted under "failed"."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((batch, 32, 32, 3)).astype(np.float32), rng.integers(0, 10, batch).astype(np.int32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        contenders = made(_makers(torch, name, x, y, precision, device, compiled), clock)
    found = compare(contenders.runs, clock, rounds=rounds, times=times)
    status = "failed" if any(contender.startswith("fastconv") for contender in contenders.failed) else "ok"
    row = {"status": status, "model": name, "batch": batch, "precision": precision, **found, **ratio(found["medians"])}
    made_in = {"failed": contenders.failed, "made_seconds": contenders.seconds}
    return row | made_in | {"warnings": sorted({str(w.message)[:200] for w in caught})}
