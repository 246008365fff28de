"""Whatever stands in what a notebook shows is text, never markup."""

from __future__ import annotations

import math
from html.parser import HTMLParser

import numpy as np
import pytest

import fastconv as fc
from fastconv._html import Printed, preformatted, table

EVIL = "<script>alert('x')</script>&amp;\"[bold]"


class Reader(HTMLParser):
    """Collects the tags that were opened and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_texts_come_back_as_they_were() -> None:
    assert Reader(preformatted(EVIL)).texts == [EVIL]
    read = Reader(table(("a", EVIL), [("1", EVIL), (EVIL, "x\ny")], head=EVIL))
    assert read.texts == [EVIL, "a", EVIL, "1", EVIL, EVIL, "x", "y"]
    assert set(read.tags) == {"table", "caption", "thead", "tbody", "tr", "th", "td", "br"}
    assert not read.open


def test_numbers_are_flush_right_and_names_left() -> None:
    assert table(("name", "n"), [("a", "1")]).count("text-align: left") == 2


def test_a_cell_of_many_words_is_not_one_word_wide() -> None:
    html = table(("name", "because"), [("a", "short"), ("b", "three\nand more than a few words in a line")])
    assert html.count("min-width") == 1
    assert 'min-width: 16em">three<br>' in html


def test_a_row_of_another_length_is_noticed() -> None:
    html = table(("a", "b"), [("1", "2")])
    assert html.count("<td") == html.count("<th ") == 2


def test_a_summary_is_a_table_with_what_is_printed() -> None:
    with fc.use_backend("numpy"):
        model = fc.nn.Sequential(fc.nn.Conv2d(4, 3), fc.nn.ReLU(), fc.nn.Flatten(), fc.nn.Dense(2)).build((8, 8, 3))
        model.layers[0].freeze()
        summary = model.summary()
    read = Reader(summary._repr_html_())
    assert read.tags.count("tr") == 6
    printed = str(summary)
    assert all(text in printed for text in read.texts[1:])
    assert f"frozen: {summary.frozen}" in read.texts[0]


def test_explain_is_a_table() -> None:
    with fc.use_backend("numpy"):
        model = fc.nn.Sequential(fc.nn.Conv2d(4, 3), fc.nn.ReLU()).build((8, 8, 3))
        read = Reader(fc.explain(model, (2, 8, 8, 3))._repr_html_())
    assert "Conv2d + ReLU" in read.texts
    assert read.texts[0] == "input (2, 8, 8, 3), backend numpy, precision default"


def test_a_history_is_a_table_by_epochs_with_its_gaps() -> None:
    history = fc.History({"loss": [2.0, 1.0, math.nan], EVIL: [0.5]})
    read = Reader(history._repr_html_())
    assert read.texts == ["epoch", "loss", EVIL, "1", "2", "0.5", "2", "1", "3", "nan"]
    long = Reader(fc.History({"loss": [0.0] * 100})._repr_html_())
    assert long.texts[0] == "the last 60 of 100"
    assert long.texts[3] == "41"
    assert Reader(fc.History()._repr_html_()).texts == ["epoch"]


def test_what_prints_is_shown_as_it_prints() -> None:
    look = fc.training.diagnostics
    with fc.use_backend("numpy"):
        model = fc.nn.Sequential(fc.nn.Dense(4), fc.nn.ReLU()).build((2,))
        x = np.ones((3, 2), np.float32)
        shown = [
            look.layer_statistics(model, x),
            look.dead_units(model, x),
            look.profile_layers(model, x, machine=look.Machine(1e9, 1e9)),
            look.verdict(fc.History({"loss": [1.0]})),
            look.Machine(1e9, 1e9, how=EVIL),
            look.update_ratios({EVIL: np.ones(1)}, {EVIL: np.ones(1)}),
            fc.testing.gradcheck(fc.nn.Dense(2), np.ones((1, 3))),
        ]
    for thing in shown:
        assert isinstance(thing, Printed)
        assert "".join(Reader(thing._repr_html_()).texts) == str(thing)


@pytest.mark.parametrize("thing", ["summary", "history"])
def test_names_that_users_give_are_no_markup(thing: str) -> None:
    evil = type(EVIL, (fc.nn.ReLU,), {})
    with fc.use_backend("numpy"):
        model = fc.nn.Sequential(evil()).build((2,))
    shown = model.summary() if thing == "summary" else fc.History({EVIL: [1.0]})
    assert "<script" not in shown._repr_html_()
