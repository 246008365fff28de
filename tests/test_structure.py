"""Imports run one way: no circle among the files or folders of a package, and none that goes back up the floors.

Read from the sources, so imports for type checkers and those inside of functions count too. Strings for `importlib` do
not: the registry of backends has such, so that none is imported before it is asked for. And no two types have one name,
and tests stand where what they test does.
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
    ("_nearest", "_within"),
    ("errors", "_starting"),
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


# Tests that ask for what no single file does, by what they ask.
OF_NO_FILE = {
    "what others computed": """
        losses/test_onnx_cases losses/test_peers models/test_published nn/layers/test_peers optim/schedules/test_peers
        optim/test_onnx_cases optim/test_peers test_onnx_cases test_outside_numbers test_outside_tables test_peer_cases
    """,
    "every operation of a backend": """
        backends/cuda/test_gpu backends/emulator/test_ops backends/reference/test_layer_operations
        backends/test_capture_parts backends/test_native backends/test_ops backends/test_trace kernels/cpu/test_table
        kernels/cuda/test_access kernels/cuda/test_shared_memory kernels/cuda/test_table kernels/cuda/test_two_ways
    """,
    "how exact several kernels are": """
        backends/cuda/test_fast backends/reference/test_epilogue backends/test_norm_range backends/test_sums
        kernels/cpu/conv/bf16/test_imitated kernels/cpu/conv/winograd/test_range metrics/test_independent
    """,
    "a choice, a training or a program as a whole": """
        backends/emulator/test_training cli/test_kills cli/test_looking kernels/cpu/conv/test_few_images
        kernels/cpu/runtime/test_user_kernels models/test_compiled models/test_learning parallel/test_restarts
        report/test_browser training/test_accumulate training/test_interrupts
    """,
    "the sources, the names or the pages": """
        docs/test_examples docs/test_methods kernels/cpu/test_wings test_lengths test_namespace test_packaging
        test_readme test_settings test_structure test_truth
    """,
}


def is_of_a_file(test: Path) -> bool:
    """Tell whether a test stands where its file or package does, under its name or one that goes on behind it.

    Tests of a package may lie within, under its name; those of what only tests use, beside it.
    """
    rooms = test.parent.relative_to(ROOT / "tests").parts
    home = ROOT.joinpath(*rooms if rooms[:1] in (("kernels",), ("benchmarks",), ("docs",)) else ("fastconv", *rooms))
    words = test.stem.removeprefix("test_").split("_")
    names = ["_".join(words[:count]) for count in range(1, len(words) + 1)]
    places = [folder / f"{private}{name}" for folder in (home, test.parent) for private in ("", "_") for name in names]
    return names[-1] == home.name or any(p.is_dir() or p.with_suffix(".py").exists() for p in places)


def test_a_test_finds_its_file_by_its_name() -> None:
    found = {test for test in (ROOT / "tests").rglob("test_*.py") if not is_of_a_file(test)}
    told = [ROOT / "tests" / f"{name}.py" for names in OF_NO_FILE.values() for name in names.split()]
    assert sorted(found) == sorted(told)


def test_a_misplaced_test_is_noticed() -> None:
    right = (
        "training/test_step",
        "nn/model/test_model_copies",
        "nn/layers/test_layers",
        "kernels/cuda/conv/test_choice",
    )
    wrong = ("test_step", "kernels/cuda/test_choice", "training/test_stepped", "test_layers")
    for names, expected in ((right, True), (wrong, False)):
        assert [is_of_a_file(ROOT / "tests" / f"{name}.py") for name in names] == [expected] * 4
