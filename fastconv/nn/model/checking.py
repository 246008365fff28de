"""What functions that take a model check first."""

from __future__ import annotations

from typing import Any

from fastconv import _validate as validate
from fastconv.errors import ArgumentError
from fastconv.nn.model.model import Layer


def checked_model(model: Any) -> Layer:
    """Return a built model."""
    layer: Layer = checked_layer(model, "model", Layer, "a built layer, such as a Sequential")
    _ = layer.backend  # says so if it is not built
    return layer


def checked_layer(layer: Any, name: str, kind: type, allowed: str) -> Any:
    """Return a layer of this kind, built or not."""
    if not isinstance(layer, kind):
        raise ArgumentError(f"{name}: got {validate.shown(layer)}; allowed: {allowed}")
    return layer
