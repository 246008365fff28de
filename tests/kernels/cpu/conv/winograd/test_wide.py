"""Wide tiles of Winograd's convolution: right on all their shapes, chosen where all of them are whole, nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.backends import use_backend
from fastconv.backends.contract.backend import Backend
from fastconv.kernels.epilogue import NO_EPILOGUE
from fastconv.kernels.pointwise import RELU
from tests.backends.cases.conv import Conv, backward_input, forward, prepared_weight
from tests.backends.cases.fused.convolutions import (
    backward_input_norm,
    backward_input_through,
    conv_after,
    conv_pool,
    conv_pool_backward,
    conv_statistics,
)
from tests.backends.cases.fused.parts import ADDED, AFTER, SQUARES
from tests.backends.op_case import Case, PoisonedWorkspace, check, check_captured
from tests.kernels.cpu.conv.winograd.test_convolve import NUMBERS, UNIT, largest_of_patches

pytest.importorskip("numba")
from fastconv.kernels.cpu.conv import choice
from fastconv.kernels.cpu.conv.algorithms import MEASURED
from fastconv.kernels.cpu.conv.winograd import plan as winograd_plan
from fastconv.kernels.cpu.conv.winograd.transforms import WIDE
from fastconv.kernels.cpu.conv.winograd.wide_transforms import _COLUMN_POINTS, _ROW_POINTS
from fastconv.kernels.cpu.vector.simd import LINE_BYTES, VECTOR_BYTES
from fastconv.kernels.cpu.vector.tile import ROWS
from fastconv.kernels.geometry import ConvGeometry

_TILES = 15 * ROWS + 1  # the fewest of which tasks transform their own


def _images(tiles_of_one: int) -> int:
    return -(-_TILES // tiles_of_one)


CONVS = [
    Conv("one-tile-maps", _images(1), (4, 8), 64, 64),
    Conv("square", _images(8), (16, 16), 64, 80),
    Conv("tall", _images(6), (24, 8), 80, 64, bias=False),
    Conv("two-register-tiles", 2 * _images(8) + 5, (16, 16), 64, 64),
    Conv("long", _images(5), (4, 40), 96, 112),
    Conv("no-padding", _images(6), (14, 18), 64, 64, padding=((0, 0), (0, 0))),
    Conv("padded-left", _images(6), (8, 25), 64, 96, padding=((2, 0), (1, 0))),
    Conv("padded-right", _images(6), (14, 17), 112, 64, padding=((0, 0), (0, 1))),
    Conv("padded-by-rows", _images(6), (7, 16), 64, 64, padding=((3, 4), (1, 1))),
]
TURNED = [c for c in CONVS if c.padding == ((1, 1), (1, 1))]
TURNED.append(Conv("rows-not-padded", _images(4), (8, 16), 64, 96, padding=((0, 0), (1, 1))))
CASES = [
    *(make(c) for make in (forward, conv_statistics) for c in CONVS),
    *(conv_after(c, epilogue) for epilogue in (AFTER, ADDED) for c in CONVS),
    *(conv_pool(c, SQUARES) for c in CONVS if max(c.padding[0]) < 2),
    *(backward_input(c) for c in TURNED),
    *(backward_input_through(c, RELU) for c in TURNED),
    *(backward_input_through(c, None, add=True, in_place=in_place) for c in TURNED[:2] for in_place in (False, True)),
    *(backward_input_norm(c, AFTER, add=add) for add in (False, True) for c in TURNED),
    backward_input_norm(TURNED[1], AFTER, add=True, in_place=True),
]
LAUNCHED = {f"conv2d_winograd_{name}" for name in ("wide", "pool_wide", "masked_wide", "norm_wide")}


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """The backend, with wide tiles whatever the width of its vectors, and however little there is to do."""
    monkeypatch.setattr(choice, "MASKS", True)
    monkeypatch.setattr(choice, "_WIDE_PRODUCTS", 0)
    choice._wide.cache_clear()
    with use_backend("numba") as numba:
        monkeypatch.setattr(numba, "pool", PoisonedWorkspace(numba))
        yield numba
    choice._wide.cache_clear()


# Where vectors are narrower no model is computed by these tiles, and to compile them takes longest: 13 s for one.
IS_FOREIGN = VECTOR_BYTES < LINE_BYTES
_MARKS = (pytest.mark.slow,) if IS_FOREIGN else ()


def _is_common(case: Case) -> bool:
    """Tell whether a case is a convolution with the rectifier behind it, or the gradient of a plain one."""
    after = case.op == "conv2d" and case.id.startswith("relu-") and "max_pool2d" not in case.id
    return after or (case.op == "conv2d_backward_input" and case.id in {c.id for c in TURNED})


def _launched(backend: Backend, run: Callable[[], object]) -> list[str]:
    names: list[str] = []
    with backend.trace(names.append):
        run()
    return names


def _marked(cases: Iterable[Case]) -> list[Any]:
    """Return cases as parameters: for the default suite one epilogue each way, as each is compiled for itself."""
    return [
        pytest.param(case, marks=_MARKS if _is_common(case) else pytest.mark.slow, id=f"{case.op}-{case.id}")
        for case in cases
    ]


@pytest.mark.parametrize("case", _marked(CASES))
def test_matches_reference(case: Case, backend: Backend) -> None:
    names = _launched(backend, lambda: check(case, backend, "float32"))
    assert LAUNCHED & set(names), names


ONE_OF_EACH = [case for case in CASES if case.id.startswith("square")]


@pytest.mark.skipif(IS_FOREIGN, reason="half lines are never written past the caches")
@pytest.mark.parametrize("case", _marked(case for case in CASES if "backward" not in case.op))
def test_same_bits_past_the_caches(case: Case, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = case.arrays(np.random.default_rng(4), "float32")
    through = case.run(backend, arrays, "float32")
    monkeypatch.setattr(winograd_plan, "STREAM_BYTES", 0)
    winograd_plan.winograd_plan.cache_clear()
    try:
        past = case.run(backend, arrays, "float32")
        assert winograd_plan.winograd_plan((1, 8, 8, 64), (1, 8, 8, 64), 1, 1, WIDE).stream
    finally:
        winograd_plan.winograd_plan.cache_clear()
    for name, value in through.items():
        assert past[name].tobytes() == value.tobytes(), name


def test_blocks_of_several_register_tiles() -> None:
    c = next(c for c in CONVS if c.id == "two-register-tiles")
    plan = winograd_plan.winograd_plan(c.x_shape, c.y_shape, 1, 1, WIDE)
    assert plan.block_tiles == plan.rows  # of two, or of three with vectors of eight
    assert plan.rows in (2 * ROWS, 3 * ROWS)
    assert plan.tiles % plan.block_tiles


@pytest.mark.parametrize("case", _marked(ONE_OF_EACH))
def test_captured_gives_the_same_bits(case: Case, backend: Backend) -> None:
    check_captured(case, backend, "float32")


@pytest.mark.parametrize("case", _marked(ONE_OF_EACH))
def test_same_bits_with_any_number_of_threads(case: Case, backend: Backend) -> None:
    before, found = backend.num_threads, []
    try:
        for threads in (1, 2, 4):
            backend.set_num_threads(threads)
            results = case.run(backend, case.arrays(np.random.default_rng(3), "float32"), "float32")
            found.append({name: a.tobytes() for name, a in results.items()})
    finally:
        backend.set_num_threads(before)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    "c",
    [
        Conv("few-tiles", _images(8) - 1, (16, 16), 64, 64),
        Conv("cut-tiles", _images(8), (15, 16), 64, 64),
        Conv("cut-tiles-right", _images(8), (16, 15), 64, 64),
        Conv("half-a-tile", _images(1), (8, 4), 64, 64),
        Conv("few-channels", _images(8), (16, 16), 48, 64),
        Conv("few-outputs", _images(8), (16, 16), 64, 48),
        Conv("part-of-a-vector", _images(8), (16, 16), 70, 64),
        Conv("two-columns-outside", _images(8), (16, 15), 64, 64, padding=((1, 1), (2, 1))),
        Conv("5x5", _images(8), (16, 16), 64, 64, (5, 5), padding=((2, 2), (2, 2))),
        Conv("large-weight", _images(8), (16, 16), 256, 320),
    ],
    ids=lambda c: c.id,
)
def test_not_where_they_do_not_fit_or_do_not_pay(c: Conv) -> None:
    for direction in ("forward", "backward_input"):
        assert not choice._wide(direction, c.w_shape, c.x_shape, c.geometry)


@pytest.mark.slow
def test_not_in_gradients_through_a_pooling(backend: Backend) -> None:
    """With a padding of 2 they are joined to that of the pooling, which has tiles of 4x4."""
    c = Conv("padded-by-2", _images(8), (16, 16), 64, 64, padding=((2, 2), (2, 2)))
    case = conv_pool_backward(c, SQUARES)
    names = _launched(backend, lambda: check(case, backend, "float32"))
    assert "conv2d_winograd_unpool" in names
    assert not any("wide" in name for name in names)


def test_not_where_there_is_little_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(choice, "MASKS", True)
    geometry = ConvGeometry((3, 3), padding=((1, 1), (1, 1)))
    for direction in ("forward", "backward_input"):
        assert choice._wide(direction, (3, 3, 64, 64), (512, 8, 8, 64), geometry)
        assert not choice._wide(direction, (3, 3, 64, 64), (128, 8, 8, 64), geometry)


def test_can_be_measured() -> None:
    assert set(MEASURED) == {"winograd", "winograd_fixed", "winograd_wide", "direct", "bf16"}


@pytest.mark.parametrize("c", [pytest.param(CONVS[1], marks=_MARKS, id=CONVS[1].id)])
def test_a_weight_prepared_for_many_images_serves_few(c: Conv, backend: Backend, rng: np.random.Generator) -> None:
    weight = rng.standard_normal(c.w_shape, np.float32)
    prepared = prepared_weight(backend, weight, "forward", c, backend.pool)
    assert prepared.algorithm.name == "conv2d_forward_winograd_wide"
    for images in (1, 3):
        x = rng.standard_normal((images, *c.x_shape[1:]), np.float32)
        y = np.empty((images, *c.y_shape[1:]), np.float32)
        backend.conv2d(x, prepared, None, NO_EPILOGUE, out=y, workspace=backend.pool)
        with use_backend("numpy"):
            exact = fc.functional.conv2d(x.astype(np.float64), weight.astype(np.float64), padding=1)
        np.testing.assert_allclose(y, exact, rtol=0, atol=5e-3)  # of numbers of 24 on average


def test_a_weight_prepared_for_whole_tiles_refuses_others(backend: Backend) -> None:
    c, other = CONVS[1], Conv("other", 1, (16, 15), 64, 80)
    prepared = prepared_weight(backend, np.ones(c.w_shape, np.float32), "forward", c, backend.pool)
    x, y = np.ones(other.x_shape, np.float32), np.full(other.y_shape, 7, np.float32)
    with pytest.raises(ValueError, match=r"weight: prepared for tiles of 4x8; got a convolution of \(1, 16, 15, 64\)"):
        backend.conv2d(x, prepared, None, NO_EPILOGUE, out=y, workspace=backend.pool)
    assert (y == 7).all()


def test_neither_for_the_weight_nor_in_fast_precision(backend: Backend, rng: np.random.Generator) -> None:
    c = CONVS[1]
    x, y = (rng.standard_normal(shape, np.float32) for shape in (c.x_shape, c.y_shape))
    weight = rng.standard_normal(c.w_shape, np.float32)
    names = _launched(backend, lambda: fc.functional.conv2d_backward_weight(y, x, weight_shape=weight.shape, padding=1))
    assert not any("wide" in name for name in names)
    if "fast" not in backend.precisions:
        return
    with fc.precision("fast"):
        names = _launched(backend, lambda: fc.functional.conv2d(x, weight, padding=1))
    assert not any("wide" in name for name in names)


def _weighted(row: list[Fraction], values: list[Fraction]) -> Fraction:
    return sum((a * b for a, b in zip(row, values, strict=True)), Fraction(0))


def matrices(points: tuple[float, ...], outputs: int) -> tuple[list[list[Fraction]], ...]:
    """B^T, G and A^T of F(outputs, 3) with the points 0, +-p and infinity, exactly.

    By Lagrange: row i of B^T is the product of (x - q) over all other finite points q, and G divides by its value at
    point i; the last row is the product over all of them.
    """
    finite = [Fraction(0), *(sign * Fraction(p) for p in points for sign in (1, -1))]

    def product(roots: list[Fraction]) -> list[Fraction]:
        coefficients = [Fraction(1)]
        for root in roots:
            shifted = [Fraction(0), *coefficients]
            coefficients = [a - root * b for a, b in zip(shifted, [*coefficients, Fraction(0)], strict=True)]
        return coefficients

    b, g = [], []
    for p in finite:
        others = product([q for q in finite if q != p])
        scale = _weighted(others, [p**k for k in range(len(others))])
        b.append([*others, Fraction(0)])
        g.append([p**k / scale for k in range(3)])
    b.append(product(finite))
    g.append([Fraction(0), Fraction(0), Fraction(1)])
    a = [[*(p**j for p in finite), Fraction(j == outputs - 1)] for j in range(outputs)]
    return b, g, a


@pytest.mark.parametrize(("points", "outputs"), [(_COLUMN_POINTS, 4), (_ROW_POINTS, 8)], ids=["columns", "rows"])
def test_the_matrices_give_a_convolution_and_are_exact_in_float32(points: tuple[float, ...], outputs: int) -> None:
    b, g, a = matrices(points, outputs)
    rng = np.random.default_rng(2)
    d, w = ([Fraction(int(v)) for v in rng.integers(-9, 9, n)] for n in (outputs + 2, 3))
    products = [_weighted(row, d) * _weighted(other, w) for row, other in zip(b, g, strict=True)]
    expected = [_weighted(w, d[i : i + 3]) for i in range(outputs)]
    assert [_weighted(row, products) for row in a] == expected
    for value in (v for row in (*b, *a) for v in row):
        assert Fraction(float(np.float32(float(value)))) == value


def _amplification(points: tuple[float, ...], outputs: int) -> float:
    """Largest weighing of a product along one axis, see `_amplification` of test_winograd_bound.py."""
    b, g, a = matrices(points, outputs)
    largest = [max(map(abs, row)) * sum(map(abs, other)) for row, other in zip(g, b, strict=True)]
    return float(max(_weighted([abs(v) for v in row], largest) for row in a))


def test_the_factors_are_those_of_the_page() -> None:
    assert _amplification(_COLUMN_POINTS, 4) == pytest.approx(14.28, rel=1e-3)
    assert _amplification(_ROW_POINTS, 8) == pytest.approx(152.2, rel=1e-3)


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("which", ["forward", "backward_input"])
@pytest.mark.parametrize("c", [pytest.param(c, marks=_MARKS, id=c.id) for c in (CONVS[1], CONVS[3])])
def test_within_its_bound(c: Conv, which: str, numbers: str, backend: Backend) -> None:
    rng = np.random.default_rng(5)
    x_shape = c.x_shape if which == "forward" else c.y_shape
    x, weight = (NUMBERS[numbers](rng, shape).astype(np.float32) for shape in (x_shape, c.w_shape))

    def run(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        if which == "forward":
            return fc.functional.conv2d(x, weight, padding=1)
        return fc.functional.conv2d_backward_input(x, weight, input_shape=c.x_shape, padding=1)

    found: list[np.ndarray] = []
    assert "conv2d_winograd_wide" in _launched(backend, lambda: found.append(run(x, weight)))
    with use_backend("numpy"):
        exact = run(x.astype(np.float64), weight.astype(np.float64))
    largest = largest_of_patches(x.astype(np.float64), 3, 1, c.y_shape[1:3], WIDE)
    total = np.abs(weight.astype(np.float64)).sum((0, 1, 2) if which == "forward" else (0, 1, 3))
    error = np.abs(found[0] - exact)
    bound = (x_shape[3] + 40) * UNIT * 2180 * largest * total
    assert (error <= bound).all(), float((error / bound).max())
    assert error.max() > 0
