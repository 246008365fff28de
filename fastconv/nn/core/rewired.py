"""What layers of somebody's own hold, which may change behind a model's back: ``model.head = nn.Dense(3)``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastconv._attributes import is_ours


def held_layers(layers: Iterable[Any]) -> list[list[Any]]:
    """Return those with tensors, or not built yet, that each container of somebody's own holds; `layers` are all."""
    mine = [layer.children() for layer in layers if not is_ours(type(layer))]
    return [[child for _, child in inside if _counts(child)] for inside in mine if inside]


def _counts(child: Any) -> bool:
    return child.home.backend is None or any(layer.home.tensors for layer in child.walk())
