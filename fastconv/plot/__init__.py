"""Pictures, drawn by Matplotlib (extra `plot`): functions that take an Axes, or make a figure, and return it.

`animate_kernel` and `animate_surface` return a Matplotlib animation, `descend` the points for `surface`.
"""

from typing import TYPE_CHECKING

from fastconv._attributes import tells_names
from fastconv.plot.attribution import attributions
from fastconv.plot.axes import COLOURS
from fastconv.plot.curves import curves
from fastconv.plot.functions import activations, costs
from fastconv.plot.images import confusion, feature_maps, filters, kernel_at_work, matrix
from fastconv.plot.inside import dead_units, histograms, update_ratios
from fastconv.plot.mistakes import mistakes
from fastconv.plot.rates import learning_rate_finder, schedules
from fastconv.plot.roofline import roofline
from fastconv.plot.sliding import animate_kernel
from fastconv.plot.sparsity import sparsity, sparsity_accuracy
from fastconv.plot.surface import animate_surface, descend, surface
from fastconv.plot.volumes import volumes

__all__ = [
    "COLOURS",
    "activations",
    "animate_kernel",
    "animate_surface",
    "attributions",
    "confusion",
    "costs",
    "curves",
    "dead_units",
    "descend",
    "feature_maps",
    "filters",
    "histograms",
    "kernel_at_work",
    "learning_rate_finder",
    "matrix",
    "mistakes",
    "roofline",
    "schedules",
    "sparsity",
    "sparsity_accuracy",
    "surface",
    "update_ratios",
    "volumes",
]

if not TYPE_CHECKING:  # else every name would pass for one that is there
    __getattr__ = tells_names(__name__)
