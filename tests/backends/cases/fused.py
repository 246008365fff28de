"""Cases of the fused operations. Their reference is the composition of their parts, in float64 on the NumPy backend."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from fastconv.algorithm import get_algorithm
from fastconv.kernels.epilogue import NO_EPILOGUE, Epilogue
from fastconv.kernels.geometry import PoolWindows
from fastconv.kernels.pointwise import POINTWISE, RELU, Activation
from tests.backends.cases.conv import Conv, pad, prepared_weight
from tests.backends.cases.norm import eps_of, rstd_of, size_of, two_rows
from tests.backends.cases.pointwise import HELD
from tests.backends.op_case import Arrays, Case

CONVS = [
    Conv("winograd-c64-k64", 2, (8, 8), 64, 64),
    Conv("winograd-c16-k16-cut", 3, (7, 9), 16, 16),
    Conv("winograd-c17-k33-valid", 2, (13, 13), 17, 33, padding=pad(0, 0)),
    Conv("winograd-many-tiles", 9, (16, 16), 32, 48),
    Conv("winograd-one-tile", 1, (2, 3), 40, 70),
    Conv("strict", 2, (6, 5), 16, 17, precision="strict"),
    Conv("stem", 2, (8, 7), 3, 16, bias=False),
    Conv("stride2", 2, (8, 8), 16, 32, stride=(2, 2), bias=False),
    Conv("1x1-stride2", 2, (7, 5), 33, 7, (1, 1), (2, 2), pad(0, 0)),
    Conv("5x5", 1, (9, 8), 20, 9, (5, 5), padding=pad(2, 2)),
    Conv("many-channels", 1, (4, 4), 700, 20, (1, 1), padding=pad(0, 0)),
    Conv("groups2", 2, (5, 5), 16, 32, groups=2),
    Conv("depthwise", 2, (5, 6), 17, 17, groups=17),
    Conv("infinite", 2, (5, 5), 8, 17, precision="strict", infinite=True),
]
_MAPS = {
    "round": (2, 8, 8, 64),
    "ragged": (3, 5, 7, 17),
    "c3": (2, 6, 5, 3),
    "c96-2x2": (4, 2, 2, 96),
    "one-element": (1, 1, 1, 7),
    "long": (9, 16, 16, 16),
    "far-from-zero": (2, 6, 6, 16),
    "two-rows": (3, 5, 7, 17),
}
AFTER, ADDED, ADDS = Epilogue(activation=RELU), Epilogue(True, RELU), Epilogue(True)
SQUARES = PoolWindows((2, 2), (2, 2))
_OVERLAPPING = PoolWindows((3, 3), (2, 2), pad(1, 1))
_CEILING = replace(SQUARES, ceil_mode=True)


def _bound(c: Conv, name: str, spread: str, axes: tuple[int, ...], i: Arrays, o: Arrays) -> np.ndarray:
    """Largest input times the sum of the weights, on every convolution: see `_spread` of conv.py."""
    finite = {key: np.abs(np.where(np.isfinite(a), a, 0)) for key, a in i.items()}
    size = finite[spread].max(initial=0) * finite["weight"].sum(axes)
    if c.groups > 1:
        size = size.max(initial=0)
    for extra in ("bias", "addend"):
        if extra in finite:
            size = size + finite[extra]
    return np.broadcast_to(size, o[name].shape)


def _inputs(c: Conv, **more: tuple[int, ...]):
    def made(rng: np.random.Generator) -> Arrays:
        arrays = {name: rng.standard_normal(shape) for name, shape in more.items()}
        arrays["weight"] = rng.standard_normal(c.w_shape)
        if c.infinite:
            arrays["weight"][0, 0, 0, 0], arrays["weight"][-1, 1, 0, -1] = np.inf, -np.inf
        if c.bias and "x" in more:
            arrays["bias"] = 5 * rng.standard_normal(c.k)
        return arrays

    return made


def _named(epilogue: Epilogue, name: str) -> str:
    activation = None if epilogue.activation is None else epilogue.activation.name
    return "-".join(
        filter(None, ("add" * epilogue.adds, activation, "max_pool2d" * (epilogue.windows is not None), name))
    )


def saved_for(activation: Activation, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return what the gradient of a function is computed from: numbers, or results of it."""
    if activation == RELU:
        return np.maximum(rng.standard_normal(shape), 0)
    return 2 * rng.standard_normal(shape) if activation.function.needs == "x" else rng.random(shape)


def _steep(activation: Activation | None, size: np.ndarray) -> np.ndarray | float:
    """By how much gradients grow through a function, and of what rounding changes of it; `size` is that of x or y."""
    return 1.0 if activation in (None, RELU) else 2 * (1 + np.abs(size))


def conv_after(c: Conv, epilogue: Epilogue, *, keep: bool = False) -> Case:
    """A convolution with an addition, an activation; `keep` what comes before that."""
    outputs = {"y": c.y_shape} | ({"before": c.y_shape} if keep else {})
    shapes = {"x": c.x_shape} | ({"addend": c.y_shape} if epilogue.adds else {})

    def call(backend, i, o, workspace):
        weight = prepared_weight(backend, i["weight"], "forward", c, workspace)
        more = {"addend": i.get("addend"), "out": o["y"], "before": o.get("before"), "workspace": workspace}
        backend.conv2d(i["x"], weight, i.get("bias"), epilogue, **more)

    def magnitude(i: Arrays, o: Arrays) -> dict:
        z = _bound(c, "y", "x", (0, 1, 2), i, o)
        return {"y": z if epilogue.activation in (None, RELU) else 2 * (1 + z)} | ({"before": z} if keep else {})

    return Case(
        "conv2d",
        _named(epilogue, c.id) + ("-keep" if keep else ""),
        _inputs(c, **shapes),
        outputs,
        call,
        terms=int(np.prod(c.w_shape[:3])) + 1 + epilogue.adds,
        magnitude=magnitude,
        rounded=c.rounded,
    )


def _apart(c: Conv, apart: float):
    """One channel of the input and its weight keep the values of a window, and zero, apart: no rounding changes places.

    Every other window is negative throughout, so that its places behind a rectifier are those of the first of equals.
    """
    plain = _inputs(c, x=c.x_shape)

    def inputs(rng: np.random.Generator) -> Arrays:
        arrays = plain(rng)
        (top, _), (left, _) = c.padding
        kernel_h, kernel_w, stride_h, stride_w = *c.kernel, *c.stride
        centre = kernel_h // 2, kernel_w // 2
        rows = np.arange(c.y_shape[1]) * stride_h - top + centre[0]
        cols = np.arange(c.y_shape[2]) * stride_w - left + centre[1]
        steps = np.empty(c.y_shape[1:3])
        steps.flat = rng.permutation(steps.size) + 1.0
        steps[np.add.outer(np.arange(steps.shape[0]) // 2, np.arange(steps.shape[1]) // 2) % 2 == 1] *= -1
        width = c.c // c.groups
        arrays["x"][..., ::width] = 0
        arrays["weight"][:, :, 0] = 0
        arrays["x"][:, rows[:, None], cols[None, :], ::width] = apart * steps[..., None]
        arrays["weight"][centre[0], centre[1], 0] = 1
        return arrays

    return inputs


def _pooled_size(i: Arrays) -> np.ndarray:
    """A bound on all results of a convolution."""
    size: np.ndarray = np.abs(i["x"]).max(initial=0) * np.abs(i["weight"]).sum((0, 1, 2)).max()
    return size + np.abs(i.get("bias", 0)).max()


def conv_pool(c: Conv, windows: PoolWindows, activation: Activation = RELU) -> Case:
    """Its values are apart, see `_apart`."""
    pooled, epilogue = _pooled(c.y_shape, windows), Epilogue(False, activation, windows)

    def call(backend, i, o, workspace):
        weight = prepared_weight(backend, i["weight"], "forward", c, workspace)
        backend.conv2d(i["x"], weight, i.get("bias"), epilogue, out=o["y"], argmax=o["argmax"], workspace=workspace)

    def magnitude(i: Arrays, o: Arrays) -> dict:
        return {"y": np.broadcast_to(_pooled_size(i), pooled), "argmax": np.zeros(pooled)}

    return Case(
        "conv2d",
        _named(epilogue, c.id),
        _apart(c, 1000 if activation == RELU else 4000),
        {"y": pooled, "argmax": (pooled, np.uint8)},
        call,
        terms=int(np.prod(c.w_shape[:3])) + 1,
        magnitude=magnitude,
        rounded=c.rounded,
    )


def conv_pool_statistics(c: Conv, windows: PoolWindows) -> Case:
    """A pooling between the convolution and its normalisation; its values are apart, see `_apart`."""
    pooled, epilogue = _pooled(c.y_shape, windows), Epilogue(windows=windows)

    def call(backend, i, o, workspace):
        weight = prepared_weight(backend, i["weight"], "forward", c, workspace)
        backend.conv2d_statistics(i["x"], weight, i.get("bias"), epilogue, **o, workspace=workspace)

    def magnitude(i: Arrays, o: Arrays) -> dict:
        size = _pooled_size(i)
        spread = np.sqrt(o["var"]) + np.abs(o["mean"]) * np.finfo(np.float32).eps
        sizes = {"out": np.broadcast_to(size, pooled), "argmax": np.zeros(pooled)}
        return sizes | {"mean": np.broadcast_to(size, c.k), "var": spread * (size + spread)}

    return Case(
        "conv2d_statistics",
        _named(epilogue, c.id),
        _apart(c, 1000),
        {"out": pooled, "argmax": (pooled, np.uint8), "mean": (c.k,), "var": (c.k,)},
        call,
        terms=int(np.prod(c.w_shape[:3])) + 1,
        magnitude=magnitude,
        rounded=c.rounded,
    )


def backward_input_through(
    c: Conv, activation: Activation | None, *, add: bool = False, in_place: bool = False
) -> Case:
    """With an addend, over which the result is written if in place; through an activation with the gradient of a bias
    where the convolution has one itself.
    """
    bias = c.bias and activation is not None
    outputs = {"out": c.x_shape} | ({"grad_bias": (c.c,)} if bias else {})

    def inputs(rng: np.random.Generator) -> Arrays:
        shapes = {"grad_output": c.y_shape} | ({"addend": c.x_shape} if add else {})
        arrays = _inputs(c, **shapes)(rng)
        return arrays | ({} if activation is None else {"saved": saved_for(activation, c.x_shape, rng)})

    def call(backend, i, o, workspace):
        weight = prepared_weight(backend, i["weight"], "backward_input", c, workspace)
        addend = i.get("addend")
        if in_place:
            backend.copy(addend, out=o["out"])
            addend = o["out"]
        more = {"addend": addend, "activation": activation, "saved": i.get("saved"), "grad_bias": o.get("grad_bias")}
        backend.conv2d_backward_input(i["grad_output"], weight, **more, out=o["out"], workspace=workspace)

    def magnitude(i: Arrays, o: Arrays) -> dict:
        size = _bound(c, "out", "grad_output", (0, 1, 3), i, o) * _steep(activation, i.get("saved", 0))
        passed = size * (i["saved"] > 0) if activation == RELU else size
        return {"out": size} | ({"grad_bias": passed.sum((0, 1, 2))} if bias else {})

    epilogue = Epilogue(add, activation)
    return Case(
        "conv2d_backward_input",
        _named(epilogue, c.id) + ("-in-place" if in_place else ""),
        inputs,
        outputs,
        call,
        terms=c.kernel[0] * c.kernel[1] * c.k + (1 if activation is None else int(np.prod(c.x_shape[:3]))),
        magnitude=magnitude,
        rounded=c.rounded,
    )


def conv_pool_backward(
    c: Conv, windows: PoolWindows, activation: Activation | None = None, *, needs: bool = True
) -> Case:
    """With the gradient of a bias through an activation where the convolution has a bias itself."""
    pooled = _pooled(c.y_shape, windows)
    cells = windows.kernel_size[0] * windows.kernel_size[1]
    bias = c.bias and activation is not None

    def inputs(rng: np.random.Generator) -> Arrays:
        arrays = {"grad_output": rng.standard_normal(pooled), "weight": rng.standard_normal(c.w_shape)}
        arrays["argmax"] = _cells_inside(rng, c.y_shape, pooled, windows)
        arrays["x"] = np.maximum(rng.standard_normal(c.x_shape), 0)
        apart = activation not in (None, RELU)
        return arrays | ({"saved": saved_for(activation, c.x_shape, rng)} if apart else {})

    def call(backend, i, o, workspace):
        weight = prepared_weight(backend, i["weight"], "backward_input", c, workspace) if needs else None
        more = {"geometry": c.geometry, "windows": windows, "precision": c.precision, "algorithm": get_algorithm()}
        more |= {name: o.get(name) for name in ("grad_weight", "grad_input", "grad_bias")}
        if activation is not None:
            more |= {"activation": activation, "saved": i.get("saved", i["x"])}
        arguments = (i["grad_output"], i["argmax"], i["x"], weight)
        backend.conv2d_max_pool2d_backward(*arguments, **more, workspace=workspace)

    def magnitude(i: Arrays, o: Arrays) -> dict:
        size = cells * _bound(c, "grad_weight", "grad_output", (0, 1, 3), i, {"grad_weight": np.empty(c.x_shape)})
        size = size * _steep(activation, i.get("saved", 0))
        pixels = int(np.prod(c.y_shape[:3]))
        largest = cells * np.abs(i["grad_output"]).max(initial=0) * np.abs(i["x"]).max(initial=0)
        sizes = {"grad_weight": np.broadcast_to(largest * pixels, c.w_shape)}
        if needs:
            sizes["grad_input"] = size
        if bias:
            sizes["grad_bias"] = (size * (i["x"] > 0) if activation == RELU else size).sum((0, 1, 2))
        return sizes

    outputs = {"grad_weight": c.w_shape} | ({"grad_input": c.x_shape} if needs else {})
    return Case(
        "conv2d_max_pool2d_backward",
        _named(Epilogue(activation=activation), c.id) + ("" if needs else "-weight-only"),
        inputs,
        outputs | ({"grad_bias": (c.c,)} if bias else {}),
        call,
        terms=c.kernel[0] * c.kernel[1] * c.k + int(np.prod(c.x_shape[:3])),
        magnitude=magnitude,
        rounded=c.rounded,
    )


def backward_input_norm(
    c: Conv, epilogue: Epilogue, *, add: bool = False, in_place: bool = False, windows: PoolWindows | None = None
) -> Case:
    """With an addend or without; in place, the result is written over it. Through a pooling behind the convolution."""
    activation, channels, eps = epilogue.activation, (c.c,), eps_of(c.id)
    again = activation.function.needs == "x"
    result = c.y_shape if windows is None else _pooled(c.y_shape, windows)
    cells = 1 if windows is None else windows.kernel_size[0] * windows.kernel_size[1]
    shapes = {"grad_output": result, "x": c.x_shape} | ({"addend": c.x_shape} if add else {})
    shapes |= {"norm_addend": c.x_shape} if again and epilogue.adds else {}

    def inputs(rng: np.random.Generator) -> Arrays:
        arrays = _inputs(c, **shapes)(rng)
        arrays["x"] += 3
        arrays.pop("bias", None)
        norm = {"mean": 3 + rng.standard_normal(channels), "var": 0.5 + rng.random(channels)}
        if "two-rows" in c.id:
            norm = two_rows(**norm, rng=rng)
        norm["gamma"] = rng.standard_normal(channels)
        saved = {"beta": rng.standard_normal(channels)} if again else {"saved": saved_for(activation, c.x_shape, rng)}
        places = {} if windows is None else {"argmax": _cells_inside(rng, c.y_shape, result, windows)}
        return arrays | norm | saved | places

    def call(backend, i, o, workspace):
        weight = prepared_weight(backend, i["weight"], "backward_input", c, workspace)
        more = {name: i.get(name) for name in ("addend", "beta", "saved", "norm_addend")}
        if in_place:
            backend.copy(more["addend"], out=o["out"])
            more["addend"] = o["out"]
        norm = (i["x"], i["gamma"], i["mean"], i["var"], epilogue)
        more |= {"eps": eps, **o, "workspace": workspace, "argmax": i.get("argmax"), "windows": windows}
        backend.conv2d_backward_input_norm(i["grad_output"], weight, *norm, **more)

    def magnitude(i: Arrays, o: Arrays) -> dict:
        size = cells * _bound(c, "out", "grad_output", (0, 1, 3), i, o)
        if again:
            size = size * _steep(activation, _normalised_size(i, eps) + np.abs(i.get("norm_addend", 0)))
        passed = size * (i["saved"] > 0) if activation == RELU else size
        away = (np.abs(i["x"]) + size_of(i["mean"])) * rstd_of(i["var"], eps)
        return {"out": size, "grad_beta": passed.sum((0, 1, 2)), "grad_gamma": (passed * away).sum((0, 1, 2))}

    return Case(
        "conv2d_backward_input_norm",
        _named(replace(epilogue, windows=windows), c.id) + "-add" * add + "-in-place" * in_place,
        inputs,
        {"out": c.x_shape, "grad_gamma": channels, "grad_beta": channels},
        call,
        terms=c.kernel[0] * c.kernel[1] * c.k + int(np.prod(c.x_shape[:3])),
        magnitude=magnitude,
        rounded=c.rounded,
    )


def norm_backward_apply(name: str, shape: tuple[int, ...]) -> Case:
    eps = eps_of(name)

    def inputs(rng: np.random.Generator) -> Arrays:
        parts = _norm_parts(name, shape, rng)
        del parts["beta"]
        grad = rng.standard_normal(shape)
        axes = tuple(range(len(shape) - 1))
        normalised = (parts["x"] - parts["mean"].reshape(-1, shape[-1]).sum(0)) * rstd_of(parts["var"], eps)
        # Not those of this gradient alone, which it could find out by itself.
        sums = {"grad_gamma": 0.75 * (grad * normalised).sum(axes), "grad_beta": 0.75 * grad.sum(axes)}
        return {"grad_output": grad, **parts, **sums}

    def call(backend, i, o, workspace):
        arguments = (i["grad_output"], i["x"], i["gamma"], i["mean"], i["var"])
        sums = {"grad_gamma": i["grad_gamma"], "grad_beta": i["grad_beta"]}
        backend.batch_norm_backward_apply(*arguments, **sums, eps=eps, **o, workspace=workspace)

    def magnitude(i: Arrays, o: Arrays) -> dict:
        return {"grad_input": _backward_size(i, np.abs(i["grad_output"]), shape, eps)["grad_input"]}

    return Case("batch_norm_backward_apply", name, inputs, {"grad_input": shape}, call, magnitude=magnitude)


def conv_statistics(c: Conv) -> Case:
    def call(backend, i, o, workspace):
        weight = prepared_weight(backend, i["weight"], "forward", c, workspace)
        backend.conv2d_statistics(i["x"], weight, i.get("bias"), NO_EPILOGUE, **o, workspace=workspace)

    def magnitude(i: Arrays, o: Arrays) -> dict:
        size = _bound(c, "out", "x", (0, 1, 2), i, o)
        spread = np.sqrt(o["var"]) + np.abs(o["mean"]) * np.finfo(np.float32).eps
        largest = size.max(axis=(0, 1, 2), initial=0)
        return {"out": size, "mean": largest, "var": spread * (largest + spread)}

    return Case(
        "conv2d_statistics",
        c.id,
        _inputs(c, x=c.x_shape),
        {"out": c.y_shape, "mean": (c.k,), "var": (c.k,)},
        call,
        terms=int(np.prod(c.w_shape[:3])) + 1,
        magnitude=magnitude,
        rounded=c.rounded,
    )


def _norm_parts(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Arrays:
    channels, offset = shape[-1], 1000.0 if name == "far-from-zero" else 0.0
    parts = {
        "x": rng.standard_normal(shape) + offset,
        "gamma": rng.standard_normal(channels),
        "beta": rng.standard_normal(channels),
        "mean": rng.standard_normal(channels) + offset,
        "var": rng.uniform(0.1, 2, channels),
    }
    return parts | two_rows(parts["mean"], parts["var"], rng) if "two-rows" in name else parts


def _normalised_size(i: Arrays, eps: float) -> np.ndarray:
    away = (np.abs(i["x"]) + size_of(i["mean"])) * rstd_of(i["var"], eps)
    return np.abs(i["gamma"]) * away + np.abs(i["beta"])


def normalise(name: str, shape: tuple[int, ...], epilogue: Epilogue) -> Case:
    eps, activation = eps_of(name), epilogue.activation

    def inputs(rng: np.random.Generator) -> Arrays:
        parts = _norm_parts(name, shape, rng)
        return parts | {"addend": rng.standard_normal(shape)} if epilogue.adds else parts

    def call(backend, i, o, workspace):
        norm = (i["x"], i["gamma"], i["beta"], i["mean"], i["var"], epilogue)
        backend.normalise(*norm, addend=i.get("addend"), eps=eps, out=o["y"], workspace=workspace)

    def magnitude(i: Arrays, o: Arrays) -> dict:
        z = _normalised_size(i, eps) + np.abs(i.get("addend", 0.0))
        return {"y": z if activation in (None, RELU) else 2 * (1 + z)}

    return Case("normalise", _named(epilogue, name), inputs, {"y": shape}, call, magnitude=magnitude)


def _pooled(shape: tuple[int, ...], windows: PoolWindows) -> tuple[int, ...]:
    return (shape[0], *windows.output_size(*shape[1:3]), shape[3])


def normalise_pool(name: str, shape: tuple[int, ...], windows: PoolWindows, activation: Activation = RELU) -> Case:
    pooled, eps, epilogue = _pooled(shape, windows), eps_of(name), Epilogue(False, activation, windows)

    def call(backend, i, o, workspace):
        norm = (i["x"], i["gamma"], i["beta"], i["mean"], i["var"], epilogue)
        backend.normalise(*norm, eps=eps, out=o["y"], argmax=o["argmax"], workspace=workspace)

    def magnitude(i: Arrays, o: Arrays) -> dict:
        size = _normalised_size(i, eps).max(axis=(0, 1, 2))
        size = size if activation == RELU else 2 * (1 + size)
        return {"y": np.broadcast_to(size, pooled), "argmax": np.zeros(pooled)}

    outputs = {"y": pooled, "argmax": (pooled, np.uint8)}
    inputs = partial(_norm_parts, name, shape)
    return Case("normalise", _named(epilogue, name), inputs, outputs, call, magnitude=magnitude)


def activation_bias(name: str, shape: tuple[int, ...], activation: Activation = RELU) -> Case:
    def inputs(rng: np.random.Generator) -> Arrays:
        return {"grad_output": rng.standard_normal(shape), "saved": saved_for(activation, shape, rng)}

    def call(backend, i, o, workspace):
        backend.activate_backward_bias(activation, i["grad_output"], i["saved"], **o, workspace=workspace)

    def magnitude(i: Arrays, o: Arrays) -> dict:
        if activation == RELU:
            return {}
        size = np.abs(i["grad_output"]) * _steep(activation, i["saved"])
        return {"out": size, "grad_bias": size.reshape(-1, shape[-1]).sum(0)}

    return Case(
        "activate_backward_bias",
        f"{activation.name}-{name}",
        inputs,
        {"out": shape, "grad_bias": shape[-1:]},
        call,
        terms=int(np.prod(shape[:-1])),
        magnitude=magnitude,
    )


def _backward_size(i: Arrays, g: np.ndarray, shape: tuple[int, ...], eps: float) -> dict:
    """Magnitudes of the gradients of a normalisation, `g` being that of its output."""
    axes = tuple(range(len(shape) - 1))
    rstd = rstd_of(i["var"], eps)
    z = (np.abs(i["x"]) + size_of(i["mean"])) * rstd
    count = max(1, int(np.prod(shape[:-1])))
    sum_g, sum_gz = g.sum(axes), (g * z).sum(axes)
    grad_input = np.abs(i["gamma"]) * rstd * (g + sum_g / count + z * sum_gz / count)
    return {"grad_input": grad_input, "grad_gamma": sum_gz, "grad_beta": sum_g}


def norm_backward(name: str, shape: tuple[int, ...], epilogue: Epilogue, *, in_place: bool = False) -> Case:
    """Through an activation, an addition, a pooling; in place, the gradient of the addend over that of the output."""
    eps, activation, windows = eps_of(name), epilogue.activation, epilogue.windows
    channels, result = shape[-1:], shape if windows is None else _pooled(shape, windows)
    again = activation is not None and activation.function.needs == "x"
    cells = 1 if windows is None else windows.kernel_size[0] * windows.kernel_size[1]

    def inputs(rng: np.random.Generator) -> Arrays:
        parts = _norm_parts(name, shape, rng) | {"grad_output": rng.standard_normal(result)}
        if not again:
            del parts["beta"]
        if again and epilogue.adds:
            parts["addend"] = rng.standard_normal(shape)
        if activation is not None and not again:
            parts["saved"] = saved_for(activation, result, rng)
        if windows is not None:
            parts["argmax"] = _cells_inside(rng, shape, result, windows)
        return parts

    def call(backend, i, o, workspace):
        grad = i["grad_output"]
        if in_place:
            backend.copy(grad, out=o["grad_addend"])
            grad = o["grad_addend"]
        more = {key: i.get(key) for key in ("beta", "saved", "addend", "argmax")}
        arguments = (grad, i["x"], i["gamma"], i["mean"], i["var"], epilogue)
        backend.batch_norm_backward(*arguments, **more, eps=eps, **o, workspace=workspace)

    def magnitude(i: Arrays, o: Arrays) -> dict:
        g = np.abs(i["grad_output"])
        if windows is not None:
            g = np.full(shape, cells * g.max(initial=0))
        if again:
            g = g * _steep(activation, _normalised_size(i, eps) + np.abs(i.get("addend", 0)))
        elif activation not in (None, RELU):
            g = 4 * g
        size = _backward_size(i, g, shape, eps)
        exact = activation in (None, RELU) and windows is None
        return size | {"grad_addend": np.zeros(shape) if exact else g} if epilogue.adds else size

    outputs = {"grad_input": shape, "grad_gamma": channels, "grad_beta": channels}
    if epilogue.adds:
        outputs["grad_addend"] = shape
    of = _named(epilogue, name) + ("-in-place" if in_place else "")
    return Case("batch_norm_backward", of, inputs, outputs, call, magnitude=magnitude)


def _cells_inside(
    rng: np.random.Generator, shape: tuple[int, ...], pooled: tuple[int, ...], windows: PoolWindows
) -> np.ndarray:
    """Places in the windows at random, of cells that lie in the map."""
    kernel_h, kernel_w = windows.kernel_size
    (top, _), (left, _) = windows.padding
    rows, cols = [], []
    for target, size, count, k, s, before in (
        (rows, shape[1], pooled[1], kernel_h, windows.stride[0], top),
        (cols, shape[2], pooled[2], kernel_w, windows.stride[1], left),
    ):
        for p in range(count):
            inside = [r for r in range(k) if 0 <= p * s - before + r < size]
            target.append((inside[0], inside[-1] + 1))
    place = np.empty(pooled, np.uint8)
    for p, (r0, r1) in enumerate(rows):
        for q, (s0, s1) in enumerate(cols):
            r = rng.integers(r0, r1, (pooled[0], pooled[3]))
            place[:, p, q] = r * kernel_w + rng.integers(s0, s1, (pooled[0], pooled[3]))
    return place


_POOLED = [
    ("round", (2, 8, 8, 64), SQUARES),
    ("odd", (3, 5, 7, 17), SQUARES),
    ("c3", (2, 6, 4, 3), SQUARES),
    ("overlapping", (2, 7, 6, 16), _OVERLAPPING),
    ("ceiling", (2, 5, 5, 8), _CEILING),
    ("long", (9, 16, 16, 16), SQUARES),
    ("two-rows", (3, 5, 7, 17), SQUARES),
]

_SMALL = Conv("small", 2, (6, 6), 16, 17)


def of_activation(activation: Activation, name: str) -> list[Case]:
    """Return a case of each operation that has an activation, for all that it can have beside."""
    needs_before = activation.function.needs == "x"
    c, added = replace(_SMALL, id=name), Epilogue(True, activation)
    return [
        conv_after(c, added, keep=needs_before),
        conv_pool(c, SQUARES, activation),
        backward_input_through(c, activation),
        conv_pool_backward(replace(c, padding=pad(0, 0)), SQUARES, activation),
        backward_input_norm(c, added, add=True),
        backward_input_norm(replace(c, padding=pad(0, 0)), replace(added, adds=False), windows=SQUARES),
        normalise(name, (3, 5, 7, 17), added),
        normalise_pool(name, (2, 6, 5, 17), SQUARES, activation),
        norm_backward(name, (3, 5, 7, 17), added),
        norm_backward(name, (2, 6, 5, 17), Epilogue(False, activation, SQUARES)),
        activation_bias(name, (3, 5, 7, 17), activation),
    ]


# Of one convolution: its result as it is, rectified, with an addend before; and backward with an addend.
CONVOLUTIONS = (
    *(partial(conv_after, epilogue=epilogue) for epilogue in (AFTER, ADDED)),
    conv_statistics,
    *(partial(backward_input_through, activation=None, add=True, in_place=in_place) for in_place in (False, True)),
)
CASES = [
    *(conv_after(c, epilogue) for epilogue in (AFTER, ADDED) for c in CONVS),
    conv_after(CONVS[1], ADDS),
    *(conv_statistics(c) for c in CONVS if not c.infinite),
    *(conv_pool(c, SQUARES) for c in CONVS if min(c.y_shape[1:3]) > 1 and not c.infinite),
    *(conv_pool_statistics(c, SQUARES) for c in CONVS if min(c.y_shape[1:3]) > 1 and not c.infinite),
    conv_pool_statistics(Conv("small-statistics", 2, (6, 6), 16, 17), SQUARES),
    conv_pool_statistics(Conv("overlapping-pool", 2, (9, 8), 16, 16), _OVERLAPPING),
    conv_pool_statistics(Conv("no-window-in-the-last-tiles", 4, (9, 13), 17, 33), SQUARES),
    conv_pool(Conv("overlapping-pool", 2, (9, 8), 16, 16), _OVERLAPPING),
    conv_pool(Conv("ceiling-pool", 2, (7, 8), 16, 40), _CEILING),
    conv_pool(Conv("few-tiles", 1, (4, 6), 32, 17), SQUARES),
    *(backward_input_through(c, RELU) for c in CONVS if not c.infinite),
    backward_input_through(Conv("empty-batch", 0, (4, 4), 16, 16), RELU),
    backward_input_through(CONVS[1], RELU, add=True),
    *(
        conv_pool_backward(c, SQUARES, RELU if c.bias else None)
        for c in CONVS
        if min(c.y_shape[1:3]) > 1 and c.precision == "default"
    ),
    conv_pool_backward(Conv("winograd-c64-k64-overlapping", 2, (8, 8), 64, 64), _OVERLAPPING, RELU),
    conv_pool_backward(Conv("winograd-c17-k33-valid-ceiling", 2, (13, 13), 17, 33, padding=pad(0, 0)), _CEILING, RELU),
    conv_pool_backward(Conv("winograd-c17-k33-valid", 2, (13, 13), 17, 33, padding=pad(0, 0)), SQUARES, needs=False),
    *(backward_input_norm(c, AFTER, add=add) for c in CONVS if not c.infinite for add in (False, True)),
    *(backward_input_norm(c, AFTER, add=True, in_place=True) for c in CONVS[:4]),
    *(
        backward_input_norm(c, AFTER, windows=SQUARES)
        for c in CONVS
        if min(c.y_shape[1:3]) > 1 and c.precision == "default"
    ),
    backward_input_norm(Conv("two-rows", 3, (9, 8), 17, 16), ADDED, add=True, windows=SQUARES),
    backward_input_norm(Conv("in-place", 2, (7, 9), 16, 16), AFTER, add=True, in_place=True, windows=SQUARES),
    backward_input_norm(Conv("winograd-c64-k64-overlapping", 2, (8, 8), 64, 64), AFTER, windows=_OVERLAPPING),
    backward_input_norm(Conv("far-more-tiles", 40, (11, 13), 16, 17, bias=False), AFTER, add=True),
    backward_input_norm(Conv("two-rows", 3, (9, 8), 17, 16), AFTER, add=True),
    backward_input_norm(Conv("two-rows-direct", 2, (9, 8), 17, 16, precision="strict"), AFTER, add=False),
    *(norm_backward_apply(name, shape) for name, shape in _MAPS.items() if name != "far-from-zero"),
    *(
        backward_input_through(c, None, add=True, in_place=in_place)
        for in_place in (False, True)
        for c in CONVS
        if not c.infinite
    ),
    conv_after(Conv("empty-batch", 0, (4, 4), 16, 16), AFTER),
    *(normalise(name, shape, epilogue) for name, shape in _MAPS.items() for epilogue in (AFTER, ADDED)),
    normalise("dense", (31, 33), AFTER),
    normalise("ragged", (3, 5, 7, 17), ADDS),
    normalise("empty-batch", (0, 4, 4, 16), ADDED),
    *(normalise_pool(*arguments) for arguments in _POOLED),
    *(activation_bias(name, shape) for name, shape in _MAPS.items() if name != "two-rows"),
    activation_bias("dense", (31, 10)),
    activation_bias("empty-batch", (0, 4, 4, 8)),
    *(norm_backward(name, shape, epilogue) for name, shape in _MAPS.items() for epilogue in (AFTER, ADDED)),
    norm_backward("round", (2, 8, 8, 64), ADDED, in_place=True),
    norm_backward("dense", (31, 33), AFTER),
    norm_backward("ragged", (3, 5, 7, 17), ADDS),
    *(norm_backward(name, shape, Epilogue(False, RELU, windows)) for name, shape, windows in _POOLED),
    *(
        case
        for c in CONVS
        if c.id in {"strict", "stride2", "depthwise"}
        for case in (
            conv_after(c, Epilogue(True, POINTWISE["hardswish"]()), keep=True),
            backward_input_through(c, POINTWISE["gelu"](), add=True),
        )
    ),
    *(
        case
        for name, held in HELD.items()
        for number, values in enumerate(held.values)
        for case in of_activation(POINTWISE[name](*values), f"small-{number}")
    ),
]
SMALL = [case for case in CASES if "-small-" in case.id]  # each activation with each operation


def is_rare(case: Case) -> bool:
    """Tell whether a case is of an activation that only the slow suite runs on the CPU, which compiles it for each.

    The default suite has the rectifier, one that needs x and one that needs y, and statistics.
    """
    words = set(case.id.split("-"))
    fused = "small" in words or (case.op.startswith("conv2d") and not words.isdisjoint(POINTWISE))
    return fused and words.isdisjoint({"relu", "gelu", "tanh", "statistics"})


def by_rarity(cases: Iterable[Case], rare: Collection[str] = ()) -> list[Any]:
    """Return cases as parameters of a test; those with a word of `rare` in their names are of the slow suite too."""

    def marks(case: Case) -> tuple[pytest.MarkDecorator, ...]:
        return (pytest.mark.slow,) if is_rare(case) or not set(case.id.split("-")).isdisjoint(rare) else ()

    return [pytest.param(case, marks=marks(case), id=f"{case.op}-{case.id}") for case in cases]
