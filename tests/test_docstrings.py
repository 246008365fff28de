"""What docstrings share stands in its place in each."""

import inspect

from fastconv._docstrings import completed

SHARED = """size : int
    How many.
low, high : float
    The limits.
other : str
    Of no function here."""


def test_entries_stand_in_the_order_of_the_signature_and_its_own_go_before():
    def example(first, size, high=1.0, *rest, low=0.0, **settings): ...

    doc = """Do it.

    At length.

    Parameters
    ----------
    **settings
        Of others.
    first : array
        What comes
        first.
    size : int or None
        None: all.

    Examples
    --------
    >>> 1
    """
    assert completed(doc, inspect.signature(example), SHARED) == inspect.cleandoc("""Do it.

    At length.

    Parameters
    ----------
    first : array
        What comes
        first.
    size : int or None
        None: all.
    low, high : float
        The limits.
    **settings
        Of others.

    Examples
    --------
    >>> 1""")


def test_what_is_returned_comes_behind_the_arguments():
    def example(size): ...

    told = completed("Do it.\n\nRaises\n------\nError", inspect.signature(example), SHARED, "Returns\n-------\nint")
    assert told.split("\n\n") == [
        "Do it.",
        "Parameters\n----------\nsize : int\n    How many.",
        "Returns\n-------\nint",
        "Raises\n------\nError",
    ]


def test_without_docstrings_there_are_none():
    assert completed(None, inspect.signature(lambda size: size), SHARED) is None
