"""The catalogue in kernels/README.md: ``python -m docs.catalogue``.

Made from the TABLEs of `fastconv.kernels.cpu` and `fastconv.kernels.cuda`, which name the kernels of each operation,
and from what every file of kernels says of itself in its first line.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

from docs.marked import ROOT, replace
from fastconv.kernels import cpu, cuda

KERNELS = ROOT / "kernels"
PAGE = KERNELS / "README.md"


def first_line(path: Path) -> str:
    """Return what a file says of itself: the first line of a module's docstring, the first sentence of a source."""
    text = path.read_text()
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0].rstrip(".")
    comment = re.match(r"(?://[^\n]*\n)*", text)[0]
    words = " ".join(line.removeprefix("//").strip() for line in comment.splitlines())
    return re.split(r"\.(?= |$)", words, maxsplit=1)[0]


def by_file(table: dict[str, tuple[str, ...]], folder: Path) -> dict[Path, list[str]]:
    """Return the kernels of each source file, in the order of the names."""
    sources = {path.stem: path for path in folder.glob("*/*.cu")}
    found: dict[Path, set[str]] = defaultdict(set)
    for name in {name for names in table.values() for name in names}:
        module, _, kernel = name.rpartition(".")
        path = sources.get(module) or folder.joinpath(*module.split(".")).with_suffix(".py")
        found[path].add(kernel)
    return {path: sorted(kernels) for path, kernels in found.items()}


def _kernels(names: tuple[str, ...]) -> list[str]:
    return [name.rpartition(".")[2] for name in names]


def _quoted(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def files(table: dict[str, tuple[str, ...]], folder: Path) -> str:
    """Return the table of a folder's files, those of a wing together: what each holds, and its kernels."""
    kernels = by_file(table, folder)
    rows = ["| file | what it holds | kernels |", "|---|---|---|"]
    paths = (path for path in folder.rglob("*") if path.suffix in (".py", ".cu", ".cuh") and path.name != "__init__.py")
    for path in sorted(paths, key=lambda path: (path.parent, path.name)):
        name = path.relative_to(folder).as_posix()
        says = first_line(path).replace("|", r"\|")
        rows.append(f"| [{name}]({folder.name}/{name}) | {says} | {_quoted(kernels.get(path, []))} |")
    return "\n".join(rows)


def operations() -> str:
    """Return the table of the contract's operations: the kernels of each on the CPU and in CUDA."""
    rows = ["| operation | on the CPU | in CUDA |", "|---|---|---|"]
    for operation in cpu.TABLE | cuda.TABLE:
        here, there = (_quoted(_kernels(table.get(operation, ()))) for table in (cpu.TABLE, cuda.TABLE))
        rows.append(f"| `{operation}` | {here} | {there or 'of its parts'} |")
    return "\n".join(rows)


def catalogue() -> str:
    """Return the text of the catalogue."""
    parts = (
        ("Operations", operations()),
        ("Files of `cpu/`", files(cpu.TABLE, KERNELS / "cpu")),
        ("Files of `cuda/`", files(cuda.TABLE, KERNELS / "cuda")),
    )
    return "\n\n".join(f"### {title}\n\n{text}" for title, text in parts)


def main() -> None:
    """Write the catalogue into its page."""
    replace(PAGE, "catalogue", catalogue())


if __name__ == "__main__":
    main()
