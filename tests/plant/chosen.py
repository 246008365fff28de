"""Which tests should notice a fault in a file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.copied_tree import ROOT
from tests.plant.faults import CUDA

EVERYTHING = ("tests",)  # the default suite

# Whatever watches over sources rather than over what they compute notices any change, and shows nothing.
NOT_ASKED = ("test_lengths.py", "test_*planted.py", "test_packaging.py", "plant")

# What else asks for a room, if the tests of its own folder are silent.
_FURTHER = {
    "kernels/cpu": (
        ("tests/backends/test_ops.py", "tests/backends/test_norm_range.py", "tests/backends/test_sums.py"),
        ("tests/nn", "tests/training/test_captured.py"),
    ),
    "kernels": (("tests/optim", "tests/losses", "tests/test_functional.py", "tests/test_testing.py"),),
    "fastconv/backends": (("tests/backends/test_ops.py",),),
    "fastconv/nn": (("tests/models", "tests/training"),),
    "fastconv": (("tests/test_functional.py", "tests/test_testing.py", "tests/nn/layers/test_layers.py"),),
}
# What a kernel's path says of the operations that it computes. After a fault in kernels/cpu all kernels are compiled
# anew, so fewer operations are asked first.
_OPERATIONS = ("conv2d", "conv", "norm", "pool", "dropout", "softmax", "optimizer")


def stages(file: str, root: Path = ROOT) -> list[tuple[str, ...]]:
    """Return words for pytest in the order to be tried: tests of the file, of its room, and further ones."""
    path, room = Path(file), "/".join(Path(file).parts[:2])
    if path.suffix in CUDA:
        return _emulated(root, of_emulator="emulator" in path.parts)
    own = _paths(root, named(path, root))
    folder = _mirrored(path, root)
    whole = _top(root) if folder == root / "tests" else _paths(root, [folder])
    further = _FURTHER.get(room if (root / room).is_dir() else path.parts[0], ())
    if room == "kernels/cpu":
        whole, further = _of_operation(file), (whole, *further)
    if room == "kernels/cuda" or (room == "fastconv/backends" and path.parts[2] in ("cuda", "emulator")):
        further = (*further, *_emulated(root, of_emulator=False))
    return [words for words in dict.fromkeys((own, whole, *further)) if words]


def _of_operation(file: str) -> tuple[str, ...]:
    """Return the contract's cases of the operations that a kernel's path names, or nothing."""
    word = next((word for word in _OPERATIONS if word in file.removeprefix("kernels/cpu/")), None)
    asked = {"conv": "conv2d", "optimizer": "_step"}.get(word or "", word)
    return ("tests/backends/test_ops.py", "-k", f"matches and numba and float32 and {asked}") if asked else ()


def _mirrored(path: Path, root: Path) -> Path:
    """Return the folder of tests that mirrors a file's, or the nearest above that is there."""
    parts = path.parent.parts[1:] if path.parts[0] == "fastconv" else path.parent.parts
    folder = root.joinpath("tests", *parts)
    while not folder.is_dir():
        folder = folder.parent
    return folder


def named(path: Path, root: Path) -> list[Path]:
    """Return the test files that bear a file's name: the one in the mirrored place, else all of the same house."""
    stem = (path.parent.name if path.stem == "__init__" else path.stem).lstrip("_")
    mirrored = _mirrored(path, root) / f"test_{stem}.py"
    if mirrored.exists():
        return [mirrored]
    found = sorted((root / "tests").rglob(f"test_{stem}.py"))
    return [test for test in found if ("kernels" in test.parts) == (path.parts[0] == "kernels")]


def _emulated(root: Path, *, of_emulator: bool) -> list[tuple[str, ...]]:
    """Return the tests that run CUDA kernels on the emulator: one case of some operations first, every case last."""
    asking = [test for test in sorted((root / "tests" / "backends").rglob("test_*.py")) if _asks_emulator(test)]
    one_of_each = [test for test in asking if test.stem.endswith("ops")]
    own = [test for test in asking if test.stem == "test_emulator"] if of_emulator else []
    every = (*_paths(root, asking), "-m", "not gpu and not peer and not slow")
    own_words = (*_paths(root, own), "-m", "not gpu and not peer") if own else ()
    return [words for words in (own_words, _paths(root, one_of_each), every) if words]


def _asks_emulator(test: Path) -> bool:
    return "emulator_or_skip" in test.read_text() and not test.stem.endswith("planted")


def _paths(root: Path, found: Iterable[Path]) -> tuple[str, ...]:
    return tuple(path.relative_to(root).as_posix() for path in found)


def _top(root: Path) -> tuple[str, ...]:
    """Return the test files at the top of tests/, but for the run-book of the GPU."""
    found = sorted((root / "tests").glob("test_*.py"))
    return _paths(root, [test for test in found if "gpu" not in test.name and test.name not in NOT_ASKED])
