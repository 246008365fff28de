"""Which of two algorithms is faster: measured once for each new shape, where "tuned" is asked for.

The faster one is kept in a file beside the compiled kernels, in the directory of this CPU and this version. Algorithms
round differently, so the bits depend on that file then; with "shapes", decided from shapes and the host alone, equal
shapes give equal bits in every process.
"""

import functools
import json
import time
import warnings

from fastconv.kernels.locks import ForkSafeLock

from ..runtime.cache import NO_SPACE, cache_directory, replace_file
from .algorithms import MEASURED

_ROUNDS = 5
_FILE = "autotune.json"
_FORMAT = "fastconv autotune 1"

_lock = ForkSafeLock()


class AutotuneWarning(UserWarning):
    """The file of measured choices cannot be used; each process measures again."""


def measured(key, candidates, run):
    """Return the fastest of `candidates` for the problem `key`: from memory, from the file, or measured now.

    Parameters
    ----------
    key : str
    candidates : tuple of Algorithm
        With different keys.
    run : callable
        Computes the problem with an algorithm.
    """
    by_key = {algorithm.key: algorithm for algorithm in candidates}
    with _lock:
        choices = _choices()
        if choices.get(key) not in by_key:
            times = dict.fromkeys(by_key, float("inf"))
            for _ in range(1 + _ROUNDS):  # in turn, so that what else the machine does meets all; the first compiles
                for name, algorithm in by_key.items():
                    start = time.perf_counter()
                    run(algorithm)
                    times[name] = min(times[name], time.perf_counter() - start)
            choices[key] = min(by_key, key=times.__getitem__)
            _save({key: choices[key]})
        return by_key[choices[key]]


@functools.cache
def _choices():
    directory = cache_directory()
    return {} if directory is None else dict(_read(directory / _FILE) or {})


def _read(path):
    """Return the choices of a file; None, with one warning in the process, if it is not one of ours."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        return _ignored(path, error)
    try:
        content = json.loads(text)
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']!r}")
        choices = content["choices"]
        for key, name in choices.items():
            if name not in MEASURED:
                raise ValueError(f"{key!r} has {name!r}; allowed: {', '.join(MEASURED)}")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return _ignored(path, error)
    return choices


_warned = set()


def _warn(path, error, advice):
    if path not in _warned:
        _warned.add(path)
        warnings.warn(
            f"measured algorithms are not kept in {path} ({type(error).__name__}: {error}); {advice}",
            AutotuneWarning,
            stacklevel=2,
        )


def _ignored(path, error):
    _warn(path, error, "nor are they read from there; delete it to start a new one")


def _save(new):
    """Add to the file what another process may have changed meanwhile; an impossible file stays as it is."""
    directory = cache_directory()
    before = None if directory is None else _read(directory / _FILE)
    if before is None:
        return
    content = {"format": _FORMAT, "choices": {**before, **new}}
    try:
        replace_file(directory / _FILE, json.dumps(content, indent=1, sort_keys=True).encode())
    except OSError as error:
        advice = "free some space" if error.errno in NO_SPACE else "make its directory one that you can write"
        _warn(directory / _FILE, error, f"{advice}; until then each process measures again")
