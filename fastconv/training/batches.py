"""What `Trainer` takes for data, and the one place where a batch is checked: after it nobody has the raw arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

from fastconv import _validate as validate
from fastconv.backends.contract.types import Array
from fastconv.data.loader import DataLoader
from fastconv.data.rows import take_rows
from fastconv.errors import ArgumentError, DataError, ShapeError
from fastconv.nn.model.model import Layer
from fastconv.training.step import Batch
from fastconv.training.weights import checked_weights


@runtime_checkable
class Batches(Protocol):
    """An iterable of (x, y) or (x, y, weight), arrays, that knows how many there are; a `DataLoader` is one."""

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        """Yield the batches of an epoch."""
        ...

    def __len__(self) -> int:
        """Return how many batches an epoch has."""
        ...


def is_pair(data: Any) -> bool:
    """Tell whether `data` is (x, y) or (x, y, weight), of which batches are made, and not batches themselves."""
    return _is_batch(data) and not all(map(_is_batch, data))


def as_batches(data: Any, name: str, model: Layer, batch_size: int, *, shuffle: bool = False, seed: int = 0) -> Batches:
    """Return `data` as batches; arrays are cut into pieces of `batch_size`. What is not "train" is measured."""
    model.check_active()
    if is_pair(data):
        x, *rest = data
        x = validate.floating(model.backend, x, f"x of {name}")
        validate.has_dtype(x, f"x of {name}", model.dtype, "that of the model")
        batches: Batches = DataLoader((x, *rest), batch_size, shuffle=shuffle, seed=seed)
    elif isinstance(data, Batches) and not hasattr(data, "shape") and not isinstance(data, dict | str | set | Layer):
        batches = data
    else:
        raise ArgumentError(
            f"{name}: got {validate.kind_of(data)}; allowed: a pair of arrays in one argument, (x, y), or (x, y,"
            " weight), or a DataLoader or another iterable of such with a length"
        )
    if not len(batches):
        raise no_batches(batches, name)
    if name != "train":
        _check_measured(batches, name)
    return batches


def checked_sizes(train: Any, validation: Any, batch_size: Any, shuffle: Any) -> tuple[int, bool]:
    """Return the size of batches and whether to shuffle, of pairs; refuse what has no effect, or a wrong one."""
    if shuffle is not None and not is_pair(train):
        raise ArgumentError(
            f"shuffle: got {shuffle!r} with batches; allowed: with a pair of arrays (a DataLoader takes its own)"
        )
    return size_of_batches(batch_size, 128, train, validation), True if shuffle is None else shuffle


def size_of_batches(batch_size: Any, default: int, *data: Any) -> int:
    """Return the size of the batches that pairs of arrays are cut into; refuse one where there are none."""
    if batch_size is not None and not any(map(is_pair, data)):
        raise ArgumentError(f"batch_size: got {batch_size!r} with batches; allowed: with a pair of arrays")
    return default if batch_size is None else batch_size


def _check_measured(data: Any, name: str) -> None:
    """Refuse a loader that changes, draws or leaves out samples, where each is to be measured as it is."""
    if not isinstance(data, DataLoader):
        return
    dropped = data.drop_last and data.num_samples < len(data.arrays[0])
    given = {"augmentation": data.augmentation, "sampling": data.sampling, "drop_last": True if dropped else None}
    for setting, value in given.items():
        if value is not None:
            raise ArgumentError(
                f"{name}: got a DataLoader with {setting}={value!r:.100}; allowed: one without, so that each sample is"
                " measured as it is, once"
            )


def _is_batch(data: Any) -> bool:
    return isinstance(data, tuple | list) and len(data) in (2, 3)


def no_batches(batches: Any, name: str) -> DataError:
    """Return the error for data of which there are none."""
    return DataError(f"{name}: got {batches!r:.200}, which has no batches; allowed: at least one")


def pairs(batches: Batches, name: str) -> Iterator[tuple[Array, ...]]:
    """Yield the batches; ArgumentError at one that is not (x, y) or (x, y, weight), DataError if there was none.

    DataError, too, where there are more or fewer than their length says: schedules count on it, and what goes on from
    the middle of an epoch.
    """
    number, count = 0, len(batches)
    for number, batch in enumerate(batches, start=1):
        if not _is_batch(batch):
            items = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
            raise ArgumentError(
                f"{name}: got a batch that is {type(batch).__name__}{items}; allowed: pairs (x, y), or (x, y, weight)"
            )
        if number > count:
            raise DataError(f"{name}: got a batch {number}; allowed: {count} in all, as its len says")
        yield tuple(batch)
    if not number:
        raise no_batches(batches, name)
    if number < count:
        raise DataError(f"{name}: got {number} batches; allowed: {count}, as its len says")


def checked_batch(model: Layer, x: Any, y: Any, weight: Any = None, classes: Array | None = None) -> Batch:
    """Return a batch as the backend takes it: arrays of its own, C-contiguous, in the machine's byte order.

    x is of the model's type, and so are the weights; what y holds is for the loss to say. `classes` are weights of the
    classes, which the rows' are multiplied by.
    """
    x = model.check_input(x)
    if tuple(x.shape[1:]) != model.input_shape:
        model.check_size(tuple(x.shape))
    backend = model.backend
    validate.owned(backend, y, "y")
    y = backend.asarray(y)
    if x.ndim < 1 or y.shape[:1] != x.shape[:1]:
        raise ShapeError(f"y: got shape {tuple(y.shape)}; allowed: one row for each of x, {tuple(x.shape)}")
    if weight is not None:
        validate.owned(backend, weight, "sample_weight")
        weight = checked_weights(weight, x.shape[0], on_host=backend.on_host)
        weight = backend.asarray(weight, model.dtype)
    if classes is not None:
        if y.ndim != 1 or y.dtype.kind not in "iu":
            raise ArgumentError(
                f"class_weight: got it with targets {y.dtype} {tuple(y.shape)}; allowed: with class numbers, (N,)"
            )
        own = take_rows(backend, classes, y)
        weight = own if weight is None else backend.asarray(weight * own)
    return Batch(x, y, weight)
