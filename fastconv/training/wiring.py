"""How layers of somebody's own hold others, which may change between two steps: ``model.head = nn.Dense(3)``."""

from __future__ import annotations

from collections.abc import Sequence

from fastconv._attributes import is_ours
from fastconv.nn.core.layer import AbstractLayer

Wiring = Sequence[tuple[AbstractLayer, list[AbstractLayer]]]
"""Containers of somebody's own, with the layers inside of each; those of fastconv keep theirs."""


def wiring_of(model: AbstractLayer) -> Wiring:
    """Return how a model is wired now."""
    return [(layer, _inside(layer)) for layer in model.walk() if not is_ours(type(layer)) and layer.children()]


def is_wired(wiring: Wiring) -> bool:
    """Tell whether all of these containers still have the same layers inside."""
    return all(_inside(container) == layers for container, layers in wiring)


def _inside(container: AbstractLayer) -> list[AbstractLayer]:
    return [layer for _, layer in container.children()]
