"""What numpydoc looks for in docstrings, on the site and in tests."""

from __future__ import annotations

CHECKS = {"PR01", "PR02", "PR07", "RT01"}

PROTOCOLS = {
    "fastconv.losses.Loss",
    "fastconv.optim.schedules.Watching",
    "fastconv.parallel.Communicator",
    "fastconv.training.Training",
}
"""Which nobody calls: they have no parameters, whatever their signature is."""

INHERITED = r"\.[A-Z]\w*\.(add_note|with_traceback|count|index)$"
"""Methods of Python's own classes, which errors and named tuples have."""
