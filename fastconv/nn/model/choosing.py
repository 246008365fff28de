"""Parts of a model by their names, as `summary` shows them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from fastconv import _validate as validate
from fastconv._nearest import nearest
from fastconv.errors import ArgumentError
from fastconv.nn.core.layer import AbstractLayer
from fastconv.nn.core.parameter import Parameter
from fastconv.nn.core.paths import paths_of


def chosen(model: AbstractLayer, names: Sequence[str]) -> list[Parameter]:
    """Return the parameters of the layers with these names, of all without names."""
    if not names:
        return [tensor for tensor in model.tensors() if isinstance(tensor, Parameter)]
    _ = model.backend  # says so if it is not built
    inside = {path: layer for layer, path in paths_of(model)}
    own = {
        f"{path}.{name}" if path else name: tensor
        for path, layer in inside.items()
        for name, tensor in layer.home.tensors.items()
        if isinstance(tensor, Parameter)
    }
    found: list[Parameter] = []
    for name in itertools.chain.from_iterable(each if isinstance(each, list | tuple) else (each,) for each in names):
        if not isinstance(name, str):
            such = next(iter(own), "weight")
            raise ArgumentError(f"names: got {validate.shown(name)}; allowed: texts, such as {such!r}")
        if name in own:
            found.append(own[name])
        elif name and name in inside:
            found += [tensor for tensor in inside[name].tensors() if isinstance(tensor, Parameter)]
        else:
            known = [*own, *filter(None, inside)]
            near = nearest(name, known, 0) or " (nearest: none)"
            raise ArgumentError(f"names: got {name!r}; allowed: those of layers inside, and of parameters{near}")
    return list(dict.fromkeys(found))
