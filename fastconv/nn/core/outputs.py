"""What a model puts out: an array, or several in a tuple."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array, Shape
from fastconv.errors import ShapeError


def of_each(y: Any, function: Callable[[Array], Any]) -> Any:
    """Return what `function` gives for the output, or for each of several in a tuple."""
    return tuple(map(function, y)) if isinstance(y, tuple) else function(y)


def ones_like(y: Any, backend: Backend) -> Any:
    """Return ones, as the gradient of the output, or of each of several."""
    return of_each(y, lambda part: backend.asarray(np.ones(part.shape, part.dtype)))


def parts_of(y: Any) -> tuple[Array, ...]:
    """Return all outputs."""
    return y if isinstance(y, tuple) else (y,)


def bytes_of(y: Any) -> int:
    """Return the bytes of an array, or of all in a tuple."""
    return sum(part.nbytes for part in parts_of(y))


def shapes_of(shape: Any) -> tuple[Shape, ...]:
    """Return the shapes of all outputs, of what `AbstractLayer.infer` returns."""
    return shape if isinstance(shape, tuple) and any(isinstance(part, tuple) for part in shape) else (shape,)


def check_one(shape: Any, name: str) -> None:
    """Refuse the shapes of several outputs where one array is taken."""
    if len(shapes_of(shape)) > 1:
        raise ShapeError(f"{name}: got {len(shape)} outputs, of shapes {shape}; allowed: one array")


def check_alike(shapes: Sequence[Shape]) -> None:
    """Refuse to join arrays of other shapes than declared, as a layer of somebody's own may return them."""
    if shapes.count(shapes[0]) != len(shapes):
        raise ShapeError(f"branches: got {' and '.join(map(str, shapes))} to join; allowed: the same from each")
