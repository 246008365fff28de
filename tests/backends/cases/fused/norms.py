"""A normalisation with what follows it, and the gradients of both."""

from __future__ import annotations

from functools import partial

import numpy as np

from fastconv.kernels.epilogue import Epilogue
from fastconv.kernels.geometry import PoolWindows
from fastconv.kernels.pointwise import RELU, Activation
from tests.backends.cases.fused.parts import cells_inside, named, pooled_shape, saved_for, steep
from tests.backends.cases.norm import backward_size, eps_of, rstd_of, size_of, two_rows
from tests.backends.op_case import Arrays, Case


def norm_parts(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Arrays:
    channels, offset = shape[-1], 1000.0 if name == "far-from-zero" else 0.0
    parts = {
        "x": rng.standard_normal(shape) + offset,
        "gamma": rng.standard_normal(channels),
        "beta": rng.standard_normal(channels),
        "mean": rng.standard_normal(channels) + offset,
        "var": rng.uniform(0.1, 2, channels),
    }
    return parts | two_rows(parts["mean"], parts["var"], rng) if "two-rows" in name else parts


def normalised_size(i: Arrays, eps: float) -> np.ndarray:
    away = (np.abs(i["x"]) + size_of(i["mean"])) * rstd_of(i["var"], eps)
    return np.abs(i["gamma"]) * away + np.abs(i["beta"])


def normalise(name: str, shape: tuple[int, ...], epilogue: Epilogue) -> Case:
    eps, activation = eps_of(name), epilogue.activation

    def inputs(rng: np.random.Generator) -> Arrays:
        parts = norm_parts(name, shape, rng)
        return parts | {"addend": rng.standard_normal(shape)} if epilogue.adds else parts

    def call(backend, i, o, workspace):
        norm = (i["x"], i["gamma"], i["beta"], i["mean"], i["var"], epilogue)
        backend.normalise(*norm, addend=i.get("addend"), eps=eps, out=o["y"], workspace=workspace)

    def magnitude(i: Arrays, o: Arrays) -> dict:
        z = normalised_size(i, eps) + np.abs(i.get("addend", 0.0))
        return {"y": z if activation in (None, RELU) else 2 * (1 + z)}

    return Case("normalise", named(epilogue, name), inputs, {"y": shape}, call, magnitude=magnitude)


def normalise_pool(name: str, shape: tuple[int, ...], windows: PoolWindows, activation: Activation = RELU) -> Case:
    pooled, eps, epilogue = pooled_shape(shape, windows), eps_of(name), Epilogue(False, activation, windows)

    def call(backend, i, o, workspace):
        norm = (i["x"], i["gamma"], i["beta"], i["mean"], i["var"], epilogue)
        backend.normalise(*norm, eps=eps, out=o["y"], argmax=o["argmax"], workspace=workspace)

    def magnitude(i: Arrays, o: Arrays) -> dict:
        size = normalised_size(i, eps).max(axis=(0, 1, 2))
        size = size if activation == RELU else 2 * (1 + size)
        return {"y": np.broadcast_to(size, pooled), "argmax": np.zeros(pooled)}

    outputs = {"y": pooled, "argmax": (pooled, np.uint8)}
    inputs = partial(norm_parts, name, shape)
    return Case("normalise", named(epilogue, name), inputs, outputs, call, magnitude=magnitude)


def activation_bias(name: str, shape: tuple[int, ...], activation: Activation = RELU) -> Case:
    def inputs(rng: np.random.Generator) -> Arrays:
        return {"grad_output": rng.standard_normal(shape), "saved": saved_for(activation, shape, rng)}

    def call(backend, i, o, workspace):
        backend.activate_backward_bias(activation, i["grad_output"], i["saved"], **o, workspace=workspace)

    def magnitude(i: Arrays, o: Arrays) -> dict:
        if activation == RELU:
            return {}
        size = np.abs(i["grad_output"]) * steep(activation, i["saved"])
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


def norm_backward(name: str, shape: tuple[int, ...], epilogue: Epilogue, *, in_place: bool = False) -> Case:
    """Through an activation, an addition, a pooling; in place, the gradient of the addend over that of the output."""
    eps, activation, windows = eps_of(name), epilogue.activation, epilogue.windows
    channels, result = shape[-1:], shape if windows is None else pooled_shape(shape, windows)
    again = activation is not None and activation.function.needs == "x"
    cells = 1 if windows is None else windows.kernel_size[0] * windows.kernel_size[1]

    def inputs(rng: np.random.Generator) -> Arrays:
        parts = norm_parts(name, shape, rng) | {"grad_output": rng.standard_normal(result)}
        if not again:
            del parts["beta"]
        if again and epilogue.adds:
            parts["addend"] = rng.standard_normal(shape)
        if activation is not None and not again:
            parts["saved"] = saved_for(activation, result, rng)
        if windows is not None:
            parts["argmax"] = cells_inside(rng, shape, result, windows)
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
            g = g * steep(activation, normalised_size(i, eps) + np.abs(i.get("addend", 0)))
        elif activation not in (None, RELU):
            g = 4 * g
        size = backward_size(i, g, shape, eps)
        exact = activation in (None, RELU) and windows is None
        return size | {"grad_addend": np.zeros(shape) if exact else g} if epilogue.adds else size

    outputs = {"grad_input": shape, "grad_gamma": channels, "grad_beta": channels}
    if epilogue.adds:
        outputs["grad_addend"] = shape
    of = named(epilogue, name) + ("-in-place" if in_place else "")
    return Case("batch_norm_backward", of, inputs, outputs, call, magnitude=magnitude)


def norm_backward_apply(name: str, shape: tuple[int, ...]) -> Case:
    eps = eps_of(name)

    def inputs(rng: np.random.Generator) -> Arrays:
        parts = norm_parts(name, shape, rng)
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
        return {"grad_input": backward_size(i, np.abs(i["grad_output"]), shape, eps)["grad_input"]}

    return Case("batch_norm_backward_apply", name, inputs, {"grad_input": shape}, call, magnitude=magnitude)
