"""The pointwise functions of `fastconv.functional`, made from the list: each keeps the shape and takes any."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import Parameter, Signature
from typing import Any

from fastconv import _validate as check
from fastconv.backends import get_backend
from fastconv.backends.contract.types import Array
from fastconv.kernels.pointwise import POINTWISE, Activation, Pointwise
from fastconv.kernels.scalars import Scalar


def parameters_of(scalars: Iterable[Scalar]) -> list[Parameter]:
    """Return what stands for scalars in a signature."""
    kind = Parameter.POSITIONAL_OR_KEYWORD
    return [Parameter(s.name, kind, default=s.default, annotation=type(s.default).__name__) for s in scalars]


def described(function: Pointwise, formula: str) -> str:
    """Return a formula with what the list says about the function."""
    note = f"; {function.note}" if function.note else ""
    source = f" ({function.source})" if function.source else ""
    return f"``{formula}``{note}{source}."


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

    return _named(forward, function.name, signature, described(function, function.formula))


def _make_backward(function: Pointwise) -> Callable[..., Array]:
    name = function.needs
    signature = _signature(function, "grad_output", name)

    def backward(*arguments: Any, **named: Any) -> Array:
        (grad_output, saved), values = bound(signature, function.name, function, arguments, named)
        backend = get_backend()
        saved = check.floating(backend, saved, name)
        grad_output = check.like(backend, grad_output, "grad_output", saved, name)
        check.has_shape(grad_output, "grad_output", saved.shape, f"that of {name}")
        out = backend.empty(saved.shape, saved.dtype)
        backend.activate_backward(Activation(function.name, values), grad_output, saved, out=out)
        return out

    doc = f"``{function.gradient}``, the gradient of `{function.name}`: ``y = {function.formula}``."
    return _named(backward, f"{function.name}_backward", signature, doc)


def bound(
    signature: Signature, name: str, function: Pointwise, arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], tuple[float, ...]]:
    """Return the arguments of what is called `name`, and apart from them the values for the function's parameters."""
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
