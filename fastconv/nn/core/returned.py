"""What layers of somebody's own return, checked like what a layer is called with: fastconv's own need it not.

Kernels read memory as it lies. A view that runs backwards, or the bytes of another machine, would be taken for
something else, or for memory after its end.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from fastconv._calls import tells_habits
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError
from fastconv.nn.core.checking import Checking
from fastconv.nn.core.outputs import of_each

DECLARED = "setup(self, input_shape, scope), which declares parameters and returns the shape of the output"
_Forward = Callable[..., tuple[Array, Any]]
_Backward = Callable[..., Array | None]


def check_results(cls: type[Checking]) -> None:
    """Let a class check how its own methods are made, and what they return, as kernels would not."""
    for name, checked in (("forward", _checked_forward), ("backward", _checked_backward), ("build", _checked_build)):
        function = vars(cls).get(name)
        if inspect.isfunction(function):
            setattr(cls, name, checked(function))


def _checked_forward(forward: _Forward) -> _Forward:
    called = tells_habits({"training": "forward(self, x, *, training)"})(forward)

    @functools.wraps(forward)
    def run(layer: Checking, x: Array, *args: Any, **kwargs: Any) -> tuple[Array, Any]:
        result = called(layer, x, *args, **kwargs)
        if not isinstance(result, tuple) or len(result) != 2:
            raise ArgumentError(
                f"forward of {type(layer).__name__}: got {type(result).__name__}; allowed: the output and the context,"
                " which is None where it is not in training"
            )
        y, context = result
        return of_each(y, lambda each: layer.check_result(each, "output")), context

    return run


def _checked_backward(backward: _Backward) -> _Backward:
    allowed = "backward(self, grad_output, context, *, needs_input_grad=True)"
    called = tells_habits({"needs_input_grad": allowed}, allowed)(backward)

    @functools.wraps(backward)
    def run(layer: Checking, grad_output: Array, *args: Any, **kwargs: Any) -> Array | None:
        grad = called(layer, grad_output, *args, **kwargs)
        return None if grad is None else layer.check_result(grad, "gradient")

    return run


def _checked_build(build: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(build)
    def run(layer: Checking, *args: Any, **kwargs: Any) -> Any:
        result = build(layer, *args, **kwargs)
        if result is not layer:
            raise ArgumentError(
                f"build of {type(layer).__name__}: got {type(result).__name__}; allowed: the layer itself, as"
                f" super().build(...) returns it, or instead of it {DECLARED}"
            )
        return result

    return run
