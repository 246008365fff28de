"""Pruned models in small files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fastconv._calls import tells_habits
from fastconv._files import home_path_of
from fastconv.errors import ArgumentError
from fastconv.nn import Layer
from fastconv.nn.model.checking import checked_model
from fastconv.nn.model.summary import Row
from fastconv.nn.model.weights import host_tensors, save_weights


@dataclass(frozen=True)
class PrunedExport:
    """What was exported, and how large it became; ``print`` shows a table.

    Parameters
    ----------
    path : Path
        Of the file.
    nbytes, dense_nbytes : int
        Of the file, and of its parameters and buffers as they lie in memory.
    layers : tuple of Row
        Those of the model's summary that have weights.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(100)).build((100,), seed=0)
    >>> optimizer = fc.optim.Pruning(fc.optim.SGD(model.parameters(), 0.1), end=0, target=0.9)
    >>> report = fc.models.export_pruned(model, "small.safetensors")
    >>> report.sparsity, report.dense_nbytes, report.nbytes < 8000
    (0.9, 40400, True)
    """

    path: Path
    nbytes: int
    dense_nbytes: int
    layers: tuple[Row, ...]

    @property
    def sparsity(self) -> float:
        """The share of all weights that is zero."""
        return sum(row.zeros for row in self.layers) / sum(row.weights for row in self.layers)

    def __str__(self) -> str:
        width = max(len(row.name) for row in self.layers)
        lines = [
            f"{row.name:{width}}  {row.zeros:>12,} of {row.weights:>12,}  {row.sparsity:7.2%}" for row in self.layers
        ]
        told = f"{self.sparsity:.2%} of the weights are zero: {self.nbytes:,} bytes instead of {self.dense_nbytes:,}"
        return "\n".join([*lines, f"{told}, {self.nbytes / self.dense_nbytes:.1%}"])


@tells_habits({})
def export_pruned(model: Layer, path: str | os.PathLike[str]) -> PrunedExport:
    """Write the weights of a pruned model to a file as small as they allow, and tell how sparse they are.

    What is mostly zero takes a bit for each element and the elements that are not: with 90 % pruned 13 % of the space,
    with 95 % 8 %. `fastconv.models.load` and ``model.load_weights`` read it, to the same bits; other programs read what
    ``model.save_weights(path)`` writes, where the zeros take their space.

    Parameters
    ----------
    model : Layer
        Built. Averaged weights are exported within ``with optimizer.averaged():``.
    path : path
        Of the file; what is there is replaced.

    Returns
    -------
    PrunedExport
        What was written.

    Raises
    ------
    ArgumentError
        No weight of it is zero.

    Examples
    --------
    >>> model = fc.models.lenet5(seed=0)
    >>> optimizer = fc.optim.Pruning(fc.optim.SGD(model.parameters(), 0.1), end=0, target=0.95)
    >>> report = fc.models.export_pruned(model, "lenet5-95.safetensors")
    >>> round(report.sparsity, 3)
    0.95
    """
    layers = tuple(row for row in checked_model(model).summary().rows if row.weights)
    if not any(row.zeros for row in layers):
        raise ArgumentError(
            "model: got one without a weight that is zero; allowed: one that was pruned (optim.Pruning)"
        )
    save_weights(model, path, sparse=True, about={"input_shape": list(model.input_shape)})
    dense = sum(array.nbytes for array in host_tensors(model).values())
    file = home_path_of(path, "path")
    return PrunedExport(file, file.stat().st_size, dense, layers)
