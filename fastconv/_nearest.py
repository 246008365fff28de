"""The end of a message about a name that is not there: the one that was meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def nearest(value: Any, names: Mapping[str, str] | Iterable[str], likeness: float = 0.6) -> str:
    """Return ``" (nearest: 'relu')"``, the name that is spelled most like `value`, or "" if none is.

    Parameters
    ----------
    value : object
        What was written.
    names : iterable of str, or mapping
        Those that there are; or how each is spelled for the comparison, and what it is then called.
    likeness : float
        What share of both must agree, from 0, where there always is a nearest one, to 1.
    """
    import difflib  # for errors only

    known = names if isinstance(names, Mapping) else {name: name for name in names}
    near = difflib.get_close_matches(str(value), known, 1, likeness)
    return f" (nearest: {known[near[0]]!r})" if near else ""
