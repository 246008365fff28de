"""Faults in Python, found in the syntax tree."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from itertools import pairwise

from tests.plant.faults import Fault, of_span, read_sources

_COMPARISONS = {
    **{ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">")},
    **{ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.In: ("in", "not in")},
    **{ast.IsNot: (r"is\s+not", "is"), ast.NotIn: (r"not\s+in", "in")},
}
_OPERATIONS = {
    **{ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "+"), ast.FloorDiv: ("//", "*")},
    **{ast.Div: ("/", "*"), ast.Mod: ("%", "//"), ast.LShift: ("<<", ">>"), ast.RShift: (">>", "<<")},
    **{ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&")},
}
# Names of numbers that only decide how fast something is: sizes of blocks, thresholds of another way to the same.
_SPEED = re.compile(r"BLOCK|CHUNK|GRAIN|AHEAD|PREFETCH|TASK|CACHE|ROUNDS|MANY|FEW|_MAX_|_MIN_|COST|maxsize|stacklevel")
_SPEED_FUNCTIONS = re.compile(r"prefetch|look_ahead|autotune|__repr__|__del__")
# Calls without an effect on what is computed.
_SILENT = re.compile(r"^(print|warnings\.warn|logging\..*|log\..*|.*\.(debug|prefetch\w*))$")


def candidates(file: str, text: str) -> list[Fault]:
    """Return every fault that could be planted in a module."""
    tree = ast.parse(text)
    return list(dict.fromkeys(_Finder(file, text).walk(tree)))


class _Finder:
    def __init__(self, file: str, text: str) -> None:
        self.file, self.text = file, text
        self.starts = [0]
        for line in text.split("\n"):
            self.starts.append(self.starts[-1] + len(line) + 1)
        self.lines = text.split("\n")

    def walk(self, node: ast.AST) -> Iterator[Fault]:
        """Yield the faults of a node and of all within it, but for types, decorators and what only makes fast."""
        if _is_skipped(node):
            return
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is not None:
            yield from method(node)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_params"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from self.walk(child)

    def _place(self, line: int, column: int) -> int:
        """Return the index in the text of a line and a column in bytes of UTF-8."""
        return self.starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    def _begin(self, node: ast.expr | ast.stmt) -> int:
        return self._place(node.lineno, node.col_offset)

    def _end(self, node: ast.expr | ast.stmt) -> int:
        return self._place(node.end_lineno or node.lineno, node.end_col_offset or 0)

    def _fault(self, kind: str, begin: int, end: int, after: str) -> Fault:
        return of_span(self.file, self.text, kind, begin, end, after)

    def _between(self, kind: str, left: ast.expr, right: ast.expr, pattern: str, after: str) -> Iterator[Fault]:
        """Replace the operator between two operands."""
        begin, end = self._end(left), self._begin(right)
        found = re.search(pattern, self.text[begin:end])
        if found:
            yield self._fault(kind, begin + found.start(), begin + found.end(), after)

    def _compare(self, node: ast.Compare) -> Iterator[Fault]:
        operands = [node.left, *node.comparators]
        for (left, right), operator in zip(pairwise(operands), node.ops, strict=True):
            before, after = _COMPARISONS[type(operator)]
            pattern = before if before[0].isalpha() else re.escape(before)
            yield from self._between("comparison", left, right, pattern, after)

    def _binop(self, node: ast.BinOp) -> Iterator[Fault]:
        if type(node.op) in _OPERATIONS and not any(map(_is_text, (node.left, node.right))):
            before, after = _OPERATIONS[type(node.op)]
            yield from self._between("operation", node.left, node.right, re.escape(before), after)

    def _boolop(self, node: ast.BoolOp) -> Iterator[Fault]:
        before, after = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in pairwise(node.values):
            yield from self._between("and/or", left, right, rf"\b{before}\b", after)

    def _constant(self, node: ast.Constant) -> Iterator[Fault]:
        value = node.value
        if isinstance(value, bool):
            yield self._fault("constant", self._begin(node), self._end(node), str(not value))
        elif isinstance(value, int):
            yield self._fault("constant", self._begin(node), self._end(node), str(value + 1))
        elif isinstance(value, float):
            yield self._fault("constant", self._begin(node), self._end(node), repr(2 * value or 1.0))

    def _if(self, node: ast.If | ast.While | ast.IfExp) -> Iterator[Fault]:
        begin, end = self._begin(node.test), self._end(node.test)
        yield self._fault("condition", begin, end, f"not ({self.text[begin:end]})")

    _while = _ifexp = _if

    def _call(self, node: ast.Call) -> Iterator[Fault]:
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        for keyword in node.keywords:
            if keyword.arg in _defaults().get(name, ()):
                end = self._end(keyword.value)
                behind = re.match(r"\s*,[ \t]*", self.text[end:])
                before = re.search(r",\s*$", self.text[: self._begin(keyword)])
                if behind:
                    yield self._fault("argument", self._begin(keyword), end + behind.end(), "")
                elif before:
                    yield self._fault("argument", before.start(), end, "")

    def _return(self, node: ast.Return) -> Iterator[Fault]:
        value = node.value
        if value is None or (isinstance(value, ast.Constant) and not isinstance(value.value, int | float)):
            return
        if isinstance(value, ast.Compare | ast.BoolOp) or (
            isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.Not)
        ):
            begin, end = self._begin(value), self._end(value)
            yield self._fault("return", begin, end, f"not ({self.text[begin:end]})")
        elif isinstance(value, ast.Tuple) and len(value.elts) > 1:
            begin, end = self._begin(value.elts[0]), self._end(value.elts[1])
            first, second = (self.text[self._begin(part) : self._end(part)] for part in value.elts[:2])
            if first != second:
                yield self._fault("return", begin, end, f"{second}, {first}")
        elif not isinstance(value, ast.Constant):
            yield self._fault("return", self._begin(value), self._end(value), "None")

    def _delete(self, node: ast.stmt) -> Iterator[Fault]:
        yield self._fault("statement", self._begin(node), self._end(node), "pass")

    _augassign = _raise = _continue = _break = _delete

    def _expr(self, node: ast.Expr) -> Iterator[Fault]:
        if isinstance(node.value, ast.Call) and not _SILENT.match(ast.unparse(node.value.func)):
            yield from self._delete(node)

    def _assign(self, node: ast.Assign) -> Iterator[Fault]:
        if isinstance(node.targets[0], ast.Attribute | ast.Subscript):
            yield from self._delete(node)


def _is_text(node: ast.expr) -> bool:
    """Tell whether an operand is a string or a list, or a type as in ``int | None``."""
    if isinstance(node, ast.Constant):
        return not isinstance(node.value, int | float)
    if isinstance(node, ast.Name | ast.Attribute):
        name = node.id if isinstance(node, ast.Name) else node.attr
        return name in ("int", "float", "str", "bool") or (name[0].isupper() and not name.isupper())
    return isinstance(node, ast.JoinedStr | ast.List | ast.Tuple)


def _is_skipped(node: ast.AST) -> bool:
    """Tell whether a fault here would change no result: texts, types, names exported, choices of speed."""
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        return any(name.startswith("__") or _SPEED.search(name) for name in names)
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'")
    if isinstance(node, ast.FunctionDef):
        abstract = any("abstract" in ast.unparse(d) or "overload" in ast.unparse(d) for d in node.decorator_list)
        return abstract or bool(_SPEED_FUNCTIONS.search(node.name))
    if isinstance(node, ast.keyword):
        return bool(_SPEED.search(node.arg or ""))
    return isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom)


@functools.cache
def _defaults() -> dict[str, frozenset[str]]:
    """Return the parameters with a default of every function, method and class of the tree, by name."""
    found: dict[str, frozenset[str]] = {}
    for text in read_sources(".py").values():
        body = ast.parse(text).body
        classes = [node for node in body if isinstance(node, ast.ClassDef)]
        for node in (*body, *(child for made in classes for child in made.body)):
            if isinstance(node, ast.FunctionDef):
                found[node.name] = found.get(node.name, frozenset()) | _with_default(node)
        found |= {made.name: _of_class(made) for made in classes}
    return found


def _of_class(node: ast.ClassDef) -> frozenset[str]:
    """Return the parameters with a default of a class: those of its `__init__`, or its fields."""
    fields = {
        field.target.id
        for field in node.body
        if isinstance(field, ast.AnnAssign) and field.value and isinstance(field.target, ast.Name)
    }
    inits = [child for child in node.body if isinstance(child, ast.FunctionDef) and child.name == "__init__"]
    return frozenset(fields).union(*map(_with_default, inits))


def _with_default(node: ast.FunctionDef) -> frozenset[str]:
    places = [*node.args.posonlyargs, *node.args.args]
    optional = places[len(places) - len(node.args.defaults) :]
    named = [a for a, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if default is not None]
    return frozenset(argument.arg for argument in (*optional, *named))
