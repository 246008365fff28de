"""What a model and its training look like inside: read from a model and a batch, a history, or a step.

Results are frozen dataclasses with `to_dict` and a plain text form.
"""

from fastconv.training.diagnostics.attribution import grad_cam, gradient_times_input, occlusion, saliency
from fastconv.training.diagnostics.chrome_trace import ChromeTrace, trace_step
from fastconv.training.diagnostics.dead_unit_monitor import DeadUnitMonitor
from fastconv.training.diagnostics.machine import Machine, measure_machine
from fastconv.training.diagnostics.non_finite import NonFinite, find_non_finite
from fastconv.training.diagnostics.profile import LayerTime, Profile, profile_layers
from fastconv.training.diagnostics.statistics import (
    DeadUnitReport,
    DeadUnits,
    LayerStatistics,
    ModelStatistics,
    Statistics,
    dead_units,
    layer_statistics,
    statistics_of,
)
from fastconv.training.diagnostics.terminate import TerminateOnNaN
from fastconv.training.diagnostics.update_ratio import UpdateRatio, UpdateRatios, update_ratios
from fastconv.training.diagnostics.verdict import Verdict, verdict

__all__ = [
    "ChromeTrace",
    "DeadUnitMonitor",
    "DeadUnitReport",
    "DeadUnits",
    "LayerStatistics",
    "LayerTime",
    "Machine",
    "ModelStatistics",
    "NonFinite",
    "Profile",
    "Statistics",
    "TerminateOnNaN",
    "UpdateRatio",
    "UpdateRatios",
    "Verdict",
    "dead_units",
    "find_non_finite",
    "grad_cam",
    "gradient_times_input",
    "layer_statistics",
    "measure_machine",
    "occlusion",
    "profile_layers",
    "saliency",
    "statistics_of",
    "trace_step",
    "update_ratios",
    "verdict",
]
