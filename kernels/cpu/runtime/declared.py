"""Kernels of somebody's own: what they are launched with, and those that are declared again under their names.

As when a notebook's cell is run again: what was recorded runs the old ones, so who records asks for `code_state` before
it repeats anything. Kernels of this package get arrays that were checked; these get whatever a user has.
"""

import inspect
import operator

import numpy as np

_OURS = f"{__name__.partition('.')[0]}."
_names = set()
_code_state = 0


def note_declared(function):
    """Note that a kernel is declared."""
    global _code_state
    name = function.__module__, function.__qualname__
    if str(name[0]).startswith(_OURS):
        return
    if name in _names:
        _code_state += 1
    _names.add(name)


def code_state():
    """Return a number that is another one when a kernel of somebody's own was declared again."""
    return _code_state


def arrays_of(arguments):
    """Yield the arrays among arguments, those in tuples too."""
    for argument in arguments:
        if isinstance(argument, tuple):
            yield from arrays_of(argument)
        elif isinstance(argument, np.ndarray):
            yield argument


def as_tasks(function, tasks):
    """Return `tasks` as an int; compiled code would cut 2.5 down to 2."""
    try:
        return operator.index(tasks)
    except TypeError:
        raise TypeError(
            f"launch: tasks: got {tasks!r} for {getattr(function, 'function', function)!r}; allowed: an int"
        ) from None


def refuse_arrays(function, scratch, arguments):
    """Raise a TypeError where an array is none that compiled code reads as it is.

    Numba tells types of arrays apart by the number of an element's type, which knows of no order of bytes, and by their
    class not at all once the kernel is compiled.
    """
    for place, argument in enumerate((scratch, *arguments)):
        for array in arrays_of((argument,)):
            if isinstance(array, np.ma.MaskedArray):
                got, allowed = "a masked array, whose mask would be lost", "an array without a mask"
            elif not array.dtype.isnative:
                got = f"an array of {array.dtype.str}, bytes in the order of other machines"
                allowed = "this machine's order; fc.asarray(array) has it"
            else:
                continue
            raise TypeError(f"{function.__name__}: {_name(function, place)}: got {got}; allowed: {allowed}")


def _name(function, place):
    """Return what a kernel calls its argument `place`; its scratch, if it has any, is number 0."""
    names = [name for name in [*inspect.signature(function).parameters][2:] if name != "scratch"]
    return dict(enumerate(["scratch", *names])).get(place, f"argument {place}")
