"""Functions and files stay short enough to be read at once.

A function is counted from its `def` to its end, comments and functions within it too, without its docstring; parameters
are the positional ones without `self` or `cls`, and for a launched kernel without `begin` and `end`. In CUDA and C++ a
function is counted from its name to its closing brace, comments too, with all of its parameters.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LINES = 60
PARAMETERS = 8
KERNEL_PARAMETERS = 10  # beside begin and end
# The most of CUDA, which may only shrink: whoever mends one writes the new number here and in CONTRIBUTING.
CUDA_KERNEL_PARAMETERS = 21
CUDA_PARAMETERS = 13  # of what kernels call
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


# A comment or a string; what may be the name of a function; and what stands between its parameters and its body.
_UNREAD = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)
_NAME = re.compile(r"\b(?!(?:if|constexpr|for|while|switch)\b)(operator\W+?|[\w#]+)\s*\(")
_BODY = re.compile(r"(?:const\b|noexcept\b|[\s\\])*(?::[^;{}?]*)?\{")


def functions_of_cuda(text: str) -> Iterator[Function]:
    """Yield every function with a body of a file in CUDA or C++, those that macros make too."""
    text = _UNREAD.sub(lambda unread: re.sub(r"[^\n]", " ", unread[0]), text)
    for name in _NAME.finditer(text):
        behind = _closing(text, name.end() - 1, "()")
        body = _BODY.match(text, behind + 1)
        if body is not None:
            lines = text.count("\n", name.start(), _closing(text, body.end() - 1, "{}")) + 1
            before = re.split(r"[;{}]", text[: name.start()])[-1]
            yield Function(name[1], lines, _count(text[name.end() : behind]), "__global__" in before)


def _closing(text: str, at: int, pair: str) -> int:
    """Return where the bracket that opens at a place is closed, or the end of the text."""
    depth = 0
    for bracket in re.compile(f"[{re.escape(pair)}]").finditer(text, at):
        depth += 1 if bracket[0] == pair[0] else -1
        if depth == 0:
            return bracket.start()
    return len(text)


def _count(parameters: str) -> int:
    """Count parameters, whose own types may have commas within brackets."""
    while (plain := re.sub(r"[<({][^<>(){}]*[>)}]", "", parameters)) != parameters:
        parameters = plain
    return parameters.count(",") + 1 if parameters.strip() else 0


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


def test_cuda_grows_no_wider_and_fits_a_page() -> None:
    found = [function for path in files(".cu", ".cuh") for function in functions_of_cuda(path.read_text())]
    kernels = [f for f in found if f.launched]
    others = [f for f in found if not f.launched]
    assert len(kernels) == sum(path.read_text().count("__global__") for path in files(".cu", ".cuh"))
    assert max(f.parameters for f in kernels) == CUDA_KERNEL_PARAMETERS
    assert max(f.parameters for f in others) == CUDA_PARAMETERS
    assert [f.name for f in found if f.lines > LINES] == []


def test_the_emulator_is_as_short_as_python() -> None:
    found = [function for path in files(".cpp", ".h") for function in functions_of_cuda(path.read_text())]
    assert len(found) > 100
    assert [f.name for f in found if f.lines > LINES or f.parameters > PARAMETERS] == []


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


def test_what_is_counted_of_cuda() -> None:
    text = """
// said(a, b) {
template <int N, typename R>
__device__ inline T total(const T* a, Pair<int, N> b, T (&c)[2]) {
    if (a == b) {  // }
        printf("}(%d {", a);
    }
    return c[0] > 0 ? T(1) : T(2);
}

struct Row {
    __device__ Row(int n) : first(n), last{n} {}
    __device__ T operator()(T p,
                            T q) const { return p; }
};

#define KERNELS(name)                     \\
    extern "C" __global__ void            \\
        name##_rows(T* a, int n) {        \\
        map(a, [](T x) { return x; });    \\
    }
extern "C" __global__ void __launch_bounds__(256, 4) launched();
"""
    assert [(f.name, f.lines, f.parameters, f.launched) for f in functions_of_cuda(text)] == [
        ("total", 6, 3, False),
        ("Row", 1, 1, False),
        ("operator()", 2, 2, False),
        ("name##_rows", 3, 2, True),
    ]
