"""Which backends there are, and which one is active.

The active backend is, in this order: that of the innermost `use_backend` of this thread or task, that of `set_backend`,
the environment variable FASTCONV_BACKEND read at first use, and "numba".
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from fastconv._nearest import nearest
from fastconv._within import held, within
from fastconv.backends.contract.backend import Backend
from fastconv.errors import ArgumentError, BackendUnavailableError, FastconvError
from fastconv.kernels.locks import ForkSafeLock

_CLASSES = {
    "numba": "fastconv.backends.cpu.backend:NumbaBackend",
    "numpy": "fastconv.backends.reference.backend:NumpyBackend",
    "cupy": "fastconv.backends.cuda.cupy:CupyBackend",
    "cuda-emulator": "fastconv.backends.emulator:EmulatorBackend",
}
NAMES = tuple(_CLASSES)
_instances: dict[str, Backend] = {}
_lock = ForkSafeLock()
_default: str | None = None
_override: ContextVar[str | None] = ContextVar("fastconv_backend", default=None)


def available_backends() -> tuple[str, ...]:
    """Return the names of the backends that can be used on this machine, the default one first.

    Returns
    -------
    tuple of str
        Some of "numba", "numpy", "cupy" and "cuda-emulator".

    Examples
    --------
    >>> "numpy" in fc.available_backends()
    True
    """
    return tuple(name for name in _CLASSES if why_unavailable(name) is None)


def why_unavailable(name: str) -> str | None:
    """Return why the backend `name` cannot be used here, or None if it can."""
    try:
        get_backend(name)
    except BackendUnavailableError as error:
        return str(error)
    return None


def get_backend(name: str | None = None) -> Backend:
    """Return the backend `name`, or the active one.

    Parameters
    ----------
    name : str or None
        None stands for the active one.

    Returns
    -------
    Backend
        It has a `name`, and the operations of `fastconv.functional` without their checks.

    Raises
    ------
    ArgumentError
        No backend has that name.
    BackendUnavailableError
        It cannot be used on this machine; the message says why and what to install.

    Examples
    --------
    >>> fc.get_backend("numpy").name
    'numpy'
    """
    name = _active_name() if name is None else _canonical(name)
    backend = _instances.get(name)
    if backend is None:
        with _lock:
            backend = _instances.get(name) or _instances.setdefault(name, _load(name))
    return backend


Backend._by_name = staticmethod(get_backend)


def set_backend(name: str) -> None:
    """Make `name` the active backend of the process.

    Parameters
    ----------
    name : str
        "numba", "numpy", "cupy", "cuda-emulator", or "auto": cupy where there is a GPU that can be used, else numba.

    Examples
    --------
    >>> before = fc.get_backend().name
    >>> fc.set_backend("numpy")
    >>> fc.get_backend().name
    'numpy'
    >>> fc.set_backend(before)
    >>> fc.set_backend("pytorch")
    Traceback (most recent call last):
        ...
    fastconv.errors.ArgumentError: backend: got 'pytorch'; allowed: numba, numpy, cupy, cuda-emulator, auto
    """
    global _default
    _default = get_backend(name).name


@within("fc.use_backend({})", ", or fc.set_backend({}) for the whole process")
def use_backend(name: str) -> Iterator[Backend]:
    """Make `name` the active backend within a ``with`` block, for this thread or task only.

    Parameters
    ----------
    name : str
        As of `set_backend`.

    Examples
    --------
    >>> with fc.use_backend("numpy") as backend:
    ...     y = fc.functional.relu(fc.asarray([-1.0, 2.0]))
    >>> backend.name, y.tolist()
    ('numpy', [0.0, 2.0])
    """
    backend = get_backend(name)
    yield from held(_override, backend.name, backend)


@contextmanager
def standing_in(backend: Backend) -> Iterator[None]:
    """Let `backend` be the one of its name within a ``with`` block, in all threads: a rehearsal without a device."""
    before = _instances.get(backend.name)
    _instances[backend.name] = backend
    try:
        yield
    finally:
        if before is None:
            del _instances[backend.name]
        else:
            _instances[backend.name] = before


def _active_name() -> str:
    global _default
    name = _override.get() or _default
    if name is None:
        name = _default = _canonical(os.environ.get("FASTCONV_BACKEND") or "numba", "FASTCONV_BACKEND")
    return name


def _canonical(name: str, argument: str = "backend") -> str:
    folded = str(name).strip().lower()
    if folded == "auto":
        return "cupy" if why_unavailable("cupy") is None else "numba"
    if folded not in _CLASSES:
        names = [*_CLASSES, "auto"]
        meant = {each: each for each in names} | {"cuda": "cupy", "gpu": "cupy", "cpu": "numba"}
        raise ArgumentError(f"{argument}: got {name!r}; allowed: {', '.join(names)}{nearest(folded, meant)}")
    return folded


def _load(name: str) -> Backend:
    module_name, class_name = _CLASSES[name].split(":")
    try:
        backend: Backend = getattr(importlib.import_module(module_name), class_name)()
    except (FastconvError, ImportError):
        raise
    except Exception as error:  # what its libraries make of their environment variables, for example
        raise BackendUnavailableError(
            f"backend {name!r}: its import failed with {type(error).__name__}: {error}; allowed: an installation and"
            " environment variables (those of Numba or CuPy too) with which it can be imported"
        ) from error
    return backend
