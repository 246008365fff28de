"""Results written past the caches are the same bits as those written through them."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from fastconv.algorithm import algorithm
from fastconv.backends import get_backend
from fastconv.backends.memory import Pool
from tests.backends.cases import conv as cases_conv
from tests.backends.cases import elementwise as cases_elementwise
from tests.backends.cases import fused as cases_fused
from tests.backends.cases import norm as cases_norm
from tests.backends.cases import pointwise as cases_pointwise
from tests.backends.cases import pool as cases_pool
from tests.backends.op_case import PoisonedWorkspace

pytest.importorskip("numba")
from fastconv.kernels.cpu.conv import direct
from fastconv.kernels.cpu.conv.bf16 import convolve as bf16_convolve
from fastconv.kernels.cpu.conv.winograd import plan as winograd_plan
from fastconv.kernels.cpu.elementwise import maps
from fastconv.kernels.cpu.norm import backward, forward
from fastconv.kernels.cpu.vector import bf16, memory
from fastconv.kernels.cpu.vector.simd import STREAM_BYTES

WANTED = {
    ("conv2d", "3x3-c64-k64-8x8"),
    ("conv2d", "3x3-c96-k48-7x5"),
    ("conv2d_backward_input", "3x3-c64-k64-4x4"),
    ("conv2d", "relu-winograd-c16-k16-cut"),
    ("conv2d_statistics", "winograd-many-tiles"),
    ("conv2d", "add-relu-winograd-c64-k64"),
    ("normalise", "relu-round"),
    ("normalise", "add-relu-long"),
    ("batch_norm_backward", "add-relu-round"),
    ("batch_norm_backward", "add-relu-round-in-place"),
    ("batch_norm_backward", "relu-ragged"),
    ("batch_norm_backward", "round"),
    ("batch_norm", "round"),
    ("conv2d", "strict-3x3-c64-k64-8x8"),
    ("conv2d", "strict-3x3-c3-k64-15x16"),
    ("conv2d_backward_input", "strict-3x3-c64-k64-4x4"),
    ("conv2d", "depthwise-c16"),
    ("conv2d_backward_input", "depthwise-c16"),
    ("avg_pool2d_backward", "2x2-c64-count-pad"),
    ("avg_pool2d_backward", "3x3-stride2-pad1-count-pad"),
    ("activate", "relu-round"),
    ("activate_backward", "relu-round"),
    ("add", "round"),
}
CASES = [
    case
    for module in (cases_conv, cases_fused, cases_norm, cases_elementwise, cases_pointwise, cases_pool)
    for case in module.CASES
    if (case.op, case.id) in WANTED
]
FAST = [
    make(cases_conv.Conv("fast", 2, (9, 7), 24, 48, precision="fast"))
    for make in (cases_conv.forward, cases_conv.backward_input)
]


def test_every_case_is_there() -> None:
    assert len(CASES) == len(WANTED)


def _set_threshold(monkeypatch: pytest.MonkeyPatch, nbytes: int) -> None:
    for module in (backward, bf16_convolve, direct, forward, memory, winograd_plan):
        monkeypatch.setattr(module, "STREAM_BYTES", nbytes)
    winograd_plan.winograd_plan.cache_clear()


@pytest.mark.parametrize("case", [*CASES, *FAST * bf16.DOT], ids=lambda case: f"{case.op}-{case.id}")
def test_same_bits(case, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    backend = get_backend("numba")
    monkeypatch.setattr(backend, "pool", PoisonedWorkspace(backend))
    arrays = case.arrays(rng, np.float32)
    run = algorithm("winograd")(partial(case.run, backend, arrays, np.float32))  # where it can be, not where it pays
    through = run()
    try:
        _set_threshold(monkeypatch, 0)
        past, unaligned = run(), run(offset=1)
    finally:
        monkeypatch.undo()
        winograd_plan.winograd_plan.cache_clear()
    for name, value in through.items():
        assert past[name].tobytes() == value.tobytes(), name
        assert unaligned[name].tobytes() == value.tobytes(), name


def test_large_results_are_streamed(rng: np.random.Generator) -> None:
    """A real one, above the threshold."""
    pool = Pool()
    x = pool.empty((STREAM_BYTES // 4 + 1024,), np.float32)
    x[...] = rng.standard_normal(x.shape)
    out = pool.empty(x.shape, np.float32)
    assert memory.streams(out, x)
    assert not memory.streams(x, x)
    maps.scale(x, factor=3.0, out=out)
    np.testing.assert_array_equal(out, x * np.float32(3))
