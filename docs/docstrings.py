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

METHODS = r"\.[A-Z]\w*\.\w+$"
"""Names of what is in a class. On the site a method stands on the page of each class that has it; tests look once."""
