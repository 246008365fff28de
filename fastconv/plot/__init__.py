"""Pictures, drawn by Matplotlib (extra `plot`): functions that take an Axes, or make a figure, and return it."""

from fastconv.plot.axes import COLOURS
from fastconv.plot.curves import curves
from fastconv.plot.functions import activations, costs
from fastconv.plot.images import confusion, feature_maps, filters, kernel_at_work, matrix
from fastconv.plot.rates import learning_rate_finder, schedules
from fastconv.plot.sparsity import sparsity, sparsity_accuracy
from fastconv.plot.surface import animate_surface, descend, surface
from fastconv.plot.volumes import volumes

__all__ = [
    "COLOURS",
    "activations",
    "animate_surface",
    "confusion",
    "costs",
    "curves",
    "descend",
    "feature_maps",
    "filters",
    "kernel_at_work",
    "learning_rate_finder",
    "matrix",
    "schedules",
    "sparsity",
    "sparsity_accuracy",
    "surface",
    "volumes",
]
