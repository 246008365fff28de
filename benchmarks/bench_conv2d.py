"""Convolution: three passes of every named shape; weight preparation and output allocation are in the time."""

import importlib.util

import numpy as np
import pytest

import fastconv as fc
from benchmarks import ncnn_peer, torch_peer
from benchmarks.measure import Peer, compare, largest_error, on_lines
from benchmarks.shapes import CONVOLUTIONS, Conv

F = fc.functional
PASSES = ("forward", "backward_input", "backward_weight")


def _ours(which, shape: Conv, x, weight, grad_output):
    if which == "forward":
        return lambda: F.conv2d(x, weight, **shape.parameters)
    if which == "backward_input":
        return lambda: F.conv2d_backward_input(grad_output, weight, input_shape=x.shape, **shape.parameters)
    return lambda: F.conv2d_backward_weight(grad_output, x, weight_shape=weight.shape, **shape.parameters)


def _theirs(torch, which, shape: Conv, x, weight, grad_output, layout, dtype=None):
    x, grad_output = (torch_peer.image(torch, a, layout).to(dtype) for a in (x, grad_output))
    weight = torch_peer.weight(torch, weight, layout).to(dtype)
    geometry = [shape.stride] * 2, [shape.padding] * 2
    if which == "forward":
        return lambda: torch.conv2d(x, weight, None, *geometry, [1, 1], shape.groups)
    mask = [which == "backward_input", which == "backward_weight", False]
    backward = torch.ops.aten.convolution_backward
    return lambda: backward(grad_output, x, weight, None, *geometry, [1, 1], False, [0, 0], shape.groups, mask)


def _strict(run):
    def strict():
        with fc.precision("strict"):
            return run()

    return strict


def _fast(run):
    def fast():
        with fc.precision("fast"):
            return run()

    return fast


def _reference(run):
    def reference():
        with fc.use_backend("numpy"):
            return run()

    return reference


# Multiplications that Winograd saves: 36 for a tile of 4x4 results (or of 2x2 of a 5x5 kernel), 60 for one of 4x8.
_SAVINGS = {(3, 3): 4 * 4 * 9 / 36, (5, 5): 2 * 2 * 25 / 36}
_WIDE_SAVING = 4 * 8 * 9 / 60


def floor_flops(run, shape: Conv) -> float:
    """Return the operations of the algorithm that `run` takes: after Winograd's saving where it is Winograd."""
    names: list[str] = []
    with fc.get_backend().trace(names.append):
        run()
    if not any("winograd" in name for name in names):
        return shape.flops
    wide = any("wide" in name for name in names)
    return shape.flops / (_WIDE_SAVING if wide else _SAVINGS[shape.weight_shape[:2]])


def fast_is_there() -> bool:
    """Whether this CPU multiplies bfloat16."""
    return "fast" in fc.get_backend().precisions


def _ncnn(shape: Conv, x, weight, result):
    import ncnn

    from fastconv.kernels.cpu.runtime.launch import get_num_threads

    run = ncnn_peer.convolution(ncnn, x, weight, shape.padding, get_num_threads())
    assert largest_error(run().transpose(1, 2, 0), result[-1].astype(np.float64)) < 1e-3
    return [Peer("ncnn", run)]


@pytest.mark.parametrize("shape", CONVOLUTIONS, ids=lambda shape: shape.name)
@pytest.mark.parametrize("which", PASSES)
def bench_conv2d(benchmark, torch, rng, which, shape):
    x = on_lines(rng.standard_normal(shape.x_shape).astype(np.float32))
    weight = on_lines(rng.standard_normal(shape.weight_shape).astype(np.float32))
    grad_shape = (shape.batch, shape.out_size, shape.out_size, shape.outputs)
    grad_output = on_lines(rng.standard_normal(grad_shape).astype(np.float32))
    run = _ours(which, shape, x, weight, grad_output)
    exact = _reference(_ours(which, shape, *(a.astype(np.float64) for a in (x, weight, grad_output))))()
    error = largest_error(run(), exact)
    assert error < 1e-4
    more = {}
    peers = [Peer("numpy", _reference(run), rounds=2), Peer("strict", _strict(run))]
    if torch is not None:
        peers += [
            Peer(f"torch {layout}", _theirs(torch, which, shape, x, weight, grad_output, layout))
            for layout in torch_peer.LAYOUTS
        ]
    if fast_is_there():
        peers += [Peer("fast", _fast(run))]
        more["fast_error"] = largest_error(_fast(run)(), exact)
        assert more["fast_error"] < 2e-2
        if torch is not None:
            half = _theirs(torch, which, shape, x, weight, grad_output, "channels_last", torch.bfloat16)
            peers.append(Peer("bf16", half))
    if which == "forward" and importlib.util.find_spec("ncnn") and shape.groups == 1 and shape.stride == 1:
        peers += _ncnn(shape, x, weight, run())
    more |= {"floor_flops": floor_flops(run, shape), "arrays_bytes": shape.arrays_bytes}
    compare(benchmark, run, peers, flops=shape.flops, error=error, **more)
