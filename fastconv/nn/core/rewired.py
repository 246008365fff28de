"""What layers of somebody's own hold, which may change behind a model's back: ``model.head = nn.Dense(3)``.

Layers are compared by `is`: those of somebody's own may call themselves equal, as those of a dataclass do.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Sequence
from typing import Any

from fastconv import _validate as validate
from fastconv._attributes import is_ours
from fastconv.errors import ArgumentError

Held = Sequence[Sequence[Any]]


def held_layers(layers: Iterable[Any]) -> Held:
    """Return those with tensors, or not built yet, that each container of somebody's own holds; `layers` are all."""
    mine = [layer.children() for layer in layers if not is_ours(type(layer))]
    return [[child for _, child in inside if _counts(child)] for inside in mine if inside]


def are_same(these: Held, those: Held) -> bool:
    """Tell whether these are the very same layers."""
    return [list(map(id, inside)) for inside in these] == [list(map(id, inside)) for inside in those]


def got_others(model: object) -> ArgumentError:
    """Return the error for a model with other layers."""
    return ArgumentError(
        f"layers: got others than this {type(model).__name__} was built with; allowed: after build(input_shape), where"
        " layers that are built keep their values"
    )


def check_children(layers: Iterable[Any], kind: type) -> None:
    """Refuse one of `layers` whose `children` gives anything but layers, which are of this kind, with their names."""
    allowed = "allowed: a list of names and layers, such as [('head', self.head)]"
    for layer in layers:
        inside, where = layer.children(), f"children of {type(layer).__name__}"
        listed = isinstance(inside, Sequence | ItemsView)
        if not listed or not all(isinstance(each, tuple) and len(each) == 2 for each in inside):
            raise ArgumentError(f"{where}: got {validate.shown(inside)}; {allowed}")
        for name, child in inside:
            if not isinstance(child, kind):
                raise ArgumentError(f"{where}: got {validate.shown(child)} under {name!r}; {allowed}")


def _counts(child: Any) -> bool:
    return child.home.backend is None or any(layer.home.tensors for layer in child.walk())
