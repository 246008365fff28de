"""Commands that are printed to be copied into a shell."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence

_KEPT = ("backend", "threads", "precision", "algorithm", "data_dir", "images", "limit")


def command_line(words: Sequence[str]) -> str:
    """Return the line with which a shell runs ``fastconv`` with `words`."""
    return " ".join(["fastconv", *map(_quoted, words)])


def kept_options(options: argparse.Namespace) -> list[str]:
    """Return the words for those given options that a command on the same data and backend needs too."""
    words = []
    for name in _KEPT:
        value = getattr(options, name, None)
        if value is not None:
            words.append(f"--{name.replace('_', '-')}={value}")
    return words


def _quoted(word: str) -> str:
    """Quote `word` for a shell; where stdout cannot show it, spell out its bytes."""
    try:
        word.encode(sys.stdout.encoding or "utf-8")
        plain = word.isprintable()
    except UnicodeEncodeError:
        plain = False
    if plain:
        return shlex.quote(word)
    spelled = "".join(f"\\x{byte:02x}" for byte in os.fsencode(word))
    return f"$'{spelled}'"
