"""What the commands share: the names that can be chosen, and what they stand for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fastconv.data.sources import SOURCES
from fastconv.errors import ArgumentError
from fastconv.kernels.update_rules import UPDATE_RULES

if TYPE_CHECKING:
    from fastconv.data import Dataset
    from fastconv.nn import Layer, Parameters
    from fastconv.optim import Optimizer

MODELS = ("keras_cnn", "lenet5", "mlp", "resnet20", "resnet9")
DATASETS = tuple(SOURCES)
OPTIMIZERS = tuple(sorted(name for name, rule in UPDATE_RULES.items() if rule.optimizes))
SCHEDULES = ("constant", "step", "cosine", "one-cycle")


@dataclass(frozen=True)
class Recipe:
    """How a model is trained unless the user says otherwise."""

    optimizer: str
    lr: float
    schedule: str
    weight_decay: float = 0.0


RECIPES = {
    "keras_cnn": Recipe("adam", 2e-3, "one-cycle"),
    "lenet5": Recipe("adam", 2e-3, "one-cycle"),
    "mlp": Recipe("adam", 1e-3, "one-cycle"),
    "resnet20": Recipe("sgd", 0.2, "one-cycle", 5e-4),
    "resnet9": Recipe("sgd", 0.2, "one-cycle", 5e-4),
}
# What an optimizer is given beside the learning rate and the weight decay.
_SETTINGS: dict[str, dict[str, float | bool]] = {"sgd": {"momentum": 0.9, "nesterov": True}}


def apply_computing_options(options: argparse.Namespace) -> None:
    """Make the backend, the number of threads, precision and algorithm that the user chose the active ones."""
    import fastconv as fc

    if options.backend:
        fc.set_backend(options.backend)
    backend = fc.get_backend()
    if options.threads:
        backend.set_num_threads(options.threads)
    if options.precision:
        fc.set_precision(options.precision)
    if options.algorithm:
        fc.set_algorithm(options.algorithm)


def load_dataset(options: argparse.Namespace, name: str, split: Literal["train", "test"]) -> Dataset:
    """Return one part of the data set `name`, cut to ``--limit``."""
    if name not in SOURCES:  # of weights that were trained on an own folder
        raise ArgumentError("--images: got none for weights of an own folder; allowed: the folder, or files to predict")
    return SOURCES[name].read(options.data_dir, split, options.limit)


def make_optimizer(name: str, parameters: Parameters, lr: float, weight_decay: float = 0.0) -> Optimizer:
    """Return the optimizer of an update rule."""
    from fastconv.optim import OPTIMIZERS

    make: Any = OPTIMIZERS[name]
    made: Optimizer = make(parameters, lr, weight_decay=weight_decay, **_SETTINGS.get(name, {}))
    return made


def make_model(
    name: str,
    num_classes: int = 10,
    input_shape: Sequence[int] = (32, 32, 3),
    *,
    dtype: Any = "float32",
    seed: int | None = None,
) -> Layer:
    """Return the model `name`, built."""
    from fastconv import models

    model: Layer = getattr(models, name)(num_classes, input_shape=tuple(input_shape), dtype=dtype, seed=seed)
    return model
