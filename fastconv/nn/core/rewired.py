"""What layers of somebody's own hold, which may change behind a model's back: ``model.head = nn.Dense(3)``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastconv._attributes import is_ours
from fastconv.errors import ArgumentError


def held_layers(layers: Iterable[Any]) -> list[list[Any]]:
    """Return those with tensors, or not built yet, that each container of somebody's own holds; `layers` are all."""
    mine = [layer.children() for layer in layers if not is_ours(type(layer))]
    return [[child for _, child in inside if _counts(child)] for inside in mine if inside]


def other_layers(model: Any) -> ArgumentError:
    """Return what refuses a model whose layers are not those that it was built with."""
    return ArgumentError(
        f"layers: got others than this {type(model).__name__} was built with; allowed: after build(input_shape),"
        " where layers that are built keep their values"
    )


def _counts(child: Any) -> bool:
    return child.home.backend is None or any(layer.home.tensors for layer in child.walk())
