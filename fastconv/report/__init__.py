"""The page of one run or several, in one file of HTML that needs no network (extra `report`)."""

from typing import TYPE_CHECKING

from fastconv._attributes import tells_names
from fastconv.report.follow import follow
from fastconv.report.page import Report, make_report

__all__ = ["Report", "follow", "make_report"]

if not TYPE_CHECKING:  # else every name would pass for one that is there
    __getattr__ = tells_names(__name__)
