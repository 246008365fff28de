"""What ``print(model)`` shows: layers as they would be written, one to a line, those inside of another below it."""

from __future__ import annotations

import inspect
from typing import Any

from fastconv.nn.core.layer import AbstractLayer

_MISSING = object()


def describe(layer: AbstractLayer, name: str = "", indent: str = "") -> str:
    """Return ``Conv2d(16, 3, padding=1)``, or the tree of a layer made of others."""
    if not indent:
        layer.walk()  # says what is wrong with what is inside
    children = layer.children()
    arguments = _arguments(layer)
    head = f"{indent}{name}{': ' * bool(name)}{type(layer).__name__}"
    if not children:
        return f"{head}({arguments})"
    head += f"({arguments}):" if arguments else ":"
    return "\n".join([head, *(describe(child, child_name, indent + "    ") for child_name, child in children)])


def _arguments(layer: AbstractLayer) -> str:
    """Return the arguments of ``__init__`` that are not the default, as far as they are settings, or attributes."""
    settings = {**vars(layer), **(layer.settings() or {})}
    inside = {id(child) for _, child in layer.children()}
    shown = []
    for parameter in inspect.signature(type(layer).__init__).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name == "self":
            continue
        value, shown_default = settings.get(parameter.name, _MISSING), repr(_short(parameter.default))
        if value is _MISSING or id(value) in inside or shown_default == repr(_short(value)):
            continue
        required = parameter.default is parameter.empty and parameter.kind is not parameter.KEYWORD_ONLY
        shown.append(f"{'' if required else parameter.name + '='}{_short(value)!r}")
    return ", ".join(shown)


def _short(value: Any) -> Any:
    """Return 1 for (1, 1) and ((1, 1), (1, 1))."""
    while isinstance(value, tuple) and len(value) == 2 and _short(value[0]) == _short(value[1]):
        value = value[0]
    return tuple(_short(part) for part in value) if isinstance(value, tuple) and len(value) == 2 else value
