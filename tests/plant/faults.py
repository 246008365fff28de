"""What a fault is, and how faults are drawn."""

from __future__ import annotations

import functools
import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.copied_tree import ROOT

PYTHON, CUDA = (".py",), (".cu", ".cuh", ".h", ".cpp")
COUNT, SEED = 120, 20261128

# What only makes code faster or slower: a fault there changes no result, and no test may time anything.
SPEED_FILES = ("prefetch", "ahead", "autotune", "caches", "cpu_caches", "__main__", "compile_note")


@dataclass(frozen=True)
class Fault:
    """One change of one file.

    Attributes
    ----------
    file : str
        From the root of the tree.
    line : int
        Where `before` begins, counted from 1.
    kind : str
    before, after : str
        Whole lines, and what stands in their place.
    """

    file: str
    line: int
    kind: str
    before: str
    after: str

    def planted(self, text: str) -> str:
        """Return the file's text with the fault in it."""
        lines, before = text.split("\n"), self.before.split("\n")
        begin = self.line - 1
        if lines[begin : begin + len(before)] != before:
            raise ValueError(f"{self.file}:{self.line}: other lines stand there than {self.before!r}")
        return "\n".join([*lines[:begin], *self.after.split("\n"), *lines[begin + len(before) :]])

    def __str__(self) -> str:
        old, new = self.before.split("\n"), self.after.split("\n")
        changed = next((pair for pair in zip(old, new, strict=False) if pair[0] != pair[1]), (old[-1], new[-1]))
        return f"{self.file}:{self.line}: {self.kind}\n    - {changed[0].strip()}\n    + {changed[1].strip()}"


def of_span(file: str, text: str, kind: str, begin: int, end: int, after: str) -> Fault:
    """Return the fault that puts `after` in the place of ``text[begin:end]``."""
    first = text.rfind("\n", 0, begin) + 1
    last = text.find("\n", end)
    last = len(text) if last < 0 else last
    line = text.count("\n", 0, first) + 1
    return Fault(file, line, kind, text[first:last], text[first:begin] + after + text[end:last])


def sources(root: Path = ROOT) -> list[Path]:
    """Return the files that faults are planted in; fastconv/kernels is a link to kernels/."""
    found = [path for room in ("fastconv", "kernels") for path in sorted((root / room).rglob("*"))]
    return [
        path
        for path in found
        if path.suffix in PYTHON + CUDA
        and root / "fastconv" / "kernels" not in path.parents
        and path.stem not in SPEED_FILES
    ]


def room_of(file: str) -> str:
    """Return the folder that a file counts for: fastconv/nn, kernels/cpu; fastconv for those at its top."""
    parts = Path(file).parts
    return "/".join(parts[: 1 if len(parts) == 2 else 2])


@functools.cache
def candidates(file: str, text: str) -> list[Fault]:
    """Return every fault that could be planted in a file."""
    from tests.plant import cuda, python

    return (python if file.endswith(PYTHON) else cuda).candidates(file, text)


def draw(texts: dict[str, str], count: int = COUNT, seed: int = SEED) -> list[Fault]:
    """Draw `count` faults: for each room in proportion to its lines, within it a line first, then one of its faults."""
    rng = random.Random(seed)
    faults: dict[str, dict[tuple[str, int], list[Fault]]] = defaultdict(lambda: defaultdict(list))
    lines: dict[str, int] = defaultdict(int)
    for file, text in sorted(texts.items()):
        lines[room_of(file)] += text.count("\n")
        for fault in candidates(file, text):
            faults[room_of(file)][file, fault.line].append(fault)
    drawn: list[Fault] = []
    for room, number in shares(lines, count).items():
        places = sorted(faults[room])
        chosen = rng.sample(places, min(number, len(places)))
        drawn += [_one_of_a_kind(rng, faults[room][place]) for place in chosen]
    return drawn


def _one_of_a_kind(rng: random.Random, faults: Iterable[Fault]) -> Fault:
    """Draw a kind first, so that a line full of constants is not all constants."""
    kinds: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        kinds[fault.kind].append(fault)
    return rng.choice(kinds[rng.choice(sorted(kinds))])


def shares(lines: dict[str, int], count: int) -> dict[str, int]:
    """Divide `count` in proportion to `lines`, by largest remainders."""
    total = sum(lines.values())
    exact = {room: count * number / total for room, number in sorted(lines.items())}
    found = {room: int(share) for room, share in exact.items()}
    by_remainder = sorted(exact, key=lambda room: (found[room] - exact[room], room))
    for room in by_remainder[: count - sum(found.values())]:
        found[room] += 1
    return found


def read_sources(*suffixes: str, root: Path = ROOT) -> dict[str, str]:
    """Return the texts of all sources, or of those with these suffixes, by their names from the root."""
    return {
        path.relative_to(root).as_posix(): path.read_text()
        for path in sources(root)
        if not suffixes or path.suffix in suffixes
    }
