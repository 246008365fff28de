"""Weights in the form that one algorithm reads. Needs neither Numba nor CuPy, nor anything of fastconv."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .algorithm import Algorithm
from .geometry import DENSE_GEOMETRY, ConvGeometry


@dataclass(frozen=True)
class PreparedWeight:
    """What `prepare_conv2d_weight` and `prepare_dense_weight` return.

    Attributes
    ----------
    weight : array
        The weight it was made from, not copied.
    algorithm : Algorithm
    packed : array or None
        The rearranged copy, from the workspace.
    geometry : ConvGeometry
        Of the convolution; transposed where it is for the gradient of the input.
    """

    weight: Any
    algorithm: Algorithm
    packed: Any = None
    geometry: ConvGeometry = DENSE_GEOMETRY
