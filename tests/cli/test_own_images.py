"""An own folder of images: trained on, interrupted, resumed, evaluated, one image predicted."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fastconv.cli import main
from fastconv.cli.command_line import command_line
from fastconv.data import shapes10
from fastconv.report.findings import look_into
from fastconv.report.runs import read_runs
from fastconv.training import Trainer
from fastconv.training.run_data import load_parts

from .commands import fails, weights_of

Image = pytest.importorskip("PIL.Image", reason="needs the extra 'images'")

NAMES = ("circle", "ring", "sqüare")
SMALL = ("--model", "lenet5", "--epochs", "2", "--batch-size", "10", "--backend", "numpy")


def write(folder, numbers):
    """Write images of the three classes, each number one of shapes10."""
    data = shapes10(size=200)
    for number in numbers:
        label = int(data.labels[number])
        if label < len(NAMES):
            (folder / NAMES[label]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(data.images[number]).save(folder / NAMES[label] / f"{number:03}.png")


def test_a_page_of_some_images_shows_all_classes(photos):
    """Those of a folder come class by class."""
    assert main(["train", "--images", str(photos), *SMALL, "--output", "run"]) == 0
    run = read_runs(["run"])[0]
    judged = look_into(run, limit=6, timed=False, machine=None).judged
    assert judged.counts.sum(axis=1).tolist() == [2, 2, 2]


@pytest.fixture
def photos(tmp_path):
    """Twenty images of each class in a folder of a name with a space."""
    write(tmp_path / "my photos", range(200))
    return tmp_path / "my photos"


def interrupt_after(monkeypatch, epochs):
    real = Trainer.fit

    def fit(self, train, count, **settings):
        real(self, train, epochs, **settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "fit", fit)


def test_the_whole_way(photos, capsys, monkeypatch):
    words = ["train", "--images", "my photos", *SMALL]
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        assert main(words) == 130
    text = capsys.readouterr()
    assert "data      my photos/train: 48 images; my photos/test: 12 images" in text.out
    line = next(line for line in text.err.splitlines() if line.startswith("to go on: "))
    assert main(shlex.split(line.removeprefix("to go on: fastconv "))) == 0
    out = capsys.readouterr().out
    assert main([*words, "--output", "straight"]) == 0
    assert weights_of("runs/images-lenet5") == weights_of("straight")
    command = next(line for line in out.splitlines() if line.startswith("next")).removeprefix("next      fastconv ")
    capsys.readouterr()
    assert main(shlex.split(command)) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[1:4]] == list(NAMES)
    assert "my photos/test: loss " in out
    weights = "straight/weights.safetensors"
    files = ["my photos/circle/000.png", "my photos/sqüare/002.png"]
    assert main(["predict", weights, *files, "--backend", "numpy", "--top", "1"]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.startswith(name) for row, name in zip(rows, files, strict=True)] == [True, True]
    assert all(any(name in row[len(files[0]) :] for name in NAMES) for row in rows)


@pytest.mark.slow
def test_the_whole_way_in_processes_of_their_own(photos, tmp_path):
    """Trained, interrupted, resumed, evaluated, one image predicted; the transcript is printed."""
    for name, interrupted in (("straight", False), ("run", True)):
        words = ["train", "--images", "my photos", *SMALL, "--epochs", "8", "--save-every-steps", "2", "--output", name]
        process = start(words, tmp_path)
        if interrupted:
            wait_for(tmp_path / name / "checkpoint.safetensors", process)
            process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=240)
        print(f"$ {command_line(words)}\n{out}{error}")
        assert process.returncode == (130 if interrupted else 0)
    assert error.splitlines() == ["to go on: fastconv resume run", "interrupted"]
    for words, shown in (
        (["resume", "run"], "resumed   in epoch "),
        (["evaluate", "run", "--backend", "numpy"], "row: what it is, column: what it is taken for"),
        (["predict", "run", "my photos/circle/000.png", "--backend", "numpy"], "my photos/circle/000.png"),
    ):
        process = start(words, tmp_path)
        out, error = process.communicate(timeout=240)
        print(f"$ {command_line(words)}\n{out}{error}")
        assert (process.returncode, error) == (0, "")
        assert shown in out
    weights = [weights_of(tmp_path / name) for name in ("straight", "run")]
    assert weights[0] == weights[1]


def start(words, folder):
    return subprocess.Popen(
        [sys.executable, "-m", "fastconv", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(path, process):
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_other_images_than_those_of_training_are_held_out_and_always_the_same(photos):
    about = {"image_size": [32, 32], "image_fit": "crop"}
    first, second = load_parts(str(photos), about), load_parts(str(photos), about)
    np.testing.assert_array_equal(first["test"].images, second["test"].images)
    assert np.bincount(first["test"].labels).tolist() == [4, 4, 4]
    everything = np.concatenate([first["train"].images, first["test"].images]).reshape(60, -1)
    assert len(np.unique(everything, axis=0)) == 60
    assert first["test"].mean == first["train"].mean == pytest.approx(first["train"].images.mean((0, 1, 2)) / 255)


@pytest.mark.parametrize("name", ["test", "val", "valid", "validation"])
def test_parts_can_be_folders(tmp_path, fitted, name):
    write(tmp_path / "set" / "train", range(100))
    write(tmp_path / "set" / name, range(100, 130))
    assert main(["train", "--images", "set", "--image-size", "20", "24", *SMALL]) == 0
    train, test = (fitted[part].dataset for part in ("train", "test"))
    assert (train.name, train.images.shape, test.name, len(test)) == ("set/train", (30, 20, 24, 3), "set/test", 9)
    assert train.class_names == test.class_names == NAMES
    assert fitted["train"].augmentation is not None


def test_without_a_second_part_some_of_the_first_are_held_out(tmp_path, fitted):
    write(tmp_path / "set" / "train", range(100))
    assert main(["train", "--images", "set", "--limit", "5", *SMALL]) == 0
    assert [len(fitted[part].dataset) for part in ("train", "test")] == [5, 5]


@pytest.mark.filterwarnings("default:skipped")  # what is passed over is warned of
def test_a_broken_image_is_named_or_passed_over(photos, capsys, fitted):
    path = photos / "ring" / "bröken.png"
    path.write_bytes(b"")
    assert "my photos/ring/bröken.png: got no image" in fails(capsys, "train", "--images", "my photos", *SMALL)
    assert main(["train", "--images", "my photos", "--skip-broken", *SMALL]) == 0
    assert re.match(r"warning: skipped 1 of 61 images: \S*/my photos/ring/bröken\.png: got", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "--images", "nothing"), "nothing: got No such file or directory; allowed: a folder"),
        (("train", "--images", "my photos", "--dataset", "cifar10"), "--dataset: got it beside --images"),
        (("train", "--images", "my photos", "--data-dir", "x"), "--data-dir: got it beside --images"),
        (("train", "--image-size", "8", "8"), "--image-size: got it without --images"),
        (("train", "--skip-broken"), "--skip-broken: got it without --images"),
        (("train", "--image-fit", "crop"), "--image-fit: got it without --images"),
    ],
)
def test_words_that_do_not_go_together_are_refused(photos, capsys, words, message):
    assert message in fails(capsys, *words, *SMALL)


def test_weights_and_folder_must_have_the_same_classes(photos, trained, capsys):
    error = fails(capsys, "evaluate", trained, "--images", "my photos", "--backend", "numpy")
    assert "my photos/sqüare: got a class that is not known; allowed: circle, ring, square" in error


def test_weights_of_an_own_folder_need_it(photos, capsys):
    assert main(["train", "--images", "my photos", *SMALL, "--output", "run"]) == 0
    for command in ("evaluate", "predict"):
        error = fails(capsys, command, "run/weights.safetensors", "--backend", "numpy")
        assert "--images: got none for weights of an own folder; allowed: the folder" in error
        capsys.readouterr()
        assert main([command, "run", "--backend", "numpy"]) == 0  # the folder knows where they are


def test_changed_images_are_noticed(photos, capsys):
    assert main(["train", "--images", "my photos", *SMALL, "--epochs", "1", "--output", "run"]) == 0
    image = photos / "ring" / "003.png"
    image = next((photos / "ring").iterdir()) if not image.exists() else image
    before = image.read_bytes()
    image.write_bytes(next((photos / "circle").iterdir()).read_bytes())
    error = fails(capsys, "resume", "run", "--epochs", "2")
    assert "data: got other pixels or labels in as many images; allowed: the images that the run was" in error
    image.unlink()
    assert "for train where the run has 48" in fails(capsys, "resume", "run", "--epochs", "2")
    image.write_bytes(before)
    assert main(["resume", "run", "--epochs", "2"]) == 0


def test_a_folder_that_was_moved_is_named(photos, tmp_path, capsys):
    assert main(["train", "--images", "my photos", *SMALL, "--epochs", "1", "--output", "run"]) == 0
    photos.rename(tmp_path / "moved")
    assert "my photos: got No such file or directory" in fails(capsys, "resume", "run", "--epochs", "2")
    error = fails(capsys, "resume", "run", "--epochs", "2", "--images", "moved/ring")
    assert "allowed: a folder with a folder for each class" in error
    (tmp_path / "moved").rename(tmp_path / "my photos")
    (tmp_path / "elsewhere").mkdir()
    photos.rename(tmp_path / "elsewhere" / "my photos")
    assert main(["resume", "run", "--epochs", "2", "--images", "elsewhere/my photos"]) == 0


def test_images_of_any_size_are_predicted(photos, trained, capsys):
    Image.fromarray(np.zeros((70, 50), np.uint8)).save("gréy.jpg")
    assert main(["predict", trained, "gréy.jpg", "--backend", "numpy"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("gréy.jpg")
    (photos / "x.png").write_bytes(b"x")
    error = fails(capsys, "predict", trained, "gréy.jpg", "my photos/x.png", "--backend", "numpy")
    assert error.startswith("error: image: got my photos/x.png, no image; ")


@pytest.mark.parametrize(
    "words", [["evaluate", "run", "--dataset", "shapes10"], ["predict", "run", "--data-dir", "other", "--index", "0"]]
)
def test_other_images_than_a_folder_are_refused_for_a_run_on_one(photos, capsys, words):
    assert main(["train", "--images", str(photos), *SMALL, "--output", "run"]) == 0
    capsys.readouterr()
    told = f"{words[2]}: got it beside run, a run on a folder of images; allowed: one source of images"
    assert told in fails(capsys, *words)


def test_a_run_goes_on_with_images_of_its_kind(photos, trained, capsys):
    assert main(["train", "--images", str(photos), *SMALL, "--output", "own"]) == 0
    capsys.readouterr()
    told = fails(capsys, "resume", "run", "--images", photos, "--epochs", "3")
    assert f"--images: got {photos} for a run on shapes10; allowed: neither that nor --data-dir, as" in told
    told = fails(capsys, "resume", "own", "--data-dir", "elsewhere", "--epochs", "3")
    assert "for a run on a folder of images; allowed: --images DIR where that lies elsewhere by now" in told


@pytest.mark.parametrize("in_file", [False, True])
def test_a_run_is_gone_on_with_from_another_folder(photos, tmp_path, monkeypatch, in_file):
    """Whose images of the same name are others, and where no other log is begun."""
    text = '[data]\nimages = "my photos"\n[[callbacks]]\nname = "CSVLogger"\npath = "log"\n'
    (tmp_path / "mine.toml").write_text(text)
    words = ["--set", "data.images=my photos", "--callback", "CSVLogger", "path=log"]
    assert main(["train", *(["mine.toml"] if in_file else words), *SMALL, "--output", "run"]) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["resume", "../run", "--epochs", "3"]) == 0
    assert main(["evaluate", "../run", "--backend", "numpy"]) == 0
    assert len((tmp_path / "log").read_text().splitlines()) == 4
    assert not list((tmp_path / "elsewhere").iterdir())


def test_names_neither_break_lines_nor_command_the_terminal(photos, capsys):
    odd = "\x1b[31mred\nline"
    (photos / "ring").rename(photos / odd)
    assert main(["train", "--images", str(photos), *SMALL, "--output", odd]) == 0
    out = capsys.readouterr().out
    assert "\\x1b[31mred\\nline/run.toml\n" in out
    assert main(["evaluate", odd, "--backend", "numpy"]) == 0
    out += capsys.readouterr().out
    assert "\n\\x1b[31mred\\nline" in out
    assert not {"\x1b", "\r", "\x07"} & set(out)
    assert "got 'no \\x1b[31mrun'" in fails(capsys, "evaluate", "no \x1b[31mrun")
    assert "\\x1b[31mdata\\n" not in fails(capsys, "train", "--images", "\x1b[31mdata", *SMALL)
