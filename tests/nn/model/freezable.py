"""Models to freeze parts of, a batch for them, and their gradients."""

from __future__ import annotations

import numpy as np

import fastconv as fc
from fastconv import nn
from fastconv.losses import SoftmaxCrossEntropy

MODELS = {
    "conv-relu-pool": lambda: (nn.Conv2d(8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)) * 1,
    "conv-gelu": lambda: (nn.Conv2d(8, 3, padding=1), nn.GELU()),
    "conv-gelu-pool": lambda: (nn.Conv2d(8, 3, padding=1), nn.GELU(), nn.MaxPool2d(2)),
    "conv": lambda: (nn.Conv2d(8, 3, padding=1),),
    "conv-norm": lambda: (nn.Conv2d(8, 3, padding=1), nn.BatchNorm2d()),
    "conv-norm-relu": lambda: (nn.Conv2d(8, 3, padding=1), nn.BatchNorm2d(), nn.ReLU()),
    "conv-norm-silu": lambda: (nn.Conv2d(8, 3, padding=1), nn.BatchNorm2d(), nn.SiLU()),
    "conv-norm-relu-pool": lambda: (nn.Conv2d(8, 3, padding=1), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2)),
    "conv-norm-silu-pool": lambda: (nn.Conv2d(8, 3, padding=1), nn.BatchNorm2d(), nn.SiLU(), nn.MaxPool2d(2)),
    "norm": lambda: (nn.BatchNorm2d(),),
    "residual-relu": lambda: (
        nn.Residual(
            nn.Sequential(
                nn.Conv2d(8, 3, padding=1), nn.BatchNorm2d(), nn.ReLU(), nn.Conv2d(8, 3, padding=1), nn.BatchNorm2d()
            ),
            nn.Conv2d(8, 1),
        ),
        nn.ReLU(),
    ),
    "residual-gelu": lambda: (
        nn.Residual(
            nn.Sequential(nn.Conv2d(8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, padding=1), nn.BatchNorm2d()),
            nn.Conv2d(8, 1),
        ),
        nn.GELU(),
    ),
    "parallel": lambda: (nn.Parallel(nn.Conv2d(4, 3, padding=1), nn.Conv2d(4, 1), mode="concatenate"),),
}
"""Blocks that are joined, two of each kind, and end in Flatten and Dense."""


def model_of(*names: str, dtype=np.float32, seed=3):
    blocks = [layer for name in names for layer in MODELS[name]()]
    model = nn.Sequential(*blocks, nn.Flatten(), nn.Dense(3)).build((8, 8, 2), dtype, seed=seed)
    rng = np.random.default_rng(5)
    for tensor in model.tensors():  # statistics and factors other than 0 and 1
        if tensor.shape and tensor.name.rpartition(".")[2] in ("gamma", "running_var"):
            tensor.data = rng.uniform(0.5, 1.5, tensor.shape).astype(dtype)
        elif tensor.name.rpartition(".")[2] in ("beta", "running_mean"):
            tensor.data = rng.uniform(-0.5, 0.5, tensor.shape).astype(dtype)
    return model


def gradients(model, x, y, **wanted):
    model.zero_grad()
    out, context = model.forward(x, training=True)
    _, grad = SoftmaxCrossEntropy()(out, y)
    grad_input = model.backward(grad, context, **wanted)
    found = {p.name: fc.to_numpy(p.grad).copy() for p in model.parameters()}
    return found, None if grad_input is None else fc.to_numpy(grad_input).copy()


def batch_of(rng, dtype=np.float32, size=4):
    x = rng.standard_normal((size, 8, 8, 2)).astype(dtype)
    return fc.asarray(x), fc.asarray(rng.integers(0, 3, size).astype(np.int32))


def leaves(model):
    """Paths and layers with parameters."""
    from fastconv.nn.core.paths import paths_of

    return {path: layer for layer, path in paths_of(model) if not layer.children() and layer.own_tensors()}
