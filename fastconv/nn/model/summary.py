"""The table that `model.summary()` gives: what each layer puts out and costs, and how much of its weights is zero."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fastconv._html import table as html_table
from fastconv.backends.contract.types import DType, Shape
from fastconv.nn.core.layer import AbstractLayer
from fastconv.nn.core.outputs import shapes_of
from fastconv.nn.core.parameter import Buffer, Parameter
from fastconv.nn.core.scope import Draft, Scope, Visit


@dataclass(frozen=True)
class Row:
    """One layer at one place of a model.

    Attributes
    ----------
    name, kind : str
        Path and class.
    output_shape : tuple of int
        Of one image.
    parameters, frozen : int
        Numbers that are trained, or would be, and how many of them are frozen; 0 where a layer is used again.
    macs : int
        Multiplications with weights, for one image.
    nbytes : int
        Of the output, for one image.
    weights, zeros : int
        Those of a built layer that pruning takes, in parameters of two axes or more, and how many are zero; 0 where a
        layer is used again.
    """

    name: str
    kind: str
    output_shape: Shape
    parameters: int
    macs: int
    nbytes: int
    frozen: int = 0
    weights: int = 0
    zeros: int = 0

    @property
    def sparsity(self) -> float:
        """The share of the weights that is zero."""
        return self.zeros / self.weights if self.weights else 0.0


@dataclass(frozen=True)
class Summary:
    """All layers of a model in the order of computation; ``print(model.summary())``."""

    rows: tuple[Row, ...]
    input_shape: Shape
    dtype: DType

    @property
    def parameters(self) -> int:
        """How many numbers are trained, or would be if they were not frozen."""
        return sum(row.parameters for row in self.rows)

    @property
    def frozen(self) -> int:
        """How many of them are frozen."""
        return sum(row.frozen for row in self.rows)

    @property
    def trainable(self) -> int:
        """How many are not."""
        return self.parameters - self.frozen

    @property
    def macs(self) -> int:
        """Multiplications with weights, for one image."""
        return sum(row.macs for row in self.rows)

    @property
    def nbytes(self) -> int:
        """Bytes of all outputs, for one image."""
        return sum(row.nbytes for row in self.rows)

    @property
    def sparsity(self) -> float:
        """The share of all weights that is zero."""
        weights = sum(row.weights for row in self.rows)
        return sum(row.zeros for row in self.rows) / weights if weights else 0.0

    def _lines(self) -> list[tuple[str, ...]]:
        """Return the table, its names first and its sums last."""
        lines: list[tuple[str, ...]] = [("layer", "kind", "output", "parameters", "MACs", "bytes")]
        lines += [
            (
                row.name,
                f"{row.kind}{', frozen' * bool(row.frozen)}",
                _shape(row.output_shape),
                f"{row.parameters:,}",
                f"{row.macs:,}",
                f"{row.nbytes:,}",
            )
            for row in self.rows
        ]
        lines.append(("total", "", "", f"{self.parameters:,}", f"{self.macs:,}", f"{self.nbytes:,}"))
        if any(row.zeros for row in self.rows):
            shares = (f"{row.sparsity:.2%}" if row.weights else "" for row in self.rows)
            last = ("sparsity", *shares, f"{self.sparsity:.2%}")
            lines = [(*line, cell) for line, cell in zip(lines, last, strict=True)]
        return lines

    def _head(self) -> str:
        return f"input {_shape(self.input_shape)}, {self.dtype}; MACs and bytes of outputs are for one image"

    def _told(self) -> list[str]:
        return [f"trainable parameters: {self.trainable:,}; frozen: {self.frozen:,}"] if self.frozen else []

    def __str__(self) -> str:
        table = self._lines()
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(w) if i < 3 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in table
        ]
        rule = "-" * len(lines[0])
        return "\n".join([self._head(), rule, lines[0], rule, *lines[1:-1], rule, lines[-1], *self._told()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        names, *rows = self._lines()
        return html_table(names, rows, head="; ".join([self._head(), *self._told()]), left=3)


def visits(model: AbstractLayer, input_shape: Shape) -> list[Visit]:
    """Return the layers of `model`, built or not, without others inside, each at its places for such an image."""
    model.walk()  # says what is wrong with what is inside
    draft = Draft()
    Scope(draft, model).setup_layer(input_shape)
    return draft.visits


def summarize(model: AbstractLayer, input_shape: Shape, dtype: DType) -> Summary:
    """Return the summary of `model`, built or not, for images of `input_shape`."""
    itemsize = np.dtype(dtype).itemsize
    rows = [
        Row(
            visit.path or ".",
            type(visit.layer).__name__,
            visit.output_shape,
            visit.parameters,
            visit.layer.macs(visit.input_shape),
            sum(map(math.prod, shapes_of(visit.output_shape))) * itemsize,
            visit.frozen,
            *(_weights(visit.layer.home.tensors.values()) if visit.parameters else (0, 0)),
        )
        for visit in visits(model, input_shape)
    ]
    return Summary(tuple(rows), input_shape, np.dtype(dtype))


def _weights(tensors: Iterable[Buffer]) -> tuple[int, int]:
    """Return how many weights there are, and how many of them are zero."""
    found = [tensor for tensor in tensors if isinstance(tensor, Parameter) and len(tensor.shape) > 1]
    kept = sum(np.count_nonzero(tensor.arena.backend.to_numpy(tensor.array)) for tensor in found)
    size = sum(tensor.size for tensor in found)
    return size, size - int(kept)


def _shape(shape: Shape) -> str:
    return ", ".join(" x ".join(map(str, part)) for part in shapes_of(shape))
