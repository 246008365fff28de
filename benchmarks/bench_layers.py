"""Layers that have operations of their own, forward and backward, beside NumPy's and PyTorch's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from benchmarks import torch_peer
from benchmarks.measure import Peer, compare, largest_error, on_lines
from fastconv import nn


@dataclass(frozen=True)
class Pair:
    """A layer of ours, PyTorch's module of it, and the shape of a batch."""

    ours: Callable[[], nn.Layer]
    theirs: Callable[[Any], Any]
    shape: tuple[int, ...] = (64, 32, 32, 64)


LAYERS = {
    "local_response_norm": Pair(nn.LocalResponseNorm, lambda t: t.nn.LocalResponseNorm(5)),
    "group_norm": Pair(lambda: nn.GroupNorm(8), lambda t: t.nn.GroupNorm(8, 64)),
    "adaptive_avg_pool2d": Pair(lambda: nn.AdaptiveAvgPool2d(6), lambda t: t.nn.AdaptiveAvgPool2d(6)),
    "upsample2d": Pair(lambda: nn.Upsample(2), lambda t: t.nn.Upsample(scale_factor=2), (64, 16, 16, 64)),
    "prelu": Pair(lambda: nn.PReLU(64), lambda t: t.nn.PReLU(64)),
    "softmax": Pair(nn.Softmax, lambda t: t.nn.Softmax(1)),
    "depthwise": Pair(lambda: nn.DepthwiseConv2d(3, padding=1), lambda t: t.nn.Conv2d(64, 64, 3, padding=1, groups=64)),
    "conv_transpose2d": Pair(
        lambda: nn.ConvTranspose2d(32, 2, stride=2),
        lambda t: t.nn.ConvTranspose2d(64, 32, 2, stride=2),
        (64, 16, 16, 64),
    ),
    "maxout": Pair(lambda: nn.Maxout(2), lambda t: lambda x: x.unflatten(1, (2, 32)).amax(1)),
}


def _built(name, backend, dtype=np.float32):
    with fc.use_backend(backend):
        return LAYERS[name].ours().build(LAYERS[name].shape[1:], dtype, seed=0)


def _call(layer, backend, which, arrays):
    """Return what does one direction; the other one is done before."""
    with fc.use_backend(backend):
        x, grad = arrays
        _, context = layer.forward(x, training=True)

    def run():
        with fc.use_backend(backend):
            return layer.forward(x, training=True)[0] if which == "forward" else layer.backward(grad, context)

    return run


def _theirs(torch, module, which, arrays):
    x, grad = arrays
    leaf = x.requires_grad_()
    if which == "forward":
        return lambda: module(leaf)
    y = module(leaf)
    wanted = [leaf, *(module.parameters() if isinstance(module, torch.nn.Module) else ())]
    return lambda: torch.autograd.grad(y, wanted, grad, retain_graph=True)


@pytest.mark.parametrize("which", ["forward", "backward"])
@pytest.mark.parametrize("name", LAYERS)
def bench_layer(benchmark, torch, rng, name, which):
    shape = LAYERS[name].shape
    layer = _built(name, "numba")
    sizes = shape, (shape[0], *layer.infer(shape[1:]))
    arrays = [on_lines(rng.standard_normal(size).astype(np.float32)) for size in sizes]
    ours, wide = _call(layer, "numba", which, arrays), _built(name, "numpy", np.float64)
    plain = _call(_built(name, "numpy"), "numpy", which, arrays)
    error = largest_error(ours(), _call(wide, "numpy", which, [a.astype(np.float64) for a in arrays])())
    assert error < 1e-4
    peers = [Peer("numpy", plain, rounds=2)]
    if torch is not None:
        for layout in torch_peer.LAYOUTS:
            given = [torch_peer.image(torch, array, layout) for array in arrays]
            module = LAYERS[name].theirs(torch)
            peers.append(Peer(f"torch {layout}", _theirs(torch, module, which, given)))
    compare(benchmark, ours, peers, bytes=sum(array.nbytes for array in arrays), error=error)
