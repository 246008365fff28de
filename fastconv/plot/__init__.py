"""Pictures, through matplotlib, the extra ``plot``: each function draws on an Axes or a new figure."""

from fastconv.plot.rates import learning_rate_finder, schedules

__all__ = ["learning_rate_finder", "schedules"]
