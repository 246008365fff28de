"""What functions that take a model check first."""

from __future__ import annotations

from typing import Any

from fastconv import _validate as validate
from fastconv.nn.model.model import Layer


def checked_model(model: Any) -> Layer:
    """Return a built model."""
    layer: Layer = validate.instance(model, Layer, "model", "a built layer, such as a Sequential")
    _ = layer.backend  # says so if it is not built
    return layer
