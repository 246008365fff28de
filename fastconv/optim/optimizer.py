"""What all optimizers share: one kernel per step over the flat arena, and state by the names of the parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from fastconv import _validate as validate
from fastconv._attributes import Declared, settings_of
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError, BackendMismatchError, CheckpointError
from fastconv.kernels.update_rules import UpdateRule
from fastconv.nn.core.parameter import Parameter, Run, runs
from fastconv.nn.core.undo import Snapshot

_PLACES = frozenset({"_runs", "backend", "_step", "_done", "_lr_array", "_lr_there", "_captured"})  # see _settle


class Optimizer(Declared):
    """Base class of optimizers.

    A copy, and what was pickled, goes on with copies of the parameters: copy it together with its model, in one call.

    Parameters
    ----------
    parameters : iterable of Parameter
        ``model.parameters()``, or some of them: only these are trained. Neighbours share a kernel.
    lr : float
        Learning rate; may be set at any time.
    """

    rule: ClassVar[UpdateRule]
    """What a step does; `_update` and `settings` of a class without one say it themselves."""
    state_names: tuple[str, ...] = ()
    """The arrays of state, each as large as the parameters: those of the rule."""
    backend: Backend
    habits: ClassVar[Mapping[str, str]] = {
        "learning_rate": "optimizer.lr",
        "param_groups": "optimizer.lr, and one optimizer for all that is trained",
        "weights": "optimizer.state_dict()",
    }

    def __init__(self, parameters: Iterable[Parameter], lr: float) -> None:
        self.parameters = _checked_parameters(parameters, type(self).__name__)
        self.steps = 0
        self.lr = lr
        self._settle()
        self._states = [{name: self._zeros(run) for name in self.state_names} for run in self._runs]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "rule" in vars(cls):
            cls.state_names = cls.rule.state

    def take(self, **values: float | bool) -> None:
        """Check the settings of the rule and keep them as attributes."""
        for setting in self.rule.settings:
            setattr(self, setting.name, validate.scalar(values[setting.name], setting))

    def _settle(self) -> None:
        """Take the arrays that kernels read, where the parameters are."""
        self._runs = runs(self.parameters)
        self.backend = self._runs[0].arena.backend
        self._step, self._done = (self.backend.asarray(np.full(1, self.steps, np.int64)) for _ in range(2))
        self._lr_array = self.backend.asarray(np.full(1, self.lr, np.float64))
        self._lr_there: float | None = self.lr
        self._captured: tuple[tuple[Any, ...], Callable[[], bool] | None] | None = None

    @property
    def lr(self) -> float:
        """The learning rate."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = validate.number(value, "lr", low=0)

    def step(self) -> None:
        """Change the parameters by their gradients; those that got none have a gradient of zero, frozen ones stay.

        All of them or none, whatever interrupts it: see `apply`.

        Raises
        ------
        BackendMismatchError
            The model was moved to another backend since this optimizer was made.
        ArgumentError
            The model was built again since, or all parameters are frozen.
        """
        self.apply(self._update_whole)

    def apply(self, change: Callable[[], bool]) -> bool:
        """Count a step and do it by `change`, which calls `update` or repeats it: both or neither.

        Whether it was done is written by its last kernel, so an interrupt just behind it is told from one just before.

        Returns
        -------
        What `change` does: False if it did nothing, and the step is not counted.
        """
        self._check_home()
        number = self.steps + 1
        try:
            self._set_numbers(number)
            self._touch()
            done = change()
            if done:
                self.steps = number
            self._touch()
        except BaseException:
            if self._is_done(number):
                self.steps = number
            self._touch()
            raise
        return done

    def _set_numbers(self, number: int) -> None:
        """Write the step's number and the learning rate to where kernels read them, captured ones too."""
        self._step[0] = number
        if self._lr_there != self._lr:
            self._lr_there = None  # unknown, if an interrupt comes now
            self._lr_array[0] = self._lr
            self._lr_there = self._lr

    def _touch(self) -> None:
        for parameter in self.parameters:
            if not parameter.is_frozen:
                parameter.touch()

    def _is_done(self, number: int) -> bool:
        """Tell whether `update` came to its end in the step of this number; waits for the device."""
        return int(self.backend.to_numpy(self._done)[0]) == number

    def arrays(self) -> list[Array]:
        """Return the arrays that `update` reads or writes, but for the gradients."""
        states = [array for state in self._states for array in state.values()]
        return [self._lr_array, self._step, *states, *(run.arena.data for run in self._runs)]

    def update(self) -> None:
        """Run the kernels of a step; what `apply` calls, or captures and repeats."""
        for run, state in zip(self._runs, self._states, strict=True):
            for piece in run.trained():
                part = slice(piece.begin - run.begin, piece.end - run.begin)
                mine = state if piece is run else {name: array[part] for name, array in state.items()}
                self._update(piece.data, piece.grad(), mine, self._lr_array, self._step)
        self.backend.copy(self._step, out=self._done)

    def _update_whole(self) -> bool:
        return (self._captured_update() or self._guarded_update)()

    def _captured_update(self) -> Callable[[], bool] | None:
        """Return `update` as one call that nothing interrupts, or None where there is none."""
        declared = settings_of(self) if self.backend.captures else None
        if declared is None:
            return None
        for parameter in self.parameters:
            parameter.complete_grad()
        frozen = tuple(parameter.is_frozen for parameter in self.parameters)
        settings = (self.backend.num_threads, frozen, *declared.values())
        if self._captured is None or self._captured[0] != settings:
            self._captured = None
            self._captured = settings, self.backend.capture(self.update)
        return self._captured[1]

    def _guarded_update(self) -> bool:
        """Do `update`, or put back what it had changed when it was interrupted."""
        states = [array for state in self._states for array in state.values()]
        before = Snapshot(self.backend, [self._done, *states, *(run.data for run in self._runs)])
        try:
            self.update()
        except BaseException:
            before.put_back()
            raise
        return True

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name}={value}" for name, value in {"lr": self.lr, **self.settings()}.items())
        return f"{type(self).__name__}({len(self.parameters)} parameters, {numbers})"

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.zero_grad()

    def _update(self, data: Array, grad: Array, state: Mapping[str, Array], lr: Array, step: Array) -> None:
        """Run the kernel over one flat piece."""
        self.backend.update(self.rule(*self.settings().values()), data, grad, state, lr=lr, step=step)

    def settings(self) -> dict[str, float | bool]:
        """Return the hyperparameters but the learning rate: all that decides what `_update` does beside its arrays.

        Who defines `_update` anew defines this along with it, and computes on the backend alone; else the update runs
        as it is in each step, and is not captured.
        """
        return {setting.name: getattr(self, setting.name) for setting in self.rule.settings}

    def state_dict(self) -> dict[str, Any]:
        """Return ``{"kind", "steps", "lr", "settings", "tensors"}``; tensors are NumPy's: ``"velocity/0.weight"``."""
        tensors = {
            f"{name}/{parameter.name}": np.array(self.backend.to_numpy(view)) for name, parameter, view in self._views()
        }
        return {
            "kind": type(self).__name__,
            "steps": self.steps,
            "lr": self.lr,
            "settings": self.settings(),
            "tensors": tensors,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the state that `state_dict` gave; the hyperparameters, but for the learning rate, stay as they are.

        Raises
        ------
        CheckpointError
            It is that of another kind of optimizer, or of other parameters; nothing is changed.
        """
        self.check_state(state)
        tensors, steps = state["tensors"], int(state["steps"])
        before, lr = (self.snapshot(), self.steps), self.lr
        try:
            self.lr = float(state["lr"])
            for name, parameter, view in self._views():
                values = self.backend.asarray(tensors[f"{name}/{parameter.name}"], view.dtype)
                self.backend.copy(values.reshape(view.shape), out=view)
            self._done[0] = steps
            self.steps = steps
        except BaseException:
            before[0].put_back()
            self.steps, self.lr = before[1], lr
            raise

    def snapshot(self) -> Snapshot:
        """Return the present values of the arrays of state."""
        return Snapshot(self.backend, [self._done, *(array for state in self._states for array in state.values())])

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle what decides the next step; the parameters are copied with their model."""
        kept = {name: value for name, value in vars(self).items() if name not in _PLACES}
        kept["_states"] = [
            {name: np.array(self.backend.to_numpy(array)) for name, array in state.items()} for state in self._states
        ]
        return kept

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._settle()
        values = self._states
        self._states = [{name: self._zeros(run) for name in self.state_names} for run in self._runs]
        for mine, kept in zip(self._states, values, strict=True):
            for name, array in mine.items():
                self.backend.copy(self.backend.asarray(kept[name]), out=array)

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Refuse a state that `load_state_dict` cannot take."""
        kind = type(self).__name__
        if state["kind"] != kind:
            raise CheckpointError(f"state: got that of {state['kind']}; allowed: that of {kind}")
        wanted = {f"{name}/{parameter.name}": parameter for name, parameter, _ in self._views()}
        tensors: Mapping[str, np.ndarray] = state["tensors"]
        if set(tensors) != set(wanted):
            odd = sorted(set(tensors) ^ set(wanted))
            raise CheckpointError(f"state: got that of other parameters (such as {odd[0]}); allowed: that of these")
        for key, parameter in wanted.items():
            got, dtype = tensors[key], parameter.array.dtype
            # A scalar's is a (1,) in older files.
            if got.shape not in (parameter.shape, parameter.shape or (1,)) or got.dtype != dtype:
                raise CheckpointError(
                    f"state: got {got.dtype} {got.shape} for {key}; allowed: {dtype} {parameter.shape}"
                )

    def _views(self) -> list[tuple[str, Parameter, Array]]:
        """Return the name of the state, the parameter, and its part of the state."""
        return [
            (name, p, state[name][p.offset - run.begin : p.offset - run.begin + p.size].reshape(p.shape))
            for run, state in zip(self._runs, self._states, strict=True)
            for name in self.state_names
            for p in run.parameters
        ]

    def _zeros(self, run: Run) -> Array:
        array = self.backend.empty(run.data.shape, run.data.dtype)
        self.backend.fill(0.0, out=array)
        return array

    def _check_home(self) -> None:
        if any(parameter.retired for parameter in self.parameters):
            raise ArgumentError(
                "parameters: got those of a model that was built again; allowed: an optimizer made afterwards"
            )
        if all(parameter.is_frozen for parameter in self.parameters):
            raise ArgumentError(
                f"parameters: got {len(self.parameters)}, all of them frozen; allowed: at least one that is not"
                " (layer.unfreeze() lets those of a layer be trained)"
            )
        for run in self._runs:
            arena = run.arena
            for parameter in run.parameters:
                if parameter.arena is not arena:
                    raise self._moved(parameter)

    def _moved(self, parameter: Parameter) -> ArgumentError | BackendMismatchError:
        home = parameter.arena.backend
        if home is self.backend:
            return ArgumentError(
                f"parameters: got {parameter.name}, whose layer was built into another model since; allowed:"
                " an optimizer made afterwards"
            )
        return BackendMismatchError(
            f"parameters: got a model that was moved and lives on {home.name!r} now; allowed:"
            f" an optimizer made after model.to (this one was made on {self.backend.name!r})"
        )


def _checked_parameters(parameters: Any, optimizer: str) -> tuple[Parameter, ...]:
    """Return `parameters` as a tuple, or say what to write instead."""
    advice = f"parameters, as in {optimizer}(model.parameters(), ...)"
    try:
        found = tuple(parameters)
    except TypeError:
        raise ArgumentError(f"parameters: got {type(parameters).__name__}; allowed: {advice}") from None
    for item in found:
        if not isinstance(item, Parameter):
            raise ArgumentError(f"parameters: got {type(item).__name__} among them; allowed: {advice}")
    if not found:
        raise ArgumentError("parameters: got none; allowed: at least one (a built model's parameters())")
    if len(set(found)) != len(found):
        raise ArgumentError("parameters: got one of them twice; allowed: each once")
    homes = {parameter.arena.backend.name for parameter in found}
    if len(homes) > 1:
        raise BackendMismatchError(
            f"parameters: got some on each of the backends {', '.join(sorted(homes))}; allowed: all on one"
        )
    return found
