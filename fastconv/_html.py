"""What a notebook shows of tables and texts: HTML in which whatever they hold is text and never markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def preformatted(text: str) -> str:
    """Return a text as it stands."""
    import html  # in a notebook only

    return f"<pre>{html.escape(text)}</pre>"


def table(names: Sequence[str], rows: Iterable[Sequence[str]], *, head: str = "", left: int = 1) -> str:
    """Return rows under their names, the first `left` columns flush left, all others flush right.

    A cell of many words keeps the width of a few: beside names that cannot be broken it would be one word wide.
    """
    import html  # in a notebook only

    def shown(text: str) -> str:
        return html.escape(text).replace("\n", "<br>")

    def line(kind: str, cells: Sequence[str]) -> str:
        sides = ("left" if i < left else "right" for i in range(len(cells)))
        widths = ("; min-width: 16em" if len(max(cell.split("\n"), key=len)) > 24 else "" for cell in cells)
        inside = (
            f'<{kind} style="text-align: {side}{width}">{shown(cell)}</{kind}>'
            for side, width, cell in zip(sides, widths, cells, strict=True)
        )
        return f"<tr>{''.join(inside)}</tr>"

    caption = f'<caption style="text-align: left">{shown(head)}</caption>' if head else ""
    body = "".join(line("td", row) for row in rows)
    return f"<table>{caption}<thead>{line('th', names)}</thead><tbody>{body}</tbody></table>"


class Printed:
    """What prints as a text is shown as that text in a notebook."""

    def _repr_html_(self) -> str:
        return preformatted(str(self))
