"""Cases of batch normalisation."""

from __future__ import annotations

import numpy as np

from tests.backends.op_case import Arrays, Case

_EPS = 1e-5
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


def _rstd(var: np.ndarray) -> np.ndarray:
    return 1 / np.sqrt(var + _EPS)


def training(name: str, shape: tuple[int, ...], offset: float = 0.0) -> Case:
    def call(backend, i, o, workspace):
        backend.batch_norm(
            i["x"], i["gamma"], i["beta"], eps=_EPS, out=o["y"], mean=o["mean"], var=o["var"], workspace=workspace
        )

    def magnitude(i: Arrays, o: Arrays) -> dict:
        axes = tuple(range(len(shape) - 1))
        # The rounding of the mean is in proportion to what was added for it, not to the mean.
        distance = np.abs(i["x"]) + np.abs(i["x"]).mean(axes)
        y = np.abs(i["gamma"]) * distance * _rstd(o["var"]) + np.abs(i["beta"])
        # A constant channel has a variance of about (eps * mean)**2.
        tiny = (np.finfo(np.float32).eps * o["mean"]) ** 2
        return {"y": y, "mean": np.abs(i["x"]).mean(axes), "var": o["var"] + tiny}

    channels = shape[-1:]
    outputs = {"y": shape, "mean": channels, "var": channels}
    terms = int(np.prod(shape[:-1])) // 64 + 1  # sums over blocks of rows; those within a block cost next to nothing
    return Case(
        "batch_norm", name, lambda rng: _parts(shape, rng, offset), outputs, call, terms=terms, magnitude=magnitude
    )


def backward(name: str, shape: tuple[int, ...], offset: float = 0.0) -> Case:
    axes = tuple(range(len(shape) - 1))

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
            i["grad_output"], i["x"], i["gamma"], i["mean"], i["var"], eps=_EPS, **o, workspace=workspace
        )

    def magnitude(i: Arrays, o: Arrays) -> dict:
        g, rstd = np.abs(i["grad_output"]), _rstd(i["var"])
        z = (np.abs(i["x"]) + np.abs(i["mean"])) * rstd
        count = g.size // shape[-1]
        sum_g, sum_gz = g.sum(axes), (g * z).sum(axes)
        grad_input = np.abs(i["gamma"]) * rstd * (g + sum_g / count + z * sum_gz / count)
        return {"grad_input": grad_input, "grad_gamma": sum_gz, "grad_beta": sum_g}

    channels = shape[-1:]
    outputs = {"grad_input": shape, "grad_gamma": channels, "grad_beta": channels}
    return Case("batch_norm_backward", name, inputs, outputs, call, magnitude=magnitude)


def inference(name: str, shape: tuple[int, ...]) -> Case:
    def inputs(rng: np.random.Generator) -> Arrays:
        statistics = {"mean": rng.standard_normal(shape[-1]), "var": rng.uniform(0, 2, shape[-1])}
        return _parts(shape, rng, 0.0) | statistics

    def call(backend, i, o, workspace):
        backend.batch_norm_inference(i["x"], i["gamma"], i["beta"], i["mean"], i["var"], eps=_EPS, out=o["y"])

    def magnitude(i: Arrays, o: Arrays) -> dict:
        size = (np.abs(i["x"]) + np.abs(i["mean"])) * _rstd(i["var"])
        return {"y": np.abs(i["gamma"]) * size + np.abs(i["beta"])}

    return Case("batch_norm_inference", name, inputs, {"y": shape}, call, magnitude=magnitude)


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
    *(backward(name, shape) for name, shape in _SHAPES.items()),
    backward("far-from-zero", (4, 8, 8, 17), offset=1000),
    *(inference(name, shape) for name, shape in _SHAPES.items()),
    inference("empty-batch", (0, 4, 4, 16)),
    running("round", 64, 128, 0.1),
    running("ragged", 17, 7, 0.1),
    running("one-element", 3, 1, 0.1),
    running("momentum-one", 5, 10, 1.0),
]
