"""The network and the step of `benchmarks.speedrun` in PyTorch, as its users write them: the peer."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastconv as fc
from benchmarks import torch_peer
from fastconv.data import DataLoader, Dataset

_TOLERANCE = 1e-3  # of the first loss, which is that of the same weights and images


def make_model(torch: Any, model: Any) -> Any:
    """Return the module with the weights of our model."""
    nn = torch.nn

    def norm(channels: int) -> Any:
        made = nn.BatchNorm2d(channels, eps=1e-12, momentum=0.4)
        made.weight.requires_grad_(False)
        return made

    def conv(one: Any) -> Any:
        weight = torch.from_numpy(fc.to_numpy(one.weight.data).transpose(3, 2, 0, 1).copy())
        same = one.padding == "same"
        made = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=int(same), bias=not same)
        made.weight = nn.Parameter(weight)
        if not same:
            nn.init.zeros_(made.bias)
            made.weight.requires_grad_(False)
        return made

    first, *others = (layer for layer in model.layers if isinstance(layer, fc.nn.Conv2d))
    layers = [conv(first), nn.GELU()]
    for one, two in zip(others[::2], others[1::2], strict=True):
        width = one.weight.shape[3]
        layers += [conv(one), nn.MaxPool2d(2), norm(width), nn.GELU(), conv(two), norm(width), nn.GELU()]
    head = nn.Linear(*model.layers[-2].weight.shape, bias=False)
    head.weight = nn.Parameter(torch.from_numpy(fc.to_numpy(model.layers[-2].weight.data).T.copy()))
    return nn.Sequential(*layers, nn.MaxPool2d(3), nn.Flatten(), head)


def make_step(torch: Any, ours: Any, x: np.ndarray, y: np.ndarray, layout: str, *, bf16: bool) -> Callable[[], float]:
    """Return a function that does one step of the recipe on NHWC images and labels, at the rates of its beginning."""
    memory_format = getattr(torch, layout)
    model = make_model(torch, ours).to(memory_format=memory_format)
    images, labels = torch_peer.image(torch, x, layout), torch.from_numpy(y).long()
    trained = [p for p in model.parameters() if p.requires_grad]
    filters = [p for p in trained if p.ndim == 4]
    biases, head = [p for p in trained if p.ndim == 1], [p for p in trained if p.ndim == 2]
    decay = 2e-6 * len(x)
    groups = [
        {"params": biases, "lr": 0.053, "weight_decay": decay / 0.053},
        {"params": head, "lr": 0.67, "weight_decay": decay / 0.67},
    ]
    sgd = torch.optim.SGD(groups, momentum=0.85, nesterov=True)
    momenta = [torch.zeros_like(p) for p in filters]

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(images) / 256
            loss = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.2, reduction="sum")
        model.zero_grad()
        loss.backward()
        sgd.step()
        with torch.no_grad():
            for p, momentum in zip(filters, momenta, strict=True):
                momentum.mul_(0.6).add_(p.grad)
                update = _orthogonal(p.grad.add(momentum, alpha=0.6).reshape(len(p), -1))
                p.mul_(len(p) ** 0.5 / p.norm()).sub_(update.reshape(p.shape), alpha=0.24)
        return loss.item()

    return step


def _orthogonal(x: Any) -> Any:
    a, b, c = 3.4445, -4.7750, 2.0315
    x = x / (x.norm() + 1e-7)
    turned = len(x) > x.shape[1]
    x = x.T if turned else x
    for _ in range(3):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if turned else x


def beside_torch(trainer: fc.Trainer, train: Dataset, batch: int, steps: int) -> dict[str, Any]:
    """Time steps of the trainer and of PyTorch in turn on one batch, after a first one of each whose losses are equal.

    PyTorch in both layouts, and where ours is "fast" under bfloat16 autocast.

    Raises
    ------
    RuntimeError
        The first losses are not equal.
    """
    x, y = next(iter(DataLoader(train, batch, shuffle=False)))
    torch = torch_peer.load(trainer.model.backend.num_threads)
    bf16 = fc.get_precision() == "fast"
    peers: dict[str, Callable[[], float]] = {}
    for layout in torch_peer.LAYOUTS if torch is not None else ():
        peers[f"torch_{layout}"] = make_step(torch, trainer.model, fc.to_numpy(x), fc.to_numpy(y), layout, bf16=bf16)
    runs = {"fastconv": lambda: float(trainer.train_step(x, y)), **peers}
    losses = {name: run() for name, run in runs.items()}
    for name, loss in losses.items():
        if not abs(loss - losses["fastconv"]) <= (10 if bf16 else 1) * _TOLERANCE * abs(losses["fastconv"]):
            raise RuntimeError(f"loss of {name}: got {loss}; allowed: that of fastconv, {losses['fastconv']}")
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(steps):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    for name, median in medians.items():
        print(f"{name}: {median:.2f} s a step of {batch}, {median / medians['fastconv']:.2f} of ours", flush=True)
    return {"steps": steps, "seconds": seconds, "median": medians, "torch": getattr(torch, "__version__", None)}
