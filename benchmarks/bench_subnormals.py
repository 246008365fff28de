"""Weights of 1e-42: kernels flush subnormal numbers to zero, so they are no slower than others."""

import numpy as np
import pytest

import fastconv as fc
from benchmarks.measure import Peer, compare, on_lines
from benchmarks.shapes import CONVOLUTIONS

F = fc.functional
SUBNORMAL = np.float32(1e-42)


@pytest.mark.parametrize("name", ["64_64_at_8", "stride2_64_128_at_32", "depthwise_128_at_16"])
def bench_subnormals(benchmark, rng, name):
    shape = next(conv for conv in CONVOLUTIONS if conv.name == name)
    x = on_lines(rng.standard_normal(shape.x_shape).astype(np.float32))
    weight = on_lines(rng.standard_normal(shape.weight_shape).astype(np.float32))
    tiny = np.full_like(weight, SUBNORMAL)
    assert tiny.all()
    assert not F.conv2d(x, tiny, **shape.parameters).any()
    assert SUBNORMAL * np.float32(0.5) != 0  # the caller's own arithmetic keeps subnormal numbers
    normal = Peer("normal", lambda: F.conv2d(x, weight, **shape.parameters))
    compare(benchmark, lambda: F.conv2d(x, tiny, **shape.parameters), [normal], flops=shape.flops)
    if benchmark.enabled:
        benchmark.extra_info["slowdown"] = benchmark.stats.stats.median / np.median(normal.seconds)
