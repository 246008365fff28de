"""What containers are made of, checked."""

from __future__ import annotations

from collections.abc import Sequence

from fastconv.errors import ArgumentError
from fastconv.nn.model.model import Layer


def as_layer(value: object, name: str) -> Layer:
    """Return `value`, which must be a layer."""
    if isinstance(value, Layer):
        return value
    if isinstance(value, type) and issubclass(value, Layer):
        raise ArgumentError(f"{name}: got the class {value.__name__}; allowed: a layer, such as {value.__name__}(...)")
    raise ArgumentError(f"{name}: got {value!r}; allowed: a layer (of a list or an iterator inside: *layers)")


def as_layers(values: Sequence[object], name: str) -> tuple[Layer, ...]:
    """Return layers that were given one by one, or as one list."""
    if len(values) == 1 and isinstance(values[0], list | tuple):
        values = values[0]
    return tuple(as_layer(value, f"{name}[{i}]") for i, value in enumerate(values))
