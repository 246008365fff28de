"""What layers of somebody's own return, checked like what a layer is called with: fastconv's own need it not.

Kernels read memory as it lies. A view that runs backwards, or the bytes of another machine, would be taken for
something else, or for memory behind its end.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError
from fastconv.nn.core.checking import Checking

_Forward = Callable[..., tuple[Array, Any]]
_Backward = Callable[..., Array | None]


def check_results(cls: type[Checking]) -> None:
    """Let a class check what its own `forward` and `backward` return, as kernels would not."""
    for name, checked in (("forward", _checked_forward), ("backward", _checked_backward)):
        function = vars(cls).get(name)
        if inspect.isfunction(function):
            setattr(cls, name, checked(function))


def _checked_forward(forward: _Forward) -> _Forward:
    @functools.wraps(forward)
    def run(layer: Checking, x: Array, *args: Any, **kwargs: Any) -> tuple[Array, Any]:
        result = forward(layer, x, *args, **kwargs)
        if not isinstance(result, tuple) or len(result) != 2:
            raise ArgumentError(
                f"forward of {type(layer).__name__}: got {type(result).__name__}; allowed: the output and the context,"
                " which is None where it is not in training"
            )
        y, context = result
        several = isinstance(y, tuple)
        ys = tuple(layer.check_result(each, "output") for each in (y if several else (y,)))
        return (ys if several else ys[0]), context

    return run


def _checked_backward(backward: _Backward) -> _Backward:
    @functools.wraps(backward)
    def run(layer: Checking, grad_output: Array, *args: Any, **kwargs: Any) -> Array | None:
        grad = backward(layer, grad_output, *args, **kwargs)
        return None if grad is None else layer.check_result(grad, "gradient")

    return run
