"""Kernels of somebody's own that are declared again under their names, as when a notebook's cell is run again.

What was recorded runs the old ones; who records asks for `code_state` before it repeats anything.
"""

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
