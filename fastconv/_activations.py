"""The pointwise functions of `fastconv.functional`, made from the list: each keeps the shape and takes any."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from inspect import Parameter, Signature
from typing import Any

from fastconv import _validate as check
from fastconv.backends import get_backend
from fastconv.backends.contract.types import Array
from fastconv.kernels.pointwise import POINTWISE, SHOWN_AT, Activation, Pointwise
from fastconv.kernels.scalars import Scalar


def parameters_of(scalars: Iterable[Scalar]) -> list[Parameter]:
    """Return what stands for scalars in a signature."""
    kind = Parameter.POSITIONAL_OR_KEYWORD
    return [Parameter(s.name, kind, default=s.default, annotation=type(s.default).__name__) for s in scalars]


def described(function: Pointwise, called: str, arrays: str = "") -> str:
    """Return the docstring of what computes a function, with an example that shows it.

    `called` is how that is called on an array x, and `arrays` are the entries of its arrays, if it takes any.
    """
    note = f"; {function.note}" if function.note else ""
    source = f" ({function.source})" if function.source else ""
    lines = (f"``{function.formula}``{note}{source}.", *_parameters(function, arrays))
    shown = f">>> x = fc.asarray({list(SHOWN_AT)})\n>>> {called}.round(4).tolist()\n{list(function.shown)}"
    return "\n\n".join([*lines, f"Examples\n--------\n{shown}"])


def _parameters(function: Pointwise, arrays: str) -> list[str]:
    """Return what a docstring says of arrays and of the function's parameters, if there are any."""
    lines = [arrays] if arrays else []
    for scalar in function.parameters:
        limit = "" if scalar.low == -math.inf else f"{'Above' if scalar.open_low else 'At least'} {scalar.low:g}; "
        lines.append(f"{scalar.name} : float\n    {limit}{scalar.default:g} by default.")
    told = ["Parameters\n----------\n" + "\n".join(lines)] if lines else []
    return [*told, "Returns\n-------\narray\n    Of the same shape."] if arrays else told


def _signature(function: Pointwise, *arrays: str) -> Signature:
    given = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation="Array") for name in arrays]
    return Signature([*given, *parameters_of(function.parameters)], return_annotation="Array")


def _named(function: Callable[..., Array], name: str, signature: Signature, doc: str) -> Callable[..., Array]:
    function.__name__ = function.__qualname__ = name
    function.__module__ = "fastconv.functional"
    function.__doc__ = doc
    vars(function)["__signature__"] = signature
    return function


def _make_forward(function: Pointwise) -> Callable[..., Array]:
    signature = _signature(function, "x")

    def forward(*arguments: Any, **named: Any) -> Array:
        (x,), values = bound(signature, function.name, function, arguments, named)
        backend = get_backend()
        x = check.floating(backend, x, "x")
        out = backend.empty(x.shape, x.dtype)
        backend.activate(Activation(function.name, values), x, out=out)
        return out

    doc = described(function, f"fc.functional.{function.name}(x)", "x : array\n    Of any shape, float32 or float64.")
    return _named(forward, function.name, signature, doc)


def _make_backward(function: Pointwise) -> Callable[..., Array]:
    name, called = function.needs, f"{function.name}_backward"
    signature = _signature(function, "grad_output", name)

    def backward(*arguments: Any, **named: Any) -> Array:
        (grad_output, saved), values = bound(signature, called, function, arguments, named)
        backend = get_backend()
        saved = check.floating(backend, saved, name)
        grad_output = check.like(backend, grad_output, "grad_output", saved, name)
        check.has_shape(grad_output, "grad_output", saved.shape, f"that of {name}")
        out = backend.empty(saved.shape, saved.dtype)
        backend.activate_backward(Activation(function.name, values), grad_output, saved, out=out)
        return out

    return _named(backward, called, signature, _described_backward(function))


def _described_backward(function: Pointwise) -> str:
    """Return the docstring of a gradient, with an example that compares it with differences."""
    name, saved = f"fc.functional.{function.name}", function.needs
    arrays = "grad_output : array\n    Gradient of the output.\n" + (
        f"{saved} : array\n    {'The input' if saved == 'x' else 'What the function returned'}, of the same shape."
    )
    given = "x" if saved == "x" else f"{name}(x)"
    shown = f""">>> x, h = fc.asarray([-1.0, 2.0]), 1e-6
>>> difference = ({name}(x + h) - {name}(x - h)) / (2 * h)
>>> slope = {name}_backward(fc.asarray([1.0, 1.0]), {given})
>>> bool(abs(slope - difference).max() < 1e-6)
True"""
    head = f"``{function.gradient}``, the gradient of `{function.name}`: ``y = {function.formula}``."
    return "\n\n".join([head, *_parameters(function, arrays), f"Examples\n--------\n{shown}"])


def bound(
    signature: Signature, name: str, function: Pointwise, arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], tuple[float, ...]]:
    """Return the arguments of what is called `name`, and apart from them the values for the function's parameters."""
    if not named and len(arguments) == len(signature.parameters) - len(function.parameters):
        return arguments, tuple(float(scalar.default) for scalar in function.parameters)  # binding them takes 4 us
    try:
        given = signature.bind(*arguments, **named)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    given.apply_defaults()
    values = tuple(given.arguments.values())
    first = len(values) - len(function.parameters)
    checked = (check.scalar(value, s) for value, s in zip(values[first:], function.parameters, strict=True))
    return values[:first], tuple(map(float, checked))


FUNCTIONS = {
    name: made
    for function in POINTWISE.values()
    for name, made in (
        (function.name, _make_forward(function)),
        (f"{function.name}_backward", _make_backward(function)),
    )
}
