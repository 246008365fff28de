"""What follows a convolution or a normalisation, as layers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fastconv.backends.contract.types import Shape
from fastconv.kernels.epilogue import Epilogue
from fastconv.nn.core.layer import AbstractLayer
from fastconv.nn.layers.activations import PointwiseLayer
from fastconv.nn.layers.pooling import MaxPool2d


@dataclass(frozen=True, eq=False)
class Tail:
    """The layers that follow a convolution, or a normalisation, in this order; each may be missing.

    Attributes
    ----------
    adds : bool
        Whether the result of a residual block's shortcut is added first.
    activation : PointwiseLayer or None
    pool : MaxPool2d or None
    """

    adds: bool = False
    activation: PointwiseLayer | None = None
    pool: MaxPool2d | None = None

    @cached_property
    def layers(self) -> tuple[AbstractLayer, ...]:
        """Those that there are."""
        return tuple(layer for layer in (self.activation, self.pool) if layer is not None)

    @cached_property
    def keeps_before(self) -> bool:
        """Whether the activation's gradient is computed from what comes before it."""
        return self.activation is not None and self.activation.function.needs == "x"

    def epilogue(self, shape: Shape) -> Epilogue:
        """Return it as a value, for a result of this shape before it."""
        activation, pool = self.activation, self.pool
        windows = None if pool is None else pool.windows_of(shape)
        return Epilogue(self.adds, None if activation is None else activation.activation, windows)

    def after(self, operation: str) -> str:
        """Return the name of an operation with it: ``"conv2d + relu + max_pool2d"``."""
        name = () if self.activation is None else (self.activation.function.name,)
        return " + ".join((operation, *("add",) * self.adds, *name, *("max_pool2d",) * (self.pool is not None)))
