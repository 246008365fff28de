"""A made part of a page: what stands between two comments that name it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def part(page: Path, name: str) -> str:
    """Return the made part `name` of a page, without the comments around it."""
    return _cut(page.read_text(), name)[1].strip("\n")


def replace(page: Path, name: str, text: str) -> None:
    """Write `text` in the place of the made part `name` of a page."""
    before, _, after = _cut(page.read_text(), name)
    page.write_text(f"{before}\n{text}\n{after}")


def _cut(text: str, name: str) -> tuple[str, str, str]:
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"a page has {begin} and {end} once each")
    before, _, rest = text.partition(begin)
    inside, _, after = rest.partition(end)
    return before + begin, inside, end + after
