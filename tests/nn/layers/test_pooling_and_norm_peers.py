"""Pooling and batch normalisation against PyTorch with random geometries, in float64: within 1e-10."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import functional as F
from fastconv import nn

pytestmark = pytest.mark.peer
torch: Any = pytest.importorskip("torch")
PROBLEMS = 120  # of each kind, on each backend


def channels_first(a: np.ndarray) -> Any:
    return torch.from_numpy(np.ascontiguousarray(a.transpose(0, 3, 1, 2)))


def assert_same(got: Any, want: Any) -> None:
    """`want` is PyTorch's, of maps or of channels."""
    expected = want.detach().numpy()
    expected = expected.transpose(0, 2, 3, 1) if expected.ndim == 4 else expected
    np.testing.assert_allclose(fc.to_numpy(got), expected, rtol=1e-10, atol=1e-10)


def windows(rng: np.random.Generator, *, dilated: bool) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Return the shape of a batch and the settings of a pooling that fits it."""
    kernel = tuple(map(int, rng.integers(1, 5, 2)))
    dilation = tuple(map(int, rng.integers(1, 4, 2))) if dilated else (1, 1)
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    least = [d * (k - 1) + 1 - 2 * p for k, d, p in zip(kernel, dilation, padding, strict=True)]
    # PyTorch's gradient of a window that has nothing but padding, between two of its cells, is written anywhere.
    h, w = (max(low, d) + int(rng.integers(0, 9)) for low, d in zip(least, dilation, strict=True))
    stride = None if rng.random() < 0.2 else tuple(map(int, rng.integers(1, 5, 2)))
    how: dict[str, Any] = {"kernel_size": kernel, "stride": stride, "padding": padding}
    how |= {"dilation": dilation} if dilated else {"count_include_pad": bool(rng.integers(2))}
    return (int(rng.integers(1, 4)), h, w, int(rng.integers(1, 20))), {**how, "ceil_mode": bool(rng.integers(2))}


@pytest.mark.parametrize("number", range(PROBLEMS))
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pooling_equals_torch(backend: Any, kind: str, number: int) -> None:
    rng = np.random.default_rng([number, *kind.encode()])
    shape, how = windows(rng, dilated=kind == "max")
    x = rng.standard_normal(shape)
    given = channels_first(x).requires_grad_()
    want = getattr(torch.nn.functional, f"{kind}_pool2d")(given, **how)
    g = rng.standard_normal(tuple(want.permute(0, 2, 3, 1).shape))
    want.backward(channels_first(g))
    back = {**how, "input_shape": shape}
    if kind == "max":
        y, argmax = F.max_pool2d(x, **how)
        grad = F.max_pool2d_backward(g, argmax, **back)
    else:
        y, grad = F.avg_pool2d(x, **how), F.avg_pool2d_backward(g, **back)
    assert_same(y, want)
    assert_same(grad, given.grad)


@pytest.mark.parametrize("number", range(20))
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_global_pooling_equals_torch(backend: Any, kind: str, number: int) -> None:
    rng = np.random.default_rng([number, *kind.encode()])
    shape = tuple(map(int, rng.integers(1, 12, 4)))
    x, g = rng.standard_normal(shape), rng.standard_normal((shape[0], shape[3]))
    given = channels_first(x).requires_grad_()
    want = getattr(torch.nn.functional, f"adaptive_{kind}_pool2d")(given, 1)[:, :, 0, 0]
    want.backward(torch.from_numpy(g))
    if kind == "max":
        y, argmax = F.global_max_pool2d(x)
        grad = F.global_max_pool2d_backward(g, argmax, input_shape=shape)
    else:
        y, grad = F.global_avg_pool2d(x), F.global_avg_pool2d_backward(g, input_shape=shape)
    assert_same(y, want)
    assert_same(grad, given.grad)


@pytest.mark.parametrize("number", range(PROBLEMS))
def test_batch_normalisation_equals_torch(backend: Any, number: int) -> None:
    """Two batches in training, forward, backward and running statistics, and one in inference."""
    rng = np.random.default_rng([number, 5])
    n, h, w, c = int(rng.integers(2, 6)), *map(int, rng.integers(1, 8, 2)), int(rng.integers(1, 40))
    eps, momentum = float(10 ** rng.uniform(-5, -1)), float(rng.uniform(0.01, 0.9))
    scale = bool(number % 3)
    layer = nn.BatchNorm2d(eps=eps, momentum=momentum, scale=scale).build((h, w, c), np.float64)
    peer = torch.nn.BatchNorm2d(c, eps, momentum).double()
    for ours, theirs in ((layer.gamma, peer.weight), (layer.beta, peer.bias))[not scale :]:
        values = rng.standard_normal(c)
        ours.data = fc.asarray(values)
        theirs.data = torch.from_numpy(values.copy())
    for _ in range(2):
        x, g = (rng.uniform(0.1, 3) * rng.standard_normal((n, h, w, c)) + rng.uniform(-2, 2) for _ in range(2))
        given = channels_first(x).requires_grad_()
        want = peer(given)
        peer.zero_grad()
        want.backward(channels_first(g))
        y, context = layer.forward(fc.asarray(x), training=True)
        for parameter in layer.parameters():
            parameter.zero_grad()
        grad = layer.backward(fc.asarray(g), context)
        assert_same(y, want)
        assert_same(grad, given.grad)
        if scale:
            assert_same(layer.gamma.grad, peer.weight.grad)
        assert_same(layer.beta.grad, peer.bias.grad)
        assert_same(layer.running_mean.data, peer.running_mean)
        assert_same(layer.running_var.data, peer.running_var)
    peer.eval()
    x = rng.standard_normal((n, h, w, c))
    want = peer(channels_first(x))
    assert_same(layer.forward(fc.asarray(x), training=False)[0], want)
    mean, var = (fc.to_numpy(buffer.data) for buffer in (layer.running_mean, layer.running_var))
    gamma, beta = (fc.to_numpy(parameter.data) for parameter in (layer.gamma, layer.beta))
    assert_same(F.batch_norm_inference(x, gamma, beta, mean, var, eps=eps), want)
