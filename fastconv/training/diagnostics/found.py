"""What the diagnostics return."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fastconv._html import Printed


@dataclass(frozen=True)
class Found(Printed):
    """Values that print as a text, which a notebook shows too, and that can be kept as JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes, those of rows within too.

        Returns
        -------
        dict
            Of plain values, for JSON.
        """
        return asdict(self)
