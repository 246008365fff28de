"""The entries of a recipe by their places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def settings(tables: Mapping[str, Any]) -> dict[str, str]:
    """Return all entries of tables within tables by their places, such as "optimizer.lr"."""
    return dict(_entries("", tables))


def _entries(place: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _entries(f"{place}.{key}" if place else str(key), each)
    elif isinstance(value, list | tuple) and any(isinstance(each, Mapping) for each in value):
        for number, each in enumerate(value, 1):
            yield from _entries(f"{place}[{number}]", each)
    else:
        values = value if isinstance(value, list | tuple) else [value]
        yield place, ", ".join(str(each).lower() if isinstance(each, bool) else str(each) for each in values) or "none"
