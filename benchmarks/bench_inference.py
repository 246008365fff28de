"""Inference of ResNet-20, normalisations folded, against ONNX Runtime and OpenVINO on the same graph and weights."""

import importlib.util

import numpy as np
import pytest

import fastconv as fc
from benchmarks.measure import Peer, compare, largest_error
from benchmarks.onnx_resnet20 import export


def _onnxruntime(model, x, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")  # between calls it would take our cores
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})[0]


def _openvino(model, x, threads):
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
    return lambda: request.infer({"x": x}, share_inputs=True, share_outputs=True)[0]


_ENGINES = {"onnxruntime": _onnxruntime, "openvino": _openvino}


@pytest.mark.parametrize("batch", [1, 8, 128])
def bench_inference_resnet20(benchmark, rng, batch):
    from fastconv.kernels.cpu.runtime.launch import get_num_threads

    model = fc.models.resnet20(seed=0)
    images = rng.standard_normal((128, 32, 32, 3)).astype(np.float32)
    model.forward(images, training=True)  # running statistics that are not the initial ones
    x = images[:batch]
    plan = model.compile(x.shape)
    expected = model(x).astype(np.float64)
    # Calls one after the other, as a server makes them: none of the three has to wake its threads then.
    calls = 20 if batch < 64 else 1
    peers = []
    if importlib.util.find_spec("onnx"):
        serialised, planar = export(model), np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        for name, make in _ENGINES.items():
            if importlib.util.find_spec(name):
                run = make(serialised, planar, get_num_threads())
                assert largest_error(run(), expected) < 1e-4  # the same network
                peers.append(Peer(f"engine {name}", lambda run=run: [run() for _ in range(calls)]))
    error = largest_error(plan(x), expected)
    assert error < 1e-4
    compare(
        benchmark, lambda: [plan(x) for _ in range(calls)], peers, pause=0.05, error=error, images=batch, calls=calls
    )
    if benchmark.enabled:
        benchmark.extra_info["milliseconds"] /= calls
