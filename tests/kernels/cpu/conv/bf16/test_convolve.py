"""Convolutions and dense layers in bfloat16, by tile registers and by dot products, wherever this CPU has them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import fastconv as fc
from fastconv import functional as F
from fastconv.backends import use_backend
from tests.backends.cases import conv as cases_conv
from tests.backends.cases.conv import CONVS
from tests.backends.cases.fused import CONVOLUTIONS
from tests.backends.cases.fused.parts import FUSED_CONVS
from tests.backends.op_case import Arrays, Case, check, check_captured

pytest.importorskip("numba")
from fastconv.kernels.cpu.conv import choice
from fastconv.kernels.cpu.runtime import launch
from fastconv.kernels.cpu.runtime.launch import kernel
from fastconv.kernels.cpu.vector import amx, bf16
from fastconv.kernels.cpu.vector.simd import address, vload
from tests.kernels.cpu.threads import bits_by_threads

if not bf16.DOT:
    pytest.skip("compiled for a CPU without AVX512_BF16", allow_module_level=True)

FAST = [replace(c, precision="fast") for c in CONVS if c.precision == "default" and not c.infinite]
MAKERS = (cases_conv.forward, cases_conv.backward_input, cases_conv.backward_weight)
CONV_CASES = [make(c) for c in FAST for make in MAKERS]
DENSE_CASES = [
    case
    for name, n, c, k in (("one", 1, 1, 1), ("odd", 5, 33, 17), ("wide", 130, 700, 10), ("round", 64, 512, 96))
    for case in cases_conv.dense(f"fast-{name}", n, c, k, precision="fast")
]
FUSED_CASES = [make(replace(c, precision="fast")) for c in FUSED_CONVS if not c.infinite for make in CONVOLUTIONS]
CASES = [*CONV_CASES, *DENSE_CASES, *FUSED_CASES]


# One of them in the default suite, both in the slow one.
_DOT_ONLY = [] if not amx.usable() else [pytest.mark.slow]


@pytest.fixture(params=["tiles", pytest.param("dot", marks=_DOT_ONLY)])
def unit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Either way to multiply; the dot product for what Winograd would take too."""
    if request.param == "tiles" and not amx.usable():
        pytest.skip("this CPU, or its kernel, has no tile registers")
    if request.param == "dot":
        monkeypatch.setattr(amx, "usable", lambda: False)
        monkeypatch.setattr(choice, "_no_winograd", lambda *problem: "not here")
    return str(request.param)


def to_bf16(a: np.ndarray) -> np.ndarray:
    """Round float32 to the nearest bfloat16, ties to even; by integer arithmetic, as no type of NumPy does."""
    bits = a.astype(np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16
    rounded = bits.astype(np.uint32).view(np.float32)
    return np.where(np.isnan(a), a, rounded)


def _representable(case: Case) -> Case:
    """The case on numbers that bfloat16 holds: then products are exact, and sums as exact as in float32."""

    def inputs(rng: np.random.Generator) -> Arrays:
        return {
            name: to_bf16(a).astype(np.float64) if a.dtype == np.float64 else a for name, a in case.inputs(rng).items()
        }

    return replace(case, inputs=inputs)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.op}-{case.id}")
def test_matches_reference(case: Case, unit: str) -> None:
    with use_backend("numba") as backend:
        check(_representable(case), backend, "float32")


@pytest.mark.parametrize("case", [*CONV_CASES[::7], *DENSE_CASES, *FUSED_CASES[::5]], ids=lambda c: f"{c.op}-{c.id}")
def test_captured_gives_the_same_bits(case: Case, unit: str) -> None:
    with use_backend("numba") as backend:
        check_captured(case, backend, "float32")


def test_each_factor_is_rounded_once(rng: np.random.Generator, unit: str) -> None:
    """Not the sums, and not the results: those of rounded factors, far closer than another rounding would be."""
    x, w = rng.standard_normal((2, 9, 9, 40), np.float32), rng.standard_normal((3, 3, 40, 48), np.float32)
    with fc.precision("fast"):
        y = F.conv2d(x, w, padding=1)
    with use_backend("numpy"):
        exact = F.conv2d(to_bf16(x).astype(np.float64), to_bf16(w).astype(np.float64), padding=1)
        unrounded = F.conv2d(x.astype(np.float64), w.astype(np.float64), padding=1)
    largest = np.abs(exact).max()
    assert np.abs(y - exact).max() < 2e-6 * largest
    assert 1e-4 * largest < np.abs(y - unrounded).max() < 1e-2 * largest


def _round_by_kernel(values: np.ndarray) -> np.ndarray:
    out = np.empty(len(values), np.uint16)
    launch.launch(_round, len(values) // 32, values, out)
    return (out.astype(np.uint32) << 16).view(np.float32)


@kernel
def _round(begin, end, values, out):
    for i in range(begin * 32, end * 32, 32):
        place = address(values) + 4 * i
        bf16.store_bf16(address(out) + 2 * i, vload(place, values.dtype), vload(place + 64, values.dtype))


def test_rounding() -> None:
    """To nearest, ties to even; subnormals to zero; infinities and NaN stay."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 32 * 4096, dtype=np.uint32)
    bits[:1024] = (bits[:1024] & 0xFFFF0000) | 0x8000  # ties
    values = bits.view(np.float32).copy()
    values[1024:1028] = np.inf, -np.inf, np.nan, 3.4e38
    got = _round_by_kernel(values)
    with np.errstate(invalid="ignore", over="ignore"):
        tiny = np.abs(values) < np.finfo(np.float32).tiny
        want = np.where(tiny, np.copysign(0, values), to_bf16(values))
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("shape", [(3, 9, 11, 24, 40), (40, 6, 6, 32, 32)])
def test_same_bits_with_any_number_of_threads(shape: tuple[int, ...], unit: str, rng: np.random.Generator) -> None:
    with fc.precision("fast"):
        one, two, four = bits_by_threads(shape, rng)
    assert one == two == four


def test_float64_and_depthwise_are_as_ever(rng: np.random.Generator) -> None:
    x, w = rng.standard_normal((1, 6, 6, 16)), rng.standard_normal((3, 3, 16, 16))
    narrow = x.astype(np.float32), rng.standard_normal((3, 3, 1, 16), np.float32)
    plain = F.conv2d(x, w), F.conv2d(*narrow, groups=16)
    with fc.precision("fast"):
        fast = F.conv2d(x, w), F.conv2d(*narrow, groups=16)
    assert [a.tobytes() for a in fast] == [a.tobytes() for a in plain]


def test_explain_says_so(unit: str) -> None:
    model = fc.nn.Sequential(fc.nn.Conv2d(24, 3), fc.nn.ReLU(), fc.nn.Flatten(), fc.nn.Dense(5)).build(
        (8, 8, 24), seed=0
    )
    with fc.precision("fast"):
        rows = fc.explain(model, (4, 8, 8, 24)).rows
    assert rows[0].reasons[0].startswith("forward bfloat16: ")
    assert f"conv2d_bf16_{unit}" in rows[0].forward
    assert f"conv2d_backward_weight_bf16_{unit}" in rows[0].backward
    assert f"conv2d_bf16_{unit}" in rows[-1].forward


def _accuracy(precision: str) -> float:
    train, test = (fc.data.shapes10(split, seed=0) for split in ("train", "test"))
    model = fc.models.lenet5(seed=0)
    with fc.precision(precision):
        optimizer = fc.optim.Adam(model.parameters(), 1e-3)
        trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer)
        trainer.fit(fc.data.DataLoader(train, 64, seed=0), 2)
        return float(trainer.evaluate(fc.data.DataLoader(test, 256, shuffle=False))["accuracy"])


@pytest.mark.slow
def test_trains_as_well_as_float32() -> None:
    assert abs(_accuracy("fast") - _accuracy("default")) < 0.04


@pytest.mark.peer
@pytest.mark.parametrize("stride", [1, 2])
def test_matches_pytorch(stride: int, unit: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x, w = rng.standard_normal((2, 11, 9, 24), np.float32), rng.standard_normal((3, 3, 24, 40), np.float32)
    rounded = [torch.from_numpy(a).bfloat16().double() for a in (x, w)]
    want = torch.conv2d(rounded[0].permute(0, 3, 1, 2), rounded[1].permute(3, 2, 0, 1), stride=stride, padding=1)
    want = want.permute(0, 2, 3, 1).numpy()
    with fc.precision("fast"):
        got = F.conv2d(x, w, stride=stride, padding=1)
    assert np.abs(got - want).max() < 2e-6 * np.abs(want).max()
