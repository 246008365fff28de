"""What samples and classes count in training, and what is kept for validation: arguments of `Trainer.fit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from fastconv.backends.contract import converting
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError, DTypeError, ShapeError
from fastconv.nn.model.model import Layer

ClassWeight = Mapping[int, float] | Sequence[float] | np.ndarray


def checked_weights(weight: Any, rows: int, *, on_host: bool) -> Array:
    """Return weights of `rows` samples, of any type of numbers; their values are not looked at if not on the host."""
    if not hasattr(weight, "shape") or not hasattr(weight, "dtype"):
        weight = converting.on_host(weight, name="sample_weight")
    if weight.dtype.kind not in "biuf":
        raise DTypeError(f"sample_weight: got {weight.dtype}; allowed: numbers")
    if tuple(weight.shape) != (rows,):
        raise ShapeError(f"sample_weight: got shape {tuple(weight.shape)}; allowed: ({rows},), one for each sample")
    if on_host and weight.size and not (np.isfinite(weight).all() and (weight >= 0).all()):
        raise ArgumentError(
            f"sample_weight: got {np.min(weight)} to {np.max(weight)}; allowed: finite numbers, 0 or above"
        )
    return weight


def class_table(class_weight: ClassWeight, model: Layer) -> Array:
    """Return the weights of all classes of a model's output, as an array of its backend and type.

    Classes that a mapping leaves out count 1.
    """
    classes = model.infer(model.input_shape)[-1]
    if isinstance(class_weight, Mapping):
        table = np.ones(classes)
        for number, value in class_weight.items():
            if not isinstance(number, Integral) or isinstance(number, bool) or not 0 <= number < classes:
                text = ", as numbers; where these are texts, as in a file, a list with one weight each"
                raise ArgumentError(
                    f"class_weight: got class {number!r}; allowed: those of the model's output, 0 to {classes - 1}"
                    f"{text if isinstance(number, str) else ''}"
                )
            if not isinstance(value, Real):
                raise ArgumentError(f"class_weight: got {value!r} for class {number}; allowed: a number, 0 or above")
            try:
                table[int(number)] = float(value)
            except OverflowError:  # of an int past all floats
                table[int(number)] = np.inf
    else:
        table = converting.on_host(class_weight, name="class_weight")
        if table.dtype.kind not in "iuf" or table.shape != (classes,):
            raise ArgumentError(
                f"class_weight: got {class_weight!r:.80}; allowed: {classes} numbers, or a dict of some classes"
            )
    if not (np.isfinite(table).all() and (table >= 0).all() and table.any()):
        raise ArgumentError(
            f"class_weight: got {class_weight!r:.80}; allowed: finite numbers, 0 or above, at least one above"
        )
    return model.backend.asarray(table.astype(model.dtype))


def with_weights(train: Any, sample_weight: Any, *, of_arrays: bool) -> Any:
    """Return arrays (x, y) with weights, (x, y, weight)."""
    if sample_weight is None:
        return train
    if not of_arrays or len(train) != 2:
        raise ArgumentError(
            f"sample_weight: got it with {type(train).__name__} of batches, or that have weights; allowed: with a pair"
            " of arrays (batches, and DataLoader((x, y, weight)), bring their own)"
        )
    x, y = train
    rows = x.shape[0] if getattr(x, "shape", ()) else 0
    return x, y, checked_weights(sample_weight, rows, on_host=isinstance(sample_weight, np.ndarray))


def split_off(train: Any, share: Any, validation: Any, *, of_arrays: bool) -> tuple[Any, Any]:
    """Return arrays in two parts, for training and validation: the last rows are for the latter, as in Keras."""
    if share is None:
        return train, validation
    if validation is not None:
        raise ArgumentError("validation_split: got it with validation_data; allowed: one of them")
    if not of_arrays:
        raise ArgumentError(f"validation_split: got {share!r} with batches; allowed: with a pair of arrays")
    if isinstance(share, bool) or not isinstance(share, Real) or not 0 < share < 1:  # type: ignore[operator]
        raise ArgumentError(f"validation_split: got {share!r}; allowed: a number between 0 and 1")
    rows = train[0].shape[0] if getattr(train[0], "shape", ()) else 0
    kept = rows - round(rows * float(share))
    if not 0 < kept < rows:
        raise ArgumentError(
            f"validation_split: got {share!r} of {rows} samples; allowed: what leaves one at least on either side"
        )
    return tuple(array[:kept] for array in train), tuple(array[kept:] for array in train)
