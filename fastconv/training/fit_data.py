"""What `Trainer.fit` trains with: its arguments, checked, as batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastconv.backends.contract.types import Array
from fastconv.nn.model.model import Layer
from fastconv.training.batches import Batches, as_batches, checked_sizes, is_pair
from fastconv.training.weights import ClassWeight, class_table, split_off, with_weights


@dataclass(frozen=True)
class FitData:
    """Batches to train with, those for validation, what classes count, and whether the trainer gives the order."""

    train: Batches
    validation: Batches | None
    classes: Array | None
    seeded: bool

    def in_order_of(self, seed: int) -> Batches:
        """Return the batches to train with; those made of arrays come in the order that this seed gives."""
        if self.seeded:
            self.train.seed = seed  # type: ignore[attr-defined]  # a DataLoader
        return self.train


def fit_data(
    model: Layer,
    seed: int,
    train: Any,
    validation: Any,
    *,
    batch_size: int | None,
    shuffle: bool | None,
    class_weight: ClassWeight | None,
    sample_weight: Any,
    validation_split: float | None,
) -> FitData:
    """Return the data that `Trainer.fit` was called with; its docstring says what each argument is."""
    of_arrays = is_pair(train)
    train = with_weights(train, sample_weight, of_arrays=of_arrays)
    train, validation = split_off(train, validation_split, validation, of_arrays=of_arrays)
    classes = None if class_weight is None else class_table(class_weight, model)
    size, whole = checked_sizes(train, validation, batch_size, shuffle)
    batches = as_batches(train, "train", model, size, shuffle=whole, seed=seed)
    measured = None if validation is None else as_batches(validation, "validation_data", model, size)
    return FitData(batches, measured, classes, of_arrays)
