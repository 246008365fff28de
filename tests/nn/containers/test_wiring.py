"""What a graph refuses, and how its nodes are ordered and cut."""

import pytest

from fastconv import nn
from fastconv.errors import ArgumentError
from fastconv.nn.containers.wiring import as_nodes, cut, nearest


def conv():
    return nn.Conv2d(3, 1)


@pytest.mark.parametrize(
    ("nodes", "outputs", "message"),
    [
        ({}, "a", "nodes: got {}"),
        ([conv()], "a", "nodes: got"),
        ({"a": conv()}, "a", r"nodes\['a'\]: got .*allowed: \(layer,"),
        ({"a": (conv(), 3)}, "a", r"nodes\['a'\]: got"),
        ({"a": (conv(),)}, "a", r"nodes\['a'\]: got"),
        ({"a": (nn.ReLU, "input")}, "a", r"nodes\['a'\]: got the class ReLU"),
        ({"a.b": (conv(), "input")}, "a.b", "the name 'a.b'"),
        ({"input": (conv(), "input")}, "input", "the name 'input'"),
        ({"a": (conv(), "imput")}, "a", r"nodes\['a'\]: got the input 'imput'; allowed: 'input' \(of 'input', 'a'\)"),
        ({"first": (conv(), "input"), "b": (conv(), "frist")}, "b", r"'frist'; allowed: 'first' \("),
        ({"a": (conv(), "input")}, "b", "outputs: got 'b'; allowed: 'a'"),
        ({"a": (conv(), "input")}, (), "outputs: got"),
        ({"a": (conv(), "input")}, 3, "outputs: got 3"),
        (
            {"a": (conv(), "input")},
            [["a"]],
            r"outputs: got \[\['a'\]\]; allowed: the name of a node, or several, each once",
        ),
        ({"a": (conv(), "input")}, [{}], r"outputs: got \[{}\]; allowed: the name of a node"),
        ({"a": (conv(), "input")}, ["a", 5], r"outputs: got \['a', 5\]; allowed: the name of a node"),
        ({"a": (conv(), "input")}, ("a", "a"), "each once"),
        ({"a": (conv(), "input"), "b": (conv(), "input")}, "a", r"nodes\['b'\]: got a node that no output needs"),
        ({"a": (conv(), "b"), "b": (conv(), "a")}, "a", "got none that takes 'input'"),
        ({"a": ("sum", "input", "b"), "b": (conv(), "a")}, "b", "a circle, '[ab]' -> '[ab]' -> '[ab]'"),
        ({"a": ("add", "input", "input")}, "a", "got 'add'; allowed: a layer, or 'sum', 'concatenate'"),
        ({"a": ("concat", "input", "input")}, "a", "allowed: a layer, or 'concatenate' "),
        ({"a": ("sum", "input")}, "a", "of one input"),
        ({"a": (conv(), "input", "input")}, "a", r"a layer with 2 inputs; allowed: one, .*\(\"sum\""),
    ],
)
def test_refuses_what_is_no_graph(nodes, outputs, message):
    with pytest.raises(ArgumentError, match=message):
        nn.Graph(nodes, outputs)


def test_nodes_come_in_any_order():
    nodes = {"c": ("sum", "a", "b"), "b": (nn.ReLU(), "a"), "a": (conv(), "input")}
    assert [node.name for node in as_nodes(nodes)] == ["a", "b", "c"]
    assert nn.Graph(nodes, "c").outputs == ("c",)


def test_sources_may_be_one_list():
    nodes = as_nodes({"a": ("sum", ["input", "input"])})
    assert nodes[0].sources == ("input", "input")


def test_layers_in_a_row_are_one_segment_where_nobody_else_takes_what_is_between():
    row = {"a": (conv(), "input"), "b": (nn.BatchNorm2d(), "a"), "c": (nn.ReLU(), "b"), "d": (nn.Tanh(), "c")}
    nodes = as_nodes(row | {"e": ("sum", "d", "b")})

    def names(outputs):
        return [[node.name for node in segment.nodes] for segment in cut(nodes, outputs)]

    assert names(["e"]) == [["a", "b"], ["c", "d"], ["e"]]
    assert names(["e", "c"]) == [["a", "b"], ["c"], ["d"], ["e"]]


def test_the_nearest_name_comes_first():
    assert nearest("sun", ("sum", "concatenate")) == "'sum' (of 'sum', 'concatenate')"
    assert nearest("x", ("sum", "concatenate")) == "'sum', 'concatenate'"
