"""Which tests should notice a fault in a file."""

from __future__ import annotations

from pathlib import Path

from tests.copied_tree import ROOT
from tests.plant.faults import CUDA

EVERYTHING = ("tests",)  # the default suite

# Whatever watches over sources rather than over what they compute notices any change, and shows nothing.
NOT_ASKED = ("test_lengths.py", "test_cuda_emulator_planted.py", "test_packaging.py", "plant")

_EMULATED = (
    "tests/backends/test_cuda_emulator_ops.py",
    "tests/backends/test_cuda_fast.py",
    "tests/backends/test_emulator.py",
)
_ALL_EMULATED = (*_EMULATED, "-m", "not gpu and not peer and not slow")
# What else asks for a room, if the tests of its own folder are silent.
_FURTHER = {
    "kernels/cpu": (("tests/backends/test_ops.py",), ("tests/nn", "tests/training/test_captured.py")),
    "kernels/cuda": (_ALL_EMULATED,),
    "fastconv/backends": (("tests/backends/test_ops.py",), _EMULATED),
    "fastconv/nn": (("tests/models", "tests/training"),),
    "fastconv": (("tests/test_functional.py", "tests/test_testing.py", "tests/nn/test_layers.py"),),
}


def stages(file: str, root: Path = ROOT) -> list[tuple[str, ...]]:
    """Return words for pytest in the order to be tried: tests of the file, of its room, and further ones."""
    path, room = Path(file), "/".join(Path(file).parts[:2])
    room = room if (root / room).is_dir() else "fastconv"
    if path.suffix in CUDA:
        emulator = "fastconv/backends/emulator" in file
        first = ("tests/backends/test_emulator.py",) if emulator else _EMULATED[:1]
        return [first, *([_EMULATED] if emulator else []), _ALL_EMULATED]
    own = tuple(named(path, root))
    folder = Path("tests", *path.parent.parts[1 if path.parts[0] == "fastconv" else 0 :])
    while not (root / folder).is_dir() or folder.parts[-1] == "tests":
        if folder.parts[-1] == "tests":
            break
        folder = folder.parent
    whole = (folder.as_posix(),) if folder != Path("tests") else _top(root)
    return [words for words in dict.fromkeys((own, whole, *_FURTHER.get(room, ()))) if words]


def named(path: Path, root: Path) -> list[str]:
    """Return the test files that bear a file's name: tests/**/test_max_pool.py for kernels/cpu/max_pool.py."""
    stem = (path.parent.name if path.stem == "__init__" else path.stem).lstrip("_")
    found = sorted((root / "tests").rglob(f"test_{stem}.py"))
    if path.parts[0] == "kernels":
        near = [test for test in found if "kernels" in test.parts]
    else:
        near = [test for test in found if "kernels" not in test.parts]
    return [test.relative_to(root).as_posix() for test in near]


def _top(root: Path) -> tuple[str, ...]:
    """Return the test files at the top of tests/, but for the run-book of the GPU."""
    found = sorted((root / "tests").glob("test_*.py"))
    return tuple(f"tests/{test.name}" for test in found if "gpu" not in test.name and test.name not in NOT_ASKED)
