"""Convolution kernels written in Python, and a thin layer on top that trains CNNs with them.

Importing it loads neither Numba nor CuPy, touches no GPU and compiles nothing; that happens when a backend is first
used. Rooms, such as `fastconv.training`, are loaded when they are first named.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fastconv import _starting, errors, random  # noqa: F401 (the first goes before all that takes time)
from fastconv.algorithm import algorithm, get_algorithm, set_algorithm
from fastconv.backends import available_backends, get_backend, set_backend, use_backend
from fastconv.backends.contract.converting import on_host
from fastconv.backends.contract.types import Array
from fastconv.precision import get_precision, precision, set_precision
from fastconv.random import seed

if TYPE_CHECKING:
    from fastconv import data, functional, losses, metrics, models, nn, optim, parallel, plot, report, testing, training
    from fastconv._explain import explain
    from fastconv.training import History, Trainer

__version__ = "0.1.0"

__all__ = [
    "History",
    "Trainer",
    "__version__",
    "algorithm",
    "asarray",
    "available_backends",
    "data",
    "errors",
    "explain",
    "free_memory",
    "functional",
    "get_algorithm",
    "get_backend",
    "get_precision",
    "losses",
    "metrics",
    "models",
    "nn",
    "optim",
    "parallel",
    "plot",
    "precision",
    "random",
    "report",
    "seed",
    "set_algorithm",
    "set_backend",
    "set_num_threads",
    "set_precision",
    "testing",
    "to_numpy",
    "training",
    "use_backend",
]


_ROOMS = frozenset(
    (
        *("data", "functional", "losses", "metrics", "models", "nn", "optim", "parallel", "plot", "report", "testing"),
        "training",
    ),
)
_HOMES = {"History": "training", "Trainer": "training", "explain": "_explain"}


def __getattr__(name: str) -> Any:
    """Load a room, or the room of a name, when it is first asked for."""
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _HOMES:
        value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value
    from fastconv._attributes import unknown_name  # for errors only

    raise unknown_name(__name__, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def asarray(array: Any, dtype: Any = None) -> Array:
    """Return `array` as a C-contiguous, native-endian array of the active backend; copied only where it must be.

    Parameters
    ----------
    array : array_like
        Numbers: an array, or nested lists of them.
    dtype : dtype or None
        Of the result; None keeps that of `array`.

    Returns
    -------
    array
        Of the backend: NumPy's on the CPU, CuPy's on a GPU.

    Examples
    --------
    >>> fc.asarray([[1, 2], [3, 4]], np.float32)
    array([[1., 2.],
           [3., 4.]], dtype=float32)
    """
    return get_backend().asarray(array, dtype)


def to_numpy(array: Array) -> Any:
    """Return an array of the active backend as a `numpy.ndarray`; on the CPU the very same one.

    Parameters
    ----------
    array : array
        Of the active backend.

    Returns
    -------
    numpy.ndarray
        The same values on the host.

    Examples
    --------
    >>> fc.to_numpy(fc.functional.relu(fc.asarray([-1.0, 2.0])))
    array([0., 2.])
    """
    found = get_backend().to_numpy(array)
    return found if hasattr(found, "dtype") else on_host(found)


def free_memory() -> int:
    """Give the memory that the active backend keeps for coming arrays back to the system.

    Arrays that nobody holds any more are kept as memory for the next ones of their size, for to map it anew takes as
    long as to compute with it. On the CPU what is kept goes back by itself only once it is more than an eighth of the
    memory that the process may use. What a captured step or a plan of `compile` works in goes back with that.

    Returns
    -------
    int
        How many bytes that was.

    Examples
    --------
    >>> array = fc.functional.relu(np.ones((1000, 1000), np.float32))
    >>> del array
    >>> fc.free_memory() >= 4_000_000
    True
    """
    return get_backend().free_memory()


def set_num_threads(count: int) -> None:
    """Use at most `count` threads from now on; results do not depend on it.

    Parameters
    ----------
    count : int
        At least 1; more than there are cores does no harm.

    Raises
    ------
    ArgumentError
        `count` is no int of at least 1.

    Examples
    --------
    >>> fc.set_num_threads(2)
    >>> fc.set_num_threads(0)
    Traceback (most recent call last):
        ...
    fastconv.errors.ArgumentError: count: got 0; allowed: an int of at least 1
    """
    from fastconv import _validate

    get_backend().set_num_threads(_validate.at_least_one(count, "count"))
