"""Weights in the form that one kernel wants. Needs neither Numba nor CuPy, nor anything of fastconv."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .geometry import POINTWISE, ConvGeometry


@dataclass(frozen=True)
class PreparedWeight:
    """What `prepare_conv2d_weight` and `prepare_dense_weight` return.

    Attributes
    ----------
    weight : array
        The weight it was made from, not copied.
    algorithm : str
        Name of the kernel that reads it, as in the backend's TABLE.
    packed : array or None
        The rearranged copy, from the workspace.
    geometry : ConvGeometry
        Of the convolution; transposed where it is for the gradient of the input.
    """

    weight: Any
    algorithm: str
    packed: Any = None
    geometry: ConvGeometry = POINTWISE
