"""Activations stored as bfloat16: the bits that float32 of the same values gives, and one rounding when stored."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from fastconv.backends import use_backend
from fastconv.kernels.pointwise import RELU
from tests.backends.cases import conv as cases_conv
from tests.backends.cases import fused as cases_fused
from tests.backends.cases import norm as cases_norm
from tests.backends.cases.fused.convolutions import (
    backward_input_norm,
    backward_input_through,
    conv_after,
    conv_pool,
    conv_pool_backward,
    conv_statistics,
)
from tests.backends.cases.fused.norms import norm_backward, normalise
from tests.backends.cases.fused.parts import ADDED, AFTER, FUSED_CONVS, SQUARES
from tests.backends.op_case import Arrays, Case

pytest.importorskip("numba")
from fastconv.kernels.cpu.vector import bf16
from fastconv.kernels.cpu.vector.bf16_storage import STORED, convert
from tests.kernels.cpu.conv.bf16.test_convolve import to_bf16

if not bf16.DOT:
    pytest.skip("compiled for a CPU without AVX512_BF16", allow_module_level=True)

KEPT = {  # what of an operation may be stored so, inputs and outputs
    "normalise": {"x", "addend", "y"},
    "batch_norm_backward": {"x", "saved", "addend", "grad_input"},
    "batch_norm_backward_apply": {"x", "grad_input"},
    "conv2d": {"x", "y", "before"},
    "conv2d_statistics": {"x", "out"},
    "conv2d_backward_input": {"grad_output", "saved"},
    "conv2d_backward_weight": {"grad_output", "x"},
    "conv2d_max_pool2d_backward": {"x"},
    "conv2d_backward_input_norm": {"grad_output", "x", "saved", "norm_addend"},
}


def kept_of(case: Case) -> set[str]:
    """Return those that there are; results of a pooled convolution are not stored so."""
    there = set(case.arrays(np.random.default_rng(0), np.float32)) | set(case.outputs)
    return (KEPT[case.op] & there) - ({"y"} if case.op == "conv2d" and "argmax" in there else set())


MAKERS = (
    *(cases_conv.forward, cases_conv.backward_input, cases_conv.backward_weight),
    *(partial(conv_after, epilogue=AFTER), conv_statistics),
    *(partial(backward_input_through, activation=RELU), partial(conv_pool, windows=SQUARES)),
    partial(backward_input_norm, epilogue=AFTER, add=True),
    partial(backward_input_through, activation=None, add=True, in_place=True),
    *(partial(conv_pool_backward, windows=SQUARES, activation=activation) for activation in (None, RELU)),
)
CONVS = [
    replace(c, precision="fast")
    for c in FUSED_CONVS
    if c.precision == "default" and min(c.y_shape[1:3]) > 1 and not c.infinite
]
NORMS = [
    case for case in (*cases_fused.CASES, *cases_norm.CASES) if case.op in KEPT and not case.op.startswith("conv2d")
]
STREAMED = (128, 32, 32, 17), (128, 32, 32, 16)  # large enough to go past the caches, the second by whole vectors
LARGE = [make("streamed", shape, ADDED) for make in (normalise, norm_backward) for shape in STREAMED]
CASES = [*NORMS, *LARGE, *(make(c) for make in MAKERS for c in CONVS)]
# One of several alone, as where a neighbour does not know how to read it.
ALONE = [
    (case, frozenset({name}))
    for case in [
        *(next(case for case in NORMS if case.op == op) for op in KEPT if not op.startswith("conv2d")),
        *(make(c) for make in MAKERS for c in CONVS[:2]),
    ]
    if len(kept_of(case)) > 1
    for name in sorted(kept_of(case))
]


def stored(a: np.ndarray) -> np.ndarray:
    """The upper halves of float32 that bfloat16 holds."""
    bits = np.ascontiguousarray(a).view(np.uint32)
    assert not (bits & 0xFFFF).any()
    return (bits >> 16).astype(STORED)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.op}-{case.id}")
def test_same_bits_as_from_float32(case: Case) -> None:
    _compare(case, kept_of(case))


@pytest.mark.parametrize(("case", "kept"), ALONE, ids=[f"{case.op}-{case.id}-{min(kept)}" for case, kept in ALONE])
def test_same_bits_with_one_array_stored_so(case: Case, kept: frozenset[str]) -> None:
    _compare(case, kept)


def _compare(case: Case, kept: Collection[str]) -> None:
    arrays = case.arrays(np.random.default_rng(zlib.crc32(case.id.encode())), np.float32)
    wide: Arrays = {name: to_bf16(a) if name in kept else a for name, a in arrays.items()}
    small = {name: stored(a) if name in kept else a for name, a in wide.items()}
    outputs = {name: (shape, STORED) if name in kept else shape for name, shape in case.outputs.items()}
    with use_backend("numba") as backend:
        want = case.run(backend, wide, np.float32)
        got = replace(case, outputs=outputs).run(backend, small, np.float32)
    for name, value in want.items():
        expected = stored(to_bf16(value)) if name in kept else value
        assert got[name].tobytes() == expected.tobytes(), name


def test_rounding() -> None:
    values = np.array([0.0, -0.0, 1.0, 1.00390625, 1.01171875, 3.4e38, np.inf, -np.inf, 1e-30, -2.5], np.float32)
    values = np.concatenate([values, np.random.default_rng(0).standard_normal(20_000).astype(np.float32), [np.nan]])
    out = np.empty(values.size, STORED)
    convert(values.astype(np.float32), out)
    wide = (out.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(wide[:-1], to_bf16(values[:-1]))
    assert np.isnan(wide[-1])
