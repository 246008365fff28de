"""Layers with names, joined as they are named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from fastconv._attributes import computes_as, is_ours
from fastconv.backends.contract.types import Array, Shape
from fastconv.errors import ArgumentError, ShapeError
from fastconv.nn.containers.branches import add_up, joined, parted
from fastconv.nn.containers.wiring import INPUT, Node, as_nodes, as_outputs, cut, uses
from fastconv.nn.core.freezing import freezing_state
from fastconv.nn.core.layer import Chain, Context, FrozenForward
from fastconv.nn.core.outputs import check_one
from fastconv.nn.core.scope import Scope
from fastconv.nn.fused.plan import Plan, make_plan
from fastconv.nn.fused.steps import run_forward
from fastconv.nn.model.model import Layer


class Graph(Layer):
    """Layers by name, each with the name of what it takes: for two heads, or the skip connections of a U-Net.

    ``"input"`` is the graph's input. What several nodes take gets the sum of their gradients, in the order of the
    nodes. Layers in a row between which nobody else takes anything run as they do in a `Sequential`. ::

        model = nn.Graph({
            "down": (nn.Conv2d(16, 3, stride=2, padding=1), "input"),
            "active": (nn.ReLU(), "down"),
            "up": (nn.ConvTranspose2d(8, 2, stride=2), "active"),
            "both": ("concatenate", "up", "input"),
            "last": (nn.Conv2d(2, 1), "both"),
        }, outputs="last").build((32, 32, 3))

    With several outputs forward returns a tuple of arrays, and backward takes one of their gradients. Such a graph is
    the last part of a model: a layer after it, or a join, takes one array and refuses it in `build`. It is trained by
    steps of one's own, as below; `Trainer` takes models with one output.

    Parameters
    ----------
    nodes : mapping of str to tuple
        ``(layer, name)``, or ``("sum", name, name, ...)`` and ``("concatenate", ...)``, along channels. In any order.
        The same layer may come more than once: it shares its parameters.
    outputs : str or sequence of str
        What is returned: the output of a node, or those of several.

    Raises
    ------
    ArgumentError
        A name that there is not, a circle, a node that no output needs, no node that takes the input.

    Examples
    --------
    >>> nodes = {"a": (fc.nn.Dense(4), "input"), "b": (fc.nn.Dense(4), "input"), "both": ("concatenate", "a", "b")}
    >>> fc.nn.Graph(nodes, outputs="both").build((3,))(np.zeros((2, 3), np.float32)).shape
    (2, 8)

    Two heads, each with a loss of its own:

    >>> heads = {"kind": (fc.nn.Dense(3), "input"), "size": (fc.nn.Dense(1), "input")}
    >>> model = fc.nn.Graph(heads, outputs=("kind", "size")).build((4,), seed=0)
    >>> optimizer = fc.optim.SGD(model.parameters(), 0.1)
    >>> x, kinds, sizes = np.eye(4, dtype=np.float32), np.array([0, 1, 2, 1]), np.ones((4, 1), np.float32)
    >>> for _ in range(50):
    ...     (kind, size), context = model.forward(x, training=True)
    ...     first, grad_kind = fc.losses.SoftmaxCrossEntropy()(kind, kinds)
    ...     second, grad_size = fc.losses.MeanSquaredError()(size, sizes)
    ...     optimizer.zero_grad()
    ...     _ = model.backward((grad_kind, grad_size), context)
    ...     optimizer.step()
    >>> bool(first + second < 0.8)
    True
    """

    setting_names = ("nodes", "outputs")
    _plans: tuple[Plan | None, ...] | None = None
    _found_trained: tuple[object, dict[str, bool]] = (None, {})

    def __init__(self, nodes: Mapping[str, Sequence[Any]], outputs: str | Sequence[str]) -> None:
        self.nodes = as_nodes(nodes)
        self.outputs = as_outputs(outputs, self.nodes)
        self._segments = cut(self.nodes, self.outputs)
        self._uses = uses(self.nodes, self.outputs)

    def structure(self) -> Chain | None:
        """Return its layers where they are all in one row.

        Returns
        -------
        Chain or None
            None where they are not.
        """
        segment = self._segments[0]
        in_a_row = computes_as(type(self)) is Graph and len(self._segments) == 1 and segment.join is None
        return Chain(segment.layers) if in_a_row else None

    def children(self) -> Sequence[tuple[str, Layer]]:
        return [(node.name, node.what) for node in self.nodes if isinstance(node.what, Layer)]

    def infer(self, input_shape: Shape) -> Shape:
        return self._shapes(input_shape, lambda node, layer, shape: layer.infer(shape))

    def setup(self, input_shape: Shape, scope: Scope) -> Shape:
        return self._shapes(input_shape, lambda node, layer, shape: scope.child(node.name, layer, shape))

    def arrange(self) -> None:
        """Make the plans of the segments."""
        plans = tuple(make_plan(segment.layers) if segment.join is None else None for segment in self._segments)
        owned = {INPUT: False}
        for segment, plan in zip(self._segments, plans, strict=True):
            owned[segment.name] = self._uses[segment.name] == 1 and (plan is None or plan.owns_output)
        self._plans, self._owned, self._found_trained = plans, owned, (None, {})
        self.owns_output = len(self.outputs) == 1 and owned[self.outputs[0]]

    @property
    def plans(self) -> tuple[Plan | None, ...]:
        """How the segments run, once they are built; None for a join."""
        if self._plans is None:
            _ = self.backend  # says so
            raise ArgumentError("Graph: got one that is not arranged; allowed: after build(input_shape)")
        return self._plans

    def _trained(self) -> Mapping[str, bool]:
        """Return after which nodes backward finds parameters that are not frozen; looked for when that has changed."""
        now = freezing_state()
        if self._found_trained[0] is not now:
            found = {INPUT: False}
            for segment in self._segments:
                own = any(layer.is_trained() for layer in segment.layers)
                found[segment.name] = own or any(found[source] for source in segment.sources)
            self._found_trained = now, found
        return self._found_trained[1]

    def frozen(self) -> FrozenForward:
        if not is_ours(computes_as(type(self))):
            return super().frozen()
        runs = {i: plan.frozen() for i, plan in enumerate(self.plans) if plan is not None}
        return lambda x: self._run(x, lambda i, value: runs[i](value))

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        plans = {i: plan for i, plan in enumerate(self.plans) if plan is not None}
        x = self.check_input(x)
        self.check_size_of(x)
        contexts: dict[int, Context] = {}

        def compute(i: int, value: Array) -> Array:
            y, contexts[i] = run_forward(plans[i].steps, value, training=training)
            return y

        y = self._run(x, compute, contexts)
        return y, (contexts if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        contexts, trained = self.check_context(context, "dict"), self._trained()
        grads: dict[str, tuple[Array, bool]] = {}
        for name, grad in zip(self.outputs, self._one_each(grad_output), strict=True):
            self._add(grads, name, grad, owned=False)
        for i, segment in reversed(list(enumerate(self._segments))):
            wanted = needs_input_grad or any(trained[source] for source in segment.sources)
            if not wanted and not trained[segment.name]:
                continue
            grad, _ = grads.pop(segment.name)
            plan = self.plans[i]
            if plan is None:
                shapes, owned = contexts[i], segment.join == "concatenate"
                parts = parted(self, grad, shapes) if owned else [self.check_grad(grad, shapes[0])] * len(shapes)
            else:
                parts, owned = [plan.backward(grad, contexts[i], needs_input_grad=wanted)], plan.owns_grad
            for source, part in zip(segment.sources, parts, strict=True):
                if needs_input_grad or trained[source]:
                    self._add(grads, source, part, owned=owned)
        return grads[INPUT][0] if needs_input_grad else None

    def _run(self, x: Array, compute: Callable[[int, Array], Array], shapes: dict[int, Context] | None = None) -> Array:
        """Return the output, or all in a tuple; `compute` runs a segment of layers by its number."""
        values, left = {INPUT: x}, dict(self._uses)
        for i, segment in enumerate(self._segments):
            arrays = [values[source] for source in segment.sources]
            if segment.join is None:
                values[segment.name] = compute(i, arrays[0])
            else:
                owned = [self._owned[source] for source in segment.sources]
                values[segment.name] = joined(self, segment.join, arrays, owned)
                if shapes is not None:
                    shapes[i] = [array.shape for array in arrays]
            del arrays
            for source in segment.sources:
                left[source] -= 1
                if not left[source]:
                    del values[source]  # its memory may be taken again
        results = tuple(values[name] for name in self.outputs)
        return results if len(results) > 1 else results[0]

    def _add(self, grads: dict[str, tuple[Array, bool]], name: str, grad: Array, *, owned: bool) -> None:
        """Add to the gradient of a node; `owned` as `AbstractLayer.owns_grad`."""
        if name in grads:
            before, was_owned = grads[name]
            grad, owned = add_up(self.backend, [before, grad], [was_owned, owned]), True
        grads[name] = grad, owned

    def _one_each(self, grad_output: Array) -> Sequence[Array]:
        """Return the gradients of the outputs."""
        if len(self.outputs) == 1:
            return [grad_output]
        if not isinstance(grad_output, tuple | list) or len(grad_output) != len(self.outputs):
            raise ArgumentError(
                f"grad_output of Graph: got {type(grad_output).__name__}; allowed: a tuple of {len(self.outputs)}"
                f" arrays, one for each of {', '.join(self.outputs)}"
            )
        return grad_output

    def _shapes(self, input_shape: Shape, shape_of: Callable[[Node, Layer, Shape], Shape]) -> Shape:
        """Return the shape of the output, or of all in a tuple; `shape_of` gives that of a layer's result."""
        check_one(input_shape, "x of Graph")
        shapes = {INPUT: input_shape}
        for node in self.nodes:
            given = [shapes[source] for source in node.sources]
            if isinstance(node.what, Layer):
                shapes[node.name] = shape_of(node, node.what, given[0])
                continue
            cut_at = None if node.what == "sum" else -1
            for source, shape in zip(node.sources, given, strict=True):
                check_one(shape, f"nodes[{node.name!r}], {source!r}")
                if shape[:cut_at] != given[0][:cut_at]:
                    raise ShapeError(
                        f"nodes[{node.name!r}]: got shape {shape} of {source!r}; allowed: as {node.sources[0]!r},"
                        f" {given[0]}{'' if node.what == 'sum' else ', but for the channels'}"
                    )
            last = given[0][-1] if node.what == "sum" else sum(shape[-1] for shape in given)
            shapes[node.name] = (*given[0][:-1], last)
        results = tuple(shapes[name] for name in self.outputs)
        for name, shape in zip(self.outputs, results, strict=True):
            if len(results) > 1:
                check_one(shape, f"outputs, {name!r}")
        return cast(Shape, results if len(results) > 1 else results[0])
