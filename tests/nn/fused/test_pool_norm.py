"""Convolution, pooling, normalisation and activation as one: trained, captured, frozen, explained."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.backends.contract.backend import Backend
from fastconv.kernels.epilogue import Epilogue
from fastconv.kernels.geometry import ConvGeometry, PoolWindows
from fastconv.nn.fused.pool_norm import ConvPoolNorm
from fastconv.testing import gradcheck
from tests.nn.fused.test_convolution import check_run_alike, check_trained_alike, trained
from tests.nn.fused.test_patterns import run_one_by_one

SIZE = (12, 12, 3)  # so that maps are 11, 5 and 2: odd, as those of 31, 15 and 7 of the net are
SQUARES = PoolWindows((2, 2), (2, 2))


def _group(channels: int) -> list[nn.Layer]:
    first, second = (nn.Conv2d(channels, 3, padding="same", bias=False) for _ in range(2))
    norms = [nn.BatchNorm2d(eps=1e-3, momentum=0.4) for _ in range(2)]
    return [first, nn.MaxPool2d(2), norms[0], nn.GELU(), second, norms[1], nn.GELU()]


def _net(dtype: type = np.float64) -> nn.Sequential:
    """Two of its groups behind its first layer."""
    head = (nn.Flatten(), nn.Dense(4))
    return nn.Sequential(nn.Conv2d(16, 2), nn.GELU(), *_group(18), *_group(30), *head).build(SIZE, dtype, seed=2)


@pytest.mark.float64
def test_gradients_are_slopes(backend: Backend, rng: np.random.Generator) -> None:
    model = nn.Sequential(*_group(2)[:4], nn.Conv2d(2, 2)).build((7, 5, 2), np.float64)
    assert type(model.plan.steps[0]) is ConvPoolNorm
    gradcheck(model, rng.standard_normal((2, 7, 5, 2)))


@pytest.mark.float64
def test_trained_as_one_by_one(backend: Backend, rng: np.random.Generator) -> None:
    fused, plain = _net(), _net()
    run_one_by_one(plain)
    check_trained_alike(fused, plain)
    check_run_alike(fused, plain, rng)


@pytest.mark.float64
@pytest.mark.parametrize("frozen", ["norm", "conv"])
def test_frozen_as_one_by_one(frozen: str, backend: Backend) -> None:
    """A normalisation with its running statistics, and a convolution whose weight has no gradient."""
    fused, plain = _net(), _net()
    run_one_by_one(plain)
    for model in (fused, plain):
        for layer in (model.layers[2], model.layers[9]) if frozen == "conv" else (model.layers[4], model.layers[11]):
            layer.freeze()
    check_trained_alike(fused, plain)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["default", "strict"])
def test_captured_steps_give_the_same_bits(precision: str) -> None:
    with fc.use_backend("numba"), fc.precision(precision):
        plain, captured = (trained(_net(np.float32), capture=capture) for capture in (False, True))
    for name, value in plain.items():
        assert captured[name].tobytes() == value.tobytes(), name


@pytest.mark.slow
def test_the_same_bits_on_any_number_of_threads() -> None:
    with fc.use_backend("numba") as backend:
        threads, results = backend.num_threads, []
        try:
            for count in (1, 2):
                fc.set_num_threads(count)
                results.append(trained(_net(np.float32)))
        finally:
            fc.set_num_threads(threads)
    for name, value in results[0].items():
        assert results[1][name].tobytes() == value.tobytes(), name


@pytest.mark.slow
def test_explain_shows_it() -> None:
    """In passes of its own there is but the normalisation; nothing of the convolution's size is written."""
    with fc.use_backend("numba"), fc.algorithm("winograd"):
        told = fc.explain(_net(np.float32), (64, *SIZE))  # tiles enough for tasks of their own, with any vectors
        rows = {row.names: row for row in told.rows}
    first, second = rows["2", "3", "4", "5"], rows["9", "10", "11", "12"]
    assert first.kinds == ("Conv2d", "MaxPool2d", "BatchNorm2d", "GELU")
    assert first.operations == (
        *("conv2d_statistics + max_pool2d", "normalise + gelu"),
        *("batch_norm_backward_apply", "conv2d_max_pool2d_backward + gelu"),
    )
    assert second.operations == (
        *("conv2d_statistics + max_pool2d", "normalise + gelu", "batch_norm_backward_apply"),
        *("conv2d_max_pool2d_backward", "conv2d_backward_input_norm + gelu + max_pool2d"),
    )
    assert any("pool_statistics" in name for name in first.forward)
    assert any("unpool_norm" in name for name in second.backward)
    kernels = [name for row in (first, second) for name in (*row.forward, *row.backward)]
    assert not any("max_pool" in name or "batch_norm_statistics" in name for name in kernels)


def test_an_empty_batch_in_training_says_so() -> None:
    with pytest.raises(fc.errors.ShapeError, match="at least one image"):
        _net(np.float32).forward(np.empty((0, *SIZE), np.float32), training=True)


def _pooled_statistics(backend: Backend, x: np.ndarray, weight: np.ndarray) -> dict[str, np.ndarray]:
    """Return what `conv2d_statistics` gives behind a pooling of 2x2."""
    geometry, channels = ConvGeometry((3, 3), padding=((1, 1), (1, 1))), weight.shape[3]
    how = {"input_shape": x.shape, "precision": "default", "algorithm": "winograd", "workspace": backend.pool}
    prepared = backend.prepare_conv2d_weight(weight, geometry=geometry, **how)
    shape = (x.shape[0], x.shape[1] // 2, x.shape[2] // 2, channels)
    mean, var = np.empty((2, 2, channels), x.dtype)
    results = {"out": np.empty(shape, x.dtype), "argmax": np.empty(shape, np.uint8), "mean": mean, "var": var}
    backend.conv2d_statistics(x, prepared, None, Epilogue(windows=SQUARES), **results, workspace=backend.pool)
    return results


@pytest.mark.slow
@pytest.mark.parametrize("name", ["numba", "numpy"])
def test_of_equals_the_first_is_taken_and_nan_wins(name: str) -> None:
    x, weight = np.zeros((2, 9, 11, 16), np.float32), np.ones((3, 3, 16, 20), np.float32)
    x[1, 2, 3, 0] = np.nan
    with fc.use_backend(name) as backend:
        got = _pooled_statistics(backend, x, weight)
    assert (got["out"][0] == 0).all()
    assert (got["argmax"][0] == 0).all()
    assert np.isnan(got["out"][1, 1, 1]).all()
    assert np.isnan(got["mean"][0]).all()


@pytest.mark.slow
def test_the_last_rows_count_for_nothing() -> None:
    """An odd map's last row and column are in no window: neither in the statistics, nor in what is checked of them."""
    rng = np.random.default_rng(5)
    x, weight = rng.standard_normal((3, 13, 9, 16), np.float32), np.zeros((3, 3, 16, 33), np.float32)
    weight[1, 1] = rng.standard_normal((16, 33), np.float32)
    far = x.copy()
    far[:, 12:], far[:, :, 8:] = 1e6, 1e6
    with fc.use_backend("numba") as backend:
        want, got = _pooled_statistics(backend, x, weight), _pooled_statistics(backend, far, weight)
    np.testing.assert_allclose(got["var"][0], want["var"][0], rtol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("far", [0.0, 3e4])
def test_statistics_are_those_of_the_pooled_map(far: float, rng: np.random.Generator) -> None:
    """Over many blocks, and far from zero."""
    x, weight = rng.standard_normal((40, 15, 15, 24), np.float32), rng.standard_normal((3, 3, 24, 64), np.float32)
    weight -= weight.mean((0, 1, 2))
    x += np.float32(far)
    with fc.use_backend("numba") as backend:
        got = _pooled_statistics(backend, x, weight)
    wide = got["out"].astype(np.float64).reshape(-1, 64)
    np.testing.assert_allclose(got["mean"].sum(0), wide.mean(0), rtol=1e-5, atol=1e-5 * wide.std())
    np.testing.assert_allclose(got["var"][0], wide.var(0), rtol=1e-5)


@pytest.mark.peer
def test_gradients_are_those_of_pytorch(backend: Backend, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    model = nn.Sequential(*_group(17), *_group(18)).build((13, 15, 3), np.float64, seed=1)
    layers, x = [], rng.standard_normal((3, 13, 15, 3))
    for layer in model.layers:
        if isinstance(layer, nn.Conv2d):
            weight = fc.to_numpy(layer.weight.data).transpose(3, 2, 0, 1)
            layers.append(torch.nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1, bias=False).double())
            layers[-1].weight.data = torch.tensor(weight.copy())
        elif isinstance(layer, nn.BatchNorm2d):
            layers.append(torch.nn.BatchNorm2d(layer.gamma.shape[0], eps=layer.eps, momentum=layer.momentum).double())
        else:
            layers.append(torch.nn.MaxPool2d(2) if isinstance(layer, nn.MaxPool2d) else torch.nn.GELU())
    theirs = torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    want = torch.nn.Sequential(*layers)(theirs)
    grad = rng.standard_normal(tuple(want.shape))
    want.backward(torch.tensor(grad))
    y, context = model.forward(fc.asarray(x), training=True)
    grad_input = model.backward(fc.asarray(grad.transpose(0, 2, 3, 1).copy()), context)
    close = {"rtol": 1e-10, "atol": 1e-10}
    np.testing.assert_allclose(fc.to_numpy(y), want.detach().numpy().transpose(0, 2, 3, 1), **close)
    np.testing.assert_allclose(fc.to_numpy(grad_input), theirs.grad.numpy().transpose(0, 2, 3, 1), **close)
    for mine, its in zip(model.layers, layers, strict=True):
        if isinstance(mine, nn.Conv2d):
            its_grad = its.weight.grad.numpy().transpose(2, 3, 1, 0)
            np.testing.assert_allclose(fc.to_numpy(mine.weight.grad), its_grad, **close)
        elif isinstance(mine, nn.BatchNorm2d):
            np.testing.assert_allclose(fc.to_numpy(mine.gamma.grad), its.weight.grad.numpy(), **close)
            np.testing.assert_allclose(fc.to_numpy(mine.beta.grad), its.bias.grad.numpy(), **close)
            np.testing.assert_allclose(fc.to_numpy(mine.running_var.data), its.running_var.numpy(), **close)
