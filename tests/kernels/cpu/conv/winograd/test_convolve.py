"""Winograd stays within the bound that kernels/NUMERICS.md derives, on normal, all-positive and wide-range numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import fastconv as fc
from fastconv import functional as F
from fastconv.backends import get_backend, use_backend

pytest.importorskip("numba")
from fastconv.kernels.cpu.conv.winograd.transforms import SMALL, SMALL_TILE, SQUARE, TILE

UNIT = 2.0**-24  # half the distance from 1 to the next float32

Numbers = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
NUMBERS: dict[str, Numbers] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "all-positive": lambda rng, shape: rng.uniform(0.5, 1.5, shape),
    "wide-range": lambda rng, shape: rng.standard_normal(shape) * 10.0 ** rng.uniform(-6, 6, shape),
}
SHAPES = [(2, 9, 7, 16, 16), (3, 8, 8, 96, 33), (1, 8, 8, 512, 16)]  # images, rows, columns, channels


def _amplification(kernel: int) -> float:
    """Largest weighing of a product: rows of |A^T| by the largest entries of |G| and the sums of rows of |B^T|."""
    products = {3: (2.5, 10 / 6, 10 / 6, 1, 1, 10), 5: (2.5, 10 / 6, 10 / 6, 4, 4, 10)}[kernel]
    last = {3: (0, 1, 1, 8, 8, 1), 5: (0, 1, 1, 2, 2, 1)}[kernel]
    return float(np.dot(products, last)) ** 2


def largest_of_patches(
    x: np.ndarray, kernel: int, padding: int, out: tuple[int, int], tile: tuple[int, int]
) -> np.ndarray:
    """Largest absolute input of the patch behind each output, (N, P, Q, 1)."""
    padded = np.pad(np.abs(x), ((0, 0), (padding, padding + 6), (padding, padding + 6), (0, 0)))
    largest, (rows, cols) = np.zeros((len(x), *out, 1)), tile
    for i in range(0, out[0], rows):
        for j in range(0, out[1], cols):
            patch = padded[:, i : i + rows + kernel - 1, j : j + cols + kernel - 1].max((1, 2, 3))
            largest[:, i : i + rows, j : j + cols] = patch[:, None, None, None]
    return largest


def _winograd_was_used(run: Callable[[], np.ndarray]) -> np.ndarray:
    names: list[str] = []
    with fc.algorithm("winograd"), get_backend().trace(names.append):
        result = run()
    assert any("winograd" in name for name in names)
    return result


@pytest.fixture(autouse=True)
def _on_numba():
    with use_backend("numba"):
        yield


def test_the_factors_are_those_of_the_page() -> None:
    assert _amplification(3) == pytest.approx(29.33**2, rel=1e-3)
    assert _amplification(5) == pytest.approx(29.33**2, rel=1e-3)
    assert _amplification(3) < 870


@pytest.mark.parametrize("kernel", [3, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("which", ["forward", "backward_input"])
def test_convolution(which: str, shape, numbers: str, kernel: int) -> None:
    n, h, w, c, k = shape
    rng = np.random.default_rng(5)
    make, padding = NUMBERS[numbers], kernel // 2
    channels = (c, k) if which == "forward" else (k, c)
    x = make(rng, (n, h, w, c)).astype(np.float32)
    weight = make(rng, (kernel, kernel, *channels)).astype(np.float32)

    def run(x, weight):
        if which == "forward":
            return F.conv2d(x, weight, padding=padding)
        return F.conv2d_backward_input(x, weight, input_shape=(n, h, w, k), padding=padding)

    got = _winograd_was_used(lambda: run(x, weight))
    with use_backend("numpy"):
        exact = run(x.astype(np.float64), weight.astype(np.float64))
    tile = SQUARE if kernel == 3 else SMALL
    largest = largest_of_patches(x.astype(np.float64), kernel, padding, got.shape[1:3], tile)
    total = np.abs(weight.astype(np.float64)).sum((0, 1, 2) if which == "forward" else (0, 1, 3))
    bound = (c + 40) * UNIT * _amplification(kernel) * largest * total
    error = np.abs(got - exact)
    assert (error <= bound).all(), float((error / bound).max())
    assert error.max() > 0


@pytest.mark.parametrize("kernel", [3, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_backward_weight(shape, numbers: str, kernel: int) -> None:
    """Sums over tiles: the largest input of any patch times the sum of the gradients."""
    n, h, w, c, k = shape
    rng = np.random.default_rng(6)
    make = NUMBERS[numbers]
    x, grad = make(rng, (n, h, w, c)).astype(np.float32), make(rng, (n, h, w, k)).astype(np.float32)

    def run(grad, x):
        return F.conv2d_backward_weight(grad, x, weight_shape=(kernel, kernel, c, k), padding=kernel // 2)

    got = _winograd_was_used(lambda: run(grad, x))
    with use_backend("numpy"):
        exact = run(grad.astype(np.float64), x.astype(np.float64))
    tile = TILE if kernel == 3 else SMALL_TILE
    tiles = n * -(-h // tile) * -(-w // tile)
    bound = (tiles + 40) * UNIT * 870 * np.abs(x).max() * np.abs(grad.astype(np.float64)).sum((0, 1, 2))
    error = np.abs(got - exact)
    assert (error <= bound).all(), float((error / bound).max())
    assert error.max() > 0


def test_strict_never_uses_it(rng: np.random.Generator) -> None:
    names: list[str] = []
    x, weight = rng.standard_normal((2, 8, 8, 64), np.float32), rng.standard_normal((3, 3, 64, 64), np.float32)
    with fc.precision("strict"), fc.algorithm("winograd"), get_backend().trace(names.append):
        F.conv2d(x, weight, padding=1)
        F.conv2d_backward_input(x, weight, input_shape=x.shape, padding=1)
        F.conv2d_backward_weight(x, x, weight_shape=weight.shape, padding=1)
    assert names
    assert not any("winograd" in name for name in names)
