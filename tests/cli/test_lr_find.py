"""``fastconv lr-find``: the losses at rising rates, and what they suggest."""

from fastconv.cli import main

from .commands import TINY, fails


def test_it_shows_rates_and_suggests_some(tmp_path, capsys):
    assert main(["lr-find", *TINY, "--batch-size", "10", "--steps", "40", "--low", "1e-5", "--high", "1"]) == 0
    heading, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert heading == ["rate", "loss", "smoothed"]
    rates = [float(row[0]) for row in rows if len(row) == 3 and row[0][0].isdigit()]
    assert rates[0] == 1e-5
    assert rates == sorted(rates)
    assert len(rates) <= 20
    assert rows[-1][-2] == "--lr" or rows[-1][0] == "the"
    assert not list(tmp_path.iterdir())


def test_an_optimizer_needs_no_rate_of_its_own(capsys):
    assert main(["lr-find", *TINY, "--optimizer", "sgd", "--steps", "5"]) == 0
    assert main(["lr-find", *TINY, "--optimizer", "sgd", "lr=0.5", "--steps", "5"]) == 0
    assert main(["lr-find", *TINY, "--schedule", "OneCycle", "max_lr=0.1", "--steps", "5"]) == 0
    inner = ("--set", "optimizer.optimizer.name=SGD")
    assert main(["lr-find", *TINY, "--optimizer", "EMA", *inner, "--steps", "5"]) == 0


def test_it_suggests_the_option_that_the_optimizer_takes(capsys):
    words = ["--optimizer", "EMA", "--set", "optimizer.optimizer.name=Adam", "--steps", "40", "--low", "1e-4"]
    assert main(["lr-find", *TINY, "--batch-size", "10", *words, "--high", "1"]) == 0
    *_, steepest, tenth = capsys.readouterr().out.splitlines()
    assert steepest.startswith("steepest fall      --set optimizer.optimizer.lr=")
    assert tenth.startswith("tenth of the least --set optimizer.optimizer.lr=")


def test_rates_that_do_not_rise_are_refused(capsys):
    assert "high: got 0.1" in fails(capsys, "lr-find", *TINY, "--low", "1", "--high", "0.1")
