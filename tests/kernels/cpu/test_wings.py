"""The wings of kernels/cpu: few doors at the top, and imports that go one way only."""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE, CUDA = "fastconv.kernels.cpu", "fastconv.kernels.cuda"
FOLDER = Path(__file__).parents[3] / "kernels" / "cpu"
FLOORS = (("runtime",), ("vector",), ("elementwise",), ("loss",), ("pool",), ("norm",), ("conv",))
BELOW = {wing: {*sum(FLOORS[:floor], ()), wing} for floor, wings in enumerate(FLOORS) for wing in wings}
MODULES = {".".join(path.relative_to(FOLDER).with_suffix("").parts): path for path in sorted(FOLDER.rglob("*.py"))}


def imports_of(source: str, module: str) -> set[str]:
    """Return the modules of this package that the source of one of them imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = f"{PACKAGE}.{module}".split(".")[: -node.level] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            inside = name.removeprefix(f"{PACKAGE}.") if name.startswith(f"{PACKAGE}.") else ""
            for candidate in (inside, inside.rpartition(".")[0]):  # a module, or what is defined in one
                if candidate in MODULES:
                    found.add(candidate)
                    break
            else:
                shared = name.startswith("fastconv.kernels.") and not name.startswith((PACKAGE, CUDA))
                assert shared or not name.startswith("fastconv"), f"{module} imports {name}"
    return found


@functools.cache
def every_import() -> dict[str, set[str]]:
    """Return the imports of each module."""
    return {module: imports_of(path.read_text(), module) for module, path in MODULES.items()}


def climbs(imports: Mapping[str, set[str]]) -> list[str]:
    """Return the imports that lead from a wing to one that is not below it."""
    wing = {module: module.partition(".")[0] for module in imports}
    return [
        f"{module} -> {other}"
        for module in imports
        for other in imports[module]
        if wing[other] not in BELOW[wing[module]]
    ]


def circles(imports: Mapping[str, set[str]], depth: int) -> list[str]:
    """Return a circle of imports between rooms: folders and files, not more than `depth` folders deep."""
    rooms: dict[str, set[str]] = {}
    for module, others in imports.items():
        room = ".".join(module.split(".")[:depth])
        rooms.setdefault(room, set()).update(".".join(other.split(".")[:depth]) for other in others)
        rooms[room].discard(room)
    try:
        TopologicalSorter(rooms).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_the_top_is_seen_at_a_glance() -> None:
    entries = {path.name for path in FOLDER.iterdir() if not path.name.startswith(("__pycache__", "."))}
    assert len(entries) <= 8
    assert entries == {"__init__.py", *BELOW}


def test_no_import_goes_back_up() -> None:
    assert not climbs({module: others for module, others in every_import().items() if module != "__init__"})
    assert every_import()["__init__"] == {"conv.algorithms"}  # names, so that reading TABLE compiles nothing
    assert not every_import()["conv.algorithms"]


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_no_circle_of_imports(depth: int) -> None:
    """Between wings, between the folders and files in them, between files."""
    assert len(MODULES) > 60
    assert not circles(every_import(), depth)


def test_what_is_forbidden_is_found() -> None:
    """An import in a function, of another form, counts as well."""
    source = "def f():\n    from ..conv import plan\n    import fastconv.kernels.cpu.norm.normalise\n"
    found = imports_of(source, "vector.simd")
    assert found == {"conv.plan", "norm.normalise"}
    broken = {
        **{module: others for module, others in every_import().items() if module != "__init__"},
        "vector.simd": found,
    }
    assert sorted(climbs(broken)) == ["vector.simd -> conv.plan", "vector.simd -> norm.normalise"]
    assert {"vector", "conv"} <= set(circles(broken, 1)) or {"vector", "norm"} <= set(circles(broken, 1))
    assert circles(broken, 4)
