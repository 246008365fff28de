"""What `Trainer` takes for data: an iterable of batches with a length, or a pair of arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from fastconv import _validate as validate
from fastconv.backends.base import Array
from fastconv.errors import ArgumentError, ShapeError


@runtime_checkable
class Batches(Protocol):
    """An iterable of pairs (x, y) of arrays that knows how many there are; `fastconv.data.DataLoader` is one."""

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        """Yield the batches of an epoch."""
        ...

    def __len__(self) -> int:
        """Return how many batches an epoch has."""
        ...


class ArrayBatches:
    """The rows of two arrays in order, `batch_size` at a time, without copying."""

    def __init__(self, x: Array, y: Array, batch_size: int) -> None:
        self.batch_size = validate.at_least_one(batch_size, "batch_size")
        if x.shape[:1] != y.shape[:1] or not x.ndim:
            raise ShapeError(f"y: got shape {tuple(y.shape)}; allowed: one row for each of x, {tuple(x.shape)}")
        self.x, self.y = x, y

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        for begin in range(0, self.x.shape[0], self.batch_size):
            yield self.x[begin : begin + self.batch_size], self.y[begin : begin + self.batch_size]

    def __len__(self) -> int:
        images: int = self.x.shape[0]
        return -(-images // self.batch_size)


def as_batches(data: Any, name: str, batch_size: int) -> Batches:
    """Return `data` as batches; a tuple of two arrays is cut into pieces of `batch_size`.

    Raises
    ------
    ArgumentError
        It is neither.
    """
    if isinstance(data, tuple) and len(data) == 2 and all(hasattr(array, "shape") for array in data):
        return ArrayBatches(*data, batch_size)
    if isinstance(data, Batches) and not hasattr(data, "shape"):
        return data
    raise ArgumentError(
        f"{name}: got {type(data).__name__}; allowed: a DataLoader or another iterable of (x, y) with a length,"
        " or a pair of arrays"
    )
