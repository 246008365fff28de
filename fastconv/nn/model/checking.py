"""What functions that take a model check first."""

from __future__ import annotations

from typing import Any

from fastconv import _validate as validate
from fastconv.errors import ArgumentError
from fastconv.nn.model.model import Layer


def checked_model(model: Any) -> Layer:
    """Return a built model."""
    if not isinstance(model, Layer):
        raise ArgumentError(f"model: got {validate.shown(model)}; allowed: a built layer, such as a Sequential")
    _ = model.backend  # says so if it is not built
    return model
