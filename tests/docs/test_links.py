"""Links of the site are followed, to files and to parts of pages."""

from __future__ import annotations

from pathlib import Path

from docs.links import from_elsewhere, leading_nowhere


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "picture.png").write_bytes(b"")
    (tmp_path / "index.html").write_text(
        '<a href="deep/page.html#part">1</a> <a href="#here">2</a> <h1 id="here"></h1> <img src="picture.png">'
        '<a href="https://elsewhere.org/x#y">3</a> <a href="mailto:a@b.c">4</a> <a href="deep/page.html#a%20b">5</a>'
    )
    page = tmp_path / "deep" / "page.html"
    page.write_text('<p id="part"></p><p id="a b"></p><a href="../index.html?v=1#here">1</a><a href="#">2</a>')
    assert leading_nowhere(tmp_path) == []
    page.write_text(
        '<p id="part"></p><a href="../index.html#there">1</a><a href="gone.html">2</a><img src="../no.png">'
    )
    assert leading_nowhere(tmp_path) == [
        "deep/page.html: ../index.html#there",
        "deep/page.html: ../no.png",
        "deep/page.html: gone.html",
        "index.html: deep/page.html#a%20b",
    ]


def test_what_is_fetched_from_elsewhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.css").write_text("")
    page = tmp_path / "index.html"
    page.write_text('<link rel="stylesheet" href="own.css"><a href="https://elsewhere.org/">1</a><img src="data:x">')
    assert from_elsewhere(tmp_path) == []
    page.write_text(
        '<link rel="stylesheet"\nhref="https://fonts.org/a.css"><script async src="//cdn.org/b.js"></script>'
        '<img alt="c" src="http://pictures.org/c.png">'
    )
    assert from_elsewhere(tmp_path) == [
        "index.html: //cdn.org/b.js",
        "index.html: http://pictures.org/c.png",
        "index.html: https://fonts.org/a.css",
    ]
