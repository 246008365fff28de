"""Cases of batch normalisation."""

from __future__ import annotations

import zlib

import numpy as np

from fastconv.kernels.epilogue import NO_EPILOGUE
from tests.backends.op_case import Arrays, Case

_SHAPES = {
    "round": (2, 8, 8, 64),
    "ragged": (3, 5, 7, 17),
    "dense": (31, 33),
    "one-channel": (5, 4, 4, 1),
    "c3": (2, 15, 16, 3),
    "c96-2x2": (4, 2, 2, 96),
    "one-element": (1, 1, 1, 7),
    "two-elements": (2, 16),
    "long": (8, 32, 32, 8),
}


def _parts(shape: tuple[int, ...], rng: np.random.Generator, offset: float) -> Arrays:
    channels = shape[-1]
    return {
        "x": rng.standard_normal(shape) * rng.uniform(0.5, 2, channels) + offset * rng.choice([-1, 1], channels),
        "gamma": rng.standard_normal(channels),
        "beta": rng.standard_normal(channels),
    }


def eps_of(name: str) -> float:
    """Return the eps of a case, of two by its name: an operation that has its own built in is right in neither half."""
    return (1e-5, 0.25)[zlib.crc32(name.encode()) % 2]


def two_rows(mean: np.ndarray, var: np.ndarray, rng: np.random.Generator) -> Arrays:
    """Return statistics with second rows that count: of the mean, and of a variance that is out of range."""
    deviation = np.sqrt(var)
    var = np.where(np.arange(var.size) % 3 == 0, np.inf, var)
    return {"mean": np.stack([mean, rng.standard_normal(mean.shape)]), "var": np.stack([var, deviation])}


def size_of(mean: np.ndarray) -> np.ndarray:
    return np.abs(mean).reshape(-1, mean.shape[-1]).sum(0)


def rstd_of(var: np.ndarray, eps: float) -> np.ndarray:
    if var.ndim == 1:
        return 1 / np.sqrt(var + eps)
    return np.where(np.isinf(var[0]), 1 / var[1], 1 / np.sqrt(var[0] + eps))


def training(name: str, shape: tuple[int, ...], offset: float = 0.0) -> Case:
    eps = eps_of(name)

    def call(backend, i, o, workspace):
        backend.batch_norm(
            i["x"], i["gamma"], i["beta"], eps=eps, out=o["y"], mean=o["mean"], var=o["var"], workspace=workspace
        )

    def magnitude(i: Arrays, o: Arrays) -> dict:
        axes = tuple(range(len(shape) - 1))
        # The rounding of the mean is in proportion to what was added for it, not to the mean.
        distance = np.abs(i["x"]) + np.abs(i["x"]).mean(axes)
        y = np.abs(i["gamma"]) * distance * rstd_of(o["var"], eps) + np.abs(i["beta"])
        # A constant channel has a variance of about (eps * mean)**2.
        tiny = (np.finfo(np.float32).eps * size_of(o["mean"])) ** 2
        size = np.abs(i["x"]).mean(axes)
        if o["mean"].ndim > 1:  # the type under test rounds the first row otherwise; test_norm_range.py looks at these
            size = np.stack([size, size])
        return {"y": y, "mean": size, "var": o["var"] + tiny}

    channels = (2, shape[-1]) if name == "two-rows" else shape[-1:]
    outputs = {"y": shape, "mean": channels, "var": channels}
    terms = int(np.prod(shape[:-1])) // 64 + 1  # sums over blocks of rows; those within a block cost next to nothing
    return Case(
        "batch_norm", name, lambda rng: _parts(shape, rng, offset), outputs, call, terms=terms, magnitude=magnitude
    )


def backward_size(i: Arrays, g: np.ndarray, shape: tuple[int, ...], eps: float) -> dict:
    """Magnitudes of the gradients of a normalisation, `g` being that of its output."""
    axes = tuple(range(len(shape) - 1))
    rstd = rstd_of(i["var"], eps)
    z = (np.abs(i["x"]) + size_of(i["mean"])) * rstd
    count = max(1, int(np.prod(shape[:-1])))
    sum_g, sum_gz = g.sum(axes), (g * z).sum(axes)
    grad_input = np.abs(i["gamma"]) * rstd * (g + sum_g / count + z * sum_gz / count)
    return {"grad_input": grad_input, "grad_gamma": sum_gz, "grad_beta": sum_g}


def backward(name: str, shape: tuple[int, ...], offset: float = 0.0) -> Case:
    axes, eps = tuple(range(len(shape) - 1)), eps_of(name)

    def inputs(rng: np.random.Generator) -> Arrays:
        parts = _parts(shape, rng, offset)
        return {
            "grad_output": rng.standard_normal(shape),
            "x": parts["x"],
            "gamma": parts["gamma"],
            "mean": parts["x"].mean(axes),
            "var": parts["x"].var(axes),
        }

    def call(backend, i, o, workspace):
        backend.batch_norm_backward(
            *(i["grad_output"], i["x"], i["gamma"], i["mean"], i["var"], NO_EPILOGUE),
            **o,
            eps=eps,
            workspace=workspace,
        )

    def magnitude(i: Arrays, o: Arrays) -> dict:
        return backward_size(i, np.abs(i["grad_output"]), shape, eps)

    channels = shape[-1:]
    outputs = {"grad_input": shape, "grad_gamma": channels, "grad_beta": channels}
    return Case("batch_norm_backward", name, inputs, outputs, call, magnitude=magnitude)


def inference(name: str, shape: tuple[int, ...]) -> Case:
    eps = eps_of(name)

    def inputs(rng: np.random.Generator) -> Arrays:
        statistics = {"mean": rng.standard_normal(shape[-1]), "var": rng.uniform(0, 2, shape[-1])}
        if name == "two-rows":
            statistics = two_rows(**statistics, rng=rng)
        return _parts(shape, rng, 0.0) | statistics

    def call(backend, i, o, workspace):
        norm = (i["gamma"], i["beta"], i["mean"], i["var"], NO_EPILOGUE)
        backend.normalise(i["x"], *norm, eps=eps, out=o["y"], workspace=workspace)

    def magnitude(i: Arrays, o: Arrays) -> dict:
        size = (np.abs(i["x"]) + size_of(i["mean"])) * rstd_of(i["var"], eps)
        return {"y": np.abs(i["gamma"]) * size + np.abs(i["beta"])}

    return Case("normalise", name, inputs, {"y": shape}, call, magnitude=magnitude)


def running(name: str, channels: int, count: int, momentum: float) -> Case:
    names = ("mean", "var", "running_mean", "running_var")

    def call(backend, i, o, workspace):
        backend.update_running_stats(
            i["mean"],
            i["var"],
            momentum=momentum,
            count=count,
            running_mean=i["running_mean"],
            running_var=i["running_var"],
        )

    return Case(
        "update_running_stats",
        name,
        lambda rng: {key: rng.uniform(-1 if "mean" in key else 0, 1, channels) for key in names},
        {},
        call,
        updated=("running_mean", "running_var"),
    )


CASES = [
    *(training(name, shape) for name, shape in _SHAPES.items()),
    training("far-from-zero", (4, 8, 8, 17), offset=1000),
    training("two-rows", (3, 5, 7, 17)),
    *(backward(name, shape) for name, shape in _SHAPES.items()),
    backward("far-from-zero", (4, 8, 8, 17), offset=1000),
    *(inference(name, shape) for name, shape in _SHAPES.items()),
    inference("empty-batch", (0, 4, 4, 16)),
    inference("two-rows", (3, 5, 7, 17)),
    running("round", 64, 128, 0.1),
    running("ragged", 17, 7, 0.1),
    running("one-element", 3, 1, 0.1),
    running("momentum-one", 5, 10, 1.0),
    running("momentum-three-quarters", 18, 10, 0.75),
]
