"""Dense layers and matrix products: three passes."""

import numpy as np
import pytest

import fastconv as fc
from benchmarks.measure import Peer, compare, largest_error, on_lines
from benchmarks.shapes import DENSE

F = fc.functional


@pytest.mark.parametrize("shape", DENSE, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("which", ["forward", "backward_input", "backward_weight"])
def bench_dense(benchmark, torch, rng, which, shape):
    batch, channels, outputs = shape
    x = on_lines(rng.standard_normal((batch, channels)).astype(np.float32))
    weight = on_lines(rng.standard_normal((channels, outputs)).astype(np.float32))
    grad_output = on_lines(rng.standard_normal((batch, outputs)).astype(np.float32))
    runs = {
        "forward": lambda: F.dense(x, weight),
        "backward_input": lambda: F.dense_backward_input(grad_output, weight),
        "backward_weight": lambda: F.dense_backward_weight(grad_output, x),
    }
    exact = {
        "forward": lambda: x.astype(np.float64) @ weight,
        "backward_input": lambda: grad_output.astype(np.float64) @ weight.T,
        "backward_weight": lambda: x.astype(np.float64).T @ grad_output,
    }
    error = largest_error(runs[which](), exact[which]())
    assert error < 1e-5
    blas = {
        "forward": lambda: x @ weight,
        "backward_input": lambda: grad_output @ weight.T,
        "backward_weight": lambda: x.T @ grad_output,
    }
    peers = [Peer("numpy", blas[which])]
    if torch is not None:
        tx, tw, tg = (torch.from_numpy(a) for a in (x, np.ascontiguousarray(weight.T), grad_output))
        theirs = {
            "forward": lambda: torch.nn.functional.linear(tx, tw),
            "backward_input": lambda: tg @ tw,
            "backward_weight": lambda: tg.t() @ tx,
        }
        peers.append(Peer("torch", theirs[which]))
    compare(benchmark, runs[which], peers, flops=2 * batch * channels * outputs, error=error)
