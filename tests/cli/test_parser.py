"""The words of the command: what is refused, and what the help says."""

import re
import shlex

import pytest

from fastconv.cli import main
from fastconv.cli.command_line import command_line, kept_options
from fastconv.cli.parser import build_parser
from fastconv.cli.words import name_or_setting, place, setting
from fastconv.training.named import choices

COMMANDS = (
    "train",
    "resume",
    "lr-find",
    "evaluate",
    "predict",
    "report",
    "data",
    "summary",
    "explain",
    "profile",
    "warmup",
    "info",
    "gradcheck",
)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("fly",),
        ("train", "--dataset", "imagenet"),
        ("train", "--model", "vgg"),
        ("train", "--epochs", "0"),
        ("train", "--epochs", "9" * 5000),
        ("train", "--lr", "nan"),
        ("train", "--lr", "1e400"),
        ("train", "--output", ""),
        ("train", "--output", "a\0b"),
        ("train", "--data-dir", ""),
        ("evaluate", ""),
        ("predict", "x", ""),
        ("resume",),
        ("resume", "x", "--precision", "strict"),
        ("train", "--optimizer", "adan"),
        ("train", "--optimizer"),
        ("train", "--schedule", "Cosine", "run.toml"),
        ("train", "--set", "lr=1"),
        ("train", "--save-every-steps", "-1"),
        ("summary", "resnet20", "--input-shape", "0", "1", "2"),
        ("summary", "resnet20", "--input-shape", "65537", "1", "3"),
        ("summary", "resnet20", "--threads", "2"),
        ("data", "list", "--backend", "numpy"),
        ("predict",),
        ("gradcheck", "--seed", "two\nlines"),
        ("report",),
        ("report", ""),
        ("data",),
        ("data", "upload"),
        ("data", "download"),
        ("data", "list", "--data-dir", ""),
        *((command, "--fly") for command in COMMANDS),
    ],
)
def test_unknown_words_are_refused_in_one_line(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "--help' lists what there is" in err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_defaults_that_say_something(capsys, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "None" not in text
    assert "default: False" not in text
    assert max(map(len, text.splitlines())) <= 80
    examples = text.partition("examples:\n")[2].splitlines()
    assert examples
    for line in examples:
        build_parser().parse_args(shlex.split(line.removeprefix("  fastconv ")))
    if command in ("summary", "explain", "profile", "warmup"):
        words = " ".join(text.partition("  MODEL ")[2].split())
        assert words.startswith(f"one of {', '.join(choices('model'))}")
    if command == "train":
        assert "(default: 0)" in text
        for kind in ("model", "optimizer", "schedule", "loss", "metric", "callback", "augmentation"):
            words = " ".join(text.partition(f"  --{kind} NAME [SETTING=VALUE ...]\n")[2].split())
            listed = ", ".join(choices(kind))
            assert words.startswith((f"one of {listed} --", f"{listed}; may be given again"))


@pytest.mark.parametrize("word", ["plain", "two words", "a'b", "[x]", "-x", "", "$HOME", "tab\t", "é"])
def test_a_printed_command_is_what_a_shell_reads(word):
    import os
    import subprocess

    line = command_line(["evaluate", word]).removeprefix("fastconv ")
    got = subprocess.run(["bash", "-c", f'printf "%s\\0" {line}'], capture_output=True, check=True, timeout=60)
    assert [os.fsdecode(part) for part in got.stdout.split(b"\0")[:-1]] == ["evaluate", word]


def test_kept_options_are_those_given():
    parse = build_parser().parse_args
    assert kept_options(parse(["train"])) == []
    words = ["--backend=numpy", "--threads=2", "--precision=strict", "--algorithm=direct", "--data-dir=-d", "--limit=3"]
    assert kept_options(parse(["train", *words, "--lr", "1", "--seed", "3"])) == words


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("trian", "got 'trian'; allowed: train, .* (nearest: 'train')"),
        ("train --optimiser SGD", "got --optimiser; allowed: .* (nearest: '--optimizer') ('fastconv train --help'"),
        ("train --optimizer=SGD --epochz=3", "got --epochz=3; .* (nearest: '--epochs')"),
        ("train --precision fats", "got 'fats'; allowed: strict, default, fast (nearest: 'fast')"),
        ("train --dataset cifar01", "got 'cifar01'; .* (nearest: 'cifar10')"),
        ("summary vgg61", "got 'vgg61'; .* (nearest: 'vgg19')"),
        ("train --output runs/a --resume", "got --resume; .* ('fastconv resume RUN' goes on with a run)"),
        ("evaluate runs/a --device=cuda", "got --device=cuda; .* (--backend) ('fastconv evaluate --help'"),
        ("profile mlp --gpu", "got --gpu; .* (--backend cupy)"),
        ("data downlaod mnist", "got 'downlaod'; .* (nearest: 'download')"),
    ],
)
def test_a_wrong_word_is_told_the_nearest_one(capsys, line, told):
    with pytest.raises(SystemExit, match="2"):
        build_parser().parse_args(line.split())
    assert re.search(re.escape(told).replace(re.escape(".*"), ".*"), capsys.readouterr().err)


@pytest.mark.parametrize("text", ["nesterov=False", "nesterov=false"])
def test_truth_values_as_python_and_as_toml_write_them(text):
    assert setting(text) == ("nesterov", False)
    assert place(f"optimizer.{text}") == ("optimizer.nesterov", False)
    assert name_or_setting("optimizer")(text) == ("nesterov", False)


@pytest.mark.parametrize(
    ("words", "name", "want"),
    [
        ("predict run --top 1 x.png", "files", ["x.png"]),
        ("predict run x.png --top 1 y.png z.png", "files", ["x.png", "y.png", "z.png"]),
        ("predict --top 1 run x.png", "files", ["x.png"]),
        ("predict run --top 1", "files", []),
        ("report a --output x.html b c", "runs", ["a", "b", "c"]),
        ("warmup --batch-size 4 mlp", "models", ["mlp"]),
        ("warmup mlp --batch-size 4 lenet5", "models", ["mlp", "lenet5"]),
    ],
)
def test_words_may_stand_behind_options(words, name, want):
    assert getattr(build_parser().parse_args(words.split()), name) == want


@pytest.mark.parametrize("words", ["warmup --batch-size 4 nonsense", "predict run --top 1 x.png --nonsense", "info x"])
def test_wrong_words_behind_options_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(words.split())
    said = capsys.readouterr().err
    assert words.split()[-1] in said
    assert "allowed: " in said


@pytest.mark.parametrize(
    "line",
    [
        *("train --model=--", "train --set=--", "train --dataset=--", "train --pruning=--", "predict run --top=--"),
        *("evaluate run --precision=--", "profile lenet5 --trace=--", "warmup --target=--", "info --threads=--"),
    ],
)
def test_two_dashes_are_no_value(line, capsys):
    """`argparse` drops them, and an option that has got nothing was passed over or an error of Python."""
    with pytest.raises(SystemExit, match="2"):
        main(line.split())
    option = line.split()[-1].removesuffix("=--")
    assert capsys.readouterr().err.startswith(f"error: argument {option}: got '--'; allowed: a value ")


@pytest.mark.parametrize("line", ["evaluate run", "info", "gradcheck", "explain lenet5"])
def test_an_empty_name_of_a_backend_is_none(line, capsys):
    main([*line.split(), "--backend="])
    told = capsys.readouterr()
    assert "backend: got ''; allowed: numba, numpy, " in told.out + told.err
