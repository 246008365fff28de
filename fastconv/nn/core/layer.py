"""The protocol of layers: a pair of forward and backward, parameters, and shapes known before the first image.

A layer keeps nothing about a step: what backward needs is the context that forward returns. So a layer can appear
twice in a model, an evaluation can happen in mid-step, and threads can run forward on one model at once (not
backward: it writes the gradients; and not forward in training with BatchNorm2d: it updates the running statistics).

A layer of one's own is derived from `fastconv.nn.Layer`, which adds what a model can do (fastconv/nn/model). It defines
`forward`, `backward`, `infer` if the shape changes, and `setup` if it has parameters; what it computes with
`fastconv.functional` has its arguments checked there.

Also with layers of one's own:

- One that is derived from a layer of fastconv and defines nothing anew that this one defines (another ``__init__``, new
  names) is fused and frozen as that one is. With a `forward` of its own, say, it runs by itself, as it is.
- Steps of training with it, and compiled inference, are captured if it defines `setting_names`, or `settings`, together
  with what it computes, and computes by `fastconv.functional` or kernels alone. That is tried: where a replay gives
  other bits, as of what NumPy computed, or does not change what each step changes (in attributes), they run as they are
  written. (What Python decides by values is not seen so.)
- What its `forward` and `backward` return is checked, and copied where kernels could not read it as it lies.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from fastconv import _validate as validate
from fastconv._attributes import annotated, argument_names, computes_as, fixed, is_ours
from fastconv.backends.contract.types import Array, Shape
from fastconv.errors import ArgumentError, UnknownAttributeError
from fastconv.nn.core.checking import Checking
from fastconv.nn.core.habits import ABSENT, ARGUMENT_HABITS, HABITS, INFERRED
from fastconv.nn.core.parameter import Buffer, Parameter
from fastconv.nn.core.returned import check_results
from fastconv.nn.core.rewired import Held, are_same, check_children, got_others, held_layers
from fastconv.nn.core.scope import Home, Scope

Context = Any
"""What `forward` leaves for `backward`; None after a forward that was not in training."""

FrozenForward = Callable[[Array], Array]
"""What computes a layer for inference, its values frozen."""


class AbstractLayer(Checking):
    """The protocol.

    Fastconv's own layers take no attributes but those they have, layers of one's own any, in ``__init__``, `setup` and
    later, but for a few names that would be expected to do something (``trainable``).

    Attributes
    ----------
    backend, dtype :
        Where it lives and what it computes in, once it was built.
    owns_output, owns_grad : bool
        Whether the result of `forward` (of `backward`) is a new array that nobody else refers to, so that a container
        may add into it.
    setting_names : tuple of str or None
        The attributes that decide what it computes, arguments and layers inside; None if that is not known.
    """

    owns_output: bool = False
    owns_grad: bool = False
    setting_names: ClassVar[tuple[str, ...] | None] = None
    habits: ClassVar[Mapping[str, str]] = HABITS
    argument_habits: ClassVar[Mapping[str, str]] = ARGUMENT_HABITS
    absent: ClassVar[Mapping[str, str]] = ABSENT
    by_class: ClassVar[frozenset[str]] = frozenset(
        ("forward", "backward", "infer", "setup", "children", "settings", "structure", "arrange", "frozen")
    )
    misleading: ClassVar[frozenset[str]] = frozenset(("trainable", "requires_grad"))
    _tensors: Mapping[str, Buffer] = MappingProxyType({})  # by the names that it declared them with
    _built_in: object = None  # what stands for the model that it was built in
    # Of a model: all layers with tensors, and their paths; None is itself, for what points to itself is freed late.
    _places: Sequence[tuple[str, AbstractLayer | None]] = ()
    _held: Held | None = None  # of a model, when it was built

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if is_ours(cls):  # others inherit it: what they define themselves decides what they compute as
            own_arrays = cls.setup is not AbstractLayer.setup and cls.children is AbstractLayer.children
            cls.surplus = INFERRED if own_arrays else ""
        if "setting_names" in vars(cls) and "settings" not in vars(cls):
            cls.settings = AbstractLayer.settings  # type: ignore[method-assign]  # and not that of a class above
        if not is_ours(cls):
            check_results(cls)

    def _new_value(self, name: str, value: Any) -> Any:
        """Return a new value of a setting, checked as it is where a layer is made; of one that is built, numbers only.

        Shapes, parameters and fused plans stand when a layer is built; what is a float is read in each step.
        """
        cls, name_of = computes_as(type(self)), type(self).__name__
        if any(vars(self).get(name) is tensor is not value for tensor in self._tensors.values()):
            raise ArgumentError(
                f"{name}: got {validate.kind_of(value)}; allowed: {name}.data = values (parameters are shared by a"
                " layer that stands in several places)"
            )
        if not is_ours(cls) or (name == "layers" and not is_ours(type(self))):
            return value  # a container of one's own may get others: it is built again before it runs
        if name in vars(self):
            old = vars(self)[name]
            if isinstance(old, AbstractLayer) or (
                isinstance(old, tuple) and any(isinstance(part, AbstractLayer) for part in old)
            ):
                raise ArgumentError(
                    f"{name}: got other layers than {name_of} was made of; allowed: a new {name_of} of them (layers"
                    " that are built keep their values, see Layer.build)"
                )
        if name not in argument_names(cls):
            if name in annotated(cls) and name not in vars(self) and not hasattr(cls, name):
                raise ArgumentError(
                    f"{name}: got {validate.kind_of(value)} for a {name_of} that is not built; allowed: {name}.data ="
                    " values, after build"
                )
            return value
        settings = self.settings() or {}
        if self.children() or name not in settings:
            raise fixed(self, name, f"a new {name_of} with {name}={value!r}")
        made = vars(cls(**{**settings, name: value}))
        built = self._built_in is not None
        if name not in made or (built and (name == "init" or not isinstance(made[name], float))):
            raise fixed(self, name, f"a new {name_of} with {name}={value!r}{', before build' * built}")
        vars(self).update({other: made[other] for other in settings if other in made and other in vars(self)})
        return made[name]

    def _unknown(self, name: str) -> UnknownAttributeError:
        """Return the error for an attribute that is not there, or not yet."""
        if name in annotated(type(self)) and self._built_in is None:
            within = (
                "within a layer that does not set it up; allowed: scope.child(name, layer, input_shape) in its setup"
            )
            why = "that is not built; allowed: after build(input_shape)" if self._backend is None else within
            message = f"{name}: got a {type(self).__name__} {why}"
            return UnknownAttributeError(message, name=name, obj=self)
        return super()._unknown(name)

    # What a layer defines

    @abc.abstractmethod
    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        """Return the output and, in training, the context that `backward` needs.

        Parameters
        ----------
        x : array
            A batch.
        training : bool
            Whether `backward` will follow.

        Returns
        -------
        y : array
            The output.
        context : object
            What `backward` needs; None where it is not in training.
        """

    @abc.abstractmethod
    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        """Add the gradients of the parameters to theirs and return that of the input, None if it is not needed.

        Parameters
        ----------
        grad_output : array
            Gradient of the output.
        context : object
            What `forward` returned.
        needs_input_grad : bool
            Whether the gradient of the input is wanted.

        Returns
        -------
        array or None
            Gradient of the input.
        """

    def infer(self, input_shape: Shape) -> Shape:
        """Return the shape of the output, without the batch; ShapeError if the layer cannot take that input.

        Parameters
        ----------
        input_shape : tuple of int
            Of one image.

        Returns
        -------
        tuple of int
            Of one output.
        """
        return input_shape

    def setup(self, input_shape: Shape, scope: Scope) -> Shape:
        """Declare parameters and buffers in `scope` for this shape of input, without the batch; return the output's.

        Parameters
        ----------
        input_shape : tuple of int
            Of one image.
        scope : Scope
            Where parameters and buffers are declared.

        Returns
        -------
        tuple of int
            Of one output.
        """
        return self.infer(input_shape)

    def children(self) -> Sequence[tuple[str, AbstractLayer]]:
        """Return the layers inside of this one, with their names.

        Returns
        -------
        sequence of (str, Layer)
            In order; none by default.
        """
        return ()

    def macs(self, input_shape: Shape) -> int:
        """Return how many multiplications with weights one image takes.

        Parameters
        ----------
        input_shape : tuple of int
            Of one image.

        Returns
        -------
        int
            0 where there is no weight.
        """
        return 0

    def settings(self) -> Mapping[str, Any] | None:
        """Return all that decides what it computes beside its tensors: the attributes that `setting_names` names.

        None if that is not known: then no step with it is captured. The values are compared before each step, so one
        that changes in place is returned as a copy.

        Returns
        -------
        mapping of str to object, or None
            By the names of the attributes.
        """
        return None if self.setting_names is None else {name: getattr(self, name) for name in self.setting_names}

    # What containers define

    def structure(self) -> Chain | Sum | None:
        """Return how it is made of others, if it does nothing else, so that they can run as one with what follows.

        Returns
        -------
        Chain, Sum or None
            None, the default, if it computes something of its own.
        """
        return None

    def arrange(self) -> None:
        """Settle how the layers inside run: called when all of them were built, or moved."""

    def frozen(self) -> FrozenForward:
        """Return what computes it for inference, once its values do not change any more.

        Returns
        -------
        callable
            Takes a batch and returns the output.
        """
        return lambda x: self.forward(x, training=False)[0]

    # What a layer can count on

    def own_tensors(self) -> list[Buffer]:
        """Return the parameters and buffers of this very layer.

        Returns
        -------
        list of Buffer
            In order of declaration.
        """
        return list(self._tensors.values())

    def tensors(self) -> list[Buffer]:
        """Return all parameters and buffers, its own and those inside.

        Returns
        -------
        list of Buffer
            Each once, in order.
        """
        _ = self.backend  # says so if there is nothing yet
        return [tensor for layer in self.walk() for tensor in layer.own_tensors()]

    def named_tensors(self) -> dict[str, Buffer]:
        """Return all parameters and buffers by their names in this model, even if its layers are built into another.

        Returns
        -------
        dict of str to Buffer
            Such as ``"3.body.0.weight"``.
        """
        self.check_layers()
        if not self._places:
            return {tensor.name: tensor for tensor in self.tensors()}
        return {
            f"{path}.{name}" if path else name: tensor
            for path, layer in self._places
            for name, tensor in (self if layer is None else layer)._tensors.items()
        }

    def _has_others(self) -> bool:
        """Tell whether layers of somebody's own got layers with tensors that this model was not built with."""
        return self._held is not None and not are_same(self._held, held_layers(self.walk()))

    def check_layers(self) -> None:
        """Refuse a model with other layers: names and optimizers are of those that it was built with."""
        if self._has_others():
            raise got_others(self)

    def is_trained(self) -> bool:
        """Tell whether there are parameters that are not frozen, its own or inside.

        Returns
        -------
        bool
            False where there are none at all.
        """
        tensors = (tensor for layer in self.walk() for tensor in layer.own_tensors())
        return any(isinstance(tensor, Parameter) and not tensor.is_frozen for tensor in tensors)

    def walk(self) -> list[AbstractLayer]:
        """Return this layer and all inside of it.

        Returns
        -------
        list of Layer
            Each once, in order, itself first.
        """
        found: dict[int, AbstractLayer] = {}
        waiting: list[AbstractLayer] = [self]
        while waiting:
            layer = waiting.pop()
            if id(layer) not in found:
                found[id(layer)] = layer
                try:
                    waiting += [child for _, child in reversed(layer.children())]
                except (AttributeError, TypeError, ValueError):
                    check_children(found.values(), AbstractLayer)
                    raise
        return list(found.values())

    @property
    def home(self) -> Home:
        """Where it was built."""
        return Home(self._backend, self._dtype, self._tensors, self._built_in)

    def settle(self, home: Home) -> None:
        """Live there from now on.

        Parameters
        ----------
        home : Home
            Backend, type, tensors and model.
        """
        backend, dtype, tensors, model = home
        vars(self).update(_backend=backend, _dtype=dtype, _tensors=tensors, _built_in=model)


def arrange_all(model: AbstractLayer) -> None:
    """Let all containers settle how they run, each after those inside of it."""
    done: set[int] = set()

    def arrange(layer: AbstractLayer) -> None:
        if id(layer) not in done:
            done.add(id(layer))
            for _, child in layer.children():
                arrange(child)
            layer.arrange()

    arrange(model)


@dataclass(frozen=True)
class Chain:
    """Layers one after the other."""

    layers: tuple[AbstractLayer, ...]


@dataclass(frozen=True)
class Sum:
    """``body(x) + shortcut(x)``."""

    body: AbstractLayer
    shortcut: AbstractLayer
