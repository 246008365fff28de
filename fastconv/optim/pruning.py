"""Pruning by magnitude."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from fastconv import _validate as validate
from fastconv._nearest import nearest
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError, CheckpointError
from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.nn.core.layer import AbstractLayer
from fastconv.nn.core.parameter import Parameter
from fastconv.nn.core.undo import kept_unless_done
from fastconv.optim.magnitude import SparsitySchedule, checked_mask, odd_values, smallest_pruned
from fastconv.optim.nested import Nested
from fastconv.optim.optimizer import Optimizer
from fastconv.optim.regions import Region, by_name, trained

_RULE = UPDATE_RULES["mask"]()
_SCOPES = ("layer", "global")
_MOVABLE = ("end",)  # what a longer run may have otherwise than the state that it goes on from
Layers = Iterable[str] | Callable[[Parameter], bool] | None
"""Which layers are pruned: their names, or a function that picks their parameters; None: all weights."""


class Pruning(Nested):
    """Sets the smallest weights to zero while another optimizer trains, and keeps them there.

    Behind step t the share of weights that are zero is that of Zhu and Gupta 2017 (https://arxiv.org/abs/1710.01878),
    as in TensorFlow's pruning of its CIFAR-10 network::

        s = target + (initial - target) * (1 - (t - begin) / (end - begin))**exponent

    from step `begin` to step `end`, counted as `steps` of the optimizer are, and it stays. The masks change after
    `begin`, after every `frequency` steps from there, and after `end`: those weights of smallest magnitude go. In
    between, masks are part of each step, captured ones too, one launch for gradients and one for weights. A pruned
    weight is exactly zero from then on: its gradient and all state that the optimizer keeps of it are zero, and it
    never comes back. (In TensorFlow it is kept aside without a gradient, and may come back when a later threshold is
    lower.)

    It goes around all others, ``Pruning(EMA(SGD(...)))``, so that averages are as sparse; `Combined` may go around it.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rate and groups are its own.
    end : int
        The step from which on the share is `target`; at least `begin`. If both are the same, all is pruned at once.
    target : float
        At least 0, below 1.
    begin : int
        At least 0: with 0 what `initial` says is pruned when this is made.
    frequency : int
        At least 1.
    initial : float
        At least 0, at most `target`.
    exponent : float
        Above 0.
    scope : str
        "layer": the share holds in each layer. "global": it holds of all together, and layers with small weights lose
        more of them, even all.
    layers : iterable of str, function of a Parameter, or None
        Names of layers, as `summary` shows them, each with all layers inside; only their weights are pruned, what has
        two axes or more. A function picks the parameters itself. None: the weights of all layers.
    keep_last : bool
        Whether the last of them is left as it is, often the classifier.

    Attributes
    ----------
    pruned : tuple of Parameter
        What is pruned, or will be.
    schedule : SparsitySchedule

    Raises
    ------
    ArgumentError
        There is nothing to prune, or a layer is frozen.

    Examples
    --------
    >>> model = fc.models.lenet5(seed=0)
    >>> optimizer = fc.optim.Pruning(fc.optim.SGD(model.parameters(), 0.1), end=0, target=0.9)
    >>> f"{optimizer.quantities()['sparsity']:.3f}"
    '0.900'
    """

    state_names = ("mask",)
    _prunes = True

    def __init__(
        self,
        optimizer: Optimizer,
        end: int,
        *,
        target: float = 0.5,
        begin: int = 0,
        frequency: int = 10,
        initial: float = 0.0,
        exponent: float = 3.0,
        scope: str = "layer",
        layers: Layers = None,
        keep_last: bool = False,
    ) -> None:
        goal = validate.number(target, "target", low=0, high=1)
        first = validate.number(initial, "initial", low=0, high=1)
        if first > goal:
            raise ArgumentError(f"initial: got {initial!r}; allowed: at most the target, {goal}: nothing comes back")
        start, last = validate.at_least(begin, 0, "begin"), validate.at_least(end, 0, "end")
        if last < start:
            raise ArgumentError(f"end: got {end!r}, before the step at which pruning begins; allowed: {start} or later")
        every = validate.at_least_one(frequency, "frequency")
        power = validate.number(exponent, "exponent", low=0, open_low=True)
        validate.one_of(scope, "scope", _SCOPES)
        self.schedule, self.scope = SparsitySchedule(start, last, every, first, goal, power), scope
        found = optimizer.parameters if isinstance(optimizer, Optimizer) else ()
        self.pruned = _chosen(found, layers, validate.truth(keep_last, "keep_last")) if found else ()
        self._changed_at: int | None = None
        by_name((parameter.name, parameter) for parameter in self.pruned)  # says so if two have one
        self._kept = {parameter: parameter.size for parameter in self.pruned}
        super().__init__((optimizer,))
        self._check_frozen()
        self._follow_schedule()

    @property
    def sparsity(self) -> dict[str, float]:
        """The share that is pruned at present of each of `pruned`, by name."""
        return {parameter.name: 1 - self._kept[parameter] / parameter.size for parameter in self.pruned}

    def quantities(self) -> dict[str, float]:
        """Return what there is to tell of it after each epoch.

        Returns
        -------
        dict of str to float
            "sparsity", of all together, and "sparsity/0.weight" of each.
        """
        total, kept = sum(parameter.size for parameter in self.pruned), sum(self._kept.values())
        own = {"sparsity": 1 - kept / total, **{f"sparsity/{name}": share for name, share in self.sparsity.items()}}
        return super().quantities() | own

    def own_settings(self) -> dict[str, Any]:
        return {**vars(self.schedule), "scope": self.scope, "pruned": [parameter.name for parameter in self.pruned]}

    def masks(self) -> dict[str, np.ndarray]:
        """Return the masks by the names of the weights.

        Returns
        -------
        dict of str to numpy.ndarray of bool
            Shaped as the weights, True for what is kept.
        """
        return {parameter.name: self.backend.to_numpy(view) > 0 for _, parameter, view in self._views()}

    def set_masks(self, masks: Mapping[str, np.ndarray]) -> None:
        """Prune what these masks say, and from here on more, as the schedule has it.

        Parameters
        ----------
        masks : mapping of str to array of bool
            As of `masks`; 1 and 0 are True and False.

        Raises
        ------
        ArgumentError, DTypeError, ShapeError
            They are those of another model, or no masks.
        """
        names = [parameter.name for parameter in self.pruned]
        if not isinstance(masks, Mapping):
            raise ArgumentError(f"masks: got {validate.kind_of(masks)}; allowed: a dict, as masks() returns it")
        if set(masks) != set(names):
            odd = next(name for name in (*names, *masks) if name not in names or name not in masks)
            raise ArgumentError(f"masks: got those of another model (such as {odd!r}); allowed: {', '.join(names)}")
        self._set([checked_mask(masks[parameter.name], parameter.name, parameter.shape) for parameter in self.pruned])

    def prepare_gradients(self) -> None:
        """Set the gradients of pruned weights to zero; those that were not computed stay what they are."""
        super().prepare_gradients()
        self._heed_frozen()  # limits ask before `apply` does
        self._mask(lambda region: region.grad)

    def update(self) -> None:
        """Run the kernels of a step."""
        self.prepare_gradients()
        super().update()

    def after(self) -> None:
        """Set the pruned weights to zero, whatever was added to them."""
        self._mask(lambda region: region.data)

    def state_dict(self) -> dict[str, Any]:
        """Return its own state, and that of its optimizer.

        Returns
        -------
        dict
            As of `EMA`, and "changed_at"; of the tensors "mask/0.weight" is 1 where a weight is kept. "settings" has
            its own ones where those of its optimizer are not known.
        """
        return super().state_dict() | {
            "settings": self.settings() or self.own_settings(),
            "changed_at": self._changed_at,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the state that `state_dict` gave, with the masks of the schedule that this one has.

        Parameters
        ----------
        state : mapping
            What `state_dict` gave. Only `end` may have been another one: a run that goes on for longer may prune for
            longer. What is pruned stays so until this schedule prunes more.

        Raises
        ------
        CheckpointError
            As of `EMA`, or it is that of another schedule: its masks are not those that this one makes. To go on
            with them nevertheless, load the weights alone, and hand the masks to `set_masks`.
        """
        before = self.state_dict()
        try:
            self._take_state(state)
        except BaseException:
            self._take_state(before)
            raise

    def _take_state(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._changed_at = state["changed_at"]
        self._count()

    def check_state(self, state: Mapping[str, Any]) -> None:
        super().check_state(state)
        if "changed_at" not in state:
            raise CheckpointError("state: got none of when masks changed; allowed: what state_dict gave")
        self._check_schedule(state["settings"])
        for key, (parameter, _) in self._named_views().items():
            if odd_values(state["tensors"][key]).size:
                raise CheckpointError(
                    f"state: got other numbers than 0 and 1 in the mask of {parameter.name}; allowed: these"
                )

    def _check_schedule(self, settings: Mapping[str, Any] | None) -> None:
        """Refuse the settings of a schedule whose masks are others than those that this one makes."""
        for name, mine in self.own_settings().items():
            theirs = (settings or {}).get(name)
            if theirs != mine and name not in _MOVABLE:
                raise CheckpointError(
                    f"state: got that of a pruning with {name}={theirs!r}; allowed: {name}={mine!r}, as of this one"
                )

    def _apply(self, change: Callable[[], bool]) -> bool:
        """Count a step, do it by `change`, and let masks follow the schedule: all of it or nothing."""
        self._check_frozen()
        self._follow_schedule()  # what an interrupt after the last step left to do
        try:
            return super()._apply(change)
        finally:
            self._follow_schedule()

    def _follow_schedule(self) -> None:
        """Change the masks if the last step that was done says so and they have not changed since."""
        step = self.schedule.last_change(self.steps)
        if step is None or step == self._changed_at:
            return
        try:
            self._prune(step)
        except BaseException:
            self._prune(step)  # it belongs to a step that is done; a second interrupt leaves it to the next one
            raise

    def _prune(self, step: int) -> None:
        before = [self.backend.to_numpy(view).reshape(-1) > 0 for _, _, view in self._views()]
        weights = [self.backend.to_numpy(parameter.array) for parameter in self.pruned]
        self._set(smallest_pruned(weights, before, self.schedule.at(step), together=self.scope == "global"))
        self._changed_at = step

    def _set(self, masks: Iterable[np.ndarray]) -> None:
        """Take masks, and prune weights and all that is kept of them: all or nothing."""
        self._check_home()
        self._touch()
        try:
            kept_unless_done(self.backend, self.changed(), lambda: self._take_masks(masks))
        finally:
            self._touch()

    def _take_masks(self, masks: Iterable[np.ndarray]) -> None:
        for (_, parameter, view), mask in zip(self._views(), masks, strict=True):
            values = self.backend.asarray(mask.reshape(parameter.shape), view.dtype)
            self.backend.copy(values, out=view)
        self._mask(lambda region: region.grad)
        self.after()
        own = {parameter: view for _, parameter, view in self._views()}
        _, *within = self.all_within()
        for optimizer in within:
            for _, parameter, state in optimizer._views():
                if parameter in own:
                    self._mask_one(state, own[parameter])
        self._count()

    def _mask(self, array_of: Callable[[Region], Array]) -> None:
        """Set to zero what is pruned in an array of each region."""
        for region, state, pieces in self._parts(0):
            numbers = {"lr": self.rate_array, "step": self._step, "pieces": pieces}
            self.backend.update(_RULE, array_of(region), state["mask"], {}, **numbers)

    def _mask_one(self, array: Array, mask: Array) -> None:
        flat, kept = array.reshape(-1), mask.reshape(-1)
        self.backend.update(_RULE, flat, kept, {}, lr=self.rate_array, step=self._step)

    def _count(self) -> None:
        for _, parameter, view in self._views():
            self._kept[parameter] = int(np.count_nonzero(self.backend.to_numpy(view) > 0))

    def _check_frozen(self) -> None:
        """Refuse to prune what is frozen."""
        if self._changed_at == self.schedule.end:
            return
        for parameter in self.pruned:
            if parameter.is_frozen:
                raise ArgumentError(
                    f"layers: got {parameter.name}, which is frozen and so stays as it is; allowed: weights that are"
                    " trained (layer.unfreeze(), or name the layers to prune)"
                )

    def _views(self) -> list[tuple[str, Parameter, Array]]:
        """Return the masks of what is pruned, in the order of `pruned`."""
        found = {parameter: (name, parameter, view) for name, parameter, view in super()._views()}
        return [found[parameter] for parameter in self.pruned]

    def _find_pieces(self) -> list[list[Array | None]]:
        return [[region.pieces(trained(self.pruned)) for region in self._regions]]

    def _first(self, name: str, region: Region) -> Array:
        """Return a mask that keeps all that may be pruned."""
        return region.filled([(self.pruned, 1.0)])


def _chosen(parameters: Iterable[Parameter], layers: Layers, keep_last: bool) -> tuple[Parameter, ...]:
    """Return the parameters that are pruned."""
    if callable(layers) and not isinstance(layers, AbstractLayer):  # which is called with images
        found = [parameter for parameter in parameters if layers(parameter)]
    else:
        found = [parameter for parameter in parameters if len(parameter.shape) > 1]
        if layers is not None:
            names = _checked_names(layers, found)
            found = [parameter for parameter in found if any(f"{parameter.name}.".startswith(f"{n}.") for n in names)]
    if keep_last:
        found = found[:-1]
    if not found:
        kept = ", apart from the last one" if keep_last else ""
        raise ArgumentError(f"layers: got none with weights to prune{kept}; allowed: convolutions, dense layers")
    return tuple(found)


def _checked_names(layers: Iterable[str], found: Iterable[Parameter]) -> tuple[str, ...]:
    """Return names that each mean a layer with weights, or layers that one has inside."""
    if isinstance(layers, AbstractLayer) or not isinstance(layers, Iterable):
        raise ArgumentError(
            f"layers: got {layers!r}; allowed: names of layers with weights, or a function of a Parameter"
        )
    names = (layers,) if isinstance(layers, str) else tuple(layers)
    paths = [parameter.name.split(".")[:-1] for parameter in found]
    known = sorted({".".join(path[:depth]) for path in paths for depth in range(1, len(path) + 1)})
    for name in names:
        if name not in known:
            raise ArgumentError(f"layers: got {name!r}; allowed: names of layers with weights{nearest(name, known, 0)}")
    return names
