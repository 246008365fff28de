"""Docstrings of public classes and functions say what goes in and what comes out, by numpydoc's checks.

PR01: a parameter is missing; PR02: one that there is not; PR07: one without a description; RT01: nothing on what is
returned.
"""

from __future__ import annotations

import pytest

from docs.docstrings import CHECKS, PROTOCOLS
from tests.docs.public import public

numpydoc = pytest.importorskip("numpydoc.validate")

PUBLIC = public()


def errors_of(path: str) -> list[str]:
    """Return what is wrong with a docstring; of a protocol, which nobody calls, nothing is expected of parameters."""
    called = not getattr(PUBLIC[path], "_is_protocol", False)
    found = numpydoc.validate(path)["errors"]
    return [f"{code}: {text}" for code, text in found if code in CHECKS and (called or code != "PR01")]


def test_docstrings_are_complete() -> None:
    incomplete = {path: errors for path in PUBLIC if (errors := errors_of(path))}
    assert not incomplete


def test_the_site_leaves_out_the_protocols() -> None:
    assert {path for path in PUBLIC if getattr(PUBLIC[path], "_is_protocol", False)} == PROTOCOLS


def test_what_is_incomplete_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(x: int) -> int:
        """Return more."""
        return x + 1

    monkeypatch.setattr("fastconv.functional.relu", silent)
    monkeypatch.setitem(PUBLIC, "fastconv.functional.relu", silent)
    assert [error[:4] for error in errors_of("fastconv.functional.relu")] == ["PR01", "RT01"]
