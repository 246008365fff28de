"""Tables and bars in a terminal or a log, made by rich; what is shown is data, and is shown as it is.

By itself rich takes ``[words]`` in a string for markup and ``:words:`` for pictures, and colours what looks like a
number. A path or a message may hold all of these, so that is off here, in the only place that makes a console.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # the last two: directions of writing
_LOG_WIDTH = 400  # a log has no width to fit into, so that lines need not be broken


def shell_word(word: str, encoding: str = "utf-8") -> str:
    """Quote `word` for a shell; spell out the bytes of what cannot be shown, or not in this encoding."""
    try:
        word.encode(encoding)
        plain = word.isprintable()
    except UnicodeEncodeError:
        plain = False
    if plain:
        return shlex.quote(word)
    spelled = "".join(f"\\x{byte:02x}" for byte in os.fsencode(word))
    return f"$'{spelled}'"


def one_line(text: str) -> str:
    """Return `text` with escapes for what would break the line, or tell the terminal to do something."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def count(number: int, what: str) -> str:
    """Return a number of things in words."""
    return f"1 {what}" if number == 1 else f"{number} {what}s"


def short_number(value: float) -> str:
    """Return a number in at most ten characters: four decimals, or the power of ten where these tell nothing."""
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1000 or not abs(value) > 0 else f"{value:.2e}"


def make_console(stream: TextIO, **settings: Any) -> Console:
    """Return a console of rich on `stream` that takes no string for anything but text.

    In a notebook too it writes to the stream, and not to the page.
    """
    from rich.console import Console

    settings.setdefault("force_jupyter", False)
    return Console(file=stream, markup=False, emoji=False, highlight=False, **settings)


def make_table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """Return an empty table without lines; the columns in `right` are flush right, and each cell is of one line."""
    from rich.table import Table

    class Lines(Table):
        def add_row(self, *cells: Any, **settings: Any) -> None:
            super().add_row(*(one_line(cell) if isinstance(cell, str) else cell for cell in cells), **settings)

    table = Lines(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left")
    return table


def print_table(table: Table) -> None:
    """Print `table` on stdout, as wide as the terminal, unbroken where there is none.

    rich only lays it out: what it writes itself turns a full disk or a closed pipe into an exit of its own.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _LOG_WIDTH
    console = make_console(sys.stdout, width=width, force_terminal=False, color_system=None)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())
