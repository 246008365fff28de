"""Layers that have operations of their own, forward and backward, beside NumPy's and PyTorch's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from benchmarks import torch_peer
from benchmarks.checking import checked_step
from benchmarks.measure import Peer, compare, largest_error, on_lines
from fastconv import nn
from fastconv.kernels.pointwise import POINTWISE


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
    "global_avg_pool2d": Pair(nn.GlobalAvgPool2d, lambda t: lambda x: x.mean((2, 3))),
    "global_max_pool2d": Pair(nn.GlobalMaxPool2d, lambda t: lambda x: x.amax((2, 3))),
    "scale": Pair(lambda: nn.Scale(0.5), lambda t: lambda x: 0.5 * x),
    "subsample_pad": Pair(
        lambda: nn.SubsamplePad(128, stride=2),
        lambda t: lambda x: t.nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 32, 32)),
    ),
    "sync_batch_norm": Pair(nn.SyncBatchNorm, lambda t: t.nn.BatchNorm2d(64)),
    "add": Pair(
        lambda: nn.Graph({"half": (nn.Scale(0.5), "input"), "sum": ("sum", "input", "half")}, outputs="sum"),
        lambda t: lambda x: x + 0.5 * x,
    ),
    "concatenate": Pair(
        lambda: nn.Parallel(nn.Identity(), nn.Scale(0.5), mode="concatenate"),
        lambda t: lambda x: t.cat([x, 0.5 * x], 1),
    ),
    **{
        name: Pair(getattr(nn, function.layer), lambda t, layer=function.layer: getattr(t.nn, layer)())
        for name, function in POINTWISE.items()
    },
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
            given = [
                torch_peer.image(torch, array, layout) if array.ndim == 4 else torch.from_numpy(array)
                for array in arrays
            ]
            module = LAYERS[name].theirs(torch)
            peers.append(Peer(f"torch {layout}", _theirs(torch, module, which, given)))
    compare(benchmark, ours, peers, bytes=sum(array.nbytes for array in arrays), error=error)


def _pooled_group():
    """The first half of a group of the 94 % net."""
    norm = nn.BatchNorm2d(eps=1e-12, momentum=0.4)
    return [nn.Conv2d(64, 3, padding="same", bias=False), nn.MaxPool2d(2), norm, nn.GELU()]


def _their_group(torch):
    norm = torch.nn.BatchNorm2d(64, eps=1e-12, momentum=0.4)
    conv = torch.nn.Conv2d(24, 64, 3, padding=1, bias=False)
    return torch.nn.Sequential(conv, torch.nn.MaxPool2d(2), norm, torch.nn.GELU())


GROUPS = {
    "fused": lambda: nn.Sequential(*_pooled_group()),
    "layer-by-layer": lambda: nn.Sequential(*map(nn.Sequential, _pooled_group())),
}


@pytest.mark.parametrize("which", ["forward", "backward"])
@pytest.mark.parametrize("form", GROUPS)
def bench_conv_pool_norm_gelu(benchmark, torch, rng, form, which):
    """Of maps of 31x31. Backward is held to the tests alone: two cells of a window that nearly tie change places."""
    shape, result = (128, 31, 31, 24), (128, 15, 15, 64)
    arrays = [on_lines(rng.standard_normal(size).astype(np.float32)) for size in (shape, result)]
    with fc.use_backend("numba"):
        layer = GROUPS[form]().build(shape[1:], seed=0)
    with fc.use_backend("numpy"):
        wide = GROUPS[form]().build(shape[1:], np.float64, seed=0)
    some = arrays[0][:4].astype(np.float64)
    error = largest_error(layer(arrays[0][:4]), _call_inference(wide, some))
    assert error < 1e-4
    peers = []
    if torch is not None:
        for layout in torch_peer.LAYOUTS:
            given = [torch_peer.image(torch, array, layout) for array in arrays]
            peers.append(Peer(f"torch {layout}", _theirs(torch, _their_group(torch), which, given)))
    moved = sum(array.nbytes for array in arrays)
    compare(benchmark, _call(layer, "numba", which, arrays), peers, bytes=moved, error=error)


def _call_inference(layer, x):
    with fc.use_backend("numpy"):
        return layer(x)


ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "gelu": nn.GELU, "silu": nn.SiLU}


def _activated(name):
    """A net of convolution, normalisation and activation, twice, for images of CIFAR-10's size."""
    layers = []
    for _ in range(2):
        layers += [nn.Conv2d(64, 3, padding=1, bias=False), nn.BatchNorm2d(), ACTIVATIONS[name]()]
    return nn.Sequential(*layers, nn.GlobalAvgPool2d(), nn.Dense(10)).build((32, 32, 3), seed=0)


def _activated_trainer(name):
    model = _activated(name)
    optimizer = fc.optim.SGD(model.parameters(), 1e-3, momentum=0.9)
    return fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer, seed=0)


def _activated_batch(benchmark, rng):
    batch = 128 if benchmark.enabled else 4
    return rng.standard_normal((batch, 32, 32, 3)).astype(np.float32), rng.integers(0, 10, batch).astype(np.int32)


@pytest.mark.parametrize("name", ACTIVATIONS)
def bench_conv_norm_activation_layers_step(benchmark, rng, name):
    """Beside the same net with ReLU."""
    x, y = _activated_batch(benchmark, rng)
    trainer, plain = (checked_step(lambda each=each: _activated_trainer(each), x, y) for each in (name, "relu"))
    peers = [Peer("relu", lambda: float(plain.train_step(x, y)))]
    compare(benchmark, lambda: float(trainer.train_step(x, y)), peers)


@pytest.mark.parametrize("name", ACTIVATIONS)
def bench_conv_norm_activation_layers_inference(benchmark, rng, name):
    """Folded, beside the same net with ReLU."""
    x, _ = _activated_batch(benchmark, rng)
    plans = {each: _activated(each).compile(x.shape) for each in (name, "relu")}
    outputs = {each: plan(x).copy() for each, plan in plans.items()}
    with fc.use_backend("numpy"):
        errors = {each: largest_error(y, _activated(each)(x).astype(np.float64)) for each, y in outputs.items()}
    assert max(errors.values()) < 1e-4
    compare(benchmark, lambda: plans[name](x), [Peer("relu", lambda: plans["relu"](x))], error=errors[name])
