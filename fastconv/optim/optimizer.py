"""What all optimizers share: one kernel per step over the flat arena, and state by the names of the parameters."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fastconv import _validate as validate
from fastconv.backends.base import Array
from fastconv.errors import ArgumentError, BackendMismatchError, CheckpointError
from fastconv.nn.parameter import Parameter, Run, runs


class Optimizer(abc.ABC):
    """Base class of optimizers.

    Parameters
    ----------
    parameters : iterable of Parameter
        ``model.parameters()``, or some of them: only these are trained. Neighbours share a kernel.
    lr : float
        Learning rate; may be set at any time.
    """

    state_names: tuple[str, ...] = ()
    """The arrays of state, each as large as the parameters."""

    def __init__(self, parameters: Iterable[Parameter], lr: float) -> None:
        self.parameters = tuple(parameters)
        if not self.parameters:
            raise ArgumentError("parameters: got none; allowed: at least one (a built model's parameters())")
        if len(set(self.parameters)) != len(self.parameters):
            raise ArgumentError("parameters: got one of them twice; allowed: each once")
        self._runs = runs(self.parameters)
        self.backend = self._runs[0].arena.backend
        self._step = self.backend.asarray(np.zeros(1, np.int64))
        self._lr_array = self.backend.asarray(np.zeros(1, np.float64))
        self.steps = 0
        self.lr = lr
        self._states = [{name: self._zeros(run) for name in self.state_names} for run in self._runs]

    @property
    def lr(self) -> float:
        """The learning rate."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = validate.number(value, "lr", low=0)
        self._lr_array[0] = self._lr  # kernels read it from there, so that a captured step can be replayed with another

    def step(self) -> None:
        """Change the parameters by their gradients; those that got none have a gradient of zero.

        Raises
        ------
        BackendMismatchError
            The model was moved to another backend since this optimizer was made.
        ArgumentError
            The model was built again since.
        """
        self.advance()
        self.update()
        for parameter in self.parameters:
            parameter.touch()

    def advance(self) -> None:
        """Count a step, where kernels see it; the first part of `step`, which is not captured."""
        self._check_home()
        self.steps += 1
        self._step[0] = self.steps

    def take_back(self) -> None:
        """Undo `advance`, of a step that was not done."""
        self.steps -= 1
        self._step[0] = self.steps

    def arrays(self) -> list[Array]:
        """Return the arrays that `update` reads or writes, but for the gradients."""
        states = [array for state in self._states for array in state.values()]
        return [self._lr_array, self._step, *states, *(run.arena.data for run in self._runs)]

    def update(self) -> None:
        """Run the kernels of a step that was counted; the second part of `step`, which can be captured."""
        for run, state in zip(self._runs, self._states, strict=True):
            self._update(run.data, run.grad(), state, self._lr_array, self._step)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.zero_grad()

    @abc.abstractmethod
    def _update(self, data: Array, grad: Array, state: Mapping[str, Array], lr: Array, step: Array) -> None:
        """Run the kernel over one flat piece."""

    @abc.abstractmethod
    def settings(self) -> dict[str, float | bool]:
        """Return the hyperparameters but the learning rate."""

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
        for name, parameter, view in self._views():
            values = self.backend.asarray(state["tensors"][f"{name}/{parameter.name}"], view.dtype)
            self.backend.copy(values.reshape(view.shape), out=view)
        self.steps = int(state["steps"])
        self.lr = float(state["lr"])

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
