"""Functions and files stay short enough to be read at once.

A function is counted from its `def` to its end, comments and functions within it too, without its docstring; parameters
are the positional ones without `self` or `cls`, and for a launched kernel without `begin` and `end`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LINES = 60
PARAMETERS = 8
KERNEL_PARAMETERS = 10  # beside begin and end
FILE_LINES = 400
BACKEND_FILE_LINES = 350
SOURCES = (".py", ".cu", ".cuh", ".h", ".cpp")


@dataclass(frozen=True)
class Function:
    name: str
    lines: int
    parameters: int
    launched: bool

    @property
    def has_too_many_parameters(self) -> bool:
        return self.parameters > (KERNEL_PARAMETERS if self.launched else PARAMETERS)


def files(*suffixes: str) -> list[Path]:
    """Return the sources of fastconv/ and kernels/; fastconv/kernels is a link to the latter."""
    found = [path for room in ("fastconv", "kernels") for path in sorted((ROOT / room).rglob("*"))]
    inside = [path for path in found if (ROOT / "fastconv" / "kernels") not in path.parents]
    return [path for path in inside if path.suffix in suffixes and path.is_file()]


def functions(text: str) -> Iterator[Function]:
    """Yield every function of a module, those within others too."""
    tree = ast.parse(text)
    launched = {
        argument.id
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "kernel"
        for argument in call.args
        if isinstance(argument, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield _measured(node, launched)


def _measured(node: ast.FunctionDef | ast.AsyncFunctionDef, launched: set[str]) -> Function:
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    decorators = {getattr(decorator, "id", "") for decorator in node.decorator_list}
    is_kernel = names[:2] == ["begin", "end"] and ("kernel" in decorators or node.name in launched)
    taken = 2 if is_kernel else names[:1] in (["self"], ["cls"])
    lines = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node) is not None:
        lines -= node.body[0].end_lineno - node.body[0].lineno + 1
    return Function(node.name, lines, len(names) - taken, is_kernel)


@pytest.fixture(scope="module")
def all_functions() -> list[Function]:
    return [function for path in files(".py") for function in functions(path.read_text())]


def test_sources_are_found(all_functions: list[Function]) -> None:
    assert len(files(*SOURCES)) > 150
    assert len(all_functions) > 1000
    assert sum(function.launched for function in all_functions) > 30


def test_no_function_is_longer_than_a_page(all_functions: list[Function]) -> None:
    assert [f.name for f in all_functions if f.lines > LINES] == []


def test_no_function_takes_too_many_parameters(all_functions: list[Function]) -> None:
    assert [f.name for f in all_functions if f.has_too_many_parameters] == []


def test_no_file_is_too_long() -> None:
    def limit(path: Path) -> int:
        return BACKEND_FILE_LINES if (ROOT / "fastconv" / "backends") in path.parents else FILE_LINES

    assert [path.name for path in files(*SOURCES) if len(path.read_text().splitlines()) > limit(path)] == []


def test_what_is_counted() -> None:
    text = '''
@device
def helper(begin, end, a):
    """Two

    lines."""
    # a comment
    return a

class C:
    def method(self, a, /, b, *c, d=1, **e): ...

def make():
    def inner(begin, end, scratch, a): ...
    return kernel(inner)

@kernel
def launched(begin, end, a, b): ...
'''
    found = {f.name: (f.lines, f.parameters, f.launched) for f in functions(text)}
    assert found == {
        "helper": (3, 3, False),
        "method": (1, 2, False),
        "make": (3, 0, False),
        "inner": (1, 2, True),
        "launched": (1, 2, True),
    }
