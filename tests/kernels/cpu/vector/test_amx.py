"""A whole training step compiles for tile registers, here too, where there may be none: nothing of it is run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")
from llvmlite import binding as llvm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the tile registers are x86's"),
    pytest.mark.skipif(
        not llvm.get_host_cpu_features().get("avx512f"), reason="functions that Python calls run: needs AVX-512"
    ),
]

FEATURES = "avx512f avx512bw avx512cd avx512dq avx512vl avx512vnni avx512bf16 amx-tile amx-bf16"
PROGRAM = """
import numpy as np
import fastconv as fc
from fastconv.backends import get_backend
from fastconv.kernels.cpu.vector import amx

amx.usable = lambda: True
model = fc.models.resnet20(seed=0)

def step():
    y, context = model.forward(np.zeros((4, 32, 32, 3), np.float32), training=True)
    model.backward(np.ones(y.shape, np.float32), context)

with fc.precision("fast"):
    program = get_backend().capture(step).args[0]
print(*sorted(set(program.names)))
"""


def test_a_step_compiles(tmp_path: Path) -> None:
    features = llvm.get_host_cpu_features() | dict.fromkeys(FEATURES.split(), True)
    flags = ",".join(f"{'+' if there else '-'}{name}" for name, there in features.items())
    environment = {"NUMBA_CPU_NAME": "sapphirerapids", "NUMBA_CPU_FEATURES": flags, "FASTCONV_CACHE_DIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    names = ran.stdout.split()
    assert {"conv2d_bf16_tiles", "conv2d_backward_weight_bf16_tiles"} <= set(names)
    assert not [name for name in names if name.endswith("_dot")]
