"""Plain text tables."""

from __future__ import annotations

from collections.abc import Sequence


def table(names: Sequence[str], rows: Sequence[Sequence[str]], *, head: str = "", left: int = 2) -> str:
    """Return rows under their names, the first `left` columns flush left, all others flush right."""
    lines = [names, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    texts = [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*([head] if head else []), texts[0], "-" * max(map(len, texts)), *texts[1:]])
