"""A copy of the checkout to change and to run tests in, so that the checkout itself is never touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def copy_of_tree(root: Path = ROOT) -> Iterator[Path]:
    """Copy the sources, links as links, and see to it that code is taken from there."""
    with tempfile.TemporaryDirectory(prefix="copied-") as folder:
        copy = Path(folder) / "tree"
        for name in _names(root):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, copy / name, follow_symlinks=False)
        _check_place(copy)
        yield copy


def environment(copy: Path) -> dict[str, str]:
    """Return the variables with which Python takes its code from the copy."""
    return {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}


def pytest_command(*words: str) -> list[str]:
    """Return the command that runs tests in the copy, and leaves nothing there."""
    return [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *words]


def _names(root: Path) -> list[str]:
    """Return the files and links that git knows or would add; all of a tree without git, which is a copy itself."""
    if not (root / ".git").exists():
        found = [path for path in root.rglob("*") if path.is_symlink() or path.is_file()]
        return [path.relative_to(root).as_posix() for path in found if "__pycache__" not in path.parts]
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and os.path.lexists(root / name)]


def _check_place(copy: Path) -> None:
    code = "import fastconv, fastconv.kernels as k; print(fastconv.__file__, k.__file__, sep='\\n')"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=copy, env=environment(copy), capture_output=True, text=True, check=True)
    if not all(Path(line).resolve().is_relative_to(copy.resolve()) for line in done.stdout.split()):
        raise RuntimeError(f"other code than the copy's is imported: {done.stdout}")
