"""A convolution with what follows it, and what its gradient goes on through."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fastconv.algorithm import get_algorithm
from fastconv.kernels.epilogue import NO_EPILOGUE, Epilogue
from fastconv.kernels.geometry import PoolWindows
from fastconv.kernels.pointwise import RELU, Activation
from tests.backends.cases.conv import Conv, prepared_weight
from tests.backends.cases.fused.norms import normalised_size
from tests.backends.cases.fused.parts import cells_inside, named, pooled_shape, saved_for, steep
from tests.backends.cases.norm import eps_of, rstd_of, size_of, two_rows
from tests.backends.op_case import Arrays, Case


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
        named(epilogue, c.id) + ("-keep" if keep else ""),
        _inputs(c, **shapes),
        outputs,
        call,
        terms=int(np.prod(c.w_shape[:3])) + 1 + epilogue.adds,
        magnitude=magnitude,
        rounded=c.rounded,
    )


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
    pooled, epilogue = pooled_shape(c.y_shape, windows), Epilogue(False, activation, windows)

    def call(backend, i, o, workspace):
        weight = prepared_weight(backend, i["weight"], "forward", c, workspace)
        backend.conv2d(i["x"], weight, i.get("bias"), epilogue, out=o["y"], argmax=o["argmax"], workspace=workspace)

    def magnitude(i: Arrays, o: Arrays) -> dict:
        return {"y": np.broadcast_to(_pooled_size(i), pooled), "argmax": np.zeros(pooled)}

    return Case(
        "conv2d",
        named(epilogue, c.id),
        _apart(c, 1000 if activation == RELU else 4000),
        {"y": pooled, "argmax": (pooled, np.uint8)},
        call,
        terms=int(np.prod(c.w_shape[:3])) + 1,
        magnitude=magnitude,
        rounded=c.rounded,
    )


def conv_pool_statistics(c: Conv, windows: PoolWindows) -> Case:
    """A pooling between the convolution and its normalisation; its values are apart, see `_apart`."""
    pooled, epilogue = pooled_shape(c.y_shape, windows), Epilogue(windows=windows)

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
        named(epilogue, c.id),
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
        size = _bound(c, "out", "grad_output", (0, 1, 3), i, o) * steep(activation, i.get("saved", 0))
        passed = size * (i["saved"] > 0) if activation == RELU else size
        return {"out": size} | ({"grad_bias": passed.sum((0, 1, 2))} if bias else {})

    epilogue = Epilogue(add, activation)
    return Case(
        "conv2d_backward_input",
        named(epilogue, c.id) + ("-in-place" if in_place else ""),
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
    pooled = pooled_shape(c.y_shape, windows)
    cells = windows.kernel_size[0] * windows.kernel_size[1]
    bias = c.bias and activation is not None

    def inputs(rng: np.random.Generator) -> Arrays:
        arrays = {"grad_output": rng.standard_normal(pooled), "weight": rng.standard_normal(c.w_shape)}
        arrays["argmax"] = cells_inside(rng, c.y_shape, pooled, windows)
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
        size = size * steep(activation, i.get("saved", 0))
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
        named(Epilogue(activation=activation), c.id) + ("" if needs else "-weight-only"),
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
    result = c.y_shape if windows is None else pooled_shape(c.y_shape, windows)
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
        places = {} if windows is None else {"argmax": cells_inside(rng, c.y_shape, result, windows)}
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
            size = size * steep(activation, normalised_size(i, eps) + np.abs(i.get("norm_addend", 0)))
        passed = size * (i["saved"] > 0) if activation == RELU else size
        away = (np.abs(i["x"]) + size_of(i["mean"])) * rstd_of(i["var"], eps)
        return {"out": size, "grad_beta": passed.sum((0, 1, 2)), "grad_gamma": (passed * away).sum((0, 1, 2))}

    return Case(
        "conv2d_backward_input_norm",
        named(replace(epilogue, windows=windows), c.id) + "-add" * add + "-in-place" * in_place,
        inputs,
        {"out": c.x_shape, "grad_gamma": channels, "grad_beta": channels},
        call,
        terms=c.kernel[0] * c.kernel[1] * c.k + int(np.prod(c.x_shape[:3])),
        magnitude=magnitude,
        rounded=c.rounded,
    )
