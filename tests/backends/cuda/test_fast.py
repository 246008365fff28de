"""bf16 on the emulated GPU: products of factors rounded to 8 significant bits, sums in float32.

The kernels can do the same in fp16, which "fast" does not choose: gradients of CNNs fall below its smallest number, and
a scale for the loss would have to be part of training. The kernels are held to it all the same.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastconv.backends import get_backend
from tests.backends.cases import conv as cases_conv
from tests.backends.cases.conv import Conv, backward_input, backward_weight, dense, forward
from tests.backends.cases.fused.convolutions import backward_input_through
from tests.backends.emulator.emulated import emulator_or_skip, running
from tests.backends.op_case import Case
from tests.compare import assert_close

# Two factors, each off by at most 2**-8 (bf16) or 2**-11 (fp16) of itself.
_PRODUCTS = {"BF16": 2.0**-7 + 2.0**-16, "HALF": 2.0**-10 + 2.0**-22}
_NAMES = (
    *("3x3-c64-k64-4x4", "3x3-c7-k15-3x4", "3x3-c31-k33-4x15", "3x3-c3-k64-15x16", "3x3-empty-batch"),
    *("1x1-c33-k7-stride2", "7x7-stride2", "stride2-odd", "dilation-1x3-stride2"),
    *("groups3-ragged", "groups4-stride2", "depthwise-c16"),
)
CONVS = [replace(c, precision="fast") for c in cases_conv.CONVS if c.id in _NAMES]
CASES = [
    *(case(c) for case in (forward, backward_input, backward_weight) for c in CONVS),
    *dense("ragged", 5, 33, 17, precision="fast"),
    *dense("round", 32, 64, 96, precision="fast"),
]


def _rounded(a: np.ndarray, math: str) -> np.ndarray:
    """float32 values rounded to bf16 or fp16, ties to even."""
    if math == "HALF":
        return a.astype(np.float16).astype(np.float32)
    bits = a.astype(np.float32).view(np.uint32).astype(np.uint64)
    kept = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16
    return kept.astype(np.uint32).view(np.float32)


def test_names_are_cases() -> None:
    assert len(CONVS) == len(_NAMES)


@pytest.mark.emulator
@pytest.mark.parametrize("math", ["BF16", "HALF"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.op}-{c.id}")
def test_within_the_bound_and_exact_on_rounded_inputs(case: Case, math: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On inputs that are rounded already only the sums are, so no error of an index hides in the bound."""
    from fastconv.kernels.cuda.conv import choice

    backend = emulator_or_skip()
    monkeypatch.setitem(choice.MATHS, "fast", math)
    for rounded in (False, True):
        arrays = case.arrays(np.random.default_rng(3), "float32")
        if rounded:
            arrays = {name: a if name == "bias" else _rounded(a, math) for name, a in arrays.items()}
        with running(order="skewed:1", copies="eager"):
            got = case.run(backend, arrays, "float32")
        expected, magnitude = case.reference(arrays)
        for name, value in got.items():
            assert_close(
                value,
                expected[name],
                dtype=np.float32,
                terms=case.terms,
                magnitude=magnitude[name],
                products=0 if rounded else _PRODUCTS[math],
                what=name,
            )


@pytest.mark.emulator
def test_tf32_is_exact_on_rounded_inputs() -> None:
    """The same for default precision: small integers are tf32 numbers, and their sums are exact."""
    backend = emulator_or_skip()
    rng = np.random.default_rng(5)
    for make in (forward, backward_input, backward_weight):
        case = make(Conv("integers", 2, (9, 7), 20, 40))
        arrays = {
            name: rng.integers(-8, 9, a.shape).astype(np.float32)
            for name, a in case.arrays(np.random.default_rng(0), "float32").items()
        }
        expected, _ = case.reference(arrays)
        for name, value in case.run(backend, arrays, "float32").items():
            np.testing.assert_array_equal(value, expected[name])


INFINITE = [c for c in cases_conv.CONVS if c.infinite]


def check_infinities(make, c: Conv) -> None:
    """Check that default precision has its infinities and NaNs where strict precision has them."""
    backend = emulator_or_skip()
    results = []
    for precision in ("strict", "default"):
        case = make(replace(c, precision=precision))
        results.append(case.run(backend, case.arrays(np.random.default_rng(1), "float32"), "float32"))
    for name, strict in results[0].items():
        assert not np.isfinite(strict).all()
        np.testing.assert_allclose(results[1][name], strict, rtol=0, atol=0.1)


@pytest.mark.emulator
@pytest.mark.parametrize("make", [forward, backward_input, backward_weight], ids=lambda f: f.__name__)
@pytest.mark.parametrize("c", INFINITE, ids=lambda c: c.id)
def test_infinities_stay_in_their_windows(make, c: Conv) -> None:
    """Tensor cores multiply padded cells as zeros; results that are not finite are computed again without them."""
    check_infinities(make, c)


@pytest.mark.emulator
def test_infinities_where_the_addend_lies_in_the_result() -> None:
    def make(c: Conv) -> Case:
        return backward_input_through(c, None, add=True, in_place=True)

    check_infinities(make, INFINITE[0])
    case = make(INFINITE[0])
    arrays = case.arrays(np.random.default_rng(2), "float32")
    expected = case.run(get_backend("numpy"), arrays, "float32")
    np.testing.assert_allclose(
        case.run(emulator_or_skip(), arrays, "float32")["out"], expected["out"], rtol=0, atol=1e-4
    )
