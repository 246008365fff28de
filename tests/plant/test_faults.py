"""Faults are drawn as told, fit where they are to be planted, and change what is computed and not what is said."""

import ast
from collections import Counter

import pytest

from tests.plant import cuda, python
from tests.plant.faults import Fault, draw, of_span, read_sources, room_of, shares


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return read_sources()


def changes(text: str) -> list[tuple[str, str, str]]:
    """Kind, and what changed in the last line that did."""
    found = []
    for fault in python.candidates("fastconv/x.py", text):
        fault.planted(text)
        found.append((fault.kind, fault.before, fault.after))
    return found


@pytest.mark.parametrize(
    ("before", "kind", "after"),
    [
        ("a <= b", "comparison", "a < b"),
        ("a is not b", "comparison", "a is b"),
        ("a not in b", "comparison", "a in b"),
        ("(a) - (b)", "operation", "(a) + (b)"),
        ("a // b", "operation", "a * b"),
        ("a and b", "and/or", "a or b"),
        ("a[3]", "constant", "a[4]"),
        ("a * 0.5", "constant", "a * 1.0"),
        ("f(True)", "constant", "f(False)"),
        ("x = a if b else c", "condition", "x = a if not (b) else c"),
        ("é = 'é' if a < b else c", "comparison", "é = 'é' if a <= b else c"),
        ("a += b", "statement", "pass"),
        ("a.b = c", "statement", "pass"),
        ("f(a)", "statement", "pass"),
    ],
)
def test_what_is_changed_in_python(before: str, kind: str, after: str) -> None:
    assert (kind, before, after) in changes(before)


def test_what_a_function_returns() -> None:
    found = {
        after
        for kind, _, after in changes("def f():\n    return a, b\n    return c\n    return d < e")
        if kind == "return"
    }
    assert found == {"    return b, a", "    return None", "    return not (d < e)"}


@pytest.mark.slow
def test_an_argument_with_a_default_is_dropped() -> None:
    text = "y = conv2d(x, stride=2, weight=w)"
    assert [after for kind, _, after in changes(text) if kind == "argument"] == ["y = conv2d(x, weight=w)"]


@pytest.mark.parametrize(
    "text",
    [
        '"""A text with 1 < 2 and 3."""',
        "def f(a: int | None = None) -> Literal[3]: ...",
        "@cache(maxsize=3)\ndef f(): ...",
        "raise_ = f'{a < b}'",
        "__version__ = 3",
        "_BLOCK_ROWS = 8",
        "print(x)",
        "if TYPE_CHECKING:\n    a = 1",
        "f(maxsize=4)",
        "@abc.abstractmethod\ndef f():\n    return 3",
        "isinstance(a, int | str)",
    ],
)
def test_what_changes_no_result_is_left(text: str) -> None:
    assert [change for change in changes(text) if change[0] != "statement"] == []


def test_what_is_changed_in_cuda() -> None:
    text = """#include <x.h> // 3
template <int N = 4>
void f(int a) {
    /* 1 < 2 */
    if (a < 3 && a != b) return;
    __syncthreads();
    g<2>(a + x4, "5 + 6");
}
"""
    found = {(fault.line, fault.kind, fault.after.strip()) for fault in cuda.candidates("kernels/cuda/x.cu", text)}
    assert {line for line, _, _ in found} == {5, 6, 7}
    assert {(5, "comparison", "if (a <= 3 && a != b) return;"), (5, "and/or", "if (a < 3 || a != b) return;")} <= found
    assert {
        (5, "constant", "if (a < 4 && a != b) return;"),
        (5, "condition", "if (!(a < 3 && a != b)) return;"),
    } <= found
    assert {(6, "statement", ";"), (5, "statement", "if (a < 3 && a != b) ;")} <= found
    assert {after for line, _, after in found if line == 7} == {'g<2>(a - x4, "5 + 6");'}


def test_a_fault_that_fits_no_longer_is_refused() -> None:
    fault = of_span("x.py", "a\nb + c\nd", "operation", 4, 5, "-")
    assert fault == Fault("x.py", 2, "operation", "b + c", "b - c")
    assert fault.planted("a\nb + c\nd") == "a\nb - c\nd"
    with pytest.raises(ValueError, match=r"x\.py:2: other lines"):
        fault.planted("b + c\na\nd")


def test_shares_add_up() -> None:
    assert shares({"a": 500, "b": 300, "c": 200}, 10) == {"a": 5, "b": 3, "c": 2}
    assert shares({"a": 1, "b": 1, "c": 1}, 10) == {"a": 4, "b": 3, "c": 3}


@pytest.mark.slow
def test_draw_repeats_itself_and_covers_the_rooms(texts: dict[str, str]) -> None:
    faults = draw(texts)
    assert len(set(faults)) == len(faults) == 120
    assert faults == draw(texts)
    assert faults != draw(texts, seed=1)
    rooms = Counter(room_of(fault.file) for fault in faults)
    assert {"fastconv", "fastconv/cli", "fastconv/data", "fastconv/nn", "kernels/cpu", "kernels/cuda"} <= set(rooms)
    assert len({fault.kind for fault in faults}) >= 7


def test_faults_are_code_and_another_one(texts: dict[str, str]) -> None:
    for file in [file for file in sorted(texts) if file.endswith(".py")][::15]:
        found = python.candidates(file, texts[file])
        for fault in found[:: max(1, len(found) // 2)]:
            planted = fault.planted(texts[file])
            assert ast.dump(ast.parse(planted)) != ast.dump(ast.parse(texts[file])), fault
