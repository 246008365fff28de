"""Leaf probes against other hardware than the emulator: what may differ there, and what may not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import gpu_probes
from benchmarks.gpu_probes import TOLERANCE
from tests.backends.emulator.emulated import emulator_or_skip
from tests.benchmarks.test_cuda_compile import needs_nvrtc

PROBES = {probe.name: probe for probe in gpu_probes.probes()}


def row_of(name: str, answer: np.ndarray, kept: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what is said of a probe that gives `answer` where `kept` is expected."""
    monkeypatch.setattr(gpu_probes, "answer", lambda backend, probe: answer)
    row = {"inputs": gpu_probes._key(PROBES[name]), "answer": kept.tobytes().hex()}
    return gpu_probes._row(None, PROBES[name], row)


def floats(*bits: int) -> np.ndarray:
    return np.array(bits, np.uint32).view(np.float32)


@pytest.mark.parametrize("name", ["from_half", "mma_bf16_infinities", "mma_tf32_normal_numbers"])
def test_any_nan_is_a_nan(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = row_of(name, floats(0x7FFFFFFF, 0x7FC00000), floats(0x7FC00000, 0xFFC02000), monkeypatch)
    assert (row["differences"], row["agrees"]) == (0, True)


@pytest.mark.parametrize("name", ["from_half", "mma_bf16_infinities", "mma_tf32_normal_numbers"])
@pytest.mark.parametrize(("here", "there"), [(0x7FFFFFFF, 0x7F800000), (0x7F800000, 0xFF800000), (0, 0x7FFFFFFF)])
def test_what_is_not_finite_is_the_same_kind(name: str, here: int, there: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not row_of(name, floats(here), floats(there), monkeypatch)["agrees"]


def test_sums_of_a_tensor_core_have_a_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = np.ones(4, np.float32)
    for error, agrees in ((0.9 * TOLERANCE, True), (1.1 * TOLERANCE, False)):
        row = row_of("mma_bf16_normal_numbers", kept + np.float32(error), kept, monkeypatch)
        assert (row["agrees"], row["tolerance"]) == (agrees, TOLERANCE)
        assert not row_of("mma_bf16_whole_numbers", kept + np.float32(error), kept, monkeypatch)["agrees"]


def test_tf32_of_what_is_not_finite_is_cut_too() -> None:
    """As machine code for sm_90 does: adds half a unit to what is finite, then clears the low bits of everything."""
    answer = gpu_probes.answer(emulator_or_skip(), PROBES["to_tf32"])
    bits = gpu_probes.edges().view(np.uint32)
    finite = (bits & 0x7F800000) != 0x7F800000
    np.testing.assert_array_equal(answer, np.where(finite, bits + np.uint32(0x1000), bits) & np.uint32(0xFFFFE000))
    assert answer[np.flatnonzero(bits == 0x7F800001)[0]] == 0x7F800000


@needs_nvrtc
def test_probes_are_compiled_ahead(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastconv.kernels.cuda.runtime import cubins

    monkeypatch.setattr(cubins, "cache_root", lambda: tmp_path)
    files = gpu_probes.compile_ahead("sm_90")
    assert len(set(files)) == len(PROBES)
    assert all(path.read_bytes()[:4] == b"\x7fELF" for path in files)
