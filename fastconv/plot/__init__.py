"""Pictures, drawn by Matplotlib (extra `plot`): functions that take an Axes, or make a figure, and return it."""

from fastconv.plot.axes import COLOURS
from fastconv.plot.curves import curves
from fastconv.plot.functions import activations, costs
from fastconv.plot.images import confusion, feature_maps, filters, kernel_at_work, matrix
from fastconv.plot.volumes import volumes

__all__ = [
    "COLOURS",
    "activations",
    "confusion",
    "costs",
    "curves",
    "feature_maps",
    "filters",
    "kernel_at_work",
    "matrix",
    "volumes",
]
