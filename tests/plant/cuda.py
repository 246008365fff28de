"""Faults in CUDA C++, found as tokens of its text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.plant.faults import Fault, of_span

# Operators stand between spaces, as the sources are written; `<` of a template does not.
_SWAPPED = [
    *(("comparison", a, b) for a, b in ((" <= ", " < "), (" >= ", " > "), (" < ", " <= "), (" > ", " >= "))),
    *(("comparison", a, b) for a, b in ((" == ", " != "), (" != ", " == "))),
    *(("and/or", a, b) for a, b in ((" && ", " || "), (" || ", " && "))),
    *(("operation", a, b) for a, b in ((" + ", " - "), (" - ", " + "), (" * ", " + "), (" / ", " * "), (" % ", " / "))),
    *(("operation", a, b) for a, b in ((" << ", " >> "), (" >> ", " << "), (" += ", " -= "), (" -= ", " += "))),
]
_DELETED = re.compile(r"__syncthreads\(\);|__syncwarp\(\);|\bcontinue;|\bbreak;|\breturn;|\bwait_\w+(<\w+>)?\(\w*\);")
_INTEGER = re.compile(r"(?<![\w.<\"])\d+(?![\w.>\"])")
_CONDITION = re.compile(r"\bif \((?!constexpr)([^()]*(?:\([^()]*\)[^()]*)*)\)(?= )")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
# Directives, parameters of templates, checks at compile time, hints.
_SKIPPED = re.compile(
    r"^[ \t]*(?:#|template|static_assert|using |extern|namespace)[^\n]*|__launch_bounds__\([^)]*\)|sigsetjmp\([^)]*\)",
    re.MULTILINE,
)


def candidates(file: str, text: str) -> list[Fault]:
    """Return every fault that could be planted in a source or header."""
    code = text
    for pattern in (_COMMENT, _STRING, _SKIPPED):
        code = pattern.sub(_blank, code)
    return list(dict.fromkeys(_faults(file, text, code)))


def _blank(found: re.Match[str]) -> str:
    """Return as many characters, none of them code, lines kept."""
    return re.sub(r"[^\n]", "\0", found.group())


def _faults(file: str, text: str, code: str) -> Iterator[Fault]:
    for kind, before, after in _SWAPPED:
        for found in re.finditer(re.escape(before), code):
            yield of_span(file, text, kind, found.start(), found.end(), after)
    for found in _INTEGER.finditer(code):
        yield of_span(file, text, "constant", found.start(), found.end(), str(int(found.group(), 0) + 1))
    for found in _DELETED.finditer(code):
        yield of_span(file, text, "statement", found.start(), found.end(), ";")
    for found in _CONDITION.finditer(code):
        yield of_span(
            file, text, "condition", found.start(1), found.end(1), f"!({text[found.start(1) : found.end(1)]})"
        )
