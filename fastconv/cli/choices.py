"""What the commands share: the names that can be chosen, and what they stand for."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastconv.data.sources import SOURCES
from fastconv.training import named

if TYPE_CHECKING:
    from fastconv.nn import Parameters
    from fastconv.optim import Optimizer

MODELS = tuple(named.choices("model"))
DATASETS = tuple(SOURCES)


@dataclass(frozen=True)
class Usual:
    """How a model is trained unless the user says otherwise."""

    optimizer: str = "Adam"
    lr: float = 2e-3
    schedule: str = "OneCycle"
    weight_decay: float | None = None


_SGD, _SLOWER = Usual("SGD", 0.2, weight_decay=5e-4), Usual("SGD", 0.05, weight_decay=5e-4)
_USUAL = {
    "mlp": Usual(lr=1e-3),
    **dict.fromkeys(("resnet9", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110"), _SGD),
    **dict.fromkeys(("alexnet", "googlenet", "mobilenet", "resnet18", "resnet34", "resnet50"), _SLOWER),
    **dict.fromkeys(("vgg11", "vgg13", "vgg16", "vgg19"), _SLOWER),
}
WARMED = ("keras_cnn", "lenet5", "mlp", "resnet20", "resnet9")
"""What `fastconv warmup` compiles for unless models are named."""

# What an optimizer is given unless the user says something about these settings.
_SETTINGS: dict[str, dict[str, float | bool]] = {"SGD": {"momentum": 0.9, "nesterov": True}}


def usual_for(model: str) -> Usual:
    """Return how a model is trained."""
    return _USUAL.get(model, Usual())


def usual_settings(optimizer: str, given: Mapping[str, Any]) -> dict[str, float | bool]:
    """Return what an optimizer is given beside what the user gives."""
    usual = _SETTINGS.get(optimizer, {})
    return {} if set(usual) & set(given) else dict(usual)


def apply_computing_options(options: argparse.Namespace) -> None:
    """Make the backend, the number of threads, precision and algorithm that the user chose the active ones."""
    import fastconv as fc

    if options.backend is not None:
        fc.set_backend(options.backend)
    backend = fc.get_backend()
    if options.threads:
        backend.set_num_threads(options.threads)
    if options.precision:
        fc.set_precision(options.precision)
    if options.algorithm:
        fc.set_algorithm(options.algorithm)


def make_optimizer(name: str, parameters: Parameters, lr: float) -> Optimizer:
    """Return an optimizer with its usual settings."""
    spec = {named.NAME: name, **usual_settings(name, {})}
    made: Optimizer = named.build("optimizer", spec, {"parameters": parameters, "lr": lr})
    return made
