"""What `Trainer` takes for data, and the one place where a batch is checked: behind it nobody has the raw arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from fastconv import _validate as validate
from fastconv.backends.contract.types import Array
from fastconv.data.loader import DataLoader
from fastconv.errors import ArgumentError, DataError, ShapeError
from fastconv.nn.model.model import Layer


@runtime_checkable
class Batches(Protocol):
    """An iterable of pairs (x, y) of arrays that knows how many there are; `fastconv.data.DataLoader` is one."""

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        """Yield the batches of an epoch."""
        ...

    def __len__(self) -> int:
        """Return how many batches an epoch has."""
        ...


def is_pair(data: Any) -> bool:
    """Tell whether `data` is a pair (x, y), of which batches are made, and not two batches, pairs themselves."""
    return isinstance(data, tuple | list) and len(data) == 2 and not all(map(_is_batch, data))


def as_batches(data: Any, name: str, model: Layer, batch_size: int, *, shuffle: bool = False, seed: int = 0) -> Batches:
    """Return `data` as batches; a pair of arrays is cut into pieces of `batch_size`."""
    if is_pair(data):
        x, y = data
        x = validate.floating(model.backend, x, f"x of {name}")
        validate.has_dtype(x, f"x of {name}", model.dtype, "that of the model")
        batches: Batches = DataLoader((x, y), batch_size, shuffle=shuffle, seed=seed)
    elif isinstance(data, Batches) and not hasattr(data, "shape") and not isinstance(data, dict | str | set):
        batches = data
    else:
        raise ArgumentError(
            f"{name}: got {type(data).__name__}; allowed: a pair of arrays in one argument, (x, y), or a DataLoader or"
            " another iterable of (x, y) with a length"
        )
    if not len(batches):
        raise no_batches(batches, name)
    return batches


def _is_batch(data: Any) -> bool:
    return isinstance(data, tuple | list) and len(data) == 2


def no_batches(batches: Any, name: str) -> DataError:
    """Return the error for data of which there are none."""
    return DataError(f"{name}: got {batches!r:.200}, which has no batches; allowed: at least one")


def pairs(batches: Batches, name: str) -> Iterator[tuple[Array, Array]]:
    """Yield the batches; ArgumentError at one that is no pair, DataError if there was none."""
    empty = True
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            count = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
            raise ArgumentError(f"{name}: got a batch that is {type(batch).__name__}{count}; allowed: pairs (x, y)")
        empty = False
        yield batch[0], batch[1]
    if empty:
        raise no_batches(batches, name)


def checked_batch(model: Layer, x: Any, y: Any) -> tuple[Array, Array]:
    """Return a batch as the backend takes it: arrays of its own, C-contiguous, in the machine's byte order.

    x is of the model's type; what y holds is for the loss to say.
    """
    x = model.check_input(x)
    if tuple(x.shape[1:]) != model.input_shape:
        model.check_size(tuple(x.shape))
    backend = model.backend
    validate.owned(backend, y, "y")
    y = backend.asarray(y)
    if x.ndim < 1 or y.shape[:1] != x.shape[:1]:
        raise ShapeError(f"y: got shape {tuple(y.shape)}; allowed: one row for each of x, {tuple(x.shape)}")
    return x, y
