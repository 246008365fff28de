"""What many docstrings say of an argument that they share stands once, and is put where each leaves it out."""

from __future__ import annotations

import functools
import inspect
import re

_TITLE = "Parameters\n----------\n"


def completed(doc: str | None, signature: inspect.Signature, shared: str, returns: str = "") -> str | None:
    """Return a docstring that tells of all arguments in the order of the signature, as far as somebody tells of them.

    Parameters
    ----------
    doc : str or None
        Its own entries, under "Parameters", go before those that are shared. None: Python runs without docstrings.
    signature : inspect.Signature
        What there is to tell of.
    shared : str
        Entries as under "Parameters".
    returns : str
        The section "Returns", if it is shared.
    """
    if doc is None:
        return None
    head, *sections = re.split(r"\n\n(?=[A-Z][a-z ]+\n-{3,}\n)", inspect.cleandoc(doc))
    own = "".join(section.removeprefix(_TITLE) for section in sections if section.startswith(_TITLE))
    entries = {**_entries(shared), **_entries(own)}
    found = dict.fromkeys(entries[name] for name in map(_shown, signature.parameters.values()) if name in entries)
    rest = [section for section in sections if not section.startswith(_TITLE)]
    return "\n\n".join([head, _TITLE + "\n".join(found), *([returns] if returns else []), *rest])


@functools.cache
def _entries(text: str) -> dict[str, str]:
    """Return the entries by the names at their heads; one of two names stands under both."""
    found = re.split(r"\n(?=\S)", text) if text else []
    return {name: entry for entry in found for name in entry.partition("\n")[0].partition(" : ")[0].split(", ")}


def _shown(parameter: inspect.Parameter) -> str:
    stars = 1 if parameter.kind is parameter.VAR_POSITIONAL else 2 if parameter.kind is parameter.VAR_KEYWORD else 0
    return "*" * stars + parameter.name
