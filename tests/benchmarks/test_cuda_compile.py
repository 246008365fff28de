"""The compile gate: every variant of the committed table compiles without a spill, and no kernel is missing from it."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks import cuda_compile, nvrtc
from fastconv.kernels import cuda
from fastconv.kernels.cuda.runtime import build
from fastconv.kernels.cuda.runtime.device import Kernel

needs_nvrtc = pytest.mark.skipif(nvrtc.library_path() is None, reason="nvidia-cuda-nvrtc-cu12 is not installed")
RECORD = json.loads(cuda_compile.RESULTS.read_text())
_LIMIT = 227 << 10  # shared memory of a block on sm_90; 163 KB on sm_80
_LIMITS = {80: 163 << 10, 90: _LIMIT}


@pytest.mark.slow
def test_the_table_is_that_of_the_sources() -> None:
    """What would be launched today is what was compiled; a new variant needs a new table."""
    listed = {(row["kernel"], row["variant"]) for row in RECORD["rows"]}
    today = {(kernel.name, cuda_compile.label(kernel)) for kernel in cuda_compile.variants()}
    assert listed == today, "run python -m benchmarks.cuda_compile"
    assert {row["architecture"] for row in RECORD["rows"]} == set(build.ARCHITECTURES)


def test_every_kernel_is_in_the_table() -> None:
    compiled = {row["kernel"] for row in RECORD["rows"]}
    assert compiled == {name.partition(".")[2] for names in cuda.TABLE.values() for name in names}


def test_nothing_spills_and_everything_fits() -> None:
    for row in RECORD["rows"]:
        assert row["spills"] == 0, row
        assert row["registers"] * row["threads"] <= 65536, row
        assert row["static_shared"] <= 48 << 10, row
        assert row["static_shared"] + row["dynamic_shared"] <= _LIMITS[row["architecture"]], row


def test_the_readable_table_holds_the_same_rows() -> None:
    text = cuda_compile.TABLE.read_text()
    assert len(re.findall(r"^\| `", text, re.MULTILINE)) == len(RECORD["rows"]) // len(build.ARCHITECTURES)


@needs_nvrtc
def test_a_kernel_that_nobody_instantiates_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "source_text", lambda kernel: "template <int N> __global__ void scaled(float* x) {}\n")
    with pytest.raises(nvrtc.CompileError, match="does not name it"):
        nvrtc.compile_kernel(Kernel("scaled.cu", "scaled"), 90)


@needs_nvrtc
def test_a_spill_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    source = """extern "C" __global__ void __launch_bounds__(1024, 2) wide(const float* x, float* y) {
    float v[96];
    for (int i = 0; i < 96; ++i) v[i] = x[threadIdx.x * 96 + i];
    for (int j = 0; j < 8; ++j) {
        __syncthreads();
        for (int i = 0; i < 96; ++i) v[i] = v[i] * v[(i + 1) % 96] + v[95 - i];
    }
    for (int i = 0; i < 96; ++i) y[threadIdx.x * 96 + i] = v[i];
}
"""
    monkeypatch.setattr(build, "source_text", lambda kernel: source)
    assert nvrtc.compile_kernel(Kernel("wide.cu", "wide"), 90).spills > 0


def test_the_sources_are_those_that_were_compiled() -> None:
    """Without NVRTC, too: an edit of a source asks for a new table."""
    today = cuda_compile.source_digests()
    assert RECORD["sources"] == today, "run python -m benchmarks.cuda_compile"


@pytest.mark.parametrize(
    ("edit", "same"), [("// why\n", True), ("/* why\n   so */ \n", True), ("\n", True), ("int more;\n", False)]
)
def test_a_digest_is_that_of_the_code(edit: str, same: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cuda_compile.source_digests()
    texts = {name: build.inlined(name) for name in before}
    monkeypatch.setattr(build, "inlined", lambda name: texts[name].replace("\n", f"\n{edit}", 3))
    assert (cuda_compile.source_digests() == before) is same


@needs_nvrtc
@pytest.mark.slow
def test_variants_compile_as_the_table_says() -> None:
    """Registers to the last one where NVRTC is the same release; never a spill.

    The table is that of today's sources and variants, as other tests say; so one of each kernel and each twelfth
    of all are compiled anew, each for one architecture, in turn.
    """
    launches = sorted(cuda_compile.variants().values(), key=lambda launch: (launch.kernel.name, launch.kernel.defines))
    first = {launch.kernel.name: launch for launch in reversed(launches)}
    chosen = [launch for i, launch in enumerate(launches) if i % 12 == 0 or launch is first[launch.kernel.name]]
    rows = cuda_compile.compile_all(chosen, in_turn=True)
    assert len(rows) == len(chosen)
    assert {row.kernel for row in rows} == {row["kernel"] for row in RECORD["rows"]}
    assert {row.architecture for row in rows} == set(build.ARCHITECTURES)
    assert not [row for row in rows if row.spills]
    if nvrtc.version() == RECORD["nvrtc"]:
        for row in rows:
            assert vars(row) in RECORD["rows"], f"run python -m benchmarks.cuda_compile: {row}"
