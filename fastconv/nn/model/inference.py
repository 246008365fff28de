"""A network frozen for inference on one shape of batch.

`Layer.compile` copies the model, lets its layers freeze what they compute (`AbstractLayer.frozen`: normalisations are
folded into convolutions), prepares the weights, plans the buffers, and lets the backend capture what is left: on the
CPU one call into compiled code for the whole network.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastconv._attributes import Declared, is_strange, settings_of
from fastconv.algorithm import algorithm
from fastconv.backends import use_backend
from fastconv.backends.contract.types import AlgorithmChoice, Array, PrecisionChoice, Shape
from fastconv.errors import ShapeError
from fastconv.kernels.locks import ForkSafeLock
from fastconv.nn.core.layer import AbstractLayer
from fastconv.nn.core.outputs import of_each
from fastconv.precision import precision


class InferencePlan(Declared):
    """What `Layer.compile` returns: ``plan(x)`` gives what ``model(x)`` gave when it was made, up to rounding.

    Threads may share a plan; they take turns. A copy, or one that was pickled, is planned anew from the same weights.

    Attributes
    ----------
    input_shape, output_shape : tuple of int
        With the batch; a tuple of output shapes where there are several.
    """

    def __init__(self, model: AbstractLayer, input_shape: Shape, how: PrecisionChoice, chosen: AlgorithmChoice) -> None:
        self._model, self._backend, self.input_shape = model, model.backend, input_shape
        self._precision, self._algorithm = how, chosen
        self._lock = ForkSafeLock()
        self._run = model.frozen()
        self._x = self._backend.asarray(np.zeros(input_shape, model.dtype))
        self._y = self._run(self._x)  # prepares the weights, and finds what is wrong
        self.output_shape: Shape = of_each(self._y, lambda y: tuple(y.shape))
        # A layer that does not say what decides its results may compute them in NumPy, which is not captured.
        known = all(settings_of(layer) is not None for layer in model.walk())
        self._replay = self._backend.capture(self._compute) if known else None
        if self._replay is not None and any(map(is_strange, model.walk())):
            # Twice: what NumPy made of memory without values, when this was recorded, may fit those that lay there.
            rng, replay = np.random.default_rng(0), self._replay
            if not all(self._repeats(replay, rng.standard_normal(self.input_shape)) for _ in range(2)):
                self._replay = None

    def _repeats(self, replay: Callable[[], bool], drawn: np.ndarray) -> bool:
        """Tell whether a replay gives, to the bit, what the layers give for values that they have not seen."""
        self._backend.copy(self._backend.asarray(drawn, self._x.dtype), out=self._x)
        try:
            with precision(self._precision), algorithm(self._algorithm):
                as_written = of_each(self._run(self._x), self._bytes)
        except Exception:  # a layer that takes other values only: it runs as it is written
            return False
        return replay() and of_each(self._y, self._bytes) == as_written

    def _bytes(self, y: Array) -> bytes:
        return self._backend.to_numpy(y).tobytes()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.input_shape} -> {self.output_shape}, backend {self._backend.name})"

    def __reduce__(self) -> tuple[object, ...]:
        return _thaw, (self._model, self.input_shape, self._precision, self._algorithm)

    def __call__(self, x: Array) -> Array:
        """Return the network's output for `x`, of the shape the plan was made for."""
        backend = self._backend
        x = self._model.check_input(x)
        if x.shape != self.input_shape:
            raise ShapeError(f"x: got shape {tuple(x.shape)}; allowed: {self.input_shape}, which the plan was made for")
        with self._lock:
            backend.copy(x, out=self._x)
            computed = self._y
            if self._replay is None or not self._replay():
                with precision(self._precision), algorithm(self._algorithm):
                    computed = self._run(self._x)
            return of_each(computed, backend.copy_of)

    def _compute(self) -> None:
        with precision(self._precision), algorithm(self._algorithm):
            self._y = self._run(self._x)


def _thaw(model: AbstractLayer, input_shape: Shape, how: PrecisionChoice, chosen: AlgorithmChoice) -> InferencePlan:
    """Return the plan that was made of this model."""
    with use_backend(model.backend.name), precision(how), algorithm(chosen):
        return InferencePlan(model, input_shape, how, chosen)
