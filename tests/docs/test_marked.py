"""Made parts of pages are read and replaced between their comments, and nothing around them changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.marked import part, replace

TEXT = "before\n\n<!-- table: begin -->\nold\n<!-- table: end -->\n\nbehind\n"


def test_a_part_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(TEXT)
    assert part(page, "table") == "old"
    replace(page, "table", "new\nlines")
    assert page.read_text() == TEXT.replace("old", "new\nlines")


@pytest.mark.parametrize("text", ["", TEXT + TEXT, TEXT.replace("end", "stop")])
def test_a_page_without_the_part_is_refused(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match="once each"):
        replace(page, "table", "new")
