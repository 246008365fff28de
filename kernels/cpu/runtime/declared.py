"""Kernels of somebody's own: what they are launched with, and how many were declared.

When a notebook's cell is run again, what was recorded runs the kernel from before, whatever the new one is called; so
who records asks for `code_state` before it repeats anything. Kernels of this package get arrays that were checked;
these get whatever a user has.
"""

import inspect
import itertools
import operator

import numba
import numpy as np
from numba.core.errors import NumbaError

from .compiler import whole

UNCOMPILED = (NumbaError, OverflowError, NotImplementedError)
"""What Numba raises for arguments that it has no types or no code for."""
MOST_TASKS = 2**46
"""Times the number of a chunk, of which there are 64 for each of at most 1024 threads, they are an int64 still."""
_MASKED = "a masked array, whose mask would be lost", "an array without a mask"
_count = itertools.count(1)
_code_state = 0


def note_declared():
    """Note that a kernel is declared."""
    global _code_state
    _code_state = next(_count)


def code_state():
    """Return a number that is another one when a kernel of somebody's own was declared since."""
    return _code_state


def arrays_of(arguments):
    """Yield the arrays among arguments, those in tuples too."""
    for argument in arguments:
        if isinstance(argument, tuple):
            yield from arrays_of(argument)
        elif isinstance(argument, np.ndarray):
            yield argument


def as_tasks(function, tasks):
    """Return `tasks` as an int; compiled code would cut 2.5 down to 2, and divide 2**62 of them into wrong chunks."""
    name = getattr(function, "function", function)
    try:
        number = operator.index(tasks)
    except TypeError:
        raise TypeError(f"launch: tasks: got {tasks!r} for {name!r}; allowed: an int") from None
    if number > MOST_TASKS:
        raise ValueError(f"launch: tasks: got {number} for {name!r}; allowed: an int of at most 2**46")
    return number


def rows_of(scratch):
    """Return how many rows scratch has, which is 1 of what is none: `refuse_arguments` tells of it."""
    return len(scratch) if isinstance(scratch, np.ndarray) and scratch.ndim else 1


def refuse_functions(function):
    """Raise a TypeError where what a kernel is made of is no ``f(begin, end, *arguments)`` that a call runs."""
    kind, name = inspect.Parameter, getattr(function, "__name__", repr(function))
    got = None
    if not inspect.isfunction(function):
        got = repr(function)
    elif inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
        got = f"{name}, of which a call runs nothing (yield, async)"
    elif "self" in list(inspect.signature(function).parameters)[:1]:
        got = f"the method {name}"
    else:
        kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
        if kind.KEYWORD_ONLY in kinds or len(kinds) < 2 or kind.VAR_POSITIONAL in kinds[:2]:
            got = f"{name}{inspect.signature(function)}"
    if got is not None:
        raise TypeError(f"kernel: got {got}; allowed: a plain function f(begin, end, *arguments)")


def refuse_arguments(kernel, scratch, arguments):
    """Raise a TypeError where a kernel of somebody's own would read or write what is not there."""
    _refuse_scratch(kernel.function, kernel.scratched, scratch)
    _refuse_arrays(kernel.function, scratch, arguments)


def _refuse_scratch(function, scratched, scratch):
    """Refuse scratch that a kernel has no place for, or none where it writes to it."""
    is_array = isinstance(scratch, np.ndarray)
    if scratched and not (is_array and scratch.ndim and len(scratch)):
        allowed = "an array with a row for each thread: launch(..., scratch=thread_rows(bytes_each, dtype))"
    elif not scratched and scratch is not None:
        allowed = "None, for the parameter after `end` is not called scratch"
    else:
        return
    got = f"an array of shape {scratch.shape}" if is_array else f"{scratch!r:.100}"
    raise TypeError(f"{function.__name__}: scratch: got {got}; allowed: {allowed}")


def _refuse_arrays(function, scratch, arguments):
    """Refuse an array that compiled code does not read as it is.

    Numba tells types of arrays apart by the number of an element's type, which knows of no order of bytes, and by their
    class not at all once the kernel is compiled.
    """
    for place, argument in enumerate((scratch, *arguments)):
        for array in arrays_of((argument,)):
            if isinstance(array, np.ma.MaskedArray):
                got, allowed = _MASKED
            elif not array.dtype.isnative:
                got = f"an array of {array.dtype.str}, bytes in the order of other machines"
                allowed = "this machine's order; fc.asarray(array) has it"
            else:
                continue
            raise TypeError(f"{function.__name__}: {_name(function, place)}: got {got}; allowed: {allowed}")


def refuse_unlike(kernel, out, **arrays):
    """Raise a TypeError where a kernel by addresses, which are never checked, would read or write beside an array."""
    first, like = next(iter(arrays.items()))
    for name, array in {**arrays, "out": out}.items():
        if not isinstance(array, np.ndarray):
            got, allowed = f"{array!r:.100}", "an array"
        elif isinstance(array, np.ma.MaskedArray):
            got, allowed = _MASKED
        elif array.dtype.kind not in "iu" and array.dtype.char not in "fd":
            got, allowed = f"{array.dtype}", "integers, float32, float64, of which vectors are made"
        elif array.shape != like.shape or array.dtype.char != like.dtype.char:
            got, allowed = f"{array.dtype} {array.shape}", f"{like.dtype} {like.shape}, as {first} is"
        elif array is out and not out.flags.carray:
            got, allowed = "an array with gaps, or that is not to be written", "one that is written as one block"
        else:
            continue
        raise TypeError(f"{kernel.function.__name__}: {name}: got {got}; allowed: {allowed}")


def refuse_uncompiled(function, scratch, arguments):
    """Raise a TypeError that says why a kernel cannot be compiled for these arguments; return where nobody knows."""
    named = list(inspect.signature(function).parameters)[2 if scratch is None else 3 :]
    try:
        inspect.signature(function).bind(*range(2 if scratch is None else 3), *arguments)
    except TypeError:
        what = f"{len(arguments)} argument{'s' * (len(arguments) != 1)}"
        raise TypeError(f"{function.__name__}: got {what}; allowed: {', '.join(named) or 'none'}") from None
    for place, argument in enumerate(arguments, 1):
        if not _is_passed(argument):
            got, allowed = f"{argument!r:.100}", "arrays, numbers, None and tuples of them, as Numba knows them"
            raise TypeError(f"{function.__name__}: {_name(function, place)}: got {got}; allowed: {allowed}")
    row = () if scratch is None else (scratch[0],)
    try:  # by itself: without the lines of what packs its arguments
        whole(function).compile(tuple(map(numba.typeof, (0, 0, *row, *arguments))))
    except NumbaError as error:
        raise TypeError(f"{function.__name__}: got what Numba cannot compile: {error}") from None


def _is_passed(argument):
    """Tell whether an argument is of a kind that a launch takes."""
    if isinstance(argument, tuple):
        return all(map(_is_passed, argument))
    if isinstance(argument, np.ndarray | np.generic):
        allowed = argument.dtype != np.float16 and argument.dtype.char not in "OgG"
        return allowed and (isinstance(argument, np.ndarray) or argument.dtype.kind in "biufc")
    if type(argument) is int:
        return -(2**63) <= argument < 2**63
    return type(argument) in (bool, float, complex) or argument is None or isinstance(argument, np.dtype)


def _name(function, place):
    """Return what a kernel calls its argument `place`; its scratch, if it has any, is number 0."""
    names = [name for name in [*inspect.signature(function).parameters][2:] if name != "scratch"]
    return dict(enumerate(["scratch", *names])).get(place, f"argument {place}")
