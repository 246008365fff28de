"""Convolutions in bfloat16 on any CPU with AVX-512: where instructions are lacking they are imitated, slowly.

A slip in a kernel shows here as wrong or undefined results, not as a rounding.
"""

import json
import os
import subprocess
import sys

import pytest

from fastconv.kernels.cpu.vector.simd import VECTOR_BYTES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(VECTOR_BYTES != 64, reason="needs a CPU with AVX-512"),
]

# Batch, height, width, channels, output channels, kernel size, stride: whole and ragged chunks of 32 inputs.
SHAPES = [(2, 7, 5, 33, 7, 1, 2), (2, 8, 8, 16, 16, 3, 1), (1, 9, 7, 20, 40, 3, 1), (2, 6, 6, 64, 64, 1, 1)]
CODE = """
import json, sys
from benchmarks.digest.imitation import imitate
imitate()
import numpy as np
import fastconv as fc
from fastconv import functional as F

rng, errors = np.random.default_rng(0), []
for n, h, w, c, k, size, stride in json.loads(sys.argv[1]):
    x, weight = rng.standard_normal((n, h, w, c)), rng.standard_normal((size, size, c, k))
    with fc.use_backend("numpy"):
        grad = rng.standard_normal(F.conv2d(x, weight, stride=stride).shape)
    results = []
    for backend, dtype in (("numpy", np.float64), ("numba", np.float32)):
        with fc.use_backend(backend), fc.precision("fast" if backend == "numba" else "strict"):
            a, b, g = (array.astype(dtype) for array in (x, weight, grad))
            results.append((
                F.conv2d(a, b, stride=stride),
                F.conv2d_backward_input(g, b, input_shape=a.shape, stride=stride),
                F.conv2d_backward_weight(g, a, weight_shape=b.shape, stride=stride),
            ))
    errors += [float(np.abs(got - want).max() / np.abs(want).max()) for want, got in zip(*results, strict=True)]
print(json.dumps(errors))
"""


def test_results_are_off_by_roundings_alone(tmp_path) -> None:
    command = [sys.executable, "-c", CODE, json.dumps(SHAPES)]
    environment = {**os.environ, "FASTCONV_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    errors = json.loads(done.stdout)
    assert len(errors) == 3 * len(SHAPES)
    assert all(error < 2.0**-6 for error in errors), errors


BEHIND = """
import json
from benchmarks.digest.imitation import imitate
imitate()
import numpy as np
from fastconv.backends import get_backend
from fastconv.kernels.epilogue import Epilogue
from fastconv.kernels.geometry import ConvGeometry
from fastconv.kernels.pointwise import POINTWISE

backend, rng, gelu = get_backend("numba"), np.random.default_rng(0), POINTWISE["gelu"]()
pool = backend.pool
x, weight, addend = (rng.standard_normal(s).astype(np.float32) for s in ((2, 6, 6, 40), (1, 1, 40, 19), (2, 6, 6, 19)))
how = {"geometry": ConvGeometry((1, 1)), "input_shape": x.shape, "precision": "fast", "algorithm": "auto"}
weight = backend.prepare_conv2d_weight(weight, **how, workspace=pool)
z, y, before = (np.empty(addend.shape, np.float32) for _ in range(3))
backend.conv2d(x, weight, None, Epilogue(True), addend=addend, out=z, workspace=pool)
backend.conv2d(x, weight, None, Epilogue(True, gelu), addend=addend, out=y, before=before, workspace=pool)
want = np.empty_like(z)
backend.activate(gelu, z, out=want)
print(json.dumps([weight.algorithm.form, bool((y == want).all()), bool((before == z).all())]))
"""


def test_an_activation_behind_gives_what_it_does_alone(tmp_path) -> None:
    environment = {**os.environ, "FASTCONV_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", BEHIND], env=environment, capture_output=True, text=True, timeout=900)
    if "UnsupportedError: precision" in done.stderr:
        pytest.skip("needs a CPU with AVX-512")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["bf16", True, True]
