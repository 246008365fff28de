"""Where Winograd's transforms overflow and the formula does not, the result is that of the direct kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv.backends import get_backend, use_backend
from fastconv.backends.contract.backend import Backend

pytest.importorskip("numba")
from fastconv.kernels.cpu.runtime import launch
from fastconv.kernels.cpu.vector import fixed_point
from fastconv.kernels.epilogue import NO_EPILOGUE, Epilogue
from fastconv.kernels.geometry import ConvGeometry
from fastconv.kernels.pointwise import RELU
from tests.backends.cases.fused.parts import SQUARES

Arrays = dict[str, np.ndarray]
SHAPES = [(4, 8, 8, 16, 16), (3, 7, 9, 17, 33), (2, 16, 16, 64, 64), (1, 6, 5, 512, 40), (5, 16, 16, 32, 48)]
# Of the input (or gradient) and of the weight: products are in range, their transforms are not.
SCALES = [(2.0**124, 2.0**-14), (2.0**122, 2.0**-12), (2.0**-14, 2.0**122)]
PRECISIONS = ["default", pytest.param("fast", marks=pytest.mark.slow)]  # kernels that take long to compile


@pytest.fixture(autouse=True)
def _on_numba():
    with use_backend("numba"), fc.algorithm("winograd"):
        yield


def _arrays(shape: tuple[int, ...], scales: tuple[float, float], kernel: int) -> Arrays:
    n, h, w, c, k = shape
    rng = np.random.default_rng(4)
    made = {
        "x": scales[0] * rng.choice([-1, 1], (n, h, w, c)) * rng.uniform(0.5, 1, (n, h, w, c)),
        "weight": scales[1] * rng.standard_normal((kernel, kernel, c, k)) / np.sqrt(kernel * kernel * max(c, k)),
        "grad_output": scales[0] * rng.uniform(-1, 1, (n, h, w, k)),
        "small": rng.uniform(-1, 1, (n, h, w, k)) / (n * h * w),
        "bias": rng.standard_normal(k),
    }
    made |= {"pooled": made["grad_output"][:, : h // 2, : w // 2], "sign": np.sign(made["x"]) / (n * h * w)}
    return {name: np.ascontiguousarray(a, np.float32) for name, a in made.items()}


def _geometry(weight: np.ndarray) -> ConvGeometry:
    pad = weight.shape[0] // 2
    return ConvGeometry(weight.shape[:2], padding=((pad, pad), (pad, pad)))


def _prepared(backend: Backend, a: Arrays, direction: str, precision: str) -> Any:
    geometry = _geometry(a["weight"]) if direction == "forward" else _geometry(a["weight"]).transposed()
    more = {"input_shape": a["x"].shape, "precision": precision, "workspace": backend.pool}
    more["algorithm"] = fc.get_algorithm()
    return backend.prepare_conv2d_weight(a["weight"], geometry=geometry, **more)


def _forward(backend: Backend, a: Arrays, precision: str) -> Arrays:
    out = np.empty_like(a["grad_output"])
    more = {"workspace": backend.pool, "out": out}
    backend.conv2d(a["x"], _prepared(backend, a, "forward", precision), a["bias"], NO_EPILOGUE, **more)
    return {"y": out}


def _add_relu(backend: Backend, a: Arrays, precision: str) -> Arrays:
    out = np.empty_like(a["grad_output"])
    more = {"workspace": backend.pool, "out": out, "addend": a["grad_output"] * np.float32(0.001)}
    weight = _prepared(backend, a, "forward", precision)
    backend.conv2d(a["x"], weight, None, Epilogue(True, RELU), **more)
    return {"y": out}


def _statistics(backend: Backend, a: Arrays, precision: str) -> Arrays:
    out, (mean, var) = np.empty_like(a["grad_output"]), np.empty((2, 2, a["weight"].shape[3]), a["x"].dtype)
    more = {"workspace": backend.pool, "out": out, "mean": mean, "var": var}
    backend.conv2d_statistics(a["x"], _prepared(backend, a, "forward", precision), None, NO_EPILOGUE, **more)
    return {"y": out, "deviation": var[1]}


def _pool(backend: Backend, a: Arrays, precision: str) -> Arrays:
    n, h, w, k = a["grad_output"].shape
    out, argmax = np.empty((n, h // 2, w // 2, k), a["x"].dtype), np.empty((n, h // 2, w // 2, k), np.uint8)
    more = {"workspace": backend.pool, "out": out, "argmax": argmax}
    weight = _prepared(backend, a, "forward", precision)
    backend.conv2d(a["x"], weight, a["bias"], Epilogue(False, RELU, SQUARES), **more)
    return {"y": out}


def _backward_input(backend: Backend, a: Arrays, precision: str) -> Arrays:
    out = np.empty_like(a["x"])
    more = {"workspace": backend.pool, "out": out}
    backend.conv2d_backward_input(a["grad_output"], _prepared(backend, a, "backward_input", precision), **more)
    return {"grad_input": out}


def _backward_input_relu(backend: Backend, a: Arrays, precision: str) -> Arrays:
    out = np.empty_like(a["x"])
    more = {"workspace": backend.pool, "out": out, "activation": RELU, "saved": a["x"]}
    backend.conv2d_backward_input(a["grad_output"], _prepared(backend, a, "backward_input", precision), **more)
    return {"grad_input": out}


def _backward_input_norm(backend: Backend, a: Arrays, precision: str) -> Arrays:
    channels = a["x"].shape[3]
    out, ones = np.empty_like(a["x"]), np.ones(channels, a["x"].dtype)
    grads = {name: np.empty(channels, a["x"].dtype) for name in ("grad_gamma", "grad_beta")}
    more = {**grads, "workspace": backend.pool, "out": out, "eps": 1.0}
    norm = (a["x"] * 0, ones, ones * 0, ones, Epilogue(activation=RELU))
    weight = _prepared(backend, a, "backward_input", precision)
    backend.conv2d_backward_input_norm(a["grad_output"], weight, *norm, saved=a["x"], **more)
    return {"grad_input": out}


def _backward_weight(backend: Backend, a: Arrays, precision: str) -> Arrays:
    out = np.empty_like(a["weight"])
    more = {"geometry": _geometry(a["weight"]), "workspace": backend.pool, "out": out, "precision": precision}
    more["algorithm"] = fc.get_algorithm()
    backend.conv2d_backward_weight(a["small"], a["x"], **more)
    return {"grad_weight": out}


def _pool_backward(backend: Backend, a: Arrays, precision: str) -> Arrays:
    n, h, w, k = a["grad_output"].shape
    argmax = np.random.default_rng(1).integers(0, 4, (n, h // 2, w // 2, k)).astype(np.uint8)
    results = {"grad_weight": np.empty_like(a["weight"]), "grad_input": np.empty_like(a["x"])}
    more = {"geometry": _geometry(a["weight"]), "windows": SQUARES, "precision": precision, "workspace": backend.pool}
    more["algorithm"] = fc.get_algorithm()
    weight = _prepared(backend, a, "backward_input", precision)
    arguments = (a["pooled"], argmax, a["sign"], weight)
    backend.conv2d_max_pool2d_backward(*arguments, **results, **more)
    return results


OPERATIONS: dict[str, Callable[[Backend, Arrays, str], Arrays]] = {
    "forward": _forward,
    "add-relu": _add_relu,
    "statistics": _statistics,
    "relu-max-pool": _pool,
    "backward-input": _backward_input,
    "backward-input-relu": _backward_input_relu,
    "backward-input-norm-relu": _backward_input_norm,
    "backward-weight": _backward_weight,
    "max-pool-backward": _pool_backward,
}


# What takes longest to compile: gradients through a pooling have two kernels for each kind of map.
LONG = ("max-pool-backward", "backward-weight")
EACH = [pytest.param(op, marks=[pytest.mark.slow] * (op in LONG)) for op in OPERATIONS]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kernel", [3, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("operation", EACH)
def test_results_are_finite_and_right(operation: str, kernel: int, precision: str) -> None:
    if precision == "fast" and not fixed_point.FIXED:
        pytest.skip("compiled for a CPU without VNNI")
    run, mended = OPERATIONS[operation], 0
    for shape in SHAPES[: 3 if kernel == 5 else None]:
        for scales in SCALES:
            a, names = _arrays(shape, scales, kernel), []
            with get_backend().trace(names.append):
                got = run(get_backend(), a, precision)
            assert any("winograd" in name for name in names)
            mended += any(name.endswith("_direct") for name in names)
            wide = {name: array.astype(np.float64) for name, array in a.items()}
            for name, value in run(get_backend("numpy"), wide, "strict").items():
                assert np.isfinite(got[name]).all(), (operation, shape, scales, name)
                bound = (3e-2 if precision == "fast" else 2e-4) * np.abs(value).max()
                np.testing.assert_allclose(got[name], value, rtol=0, atol=bound)
    assert mended  # else the numbers were too small to overflow, and nothing was tried


@pytest.mark.parametrize("operation", ["forward", "backward-input", "backward-weight", "relu-max-pool"])
def test_the_same_bits_from_any_number_of_threads(operation: str) -> None:
    a = _arrays(SHAPES[4], SCALES[0], 3)
    before, found = launch.get_num_threads(), []
    try:
        for threads in (1, 2, 4):
            launch.set_num_threads(threads)
            results = OPERATIONS[operation](get_backend(), a, "default")
            found.append([value.tobytes() for value in results.values()])
    finally:
        launch.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_what_is_not_finite_itself_is_left_to_winograd() -> None:
    """A NaN may spread over its tile, and is no reason to compute everything twice."""
    a, names = _arrays(SHAPES[0], (1.0, 1.0), 3), []
    a["x"][1, 2, 3, 4] = np.nan
    with get_backend().trace(names.append):
        y = _forward(get_backend(), a, "default")["y"]
    assert np.isnan(y[1, 2, 3]).all()
    assert np.isfinite(y[[0, 2, 3]]).all()
    assert not any(name.endswith("_direct") for name in names)


@pytest.mark.parametrize("operation", EACH)
def test_what_was_captured_breaks_off(operation: str) -> None:
    backend, a = get_backend(), _arrays(SHAPES[0], (1.0, 2.0**-14), 3)
    replay = backend.capture(lambda: OPERATIONS[operation](backend, a, "default"))
    assert replay is not None
    assert replay()
    for name in ("x", "grad_output", "pooled"):
        a[name] *= np.float32(2.0**124)
    assert not replay()
    for name in ("x", "grad_output", "pooled"):
        a[name] /= np.float32(2.0**124)
    assert replay()
