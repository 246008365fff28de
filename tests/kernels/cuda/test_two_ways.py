"""Kernels with a way for vectors and one for single elements: the same arithmetic in both, whatever the compiler likes.

On an H200 the two ways of Adam had other fused multiply-adds, so other bits; the emulator fuses none and saw nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import nvrtc, sass
from fastconv.kernels import cuda
from fastconv.kernels.cuda.runtime import build
from fastconv.kernels.cuda.runtime.device import Kernel
from fastconv.kernels.cuda.runtime.nvrtc import compile_text

_FOLDER = Path(cuda.__file__).parent
_FUSED = re.compile(r"\*/\s+(?:@!?U?P\w+\s+)?[FD]FMA\b")
_FORBIDDEN = "-fmad=false"
# Neither divides nor calls the library: these fuse on their own account, the same in both ways.
PLAIN = (
    *(("optimizer.cu", "sgd_update"), ("batch_norm.cu", "normalise"), ("batch_norm.cu", "batch_norm_gradient_apply")),
    *(("reduce.cu", "sum_rows"), ("elementwise.cu", "scale_array"), ("pointwise.cu", "leaky_relu_forward")),
)
_COMPILES = nvrtc.library_path() is not None and sass.disassembler() is not None


def test_every_source_that_asks_for_the_alignment_forbids_fusing() -> None:
    """At run time, that is: what is a macro makes two variants, each with its own name."""
    asking = {path.name for path in _FOLDER.glob("*/*.cu") if re.search(r"on_boundary\(|\bmap\(", path.read_text())}
    assert {"optimizer.cu", "pointwise.cu", "batch_norm.cu"} <= asking
    assert asking <= {
        path.name for path in _FOLDER.glob("*/*.cu") if _FORBIDDEN in build.flags(Kernel(path.name, "any"))
    }
    headers = {path.name for path in _FOLDER.glob("*/*.cuh") if "on_boundary" in path.read_text()}
    assert headers == {"vector.cuh", "map.cuh"}


def test_convolutions_leave_it_to_the_compiler() -> None:
    for source in ("conv2d_halo.cu", "conv2d_plain.cu", "conv2d_weight_plain.cu"):
        assert build.flags(Kernel(source, "any")) == build.FLAGS


@pytest.mark.skipif(not _COMPILES, reason="NVRTC or nvdisasm is not installed")
@pytest.mark.parametrize("element", ["float", pytest.param("double", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("source", "name"), [pytest.param(*which, marks=pytest.mark.slow if i % 3 else ()) for i, which in enumerate(PLAIN)]
)
def test_machine_code_has_no_fused_product(source: str, name: str, element: str) -> None:
    kernel = Kernel(source, name, (("ELEMENT", element),))
    text = sass.disassemble(nvrtc.compile_kernel(kernel, 90).cubin)
    body = re.search(rf"\.text\.{name}:(.*?)(?=\n//-----|\Z)", text, re.DOTALL)
    assert body is not None
    assert not _FUSED.findall(body[1])


@pytest.mark.skipif(not _COMPILES, reason="NVRTC or nvdisasm is not installed")
def test_without_the_flag_they_would_be_fused() -> None:
    """The test above can fail: sums of products are fused unless it is forbidden."""
    kernel = Kernel("optimizer.cu", "sgd_update", (("ELEMENT", "float"),))
    cubin, _ = compile_text(build.source_text(kernel), kernel.source, "sm_90", build.FLAGS)
    assert _FUSED.findall(sass.disassemble(cubin))
