"""Digests of what the functions of `fastconv.functional` give."""

import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

import fastconv as fc
from benchmarks.digest.hashing import SEED, Digests, digest
from fastconv import functional as F

# Those that came later draw their numbers last, so that all others are asked with the same ones on every commit.
_FIRST = ("elu", "gelu", "leaky_relu", "relu", "sigmoid", "silu", "tanh")


def convolutions() -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]]:
    """Ragged convolutions: a name, the shapes of input and weight, the geometry."""
    yield "3x3", (3, 13, 11, 17), (3, 3, 17, 33), {"padding": 1}
    yield "3x3-many", (9, 16, 16, 48), (3, 3, 48, 64), {"padding": "same"}
    yield "3x3-wide", (16, 16, 16, 96), (3, 3, 96, 128), {"padding": 1}
    yield "3x3-stem", (5, 17, 16, 3), (3, 3, 3, 31), {"padding": "same"}
    yield "3x3-stride2", (2, 15, 9, 16), (3, 3, 16, 24), {"stride": 2, "padding": 1}
    yield "5x5-odd", (2, 12, 11, 7), (5, 5, 7, 40), {"padding": ((2, 1), (0, 3))}
    yield "1x1", (2, 7, 5, 65), (1, 1, 65, 31), {"stride": (2, 1)}
    yield "dilated", (2, 14, 9, 16), (3, 3, 16, 17), {"dilation": (2, 3), "padding": 2}
    yield "groups3", (2, 7, 8, 9), (3, 3, 3, 15), {"groups": 3, "padding": 1}
    yield "depthwise", (3, 12, 11, 33), (3, 3, 1, 66), {"groups": 33, "padding": 1, "stride": 2}


def poolings() -> Iterator[tuple[str, dict[str, Any]]]:
    yield "2x2", {"kernel_size": 2}
    yield "3x3-overlap", {"kernel_size": 3, "stride": 2, "padding": 1}
    yield "ceil", {"kernel_size": (3, 2), "stride": 2, "ceil_mode": True}


def pointwise() -> list[str]:
    """Return the functions that have a gradient of their own beside them and take nothing else than an array."""
    names = [name for name in F.__all__ if f"{name}_backward" in F.__all__]
    return [name for name in names if "pool" not in name and name not in ("batch_norm", "dropout")]


def functions(name: str, precisions: Iterable[str], threads: Iterable[int]) -> Digests:
    """Every function of `fastconv.functional` on a few ragged inputs."""
    found: Digests = {}
    with fc.use_backend(name):
        for precision in precisions:
            for count in threads:
                fc.set_num_threads(count)
                with fc.precision(precision):
                    for dtype in ("float32", "float64"):
                        prefix = f"{name} {precision} {count} {dtype} "
                        found |= {prefix + key: value for key, value in _functions(np.dtype(dtype)).items()}
    return found


def _functions(dtype: np.dtype[Any]) -> Digests:
    rng = np.random.default_rng(SEED)

    def draw(*shape: int) -> Any:
        return fc.asarray(rng.standard_normal(shape).astype(dtype))

    def note(key: str, *results: Any) -> None:
        found[f"F.{key}"] = f":{digest(map(fc.to_numpy, results))}"

    found: Digests = {}
    for key, shape, weight_shape, geometry in convolutions():
        x, weight, bias = draw(*shape), draw(*weight_shape), draw(weight_shape[3])
        y = F.conv2d(x, weight, bias, **geometry)
        note(f"conv2d {key}", y)
        grad = draw(*y.shape)
        note(f"conv2d_backward_input {key}", F.conv2d_backward_input(grad, weight, input_shape=shape, **geometry))
        more = F.conv2d_backward_weight(grad, x, weight_shape=weight_shape, **geometry)
        note(f"conv2d_backward_weight {key}", more)
        note(f"conv2d_backward_bias {key}", F.conv2d_backward_bias(grad))
    for n, c, k in ((33, 65, 17), (1, 100, 10), (128, 200, 96)):
        x, weight, bias, grad = draw(n, c), draw(c, k), draw(k), draw(n, k)
        note(f"dense {n}", F.dense(x, weight, bias), F.dense_backward_input(grad, weight))
        note(f"dense_backward_weight {n}", F.dense_backward_weight(grad, x), F.dense_backward_bias(grad))
    x, weight = draw(2, 5, 4, 16), draw(3, 2, 6, 16)
    for stride, more in ((1, 0), (2, 1), ((3, 2), (2, 0))):
        y = F.conv_transpose2d(x, weight, draw(6), stride=stride, output_padding=more)
        note(f"conv_transpose2d {stride}", y)
    _pooling(draw, note)
    _others(draw, note, rng)
    return found


def _pooling(draw: Callable[..., Any], note: Callable[..., None]) -> None:
    for key, windows in poolings():
        x = draw(3, 13, 10, 17)
        y, argmax = F.max_pool2d(x, **windows)
        grad = draw(*y.shape)
        note(f"max_pool2d {key}", y, argmax, F.max_pool2d_backward(grad, argmax, input_shape=x.shape, **windows))
        y = F.avg_pool2d(x, **windows)
        note(f"avg_pool2d {key}", y, F.avg_pool2d_backward(grad, input_shape=x.shape, **windows))
    x, grad = draw(3, 7, 6, 33), draw(3, 33)
    y, argmax = F.global_max_pool2d(x)
    note("global_max_pool2d", y, argmax, F.global_max_pool2d_backward(grad, argmax, input_shape=x.shape))
    note("global_avg_pool2d", F.global_avg_pool2d(x), F.global_avg_pool2d_backward(grad, input_shape=x.shape))


def _activations(names: Iterable[str], draw: Callable[..., Any], note: Callable[..., None]) -> None:
    for name in names:
        x, grad = draw(3, 5, 7, 17), draw(3, 5, 7, 17)
        forward, backward = getattr(F, name), getattr(F, f"{name}_backward")
        note(name, forward(x), backward(grad, x), backward(grad, forward(x)))
        if name in ("leaky_relu", "elu"):
            note(f"{name} 0.3", forward(x, 0.3), backward(grad, x, 0.3))


def _others(draw: Callable[..., Any], note: Callable[..., None], rng: np.random.Generator) -> None:
    _activations(_FIRST, draw, note)
    key = typing.get_type_hints(F.dropout)["key"](seed=3, stream=1, step=2)
    x = draw(5, 9, 17)
    note("dropout", F.dropout(x, 0.3, key=key), F.dropout_backward(x, 0.3, key=key))
    for shape in ((5, 7, 9, 33), (65, 17)):
        x, grad, gamma, beta = draw(*shape), draw(*shape), draw(shape[-1]), draw(shape[-1])
        y, mean, var = F.batch_norm(x, gamma, beta)
        note(f"batch_norm {shape}", y, mean, var, *F.batch_norm_backward(grad, x, gamma, mean, var))
        note(f"batch_norm_inference {shape}", F.batch_norm_inference(x, gamma, beta, mean, var, eps=1e-3))
    labels = fc.asarray(rng.integers(0, 10, 33))
    for smoothing in (0.0, 0.1):
        note(
            f"softmax_cross_entropy {smoothing}",
            *F.softmax_cross_entropy(draw(33, 10), labels, label_smoothing=smoothing),
        )
    _activations([name for name in pointwise() if name not in _FIRST], draw, note)
