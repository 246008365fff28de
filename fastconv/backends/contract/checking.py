"""Results that no kernel writes as they are: of another type, or where nothing is to be kept.

Kernels check nothing: they would write past the end of such an array, or leave it as it was. So these are refused
before one is launched, on every backend alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from fastconv.backends.contract.types import Array, PreparedWeight
from fastconv.errors import ArgumentError, DTypeError
from fastconv.kernels.epilogue import Epilogue


def _conv2d(
    x: Array,
    weight: PreparedWeight,
    bias: Array | None,
    epilogue: Epilogue,
    *,
    out: Array,
    before: Array | None = None,
    **more: Any,
) -> None:
    if epilogue.windows is not None:
        _expect("out", out, weight.weight, "that of the weight, in front of a pooling")
    if before is None:
        return
    activation = epilogue.activation
    if activation is None or activation.function.needs != "x":
        what = "no activation" if activation is None else activation.name
        raise ArgumentError(
            f"before: got an array with {what}; allowed: an array with an activation whose gradient needs what comes "
            "before it, else None"
        )
    _expect("before", before, out, "that of out")


def _backward_input(grad_output: Array, weight: PreparedWeight, *arrays: Any, out: Array, **more: Any) -> None:
    _expect("out", out, weight.weight, "that of the weight")


def _max_pool2d_backward(*arrays: Any, grad_weight: Array, grad_input: Array | None, **more: Any) -> None:
    if grad_input is not None:
        _expect("grad_input", grad_input, grad_weight, "that of grad_weight")


def _expect(name: str, array: Array, like: Array, why: str) -> None:
    if array.dtype != like.dtype:
        raise DTypeError(f"{name}: got {array.dtype}; allowed: {like.dtype}, {why}")


CHECKS: Mapping[str, Callable[..., None]] = {
    "conv2d": _conv2d,
    "conv2d_statistics": _conv2d,
    "conv2d_backward_input": _backward_input,
    "conv2d_backward_input_norm": _backward_input,
    "conv2d_max_pool2d_backward": _max_pool2d_backward,
}
"""By operation: called with what that is called with, it raises what is wrong."""


def checked(run: Callable[..., None]) -> Callable[..., None]:
    """Return an operation, a function of its name, that refuses such results."""
    check = CHECKS[run.__name__]

    @wraps(run)
    def call(*arrays: Any, **more: Any) -> None:
        check(*arrays, **more)
        run(*arrays, **more)

    return call
