"""The machine code of a kernel: its loops, and how many instructions a warp takes. Needs `nvdisasm`.

`nvdisasm` comes with the package `nvidia-cuda-nvdisasm`. Loops are found by branches that go back; how much of the code
a warp takes on its way is the way through the branches that go forward on which most of some instruction lies (matrix
products, copies to shared memory, stores of two numbers), and of those the shortest. So the ways of kernels for results
that are not finite, arrays off their boundaries, and a bias or addend that is not there are left out.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_SECTION = re.compile(r"^\.text\.(\w+):")
_LABEL = re.compile(r"^\.(L_x_\d+):")
_INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]+\*/\s+(@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)\b(.*?);?\s*$")
_TARGET = re.compile(r"`\(\.(L_x_\d+)\)")
_CONDITION = re.compile(r"^\s*!?U?P\d")  # a second condition, of a branch
_BARRIER = re.compile(r"\bB\d+\b")
_WIDTH = re.compile(r"\.(?:U8|S8|U16|S16|64|128)(?=\.|$)")

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
_GLOBAL = ("LDG.", "STG.", "LDGSTS.")
_COPY = "LDGSTS.E.BYPASS.128"


class DisassemblerError(RuntimeError):
    """nvdisasm is not installed, or its text is not what is expected."""


@dataclass(frozen=True)
class Instruction:
    """One instruction: its name, whether a predicate guards it, and where a branch goes."""

    name: str
    guarded: bool
    target: int | None = None


@dataclass(frozen=True)
class Code:
    """The machine code of one kernel.

    Attributes
    ----------
    instructions : in order
    loops : of each the first instruction and the one behind its last; outer ones before those inside of them
    """

    instructions: tuple[Instruction, ...]
    loops: tuple[tuple[int, int], ...]

    @property
    def names(self) -> list[str]:
        """Names of the instructions."""
        return [instruction.name for instruction in self.instructions]


@dataclass(frozen=True)
class Loop:
    """The main loop of a kernel with matrix products, and what lies around it.

    Attributes
    ----------
    instructions : int
        Of one turn, without the loops inside of it, every branch counted as taken.
    inner : int
        Of one turn of each loop inside of it.
    classes : dict
        How many of `instructions` are of each of CLASSES, and "other".
    code : int
        Instructions of the whole kernel.
    turn : int
        Of one turn as a warp takes it, without the loops inside of it; of a kernel without a loop, none.
    before, behind : int
        That a warp takes before the loop and behind it, other loops taken once; without a main loop, all is before.
    copy : int
        That one copy of a warp to shared memory takes in the loops that do nothing else; 0 without such loops.
    """

    instructions: int
    inner: int
    classes: dict[str, int]
    code: int
    turn: int
    before: int
    behind: int
    copy: int


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
        run = subprocess.run([str(tool), "-c", file.name], capture_output=True, text=True, check=True)
    return run.stdout


def class_of(name: str) -> str:
    """Return the class of an instruction."""
    return next((known for known, starts in CLASSES.items() if name.startswith(starts)), "other")


# Reading


def parse(text: str, kernel: str) -> Code:
    """Return the code of `kernel` in nvdisasm's text.

    Raises
    ------
    DisassemblerError
        The text has no such kernel.
    """
    found: list[tuple[str, bool, str | None]] = []
    labels: dict[str, int] = {}
    joins: dict[str, str] = {}
    mine = False
    for line in text.splitlines():
        if section := _SECTION.match(line):
            mine = section[1] == kernel
        elif mine and (label := _LABEL.match(line)):
            labels[label[1]] = len(found)
        elif mine and (read := _INSTRUCTION.match(line)):
            found.append(_read(read, joins))
    if not found:
        raise DisassemblerError(f"no code of {kernel}")
    code = tuple(Instruction(name, guarded, labels.get(target or "")) for name, guarded, target in found)
    back = {(i.target, at + 1) for at, i in enumerate(code) if i.name.startswith("BRA") and (i.target or at + 1) <= at}
    loops = [(begin or 0, end) for begin, end in back if end - (begin or 0) > 1]  # of one: padding behind the last
    return Code(code, tuple(sorted(loops)))


def _read(line: re.Match[str], joins: dict[str, str]) -> tuple[str, bool, str | None]:
    """Return name, guard and target of an instruction. All threads meet at BSYNC and go on where BSSY said."""
    guard, name, operands = line[1], line[2], line[3]
    target, barrier = _TARGET.search(operands), _BARRIER.search(operands)
    if name == "BSSY" and target and barrier:
        joins[barrier[0]] = target[1]
        return name, True, None
    if name == "BSYNC" and barrier:
        return name, False, joins.get(barrier[0])
    conditional = bool(guard) or bool(_CONDITION.match(operands))
    return name, conditional, target[1] if target and name.startswith("BRA") else None


# Ways


def taken(code: Code, begin: int, stop: int | None, wanted: Callable[[str], bool], free: Iterable[int] = ()) -> int:
    """Return how many instructions a warp takes from `begin` to `stop`, or to the end of the kernel.

    Of the ways forward that which has most of what is `wanted`, and of those the shortest; `free` ones do not count.
    """
    unpaid, last = frozenset(free), len(code.instructions) if stop is None else stop
    ways: dict[int, tuple[int, int]] = {last: (0, 0)} if stop is not None else {}
    for at in range(last - 1, begin - 1, -1):
        one = code.instructions[at]
        following = [ways[i] for i in _following(one, at) if i in ways and i > at]
        if one.name.startswith("EXIT") and stop is None:
            following.append((0, 0))
        if following:
            most, cost = max(following)
            ways[at] = (most + (wanted(one.name) and at not in unpaid), cost - (at not in unpaid))
    if begin not in ways:
        raise DisassemblerError(f"no way from instruction {begin} to {stop or 'the end'}")
    return -ways[begin][1]


def _following(one: Instruction, at: int) -> list[int]:
    jumps = one.name.startswith(("BRA", "BSYNC")) and one.target is not None
    ends = one.name.startswith(("EXIT", "RET")) or jumps
    return ([one.target] if jumps and one.target is not None else []) + ([at + 1] if one.guarded or not ends else [])


def main_loop(text: str, kernel: str) -> Loop:
    """Return the main loop of a kernel's machine code: of the loops with most matrix products the shortest.

    A loop of one turn is none in machine code: then it is the whole kernel.

    Raises
    ------
    DisassemblerError
        There is no matrix product.
    """
    code = parse(text, kernel)
    names, size = code.names, len(code.names)
    if not any(map(_is_product, names)):
        raise DisassemblerError("no matrix products")
    products = {loop: sum(map(_is_product, names[slice(*loop)])) for loop in [*code.loops, (0, size)]}
    in_loops = max((products[loop] for loop in code.loops), default=0)
    most = in_loops or products[0, size]
    begin, end = min((loop for loop in products if products[loop] == most), key=lambda loop: loop[1] - loop[0])
    within = _inside(code, begin, end)
    own = [names[i] for i in range(begin, end) if i not in within]
    classes = dict(Counter(map(class_of, own)))
    copies = _COPY if _COPY in own else "LDGSTS"
    if not in_loops:
        ends = taken(code, 0, None, lambda name: _is_product(name) or _is_wide_store(name))
        return Loop(len(own), len(within), classes, size, 0, ends, 0, _copying(code))
    turn = taken(code, begin, end, lambda name: _is_product(name) or name.startswith(copies), within)
    before = taken(code, 0, begin, lambda name: name.startswith(_COPY))
    behind = taken(code, end, None, _is_wide_store)
    return Loop(len(own), len(within), classes, size, turn, before, behind, _copying(code))


def _is_product(name: str) -> bool:
    return name.startswith("HMMA")


def _is_wide_store(name: str) -> bool:
    return name.startswith("STG") and name.endswith((".64", ".128"))


def _inside(code: Code, begin: int, end: int) -> set[int]:
    inner = [loop for loop in code.loops if begin <= loop[0] and loop[1] <= end and loop != (begin, end)]
    return {i for loop in inner for i in range(*loop)}


def _copying(code: Code) -> int:
    """Return the instructions of one copy of 16 bytes a lane, in the loops without products."""
    names, found = code.names, []
    for begin, end in code.loops:
        within = _inside(code, begin, end)
        copies = sum(names[i].startswith(_COPY) for i in range(begin, end) if i not in within)
        if copies and not any(map(_is_product, names[begin:end])):
            found.append(taken(code, begin, end, lambda name: name.startswith(_COPY), within) / copies)
    return round(min(found, default=0))


def instructions_a_byte(text: str, kernel: str) -> float:
    """Return how many instructions a warp takes for each byte that it moves, in the loop that takes the fewest.

    For kernels that read and write arrays once: every branch of the loop counts as taken, and predicated accesses too.

    Raises
    ------
    DisassemblerError
        No loop accesses global memory, nor does the kernel outside of loops.
    """
    code = parse(text, kernel)
    rates = []
    for begin, end in code.loops or ((0, len(code.instructions)),):
        within = _inside(code, begin, end)
        own = [code.instructions[i].name for i in range(begin, end) if i not in within]
        moved = sum(32 * _bytes(name) for name in own if name.startswith(_GLOBAL))
        if moved:
            rates.append(len(own) / moved)
    if not rates:
        raise DisassemblerError(f"{kernel} accesses no memory in its loops")
    return min(rates)


def _bytes(name: str) -> int:
    widths: Sequence[str] = _WIDTH.findall(name)
    return {".U8": 1, ".S8": 1, ".U16": 2, ".S16": 2, ".64": 8, ".128": 16}.get(widths[-1] if widths else "", 4)
