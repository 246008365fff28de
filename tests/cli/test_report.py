"""``fastconv report``: where the page goes, what is refused, and that nothing is lost."""

import sys
import threading
from html import unescape

import pytest

from fastconv.cli import main
from fastconv.training.run_folder import RunFolder, owned

from .commands import fails, files_of, history_of


@pytest.fixture(autouse=True)
def _needs_the_extra():
    for name in ("matplotlib", "jinja2", "PIL"):
        pytest.importorskip(name, reason="needs the extra 'report'")


def report(*words):
    return main(["report", "--backend", "numpy", *words])


def test_the_page_of_a_run_is_in_its_folder(trained, tmp_path, capsys):
    assert report("run", "--limit", "10") == 0
    assert capsys.readouterr().out.startswith("report    run/report.html (")
    text = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert f"{history_of('run')['val_loss'][-1]:.4f}" in text
    assert "10 images of shapes10/test" in text
    assert "fastconv train run/run.toml" in text
    assert "Time per layer" in text
    assert files_of(tmp_path / "run").keys() - {"report.html"} == {path.name for path in RunFolder(tmp_path).files}


def test_the_page_of_several_runs_is_here_or_where_it_is_wanted(trained, tmp_path, capsys):
    (tmp_path / "-a run's").mkdir()
    for name, data in files_of(tmp_path / "run").items():
        (tmp_path / "-a run's" / name).write_bytes(data)
    assert report("--quick", "--", "run", "-a run's") == 0
    assert capsys.readouterr().out.startswith("report    report.html (")
    text = unescape((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert """fastconv train './-a run'"'"'s/run.toml'""" in text
    assert "Time per layer" not in text
    assert report("--quick", "run", "--output", "page of one.html") == 0
    assert (tmp_path / "page of one.html").exists()


def test_a_running_run_is_followed_to_its_end(trained, tmp_path, capsys):
    over = threading.Event()
    begun = threading.Event()

    def train():
        with owned(RunFolder(tmp_path / "run")):
            begun.set()
            over.wait(60)

    thread = threading.Thread(target=train)
    thread.start()
    assert begun.wait(60)
    threading.Timer(0.2, over.set).start()
    assert report("run", "--follow", "--quick") == 0
    thread.join(60)
    lines = capsys.readouterr().out.splitlines()
    assert 1 <= len(lines) <= 2
    text = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "data-reload=" not in text
    assert "complete" in text


def test_images_that_are_not_there_are_a_note(trained, tmp_path, capsys, monkeypatch):
    from fastconv.errors import DataError
    from fastconv.report import findings

    def missing(recipe):
        raise DataError("data: got nothing there")

    monkeypatch.setattr(findings, "load_test", missing)
    assert report("run") == 0
    assert capsys.readouterr().err == "note: run: data: got nothing there\n"
    assert "data: got nothing there" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_what_is_not_whole_is_a_note(trained, tmp_path, capsys):
    with owned(RunFolder(tmp_path / "run")):
        assert report("run", "--quick") == 0
    epochs = len(history_of("run")["loss"])
    note = f"note: run: still running: {epochs} of {epochs} epochs are over (--follow writes the page anew until"
    assert capsys.readouterr().err == f"{note} it is over)\n"
    (tmp_path / "run" / "weights.safetensors").unlink()
    assert report("run") == 0
    assert capsys.readouterr().err.startswith(f"note: run: half written: its log has {epochs} epochs, but there is no ")


@pytest.mark.parametrize("follow", [(), ("--follow",)])
def test_bad_runs_are_one_message_and_nothing_is_written(trained, tmp_path, capsys, follow):
    run = tmp_path / "run"
    assert report("run", "--quick") == 0
    capsys.readouterr()
    (tmp_path / "empty").mkdir()
    log = (run / "log.jsonl").read_bytes()
    assert "run: got 'nowhere', which is no folder" in fails(capsys, "report", "nowhere", *follow)
    assert "without run.toml; allowed: the folder of a run" in fails(capsys, "report", "empty", *follow)
    assert "allowed: each run once" in fails(capsys, "report", "run", "run/.", *follow)
    for name, text, message in (
        ("run.toml", "", "run: got 'run', whose run.toml lacks data.name, "),
        (
            "run.toml",
            "x = " + "[" * 100_000,
            "run: got 'run', whose run.toml cannot be taken; run/run.toml: got no TOML",
        ),
        ("environment.json", '{"format": 1, "data": {}, "sessions": [3]}', "environment.json' (no such form); allowed"),
        ("environment.json", '{"format": 99}', "environment: got 'run/environment.json', of the form 99; allowed: 1"),
        ("environment.json", "[" * 100_000, "environment: got 'run/environment.json' (no such form)"),
        ("log.jsonl", '{"format": 1}\n' + "[" * 100_000, "log: got 'run/log.jsonl', whose line 2 is no entry"),
        ("log.jsonl", '{"format": 1}\n{"epoch": 1, "loss": true}', "log.jsonl', whose line 2 has loss = True; allowed"),
    ):
        whole = (run / name).read_bytes()
        (run / name).write_text(text)
        assert message in fails(capsys, "report", "run", *follow)
        (run / name).write_bytes(whole)
    (run / "log.jsonl").write_bytes(log[:-20])
    before = files_of(run)
    assert "whose line 3 is no entry; allowed: the log of a run" in fails(capsys, "report", "run", *follow)
    assert files_of(run) == before
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize("follow", [(), ("--follow",)])
def test_what_is_no_report_is_not_written_over(trained, tmp_path, capsys, follow):
    (tmp_path / "run" / "report.html").write_text("of great worth")
    assert "report.html', a file that is no report; allowed: " in fails(capsys, "report", "run", *follow)
    assert (tmp_path / "run" / "report.html").read_text() == "of great worth"
    assert "--output: got ., a folder; allowed: a file, such as report.html" in fails(
        capsys, "report", "run", "--output", ".", *follow
    )
    assert "nowhere/x.html', whose folder is not there; allowed: " in fails(
        capsys, "report", "run", "--quick", "--output", "nowhere/x.html", *follow
    )


@pytest.mark.parametrize("name", ["jinja2", "matplotlib"])
def test_the_extra_is_named(trained, capsys, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    assert "pip install 'fastconv[report]'" in fails(capsys, "report", "run")


def test_a_current_folder_that_is_gone_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["report", "run"]) == 2
    wanted = "error: current folder: got No such file or directory; allowed: one that is there (cd to another)\n"
    assert capsys.readouterr().err == wanted
