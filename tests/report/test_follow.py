"""A report that goes on with a training."""

import re
import threading

import pytest

from fastconv.report import follow, make_report
from fastconv.report.follow import _marks
from fastconv.training.history import History
from fastconv.training.run_folder import owned

from .made import LOSSES, make_run


def first(epochs):
    return History({name: values[:epochs] for name, values in LOSSES.history.items()})


def test_the_page_is_written_anew_after_each_epoch_and_stops_at_the_end(tmp_path):
    folder, page = make_run(tmp_path / "run", first(1)), tmp_path / "page.html"
    seen = []

    def told(report):
        text = page.read_text(encoding="utf-8")
        assert text == report.html
        epochs = re.search(r'"epochs": \[([\d, ]*)\]', text)[1].count(",") + 1
        seen.append((epochs, "data-reload" in text.split("<script>")[0], "Time per layer" in text))
        if epochs == 1:
            folder.write_log(first(2))
        elif epochs == 2:
            folder.write_log(LOSSES)
            over.set()

    over, begun = threading.Event(), threading.Event()

    def train():
        with owned(folder):
            begun.set()
            assert over.wait(60)

    thread = threading.Thread(target=train)
    thread.start()
    assert begun.wait(60)
    try:
        last = follow([folder.directory], page, told=told, limit=4)
    finally:
        over.set()
        thread.join(60)
    assert seen[:2] == [(1, True, False), (2, True, False)]
    assert seen[-1] == (3, False, True)
    assert "complete" in last.html


def test_a_run_that_is_over_is_written_once(run, tmp_path):
    seen = []
    report = follow([run.directory], tmp_path / "page.html", told=seen.append, compute=False)
    assert seen == [report]
    assert report.html == make_report(run.directory, compute=False).html


def test_an_interrupt_leaves_a_page_that_stands_still(run, tmp_path):
    def interrupt(report):
        raise KeyboardInterrupt

    with owned(run), pytest.raises(KeyboardInterrupt):
        follow([run.directory], tmp_path / "page.html", told=interrupt, compute=False)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "data-reload" not in text.split("<script>")[0]
    assert "still running" in text


def test_a_log_that_is_not_there_yet_has_no_mark(run):
    before = _marks([run])
    run.write_log(LOSSES)
    assert _marks([run]) != before
    run.log.unlink()
    assert _marks([run]) == [None]
