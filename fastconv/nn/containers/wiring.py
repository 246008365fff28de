"""The nodes of a graph, checked and put in order, and cut into what runs as one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal, get_args

from fastconv.errors import ArgumentError
from fastconv.nn.containers.arguments import as_layer
from fastconv.nn.model.model import Layer

INPUT = "input"
Join = Literal["sum", "concatenate"]
_NODE = '(layer, "name of its input"), ("sum", "a", "b", ...) or ("concatenate", "a", "b", ...)'


@dataclass(frozen=True, eq=False)
class Node:
    """One node: a layer with one source, or a join, "sum" or "concatenate", of several."""

    name: str
    what: Layer | str
    sources: tuple[str, ...]

    def __repr__(self) -> str:
        what = self.what if isinstance(self.what, str) else type(self.what).__name__
        return f"{self.name} = {what}({', '.join(self.sources)})"


@dataclass(frozen=True, eq=False)
class Segment:
    """Nodes that run one after the other, as nobody else takes what is between them; or one join."""

    nodes: tuple[Node, ...]

    @property
    def name(self) -> str:
        """The name of its result."""
        return self.nodes[-1].name

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of what it takes."""
        return self.nodes[0].sources

    @property
    def join(self) -> str | None:
        """How it joins, if it does."""
        what = self.nodes[0].what
        return what if isinstance(what, str) else None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Its layers."""
        return tuple(node.what for node in self.nodes if isinstance(node.what, Layer))


def as_nodes(nodes: Any) -> tuple[Node, ...]:
    """Return nodes in the order of computation; ArgumentError for what is none, has no such source, or is a circle."""
    if not isinstance(nodes, Mapping) or not nodes:
        raise ArgumentError(f'nodes: got {nodes!r:.100}; allowed: {{"name": {_NODE}, ...}}')
    made = {name: _node(name, value) for name, value in nodes.items()}
    known = [INPUT, *made]
    for node in made.values():
        for source in node.sources:
            if source not in known:
                raise ArgumentError(
                    f"nodes[{node.name!r}]: got the input {source!r}; allowed: {nearest(source, known)}"
                )
    if not any(INPUT in node.sources for node in made.values()):
        raise ArgumentError(f"nodes: got none that takes {INPUT!r}; allowed: at least one, it is the graph's input")
    try:
        order = TopologicalSorter({name: node.sources for name, node in made.items()}).static_order()
        return tuple(made[name] for name in order if name != INPUT)
    except CycleError as error:
        circle = " -> ".join(map(repr, error.args[1]))
        raise ArgumentError(f"nodes: got a circle, {circle}; allowed: nodes that do not wait for themselves") from None


def _node(name: Any, value: Any) -> Node:
    if not isinstance(name, str) or not name or "." in name or name == INPUT:
        raise ArgumentError(f"nodes: got the name {name!r}; allowed: a text without dots, other than {INPUT!r}")
    what, *sources = value if isinstance(value, tuple | list) and value else (value,)
    if len(sources) == 1 and isinstance(sources[0], tuple | list):
        sources = list(sources[0])
    if not sources or not all(isinstance(source, str) for source in sources):
        raise ArgumentError(f"nodes[{name!r}]: got {value!r:.100}; allowed: {_NODE}")
    if isinstance(what, str):
        if what not in get_args(Join):
            raise ArgumentError(f"nodes[{name!r}]: got {what!r}; allowed: a layer, or {nearest(what, get_args(Join))}")
        if len(sources) < 2:
            raise ArgumentError(f"nodes[{name!r}]: got {what!r} of one input; allowed: of two or more")
        return Node(name, what, tuple(sources))
    layer = as_layer(what, f"nodes[{name!r}]")
    if len(sources) > 1:
        raise ArgumentError(
            f"nodes[{name!r}]: got a layer with {len(sources)} inputs; allowed: one, such as a node before it that is"
            ' ("sum", ...) or ("concatenate", ...) of them'
        )
    return Node(name, layer, tuple(sources))


def as_outputs(outputs: Any, nodes: Sequence[Node]) -> tuple[str, ...]:
    """Return the names of the outputs; ArgumentError for one that is no node, and for a node that leads to none."""
    names = (outputs,) if isinstance(outputs, str) else tuple(outputs) if isinstance(outputs, Iterable) else ()
    known = [node.name for node in nodes]
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ArgumentError(f"outputs: got {outputs!r}; allowed: the name of a node, or several, each once")
    for name in names:
        if name not in known:
            raise ArgumentError(f"outputs: got {name!r}; allowed: {nearest(name, known)}")
    wanted = set(names)
    for node in reversed(nodes):
        if node.name in wanted:
            wanted.update(node.sources)
    unused = [name for name in known if name not in wanted]
    if unused:
        raise ArgumentError(f"nodes[{unused[0]!r}]: got a node that no output needs; allowed: in outputs, or left out")
    return names


def nearest(name: object, known: Sequence[str]) -> str:
    """Return the names that there are, the likeliest first."""
    close = difflib.get_close_matches(str(name), known, n=1)
    rest = ", ".join(map(repr, known))
    return f"{close[0]!r} (of {rest})" if close else rest


def cut(nodes: Sequence[Node], outputs: Sequence[str]) -> tuple[Segment, ...]:
    """Return the segments of a graph, in order: layers follow in one as long as nobody else takes what is between."""
    taken = uses(nodes, outputs)
    open_ends: dict[str, list[Node]] = {}
    found: list[list[Node]] = []
    for node in nodes:
        before = open_ends.get(node.sources[0]) if isinstance(node.what, Layer) else None
        if before is not None and taken[node.sources[0]] == 1:
            before.append(node)
        else:
            before = [node]
            found.append(before)
        if isinstance(node.what, Layer):
            open_ends[node.name] = before
    # A segment ends where its last node stands, and may have begun before what it does not need.
    place = {node.name: i for i, node in enumerate(nodes)}
    return tuple(Segment(tuple(part)) for part in sorted(found, key=lambda part: place[part[-1].name]))


def uses(nodes: Sequence[Node], outputs: Sequence[str]) -> dict[str, int]:
    """Return how often the input and each node are taken, by nodes and as outputs."""
    taken = dict.fromkeys([INPUT, *(node.name for node in nodes)], 0)
    for name in [*outputs, *(source for node in nodes for source in node.sources)]:
        taken[name] += 1
    return taken
