"""What results say of how they came about."""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path


def said(module: str, words: Iterable[str], places: Mapping[Path | str, str]) -> str:
    """Return the command that ran a benchmark, to be typed again; `places` are names for paths of one machine."""
    names = {Path(path): name for path, name in places.items()}
    shown = []
    for word in words:
        option, equals, value = word.rpartition("=") if word.startswith("--") else ("", "", word)
        shown.append(option + equals + names.get(Path(value), value))
    return shlex.join(["python", "-m", f"benchmarks.{module}", *shown])
