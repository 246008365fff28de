"""The recipe of ``fastconv train``: from a file, from options, from what is usual."""

from pathlib import Path

import pytest

from fastconv.cli import main
from fastconv.data import SOURCES, FlipCrop
from fastconv.metrics import F1, Accuracy
from fastconv.optim import SGD, Adam, Pruning, schedules

from .commands import SMALL, TINY, fails, history_of, weights_of

FILE = """
[run]
epochs = 2
[data]
limit = 60
[loader]
batch_size = 20
[model]
name = "lenet5"
[optimizer]
name = "sgd"
lr = 0.05
momentum = 0.8
[schedule]
name = "cosine"
warmup_steps = 1
"""


def test_everything_may_be_named_with_settings(fitted):
    words = ["--optimizer", "SGD", "momentum=0.5", "--lr", "0.25", "--schedule", "cosine", "warmup_steps=2"]
    words += ["--loss", "MulticlassHinge", "margin=2.0", "--augmentation", "flip-crop", "pad=1", "flip=false"]
    words += ["--metric", "Accuracy", "--metric", "F1", "average=weighted", "--set", "loader.drop_last=true"]
    assert main(["train", *SMALL, *words]) == 0
    trainer = fitted["trainer"]
    assert type(trainer.optimizer) is SGD
    assert (trainer.optimizer.momentum, trainer.optimizer.nesterov) == (0.5, False)  # whoever says one says all
    assert trainer.schedule == schedules.Cosine(0.25, 6, warmup_steps=2)
    assert trainer.loss.margin == 2.0
    assert fitted["train"].augmentation == FlipCrop(flip=False, pad=1)
    assert fitted["train"].drop_last
    assert [type(metric) for metric in trainer.metrics] == [Accuracy, F1]
    assert trainer.metrics[1].average == "weighted"


def test_the_folder_trains_again_to_the_same_bits(tmp_path):
    words = ["--augment", "--optimizer", "sgd", "nesterov=true", "momentum=0.7", "--lr", "0.05", "--seed", "3"]
    assert main(["train", *SMALL, *words, "--metric", "F1", "--precision", "strict", "--output", "first"]) == 0
    assert main(["train", "first/run.toml", "--output", "second"]) == 0
    assert weights_of("first") == weights_of("second")
    assert (tmp_path / "first/run.toml").read_bytes() == (tmp_path / "second/run.toml").read_bytes()
    assert history_of("first")["val_f1"] == history_of("second")["val_f1"]


def test_photos_are_shown_in_other_ways_by_default():
    """Digits and clothes are not: a mirrored 2 is none."""
    assert {name for name, source in SOURCES.items() if source.augmented} == {"cifar10", "cifar100"}


def test_settings_alone_are_of_what_is_usual(fitted):
    words = ["--set", "schedule.max_lr=0.5", "--set", "optimizer.beta1=0.8", "--set", "loss.label_smoothing=0.1"]
    assert main(["train", *TINY, *words]) == 0
    trainer = fitted["trainer"]
    assert trainer.schedule == schedules.OneCycle(0.5, 1)
    assert (type(trainer.optimizer), trainer.optimizer.beta1) == (Adam, 0.8)
    assert trainer.loss.label_smoothing == 0.1


@pytest.mark.parametrize("text", ["1,2", "(1,2)", "[1, 2]", "(1, 2,)"])
def test_several_numbers_may_be_written_as_in_python(fitted, text):
    assert main(["train", *TINY, "--schedule", "Step", f"milestones={text}"]) == 0
    assert fitted["trainer"].schedule.milestones == (1, 2)


def test_the_folder_of_the_user_is_meant_by_its_sign(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    callbacks = ["--callback", "CSVLogger", "path=~/log.csv", "--callback", "ModelCheckpoint", "directory=~/kept"]
    assert main(["train", *TINY, "--output=~/run", *callbacks]) == 0
    assert {path.name for path in (tmp_path / "home").iterdir()} >= {"run", "log.csv", "kept"}
    assert not Path("~").exists()
    assert main(["evaluate", "~/run", "--backend", "numpy"]) == 0


def test_a_file_is_the_recipe_and_options_go_before_it(tmp_path, fitted):
    (tmp_path / "mine.toml").write_text(FILE)
    assert main(["train", "mine.toml", "--backend", "numpy"]) == 0
    trainer = fitted["trainer"]
    assert (trainer.optimizer.momentum, trainer.optimizer.nesterov, fitted["epochs"]) == (0.8, False, 2)
    assert trainer.schedule == schedules.Cosine(0.05, 6, warmup_steps=1)
    words = ["--lr", "0.5", "--epochs", "3", "--set", "schedule.warmup_steps=0", "--set", "optimizer.nesterov=true"]
    assert main(["train", "mine.toml", "--backend", "numpy", *words, "--output", "other"]) == 0
    trainer = fitted["trainer"]
    assert (trainer.optimizer.momentum, trainer.optimizer.nesterov, fitted["epochs"]) == (0.8, True, 3)
    assert trainer.schedule == schedules.Cosine(0.5, 9)


def test_an_empty_file_is_what_is_usual(tmp_path, fitted):
    (tmp_path / "empty.toml").write_text("")
    assert main(["train", "empty.toml", "--limit", "20", "--backend", "numpy"]) == 0
    assert fitted["trainer"].model.parameters().count == 1_250_858  # keras_cnn
    assert fitted["epochs"] == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[optimizr]\nlr = 1", "recipe: got the table 'optimizr'; allowed: "),
        ('[optimizer]\nname = "Adem"', "(nearest: 'Adam')"),
        ("[run]\nepochs = 'many'", "run.epochs: got 'many'; allowed: "),
        ("[data]\nname = 'shapes'", "data.name: got 'shapes'; allowed: shapes10, "),
        ("[data]\nname = 'images'", "data.images: got none; allowed: the folder of the images"),
        ("epochs = 3", "recipe: got the table 'epochs'; allowed: "),
        ("[run", "got no TOML"),
        ("format = 9", "format: got 9; allowed: 1"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, capsys, fitted, text, message):
    (tmp_path / "mine.toml").write_text(text)
    assert message in fails(capsys, "train", "mine.toml", "--backend", "numpy")
    assert not fitted


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metric", "F1", "macro"], None),
        (["--optimizer", "momentum=1"], "--optimizer: got 'momentum=...'; allowed: one name, then settings"),
        (["--optimizer", "Adam", "Adam"], "--optimizer: got 'Adam'; allowed: one name, then settings"),
        (["--optimizer", "Adam", "weight_dekay=1"], "(nearest: 'weight_decay')"),
        (["--optimizer", "Adam", "beta1=2"], "optimizer Adam: beta1: got 2"),
        (["--optimizer", "SGD", "learning_rate=0.1"], "optimizer SGD: got the setting 'learning_rate'; allowed: lr, "),
        (["--optimizer", "SGD", "learning_rate=0.1"], "(nearest: 'lr')"),
        (["--optimizer", "SGD", "momentum=abc"], "optimizer SGD: momentum: got 'abc'; allowed: a finite number"),
        (["--optimizer", "SGD", "nesterov=maybe"], "optimizer SGD: nesterov: got 'maybe'; allowed: "),
        (["--optimizer", "SGD", "momentum=0.5"], "--lr: got none for SGD on lenet5"),
        (["--schedule", "Step", "milestones=1,x"], "milestones: got '1,x'; allowed: numbers of steps in a tuple"),
        (
            ["--optimizer", "EMA", "--lr", "0.1"],
            "--optimizer: got EMA alone, which goes around others; allowed: EMA with another within it, --set ",
        ),
        (
            ["--optimizer", "Lookahead", "optimizer=SGD"],
            "Lookahead with another within it, --set optimizer.optimizer.name=SGD --set optimizer.optimizer.lr=0.1",
        ),
        (
            ["--optimizer", "Combined", "--lr", "0.1"],
            "got Combined alone, which goes around others; allowed: Combined in a program",
        ),
        (
            ["--optimizer", "Lookahead", "--set", "optimizer.optimizer.name=EMA"],
            "got EMA alone, which goes around others; allowed: EMA with another within it, --set "
            "optimizer.optimizer.optimizer.name=SGD --set optimizer.optimizer.optimizer.lr=0.1",
        ),
        (
            ["--optimizer", "EMA", "--set", "optimizer.optimizer.name=SGD"],
            "--set optimizer.optimizer.lr: got none for EMA on lenet5; allowed: a learning rate to go with it",
        ),
        (["--set", "loader.batch_sise=3"], "(nearest: 'batch_size')"),
        (["--set", "schedule.lr=0.5"], "schedule OneCycle: got the setting 'lr'; allowed: "),
        (["--callback", "ProgressDisplay", "stream=x"], "callback ProgressDisplay: stream: got 'x'; allowed: a text"),
        (["--set", "run.epochs.more=3"], "--set: got 'run.epochs.more', where epochs is no table"),
        (["--loss", "MulticlassHinge", "--label-smoothing", "0.1"], "got the setting 'label_smoothing'"),
        (["--set", "trainer.capture=true"], "trainer: capture: got True on the backend 'numpy'"),
    ],
)
def test_what_is_wrong_in_the_words_is_named(capsys, words, message):
    if message is None:
        with pytest.raises(SystemExit):
            main(["train", *TINY, *words])
        assert "allowed: Accuracy" in capsys.readouterr().err
    else:
        assert message in fails(capsys, "train", *TINY, *words)
    assert not Path("runs/shapes10-lenet5").exists()


def test_pruning_goes_around_the_usual_optimizer(fitted):
    assert main(["train", *SMALL, "--pruning", "target=0.9", "begin=1", 'layers=["7", "9"]']) == 0
    optimizer = fitted["trainer"].optimizer
    assert (type(optimizer), type(optimizer.optimizers[0])) == (Pruning, Adam)
    schedule = optimizer.schedule
    assert (schedule.begin, schedule.end, schedule.target) == (1, 4, 0.9)  # two thirds of six steps
    assert [parameter.name for parameter in optimizer.pruned] == ["7.weight", "9.weight"]
    assert optimizer.lr == 2e-3
    assert main(["train", *SMALL, "--optimizer", "SGD", "--lr", "0.1", "--pruning"]) == 0
    optimizer = fitted["trainer"].optimizer
    assert (optimizer.schedule.target, type(optimizer.optimizers[0])) == (0.5, SGD)


def test_a_pruned_run_is_trained_again_from_its_file(capsys):
    words = ["--pruning", "target=0.9", "frequency=1", "keep_last=true"]
    assert main(["train", *SMALL, *words, "--output", "first"]) == 0
    assert "sparsity  90.0" in capsys.readouterr().out
    assert main(["train", "first/run.toml", "--output", "second"]) == 0
    assert weights_of("first") == weights_of("second")
    found = history_of("second")
    assert found["sparsity"] == history_of("first")["sparsity"]
    assert set(found) >= {"sparsity/0.weight", "sparsity/9.weight"}
    assert "sparsity/11.weight" not in found
    assert main(["train", "first/run.toml", "--pruning", "target=0.5", "--output", "third"]) == 0
    assert abs(history_of("third")["sparsity"][-1] - 0.5) < 1e-3


def test_a_pruned_run_that_goes_on_for_longer_prunes_for_longer():
    words = ["--pruning", "target=0.9", "frequency=1"]
    assert main(["train", *SMALL, *words, "--output", "first"]) == 0
    assert main(["resume", "first", "--epochs", "4"]) == 0
    found = history_of("first")["sparsity"]
    assert len(found) == 4
    assert found == sorted(found)
    assert abs(found[-1] - 0.9) < 1e-3


def test_what_is_wrong_with_pruning_is_told(capsys):
    with pytest.raises(SystemExit):
        main(["train", *TINY, "--pruning", "0.9"])
    assert "argument --pruning: got '0.9'; allowed: SETTING=VALUE, such as target=0.9" in capsys.readouterr().err
    assert "got the setting 'targets'; allowed: " in fails(capsys, "train", *TINY, "--pruning", "targets=0.9")
    assert "target: got 1.0; allowed" in fails(capsys, "train", *TINY, "--pruning", "target=1.0")
    told = fails(capsys, "train", *TINY, "--pruning", "begin=3")
    assert "end: got 0, before the step at which pruning begins; allowed: 3 or later (end was not set, so it" in told
    told = fails(capsys, "train", *TINY, "--pruning", "begin=3", "end=1")
    assert told.rstrip().endswith("end: got 1, before the step at which pruning begins; allowed: 3 or later")
    assert "layers: got 'x'; allowed" in fails(capsys, "train", *TINY, "--pruning", 'layers=["x"]')


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--lr", "0.002", "--schedule", "OneCycle", "max_lr=3.0"],
            "--lr: got 0.002 beside max_lr=3.0 of the schedule",
        ),
        (["--lr", "0.2", "--schedule", "cosine", "lr=0.5"], "--lr: got 0.2 beside lr=0.5 of the schedule Cosine"),
        (
            ["--lr", "0.5", "--schedule", "step", "--set", "schedule.lr=0.5"],
            "--lr: got 0.5 beside lr=0.5 of the schedule",
        ),
        (["--lr", "0.2", "--set", "optimizer.lr=0.5"], "--set: got optimizer.lr=0.5 beside --lr 0.2; allowed: one of"),
        (["--set", "run.epochs=5"], "--set: got run.epochs=5 beside --epochs 2; allowed: one of them"),
        (["--set", "data.limit=5"], "--set: got data.limit=5 beside --limit 60; allowed: one of them"),
        (["--lr", "0.2", "--optimizer", "Adam", "lr=0.5"], "--lr: got 0.2 beside lr=0.5 of --optimizer"),
        (
            ["--weight-decay", "0.2", "--optimizer", "Adam", "weight_decay=0.5"],
            "--weight-decay: got 0.2 beside weight_decay=0.5 of --optimizer",
        ),
        (
            ["--label-smoothing", "0.2", "--loss", "SoftmaxCrossEntropy", "label_smoothing=0.5"],
            "--label-smoothing: got 0.2 beside label_smoothing=0.5 of --loss",
        ),
        (["--optimizer", "SGD", "lr=1", "lr=2"], "--optimizer: got lr=1 and lr=2; allowed: one of the two"),
        (["--pruning", "target=0.9", "target=0.8"], "--pruning: got target=0.9 and target=0.8; allowed: one of"),
        (["--set", "run.seed=1", "--set", "run.seed=1"], "--set: got run.seed=1 and run.seed=1; allowed: one of"),
        (
            ["--optimizer", "SGD", "momentum=0.9", "--set", "optimizer.momentum=0.5"],
            "--set: got optimizer.momentum=0.5 beside momentum=0.9 of --optimizer; allowed: one of the two",
        ),
        (
            ["--model", "mlp", "--set", "model.name=lenet5"],
            "--set: got model.name=lenet5 beside name=mlp of --model; allowed: one of the two",
        ),
        (["--augment", "--augmentation", "Flip"], "--augment: got it beside --augmentation; allowed: one of the two"),
        (["--no-augment", "--augmentation", "Flip"], "--no-augment: got it beside --augmentation; allowed: one of"),
    ],
)
def test_what_is_said_twice_is_refused(words, message, capsys):
    assert message in fails(capsys, "train", *SMALL, *words)


def test_the_rate_that_is_shown_is_the_one_that_is_followed(capsys, fitted):
    assert main(["train", *SMALL, "--schedule", "OneCycle", "max_lr=3.0"]) == 0
    assert "learning rate 3 (OneCycle)" in capsys.readouterr().out
    assert fitted["trainer"].schedule.max_lr == 3.0
