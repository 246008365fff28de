"""How layers of somebody's own hold others, which may change between two steps: ``model.head = nn.Dense(3)``."""

from __future__ import annotations

from collections.abc import Sequence

from fastconv._attributes import is_ours
from fastconv.nn.core.layer import AbstractLayer

Wiring = Sequence[tuple[AbstractLayer, list[AbstractLayer], list[int]]]
"""Layers of somebody's own that may hold others, with those inside of each by now and their `id`; fastconv's keep them.

By `id`, as layers of a dataclass call others equal.
"""


def wiring_of(model: AbstractLayer) -> Wiring:
    """Return how a model is wired now."""
    mine = [layer for layer in model.walk() if not is_ours(type(layer))]
    holders = [layer for layer in mine if type(layer).children is not AbstractLayer.children]
    held = [[child for _, child in layer.children()] for layer in holders]
    return [(layer, inside, list(map(id, inside))) for layer, inside in zip(holders, held, strict=True)]


def is_wired(wiring: Wiring) -> bool:
    """Tell whether all of these still have the very same layers inside."""
    return all([id(layer) for _, layer in container.children()] == numbers for container, _, numbers in wiring)
