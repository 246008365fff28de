"""Gradients compared with central differences; public as `fastconv.testing.gradcheck`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fastconv import _validate as validate
from fastconv import random
from fastconv._calls import tells_habits
from fastconv._html import Printed
from fastconv.backends import get_backend
from fastconv.backends.contract.backend import Backend
from fastconv.errors import ArgumentError, DTypeError, FastconvError, ShapeError
from fastconv.nn.model.model import Layer

_COORDINATES = 8
_STEPS = (1e-3, 1e-4, 1e-5, 1e-6)  # a larger one has less rounding, a smaller one is less likely to meet a kink
_AGREE = 1e-8  # two estimates of a smooth function's derivative differ by less, relative to the derivative

Differentiable = Callable[..., tuple[Any, Callable[[Any], Any]]]
"""``function(*inputs) -> (y, backward)`` with ``backward(grad_y) -> gradients``, one per input or a single one."""


class CheckError(FastconvError, AssertionError):
    """A check of `fastconv.testing` failed; the message is its report.

    Examples
    --------
    >>> def wrong(x):
    ...     return x**2, lambda grad: grad * x
    >>> try:
    ...     fc.testing.gradcheck(wrong, np.array([3.0]))
    ... except fc.testing.CheckError as error:
    ...     print(str(error).partition(":")[0])
    gradcheck FAILED
    """


@dataclass(frozen=True)
class Element:
    """One directional derivative that was compared.

    Parameters
    ----------
    variable : str
        "x" or the name of a parameter.
    direction : str
        "random", or the index of a coordinate.
    analytic, numeric : float
        The derivative by the code, and by differences.
    noise : float
        What rounding of the function's values may have added to `numeric`.

    Examples
    --------
    >>> element = fc.testing.gradcheck(fc.nn.Dense(2), np.ones((1, 3))).worst
    >>> element.variable, element.error < 1e-7
    ('x', True)
    """

    variable: str
    direction: str
    analytic: float
    numeric: float
    noise: float

    @property
    def error(self) -> float:
        """``|analytic - numeric| / max(|analytic|, |numeric|)``."""
        difference = abs(self.analytic - self.numeric)
        if not math.isfinite(difference):
            return math.inf
        return difference / max(abs(self.analytic), abs(self.numeric)) if difference else 0.0

    def excess(self, tolerance: float) -> float:
        """Return the difference as a multiple of what is allowed: `tolerance` of the larger value, and the noise.

        Parameters
        ----------
        tolerance : float
            Relative.

        Returns
        -------
        float
            Above 1 where the difference is too large; infinite where it is not finite.
        """
        difference = abs(self.analytic - self.numeric)
        if not math.isfinite(difference):
            return math.inf
        allowed = tolerance * max(abs(self.analytic), abs(self.numeric)) + self.noise
        return difference / allowed if difference else 0.0

    def __str__(self) -> str:
        return (
            f"{self.variable}, {self.direction}: analytic {self.analytic:.12g}, numeric {self.numeric:.12g},"
            f" (give or take {self.noise:.1g}), relative error {self.error:.2g}"
        )


@dataclass(frozen=True)
class Report(Printed):
    """What `gradcheck` found.

    Parameters
    ----------
    ok : bool
        Whether all gradients are right.
    checked : int
        Directional derivatives that were compared.
    kinks : int
        Those left out because the function is not smooth there.
    worst : Element or None
        The one that differs most.
    tolerance : float
        What a relative error may be.
    unchecked : tuple of str
        Variables of which nothing could be compared; there must be none.

    Examples
    --------
    >>> report = fc.testing.gradcheck(fc.nn.Dense(2), np.ones((1, 3)))
    >>> report.ok, report.checked, report.kinks
    (True, 14, 0)
    """

    ok: bool
    checked: int
    kinks: int
    worst: Element | None
    tolerance: float
    unchecked: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"gradcheck {'passed' if self.ok else 'FAILED'}: {self.checked} derivatives compared,"
            f" {self.kinks} left out at kinks, tolerance {self.tolerance:g}",
            f"worst: {self.worst}",
        ]
        if self.unchecked:
            lines.append(f"nothing could be compared of: {', '.join(self.unchecked)}")
        return "\n".join(lines)


_TARGETS = "a layer, or a function that returns its value and, as a function, what gives the gradients"


@tells_habits(dict.fromkeys(("eps", "atol", "rtol"), "tolerance; the steps are chosen"))
def gradcheck(
    target: Layer | Differentiable,
    *inputs: Any,
    seed: int = 0,
    tolerance: float = 1e-7,
    raise_on_failure: bool = True,
) -> Report:
    """Compare gradients with central differences in float64, on the active backend.

    Of the scalar ``sum(r * y)`` with fixed random `r`, over all outputs if there are several, the derivative along a
    random direction and along eight coordinates, for each input and each parameter by itself. The step is made smaller
    where the function has a kink within it, and a derivative is left out where it has one at the very point. Random
    numbers are the same in each evaluation.

    Parameters
    ----------
    target : Layer or function
        A layer, built in float64 or not built (then it is, and stays so), checked in training. Or
        ``function(*inputs)`` that returns ``(y, backward)``, where ``backward(grad_y)`` returns the gradient of each
        input; several outputs are a tuple, and so is `grad_y` then. Parameters and buffers of a layer are as before
        afterwards, its gradients are not.
    *inputs : float64 arrays
        One for a layer.
    seed : int
        Of the random numbers.
    tolerance : float
        Of the relative error.
    raise_on_failure : bool
        Whether a failure is an exception.

    Returns
    -------
    Report
        What was compared, and the worst of it.

    Raises
    ------
    CheckError
        A gradient is wrong and `raise_on_failure` is set; the message names the worst element.

    Examples
    --------
    >>> fc.testing.gradcheck(fc.nn.Conv2d(2, 3), np.random.default_rng(0).standard_normal((1, 5, 5, 1))).ok
    True
    >>> def cube(x):
    ...     return x**3, lambda grad: 3 * x**2 * grad
    >>> fc.testing.gradcheck(cube, np.array([1.0, 2.0])).checked
    3
    """
    if not callable(target):
        raise ArgumentError(f"target: got {validate.shown(target)}; allowed: {_TARGETS}")
    tolerance = validate.number(tolerance, "tolerance", low=0)
    validate.truth(raise_on_failure, "raise_on_failure")
    arrays = [np.array(get_backend().to_numpy(array)) for array in inputs]
    if not arrays or any(array.dtype != np.float64 for array in arrays):
        raise DTypeError(f"inputs: got {[str(array.dtype) for array in arrays]}; allowed: at least one float64 array")
    if not all(array.size for array in arrays):
        raise ShapeError(f"inputs: got shapes {[array.shape for array in arrays]}; allowed: at least one value in each")
    generator = np.random.default_rng(random.checked_seed(seed))
    if not isinstance(target, Layer):
        return _compare_gradients(*_of_function(target, arrays, seed), generator, tolerance, raise_on_failure)
    if len(arrays) != 1:
        raise ArgumentError(f"inputs: got {len(arrays)}; allowed: one for a layer")
    if target.home.backend is None:
        target.build(arrays[0].shape[1:], np.float64, seed)
    elif target.dtype != np.float64:
        raise DTypeError(f"target: got a layer built in {target.dtype}; allowed: float64")
    kept = [np.array(target.backend.to_numpy(tensor.array)) for tensor in target.tensors()]
    try:
        return _compare_gradients(*_of_layer(target, arrays[0], seed), generator, tolerance, raise_on_failure)
    finally:
        for tensor, values in zip(target.tensors(), kept, strict=True):
            tensor.data = values


_Run = Callable[[Mapping[str, np.ndarray]], tuple[Any, Callable[[Any], Mapping[str, Any]]]]
"""From values of the variables to the result, and what gives the gradients by their names."""


def _of_function(
    function: Differentiable, arrays: Sequence[np.ndarray], seed: int
) -> tuple[dict[str, np.ndarray], _Run]:
    backend = get_backend()
    names = ["x"] if len(arrays) == 1 else [f"inputs[{i}]" for i in range(len(arrays))]

    def run(values: Mapping[str, np.ndarray]) -> tuple[Any, Callable[[Any], Mapping[str, Any]]]:
        with random.stream(seed, 0):
            result = function(*[backend.asarray(np.array(values[name])) for name in names])
        if not isinstance(result, tuple) or len(result) != 2 or not callable(result[1]):
            raise ArgumentError(f"target: got {validate.kind_of(result)} from {function!r}; allowed: {_TARGETS}")
        y, backward = result

        def gradients(r: Any) -> Mapping[str, Any]:
            found = backward(r)
            return dict(zip(names, found if isinstance(found, tuple | list) else (found,), strict=True))

        return y, gradients

    return dict(zip(names, arrays, strict=True)), run


def _of_layer(layer: Layer, x: np.ndarray, seed: int) -> tuple[dict[str, np.ndarray], _Run]:
    backend, parameters = layer.backend, [each for each in layer.parameters() if not each.is_frozen]
    variables = {"x": x, **{p.name: np.array(backend.to_numpy(p.array)) for p in parameters}}
    current = dict(variables)  # of the layer's parameters, those that differ from what it holds are set

    def run(values: Mapping[str, np.ndarray]) -> tuple[Any, Callable[[Any], Mapping[str, Any]]]:
        for parameter in parameters:
            if values[parameter.name] is not current[parameter.name]:
                parameter.data = current[parameter.name] = values[parameter.name]
        with random.stream(seed, 0):
            y, context = layer.forward(backend.asarray(np.array(values["x"])), training=True)

        def gradients(r: Any) -> Mapping[str, Any]:
            layer.zero_grad()
            return {"x": layer.backward(r, context), **{p.name: p.grad for p in parameters}}

        return y, gradients

    return variables, run


def _compare_gradients(
    variables: Mapping[str, np.ndarray],
    run: _Run,
    generator: np.random.Generator,
    tolerance: float,
    raise_on_failure: bool,
) -> Report:
    backend = get_backend()

    def along(name: str, value: np.ndarray) -> np.ndarray:
        return _joined(run({**variables, name: value})[0], backend)

    outputs, gradients = run(variables)
    y = _joined(outputs, backend)
    r = generator.standard_normal(y.shape)
    analytic = {
        name: np.array(backend.to_numpy(grad)) for name, grad in gradients(_parted(r, outputs, backend)).items()
    }
    elements: list[Element] = []
    kinks, unchecked = 0, []
    for name, value in variables.items():
        if analytic[name].shape != value.shape:
            raise CheckError(f"gradient of {name}: got shape {analytic[name].shape}; allowed: {value.shape}")
        before = len(elements)
        for label, direction in _directions(value.shape, generator):
            numeric = _derivative(partial(along, name), value, direction, y, r)
            if numeric is None:
                kinks += 1
                continue
            exact = float(np.vdot(analytic[name], direction))
            elements.append(Element(name, label, exact, *numeric))
        if len(elements) == before and value.size:
            unchecked.append(name)
    worst = max(elements, key=lambda element: element.excess(tolerance), default=None)
    ok = not unchecked and worst is not None and worst.excess(tolerance) <= 1
    report = Report(ok, len(elements), kinks, worst, tolerance, tuple(unchecked))
    if raise_on_failure and not ok:
        raise CheckError(str(report))
    return report


def _joined(y: Any, backend: Backend) -> np.ndarray:
    """Return the values of the output on the host; of several in a tuple all in one row."""
    if isinstance(y, tuple):
        return np.concatenate([np.array(backend.to_numpy(part)).reshape(-1) for part in y])
    return np.array(backend.to_numpy(y))


def _parted(r: np.ndarray, y: Any, backend: Backend) -> Any:
    """Return what `_joined` would make `r` of, shaped as `y`."""
    if not isinstance(y, tuple):
        return backend.asarray(r)
    ends = np.cumsum([math.prod(part.shape) for part in y])[:-1]
    return tuple(backend.asarray(piece.reshape(part.shape)) for piece, part in zip(np.split(r, ends), y, strict=True))


def _directions(shape: tuple[int, ...], generator: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    size = math.prod(shape)
    if not size:
        return
    direction = generator.standard_normal(shape)
    yield "random", direction / np.linalg.norm(direction)
    for flat in generator.choice(size, min(size, _COORDINATES), replace=False):
        index = tuple(int(i) for i in np.unravel_index(flat, shape))
        direction = np.zeros(shape)
        direction[index] = 1.0
        yield str(list(index)), direction


def _derivative(
    f: Callable[[np.ndarray], np.ndarray], v: np.ndarray, direction: np.ndarray, y: np.ndarray, r: np.ndarray
) -> tuple[float, float] | None:
    """Return the derivative of ``sum(r * f(v + t * direction))`` at t = 0 and its noise, or None at a kink.

    Central differences at h, h/2 and h/4, extrapolated twice (Richardson), so that the error is of order h**6. The
    function is smooth in between if the two extrapolations before the last agree; and at the point itself if the gap
    between the one-sided differences goes to zero with h (extrapolated once), which the central ones alone cannot
    tell.
    """
    eps = float(np.finfo(np.float64).eps)
    for h in _STEPS:
        central, gaps = [], []
        noise = 0.0
        for step in (h, h / 2, h / 4):
            up, down = f(v + step * direction), f(v - step * direction)
            central.append(float(np.sum(r * (up - down))) / (2 * step))
            gaps.append(float(np.sum(r * ((up - y) - (y - down)))) / step)
            moved = (up != y) | (down != y)
            noise = max(noise, 8 * eps * float(np.linalg.norm((r * y)[moved])) / step)
        once = [(4 * central[i + 1] - central[i]) / 3 for i in range(2)]
        twice = (16 * once[1] - once[0]) / 15
        limit = _AGREE * max(abs(twice), *map(abs, central)) + 2 * noise
        if max(abs(once[1] - once[0]), abs(2 * gaps[2] - gaps[1])) <= limit:
            return twice, noise
    return None
