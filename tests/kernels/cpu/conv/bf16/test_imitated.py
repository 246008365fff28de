"""Convolutions in bfloat16 on any CPU with AVX-512: where instructions are lacking they are imitated, slowly.

A slip in a kernel shows here as wrong or undefined results, not as a rounding.
"""

import json
import os
import subprocess
import sys

import pytest

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


@pytest.mark.slow
def test_results_are_off_by_roundings_alone(tmp_path) -> None:
    command = [sys.executable, "-c", CODE, json.dumps(SHAPES)]
    environment = {**os.environ, "FASTCONV_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    if "UnsupportedError: precision" in done.stderr:
        pytest.skip("needs a CPU with AVX-512")
    assert done.returncode == 0, done.stderr
    errors = json.loads(done.stdout)
    assert len(errors) == 3 * len(SHAPES)
    assert all(error < 2.0**-6 for error in errors), errors
