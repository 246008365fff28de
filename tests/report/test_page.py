"""The page as text: what it shows, that it stays small, and that what is data is never markup."""

import html
import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError, DependencyError, OutputError
from fastconv.report import Report, make_report, page, pictures
from fastconv.report.findings import Findings
from fastconv.report.page import LIMIT

from .made import HISTORY, History, long_history, make_run

VOID = {"meta", "link", "img", "br", "path", "use"}


class Page(HTMLParser):
    """Holds elements and text, and checks that what is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts, self.ids, self.attributes = [], [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def test_a_page_shows_the_run(tmp_path):
    run = make_run(tmp_path / "first", HISTORY)
    report = make_report(run.directory)
    page = Page(report.html)
    for words in (
        *("first", "complete", "lenet5", "62.50%", "1.2500", "What is taken for what", "Worst images", "taken for"),
        *("Filters of the first layer", "Time per layer", "backward ms", "Sparsity", "0 of 61,770 weights are zero"),
        *("optimizer.lr", "versions.numpy", f"fastconv train {run.directory}/run.toml", "40 images of shapes10/test"),
    ):
        assert words in page.text, words
    assert page.tags.count("figure") >= 4
    assert len(page.ids) == len(set(page.ids))
    assert report.notes == ()
    assert len(report.html.encode()) < LIMIT


def test_a_page_asks_nothing_of_a_network(run):
    page = Page(make_report(run.directory).html)
    for name, value in page.attributes:
        assert not (name in ("src", "href", "action") and not value.startswith(("data:", "#"))), (name, value)
        assert not name.startswith("on"), name
    assert ("content", "default-src 'none'") in [
        (n, v.split(";")[0]) for n, v in page.attributes if n == "content" and ";" in v
    ]


def test_a_page_can_be_read_without_eyes(run):
    text = make_report(run.directory).html
    assert '<html lang="en">' in text
    for picture in re.findall(r"<svg(?! class=\"line\")[^>]*>", text):
        assert 'role="img"' in picture
        assert "aria-labelledby" in picture
    assert all("alt=" in image for image in re.findall(r"<img[^>]*>", text))
    assert all('scope="' in head for head in re.findall(r"<th[ >][^>]*>", text))


def test_several_runs_stand_side_by_side(run, tmp_path):
    other = make_run(tmp_path / "second", History({"loss": [2.0]}), optimizer={"name": "Adam"})
    text = make_report(run.directory, other.directory, timed=False).html
    page = Page(text)
    assert "ended after 1 of 3 epochs" in page.text
    assert f"fastconv resume {other.directory}" in page.text
    assert f"fastconv resume {run.directory}" not in page.text
    assert page.text.count("images of shapes10/test") == 2
    assert 'class="differs"' in text
    row = re.search(r'<tr( class="differs")?><th scope="row">optimizer.name.*?</tr>', text)
    assert row[1]
    assert re.findall(r"<td>(\w+)</td>", row[0]) == ["SGD", "Adam"]
    assert not re.search(r'<tr( class="differs")?><th scope="row">model.name', text)[1]


EVIL = (
    *("<script>alert(1)<script>", "a'b\"c&d", "<b>x", "{{ 7*7 }}", "$x_{$", "日本 語", "-dash"),
    b"\xff\xfe".decode("utf-8", "surrogateescape"),
)


@pytest.mark.parametrize("name", EVIL)
def test_a_name_is_never_markup(tmp_path, name):
    folder, plain = make_run(tmp_path / name, weights=False), make_run(tmp_path / "plain", weights=False)
    make_report(folder.directory).save(tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.tags == Page(make_report(plain.directory).html).tags
    assert name.encode("utf-8", "backslashreplace").decode() in page.text


def test_a_page_has_no_control_characters(tmp_path):
    text = make_report(make_run(tmp_path / "a\x1b[2J\x7f\x01", weights=False).directory).html
    assert "a\u241b[2J\u2421\u2401" in text
    assert not re.search(r"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]", text)


def test_names_of_classes_are_never_markup(tmp_path, monkeypatch):
    from dataclasses import replace

    from fastconv.report import findings

    load, names = findings.load_test, tuple(f"</td><img src=x>{i}" for i in range(10))
    monkeypatch.setattr(findings, "load_test", lambda recipe: replace(load(recipe), class_names=names))
    folder = make_run(tmp_path / "run", class_names=names)
    text = make_report(folder.directory, timed=False).html
    assert "<img src=x>" not in text
    assert html.escape(names[3], quote=False) in text
    Page(text)


def test_seven_long_runs_fit(tmp_path):
    folders = [make_run(tmp_path / f"run{i}", long_history(2000 + i)) for i in range(7)]
    report = make_report(*(folder.directory for folder in folders), timed=False)
    assert len(report.html.encode()) <= LIMIT
    assert "run6" in Page(report.html).text


def pruned_history(epochs):
    """Return what a pruned resnet20 logs."""
    rng = np.random.default_rng(epochs)
    weights = [f"{number}.weight" for number in range(22)]
    names = [*HISTORY.history, "sparsity", *(f"sparsity/{weight}" for weight in weights)]
    return History({name: np.sort(rng.random(epochs)).tolist() for name in names})


@pytest.mark.parametrize("epochs", [100, 1000])
def test_a_pruned_run_fits_with_its_layers_in_a_table(tmp_path, epochs):
    history = pruned_history(epochs)
    folders = [make_run(tmp_path / f"run{i}", history, model={"name": "resnet20"}, weights=not i) for i in range(7)]
    for runs in (folders[:1], folders):
        report = make_report(*(folder.directory for folder in runs), timed=False)
        assert len(report.html.encode()) <= LIMIT
        drawn = re.findall(r"<figcaption>(.*?)</figcaption>\n<svg", report.html)
        assert drawn == ["loss", "accuracy", "learning rate", "images per second", "sparsity"]
    page = Page(make_report(folders[1].directory, compute=False).html)
    last = history.history["sparsity"][-1]
    assert f"After the last epoch {last:.1%} of the weights that are pruned are zero." in page.text
    for number in range(22):
        assert f"{number}.weight {history.history[f'sparsity/{number}.weight'][-1]:.1%}" in page.text


def test_many_quantities_are_left_out_by_name_rather_than_refused(tmp_path):
    rng = np.random.default_rng(0)
    history = History({f"metric_{number}": rng.random(300).tolist() for number in range(60)})
    report = make_report(make_run(tmp_path / "run", history).directory, compute=False)
    assert len(report.html.encode()) <= LIMIT
    drawn = len(re.findall("<figure", report.html))
    assert drawn in (24, 12, 6)
    assert f"Not drawn, left out, for the page to stay small: metric {drawn}, metric {drawn + 1}," in report.html


def test_no_chart_is_drawn_twice(tmp_path, monkeypatch):
    """The page of 100 quantities was drawn with 24, 24 and 12 of them before it was small enough."""
    drawn, chart = [], pictures.chart
    monkeypatch.setattr(pictures, "chart", lambda runs, name, *more: drawn.append(name) or chart(runs, name, *more))
    monkeypatch.setattr(page, "LIMIT", 110_000)
    names = [f"metric_{number}" for number in range(24)]
    history = History({name: [0.5, 0.25] for name in names})
    report = make_report(make_run(tmp_path / "run", history).directory, compute=False)
    assert len(re.findall("<figure", report.html)) < 24
    assert drawn == names


@pytest.mark.parametrize("value", [math.nan, 1.7e308], ids=["NaN", "past all axes"])
def test_a_quantity_without_a_finite_value_is_named(tmp_path, value):
    history = History({"loss": [value, value], "val_loss": [math.nan] * 2, "accuracy": [0.1, 0.5]})
    page = Page(make_report(make_run(tmp_path / "run", history).directory, compute=False).html)
    assert "Not drawn, without a finite value: loss." in page.text
    assert "No epoch is over yet." not in page.text


def test_a_loss_past_four_decimals_has_a_power_of_ten(tmp_path):
    history = History({"loss": [1.0, 1.0], "val_loss": [1.234e30, 0.00012345]})
    page = Page(make_report(make_run(tmp_path / "run", history).directory, compute=False).html)
    assert "1.23e-04 best loss 1.23e-04 (epoch 2)" in page.text
    assert "undecided : 2 epochs, 2 with a validation loss" in page.text
    once = Page(make_report(make_run(tmp_path / "once", History({"loss": [1.0]})).directory, compute=False).html)
    assert "undecided : 1 epoch, 0 with a validation loss" in once.text


@pytest.mark.parametrize("compute", [True, False])
def test_a_run_that_is_half_written_says_so(tmp_path, compute):
    run = make_run(tmp_path / "run", weights=False)
    report = make_report(run.directory, compute=compute)
    said = (
        "half written: its log has 3 epochs, but there is no file weights.safetensors with the weights after the last"
    )
    assert f"complete; {said} one" in Page(report.html).text
    assert report.notes == (f"run: {said} one",)


def test_many_classes_are_a_picture(tmp_path, monkeypatch):
    from dataclasses import replace

    from fastconv.report import findings

    load, names = findings.load_test, tuple(f"class {i}" for i in range(100))
    monkeypatch.setattr(findings, "load_test", lambda recipe: replace(load(recipe), class_names=names))
    text = make_report(make_run(tmp_path / "run", class_names=names).directory, timed=False).html
    assert 'class="heat"' in text
    assert 'class="confusion"' not in text
    assert "Most often confused" in text


def test_a_run_without_an_epoch_or_images_says_so(tmp_path):
    folder = make_run(tmp_path / "run", History(), weights=False, data={"name": "cifar10", "directory": "nowhere"})
    report = make_report(folder.directory)
    page = Page(report.html)
    assert "No epoch is over yet." in page.text
    assert "there are no weights before the first epoch is over" in page.text
    assert report.notes == ("run: there are no weights before the first epoch is over",)


def test_nothing_is_computed_if_not_asked(run, monkeypatch):
    from fastconv.report import page

    monkeypatch.setattr(page, "look_into", None)
    text = make_report(run.directory, compute=False).html
    assert "Time per layer" not in text
    assert "Not looked at." in text
    assert "fastconv train" in text


def test_a_page_that_follows_loads_itself_again_and_can_be_settled(run):
    report = make_report(run.directory, reload_seconds=2.5, compute=False)
    assert 'data-reload="2.5">' in report.html
    assert '<meta http-equiv="refresh" content="' in report.html
    settled = report.settled().html
    assert "data-reload=" not in settled
    assert 'http-equiv="refresh"' not in settled
    assert settled == make_report(run.directory, compute=False).html
    for wrong in (0, -1, float("nan"), "soon"):
        with pytest.raises(ArgumentError, match="reload_seconds: got"):
            make_report(run.directory, reload_seconds=wrong)
    with pytest.raises(ArgumentError, match="limit: got 0"):
        make_report(run.directory, limit=0)


def test_a_notebook_shows_it_in_a_frame_of_its_own(run):
    report = make_report(run.directory, compute=False)
    frame = report._repr_html_()
    (inside,) = re.findall(r'srcdoc="([^"]*)"', frame)
    assert html.unescape(inside) == report.html
    assert 'sandbox="allow-scripts"' in frame
    assert "characters of HTML" in repr(report)


def test_it_is_written_over_a_report_and_over_nothing_else(run, tmp_path):
    report, path = make_report(run.directory, compute=False), tmp_path / "page.html"
    report.save(path)
    report.save(path)
    assert path.read_text(encoding="utf-8") == report.html
    path.write_text("of great worth")
    with pytest.raises(ArgumentError, match=r"page\.html', a file that is no report; allowed: a new file, or an older"):
        report.save(path)
    assert path.read_text() == "of great worth"
    with pytest.raises(ArgumentError, match="Is a directory"):
        report.save(tmp_path)
    with pytest.raises(ArgumentError, match=r"page\.html', whose folder is not there"):
        report.save(tmp_path / "nowhere" / "page.html")
    with pytest.raises(OutputError, match="could not be written"):
        report.save("/dev/fd/page.html")
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("name", ["jinja2", "matplotlib", "PIL"])
def test_what_is_not_installed_is_told(run, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DependencyError, match=rf"report: got no {name} .*pip install 'fastconv\[report\]'"):
        make_report(run.directory)


@pytest.mark.parametrize(("asked", "timed"), [({}, True), ({"timed": False}, False)])
def test_layers_are_timed_unless_asked_not_to(run, monkeypatch, asked, timed):
    given = []
    monkeypatch.setattr(page, "look_into", lambda run, **settings: given.append(settings["timed"]) or Findings())
    make_report(run.directory, **asked)
    assert given == [timed]


def test_no_figure_stays_open(run):
    import matplotlib.pyplot as plt

    make_report(run.directory, timed=False)
    assert not plt.get_fignums()


def test_the_room_is_loaded_when_it_is_named():
    assert fc.report.make_report is make_report
    assert isinstance(Report("x"), fc.report.Report)
    assert HISTORY.epochs == 3
    assert Path(fc.report.__file__).parent.joinpath("page.html").is_file()
