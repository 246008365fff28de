"""Imports run one way: no circle among the files or folders of a package, and none that goes back up the floors.

Read from the sources, so imports for type checkers and those inside of functions count too. Strings for `importlib` do
not: the registry of backends has such, so that none is imported before it is asked for. And no two types have one name.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import fastconv as fc

ROOT = Path(__file__).resolve().parents[1]

# From the ground up: what stands higher may import what stands lower, never the other way, and not across a floor.
FLOORS = (
    ("kernels",),
    ("errors",),
    ("_calls", "_elsewhere"),
    ("_shapes", "_attributes", "_docstrings", "_files", "_html", "_console"),
    ("backends",),
    ("_validate", "algorithm", "precision", "random"),
    ("functional", "_activations", "_conv_transpose", "_convolution", "_dense", "_pooling"),
    ("nn",),
    ("losses", "metrics", "optim", "data", "models"),
    ("parallel",),
    ("plot",),
    ("training",),
    ("report",),
    ("testing", "_gradcheck", "_explain"),
    ("",),  # fastconv/__init__.py, which collects the public names
    ("cli",),
    ("__main__",),
)
# Files that are one room in several parts.
_TOGETHER = (
    {"functional", "_activations", "_conv_transpose", "_convolution", "_dense", "_pooling"},
    {"testing", "_gradcheck"},
)

# What reaches kernels without a backend between. What no longer does must go from here.
REACHES_OVER_THE_CONTRACT = {"fastconv.cli.warmup"}


@cache
def modules() -> dict[str, Path]:
    """Every module of the package, by its name when installed."""
    found = {}
    for folder, prefix in (("fastconv", ()), ("kernels", ("fastconv",))):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = (*prefix, *path.relative_to(ROOT).with_suffix("").parts)
            if folder == "fastconv" and parts[1] == "kernels":
                continue  # a link to kernels/
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def named(module: str) -> frozenset[str]:
    """What the import statements of a module name: modules, or names in modules."""
    names = set()
    path = modules()[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            names |= {".".join([*above, *filter(None, [node.module]), alias.name]) for alias in node.names}
    return frozenset(names)


@cache
def imports() -> dict[str, frozenset[str]]:
    """For each module those of ours that it imports."""
    ours = modules()
    arrows = {}
    for module in ours:
        found = {name if name in ours else name.rpartition(".")[0] for name in named(module)}
        arrows[module] = frozenset((found & ours.keys()) - {module})
    return arrows


def members(package: str, arrows: dict[str, frozenset[str]]) -> dict[str, set[str]]:
    """The arrows between what lies in a package: its files and folders, and "" for its own ``__init__``."""

    def member(module: str) -> str | None:
        inside = module == package or module.startswith(f"{package}.")
        return module.removeprefix(package).split(".")[:2][-1] if inside else None

    found: dict[str, set[str]] = defaultdict(set)
    for module, targets in arrows.items():
        here = member(module)
        if here is not None:
            found[here] |= {there for target in targets if (there := member(target)) is not None and there != here}
    return found


def in_circles(arrows: dict[str, set[str]]) -> set[str]:
    """Those from which a way leads back to themselves."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            new = arrows.get(ahead.pop(), set()) - seen
            seen |= new
            ahead += new
        return seen

    return {name for name in arrows if name in reached(name)}


def packages() -> list[str]:
    return [module for module, path in modules().items() if path.name == "__init__.py"]


def test_no_circles() -> None:
    found = {package: in_circles(members(package, imports())) for package in packages()}
    assert not {package: names for package, names in found.items() if names}


def test_every_room_stands_on_one_floor() -> None:
    rooms = [room for floor in FLOORS for room in floor]
    assert sorted(rooms) == sorted(set(members("fastconv", imports())))


def test_no_import_goes_back_up_or_across() -> None:
    floor_of = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    wrong = {
        (here, there)
        for here, targets in members("fastconv", imports()).items()
        for there in targets
        if floor_of[there] >= floor_of[here] and not any({here, there} <= rooms for rooms in _TOGETHER)
    }
    assert not wrong


def test_backends_meet_in_the_contract_alone() -> None:
    arrows = members("fastconv.backends", imports())
    assert arrows["contract"] | arrows["memory"] == set()
    assert arrows[""] == {"contract"}  # the registry, which knows backends by name only
    for backend in ("reference", "cpu", "cuda"):
        assert arrows[backend] <= {"contract", "memory"}, backend
    assert arrows["emulator"] <= {"", "contract", "memory", "cuda"}


def test_kernels_are_called_by_backends() -> None:
    callers = {
        module
        for module, targets in imports().items()
        if not module.startswith(("fastconv.kernels", "fastconv.backends."))
        and any(target.startswith(("fastconv.kernels.cpu", "fastconv.kernels.cuda")) for target in targets)
    }
    assert callers == REACHES_OVER_THE_CONTRACT


def test_what_all_kernels_share_needs_neither_numba_nor_cupy() -> None:
    """Nor do the CUDA kernels: devices are given to them."""
    for module in modules():
        if module.startswith("fastconv.kernels") and not module.startswith("fastconv.kernels.cpu"):
            tops = {name.partition(".")[0] for name in named(module)}
            assert not tops & {"numba", "llvmlite", "cupy"}, module


# Public names of two rooms, each of which says which is meant: renamed, they would break programs that use them.
PUBLIC_TWICE = {
    "MeanAbsoluteError": ("losses", "metrics"),  # as in Keras
    "Report": ("report", "testing"),
}


def types_of(text: str) -> Iterator[str]:
    """Yield the classes of a module, within functions too, and the names that it gives to types."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign) and not isinstance(node.value, ast.Call):  # which makes a type variable
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            yield from (name for name in names if re.fullmatch(r"_*[A-Z]\w*[a-z]\w*", name))


def test_no_two_types_have_one_name() -> None:
    places = defaultdict(list)
    for module, path in modules().items():
        for name in types_of(path.read_text()):
            places[name].append(module)
    assert len(places) > 500
    assert {name: found for name, found in places.items() if len(found) > 1 and name not in PUBLIC_TWICE} == {}
    for name, rooms in PUBLIC_TWICE.items():
        assert len(places[name]) == 2
        assert getattr(getattr(fc, rooms[0]), name) is not getattr(getattr(fc, rooms[1]), name)


def test_names_of_types_are_found() -> None:
    text = "Shape = tuple[int, ...]\n_T = TypeVar('_T')\nLIMIT = 3\ndef f():\n    class _Kept: ...\n    x = 1\n"
    assert list(types_of(text)) == ["Shape", "_Kept"]


def test_a_circle_is_noticed_between_files_and_between_folders() -> None:
    nothing: frozenset[str] = frozenset()
    files = {"p": frozenset({"p.a"}), "p.a": frozenset({"p.b"}), "p.b": frozenset({"p.a"}), "p.c": frozenset({"p.a"})}
    assert in_circles(members("p", files)) == {"a", "b"}
    folders = {"p.a.x": frozenset({"p.b.x"}), "p.b.y": frozenset({"p.a.y"}), "p.a.y": nothing, "p.b.x": nothing}
    assert in_circles(members("p", folders)) == {"a", "b"}
    assert in_circles(members("p.a", folders)) == set()
    assert in_circles(members("p", files | {"p.b": nothing})) == set()
