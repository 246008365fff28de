"""The machine code of a kernel: what its main loop is made of. Needs `nvdisasm`, from `nvidia-cuda-nvdisasm`."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

_LABEL = re.compile(r"^\.(L_x_\d+):")
_INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)\b(.*?);?\s*$")
_TARGET = re.compile(r"`\(\.(L_x_\d+)\)")

# The first that an instruction's name begins with; what none fits is "other": integers, addresses, predicates, moves.
CLASSES = {
    "mma": ("HMMA",),
    "wait": ("BAR", "LDGDEPBAR", "DEPBAR", "WARPSYNC", "BSYNC", "BSSY"),
    "ldsm": ("LDSM",),
    "lds": ("LDS",),
    "sts": ("STS",),
    "cp.async": ("LDGSTS",),
    "global": ("LDG", "STG", "LD.", "ST."),
    "local": ("LDL", "STL"),
    "branch": ("BRA", "EXIT", "CALL", "RET"),
}


class DisassemblerError(RuntimeError):
    """nvdisasm is not installed, or its text is not what is expected."""


@dataclass(frozen=True)
class Loop:
    """The main loop of a kernel.

    Attributes
    ----------
    instructions : int
        Of one turn, without the loops inside of it, every branch counted as taken.
    inner : int
        Of one turn of each loop inside of it.
    classes : dict
        How many of `instructions` are of each of CLASSES, and "other".
    """

    instructions: int
    inner: int
    classes: dict[str, int]


def disassembler() -> Path | None:
    """Return where nvdisasm lies, or None if the package is not installed."""
    spec = importlib.util.find_spec("nvidia") if importlib.util.find_spec("nvidia") else None
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    return next((path for folder in folders for path in sorted(folder.glob("*/bin/nvdisasm"))), None)


def disassemble(cubin: bytes) -> str:
    """Return the machine code of a cubin as text."""
    tool = disassembler()
    if tool is None:
        raise DisassemblerError("nvdisasm is not installed: pip install -e '.[gate]'")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        run = subprocess.run([str(tool), "-c", file.name], capture_output=True, text=True, check=True)  # noqa: S603
    return run.stdout


def main_loop(text: str) -> Loop:
    """Return the main loop of a kernel's machine code: of the loops with most matrix products the shortest.

    A loop of one turn is none in machine code: then it is the whole kernel.

    Raises
    ------
    DisassemblerError
        There is no matrix product.
    """
    names, loops = _parse(text)
    if not any(name.startswith("HMMA") for name in names):
        raise DisassemblerError("no matrix products")
    loops = [*loops, (0, len(names))]
    products = {loop: sum(name.startswith("HMMA") for name in names[slice(*loop)]) for loop in loops}
    in_loops = max((products[loop] for loop in loops[:-1]), default=0)
    most = in_loops or products[loops[-1]]
    begin, end = min((loop for loop in loops if products[loop] == most), key=lambda loop: loop[1] - loop[0])
    inside = [loop for loop in loops if begin <= loop[0] and loop[1] <= end and loop != (begin, end)]
    within = {i for loop in inside for i in range(*loop)}
    own = [names[i] for i in range(begin, end) if i not in within]
    return Loop(len(own), len(within), dict(Counter(map(class_of, own))))


def class_of(name: str) -> str:
    """Return the class of an instruction."""
    return next((known for known, starts in CLASSES.items() if name.startswith(starts)), "other")


def _parse(text: str) -> tuple[list[str], list[tuple[int, int]]]:
    """Return the instructions in order, and each loop as the first of them and the one behind its last."""
    names: list[str] = []
    labels: dict[str, int] = {}
    branches: list[tuple[int, str]] = []
    for line in text.splitlines():
        if label := _LABEL.match(line):
            labels[label[1]] = len(names)
        elif found := _INSTRUCTION.match(line):
            if found[1].startswith("BRA") and (target := _TARGET.search(found[2])):
                branches.append((len(names), target[1]))
            names.append(found[1])
    back = {(labels[target], at + 1) for at, target in branches if labels.get(target, at + 1) <= at}
    endless = {(begin, end) for begin, end in back if end - begin == 1}  # behind the last instruction: padding
    return names, sorted(back - endless)
