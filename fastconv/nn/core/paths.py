"""Where layers stand in a model."""

from __future__ import annotations

from collections.abc import Iterator

from fastconv.nn.core.layer import AbstractLayer


def paths_of(layer: AbstractLayer, path: str = "") -> Iterator[tuple[AbstractLayer, str]]:
    """Yield a layer and all inside of it with their paths, ``""``, ``"3"``, ``"3.body"``; one used twice has two."""
    yield layer, path
    for name, child in layer.children():
        yield from paths_of(child, f"{path}.{name}" if path else name)
