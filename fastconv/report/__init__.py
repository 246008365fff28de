"""The page of one run or several, in one file of HTML that needs no network (extra `report`)."""

from fastconv.report.follow import follow
from fastconv.report.page import Report, make_report

__all__ = ["Report", "follow", "make_report"]
