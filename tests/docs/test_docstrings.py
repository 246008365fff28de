"""Docstrings of what is public say what goes in and what comes out, by numpydoc's checks.

PR01: a parameter is missing; PR02: one that there is not; PR07: one without a description; RT01: nothing on what is
returned. A method without a docstring of its own has that of the one that it stands for, as `help` and the site show.
"""

from __future__ import annotations

import inspect
import operator
import re

import pytest

import fastconv as fc
from docs.docstrings import CHECKS, PROTOCOLS
from tests.docs.public import public

numpydoc = pytest.importorskip("numpydoc.validate")

PUBLIC = public()


class Shown(numpydoc.Validator):
    """What numpydoc looks at, with docstrings that are inherited."""

    def __init__(self, obj_name: str) -> None:
        super().__init__(numpydoc.get_doc_object(self._load_obj(obj_name)))
        self.raw_doc = self.clean_doc


def methods() -> list[str]:
    """Return the public methods and properties of all public classes, each where it is defined, by one name."""
    found: dict[object, str] = {}
    for path, cls in PUBLIC.items():
        for name in dir(cls) if inspect.isclass(cls) else ():
            value = inspect.getattr_static(cls, name)
            function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            ours = inspect.isfunction(function) and function.__module__.startswith("fastconv.")
            if ours and not name.startswith("_") and "<locals>" not in function.__qualname__:
                found.setdefault(function, f"{path}.{name}")
    return [*found.values()]


def errors_of(path: str) -> list[str]:
    """Return what is wrong with a docstring; of a protocol, which nobody calls, nothing is expected of parameters."""
    called = not getattr(PUBLIC.get(path), "_is_protocol", False)
    found = numpydoc.validate(path, validator_cls=Shown)["errors"]
    return [f"{code}: {text}" for code, text in found if code in CHECKS and (called or code != "PR01")]


def test_docstrings_are_complete() -> None:
    incomplete = {path: errors for path in PUBLIC if (errors := errors_of(path))}
    assert not incomplete


def test_docstrings_of_methods_are_complete() -> None:
    paths = methods()
    assert len(paths) > 400
    assert {"fastconv.Trainer.fit", "fastconv.nn.Conv2d.backward"} <= set(paths)
    incomplete = {path: errors for path in paths if (errors := errors_of(path))}
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
    monkeypatch.setattr("fastconv.Trainer.save", silent)
    assert [error[:4] for error in errors_of("fastconv.Trainer.save")] == ["PR01", "RT01"]


def test_docstrings_name_no_class_that_the_reference_has_not() -> None:
    found = {path: PUBLIC[path] for path in PUBLIC} | {path: operator.attrgetter(path[9:])(fc) for path in methods()}
    known = {part for path in PUBLIC for part in path.split(".")} | set(vars(fc.errors))
    unknown = {
        (path, name)
        for path, thing in found.items()
        for name in re.findall(r"(?<!`)`([A-Z][a-z]\w*)`(?!`)", inspect.getdoc(thing) or "")
        if name not in known
    }
    assert not unknown
