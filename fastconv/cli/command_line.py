"""Commands that are printed to be copied into a shell."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fastconv._console import shell_word

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
    return shell_word(word, sys.stdout.encoding or "utf-8")
