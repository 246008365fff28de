"""Layers against PyTorch on random problems, in float64: output and all gradients within 1e-10."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn

pytestmark = pytest.mark.peer
torch: Any = pytest.importorskip("torch")
PROBLEMS = 25

Problem = tuple[nn.Layer, Any, tuple[int, ...]]
"""Our layer, PyTorch's module or function, and the shape of an image."""


def _size(rng: np.random.Generator, low: int = 1, high: int = 9) -> int:
    return int(rng.integers(low, high))


def _conv_transpose(rng: np.random.Generator) -> Problem:
    groups, k = _size(rng, 1, 4), _size(rng, 1, 4)
    c, out = groups * _size(rng, 1, 4), groups * _size(rng, 1, 4)
    kernel, stride, dilation = ((_size(rng, 1, 4), _size(rng, 1, 4)) for _ in range(3))
    more = tuple(int(rng.integers(0, s)) for s in stride)
    reach = [d * (size - 1) + 1 for size, d in zip(kernel, dilation, strict=True)]
    padding = tuple(int(rng.integers(0, (r + 1) // 2 + 1)) for r in reach)
    size = (k + 3, _size(rng, 4, 8))
    how = {"stride": stride, "padding": padding, "output_padding": more, "dilation": dilation, "groups": groups}
    bias = bool(rng.random() < 0.5)
    ours = nn.ConvTranspose2d(out, kernel, **how, bias=bias)
    return ours, torch.nn.ConvTranspose2d(c, out, kernel, **how, bias=bias), (*size, c)


def _depthwise(rng: np.random.Generator) -> Problem:
    c, multiplier = _size(rng), _size(rng, 1, 4)
    kernel, stride = (_size(rng, 1, 4), _size(rng, 1, 4)), (_size(rng, 1, 3), _size(rng, 1, 3))
    how = {"stride": stride, "padding": _size(rng, 0, 3), "dilation": _size(rng, 1, 3)}
    ours = nn.DepthwiseConv2d(kernel, multiplier, **how)
    return ours, torch.nn.Conv2d(c, c * multiplier, kernel, **how, groups=c), (_size(rng, 7, 12), _size(rng, 7, 12), c)


def _response(rng: np.random.Generator) -> Problem:
    size, alpha = _size(rng, 1, 12), float(rng.uniform(0, 2))
    beta, k = float(rng.choice([0.25, 0.5, 0.75, 1, 0.6, 2.1])), float(rng.uniform(0.5, 2))
    shape = (_size(rng), _size(rng), _size(rng, 1, 20))
    ours = nn.LocalResponseNorm(size, alpha=alpha, beta=beta, k=k)
    return ours, torch.nn.LocalResponseNorm(size, alpha, beta, k), shape


def _group_norm(rng: np.random.Generator) -> Problem:
    groups = _size(rng, 1, 6)
    c, affine, eps = groups * _size(rng, 1, 5), bool(rng.random() < 0.7), float(rng.choice([1e-5, 0.1]))
    shape = (_size(rng, 2), _size(rng, 2), c)
    return nn.GroupNorm(groups, eps=eps, affine=affine), torch.nn.GroupNorm(groups, c, eps, affine), shape


def _adaptive(rng: np.random.Generator) -> Problem:
    size = (_size(rng), _size(rng))
    return nn.AdaptiveAvgPool2d(size), torch.nn.AdaptiveAvgPool2d(size), (_size(rng, 1, 14), _size(rng, 1, 14), 3)


def _upsample(rng: np.random.Generator) -> Problem:
    scale = (_size(rng, 1, 5), _size(rng, 1, 5))
    return nn.Upsample(scale), torch.nn.Upsample(scale_factor=scale), (_size(rng), _size(rng), 4)


def _prelu(rng: np.random.Generator) -> Problem:
    c, slope = _size(rng), float(rng.uniform(-1, 1))
    count = c if rng.random() < 0.5 else 1
    return nn.PReLU(count, init=slope), torch.nn.PReLU(count, slope), (_size(rng), _size(rng), c)


def _softmax(rng: np.random.Generator) -> Problem:
    return nn.Softmax(), torch.nn.Softmax(1), (_size(rng), _size(rng), _size(rng, 1, 40))


def _maxout(rng: np.random.Generator) -> Problem:
    pieces, units = _size(rng, 1, 5), _size(rng)

    def largest(x: Any) -> Any:
        return x.reshape(x.shape[0], pieces, units, *x.shape[2:]).amax(1)

    return nn.Maxout(pieces), largest, (_size(rng), _size(rng), pieces * units)


MAKERS = [
    *(_conv_transpose, _depthwise, _response, _group_norm, _adaptive, _upsample, _prelu, _softmax, _maxout),
]


def _as_theirs(value: np.ndarray) -> np.ndarray:
    return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__[1:])
def test_equals_pytorch(backend: Any, rng: np.random.Generator, make: Callable[..., Problem]) -> None:
    for _ in range(PROBLEMS):
        ours, theirs, shape = make(rng)
        ours.build(shape, np.float64)
        values = {p: rng.standard_normal(p.shape) for p in ours.parameters()}
        for parameter, value in values.items():
            parameter.data = value
        x = rng.standard_normal((_size(rng, 1, 4), *shape))
        their_x = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).requires_grad_()
        mine = []
        if isinstance(theirs, torch.nn.Module):
            theirs.double()
            mine = list(theirs.parameters())
            for parameter, value in zip(mine, values.values(), strict=True):
                parameter.data = torch.from_numpy(_as_theirs(value).copy())
        y, context = ours.forward(fc.asarray(x), training=True)
        their_y = theirs(their_x)
        grad = rng.standard_normal(y.shape)
        their_y.backward(torch.from_numpy(grad.transpose(0, 3, 1, 2).copy()))
        grad_x = fc.to_numpy(ours.backward(fc.asarray(grad), context))
        close = {"rtol": 1e-10, "atol": 1e-10}
        np.testing.assert_allclose(fc.to_numpy(y), their_y.detach().numpy().transpose(0, 2, 3, 1), **close)
        np.testing.assert_allclose(grad_x, their_x.grad.numpy().transpose(0, 2, 3, 1), **close)
        for parameter, other in zip(values, mine, strict=True):
            np.testing.assert_allclose(_as_theirs(fc.to_numpy(parameter.grad)), other.grad.numpy(), **close)


def test_output_padding_below_the_dilation_is_pytorchs_alone() -> None:
    """The guide for those who move says so."""
    how = {"stride": 1, "dilation": 3, "output_padding": 2}
    assert torch.nn.ConvTranspose2d(2, 2, 3, **how)(torch.zeros(1, 2, 4, 4)).shape == (1, 2, 12, 12)
    with pytest.raises(
        fc.errors.ArgumentError, match=r"^output_padding: got 2; allowed: less than the stride, which is"
    ):
        nn.ConvTranspose2d(2, 3, **how)
