"""Real processes, killed at random moments in training and in saving: each resumes and ends with the same bits."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastconv.nn.model.weights import read_tensors
from fastconv.training.run_folder import RunFolder

from .commands import history_of

# A network, data and steps so small that most of the time goes into what is killed: steps, saving, the way between.
WORDS = (
    *("--model", "lenet5", "--limit", "60", "--epochs", "6", "--batch-size", "10", "--backend", "numpy", "--augment"),
    *("--metric", "Accuracy", "--metric", "F1", "--save-every-steps", "2"),
)
KILLED = """
import os, random, signal, sys, time
from fastconv import _files
from fastconv.training import Trainer

# The process kills itself between two lines of Python of its training, which a signal from outside seldom hits.
left = int(sys.argv[1])

def trace(frame, event, argument):
    global left
    if event == "line":
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return trace

def within(function):
    def traced(*arguments, **settings):
        sys.settrace(trace)
        try:
            return function(*arguments, **settings)
        finally:
            sys.settrace(None)
    return traced

WHERE
from fastconv.cli import main
sys.exit(main(sys.argv[2:]))
"""
PLACES = {
    "training": "Trainer.fit = within(Trainer.fit)",
    "saving": "from fastconv.training.run_saver import RunSaver; RunSaver._write = within(RunSaver._write)",
}


def command(words, killed=None):
    """The words of a process; killed: the place, and after how many lines there."""
    if killed is None:
        return [sys.executable, "-m", "fastconv", *words]
    place, lines = killed
    return [sys.executable, "-c", KILLED.replace("WHERE", PLACES[place]), str(lines), *words]


def run(words, folder, killed=None, after=None):
    """Run a process, killed from outside `after` seconds or not; return its exit status."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(command(words, killed), cwd=folder, stdout=subprocess.DEVNULL, env=environment)
    try:
        return process.wait(after or 240)
    except subprocess.TimeoutExpired:
        assert after is not None
        process.send_signal(signal.SIGKILL)
        return process.wait(60)
    finally:
        process.kill()


def outcome(folder):
    """What has to be equal: the digests of the weights, and the history but for its times."""
    digests = read_tensors(folder / "weights.safetensors", kind="weights")[1]["sha256"]
    history = history_of(folder)
    return digests, {name: values for name, values in history.items() if "second" not in name}


def assert_whole(folder):
    """Whatever is there can be read."""
    files = RunFolder(folder)
    if files.holds_run():
        RunFolder.open(folder)
    if files.environment_file.exists() or files.checkpoint.exists():
        files.read_environment()
    if files.log.exists() or files.checkpoint.exists():
        files.read_log()
    for path, kind in ((files.weights, "weights"), (files.checkpoint, "training state")):
        if path.exists():
            read_tensors(path, kind=kind)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The outcome of a run that nothing disturbed, and how long it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    began = time.monotonic()
    assert run(["train", *WORDS, "--output", "run"], folder) == 0
    return outcome(folder / "run"), time.monotonic() - began


def go_on(folder, killed=None, after=None):
    """Begin or resume the run in `folder`; return the exit status."""
    begun = (folder / "run" / "run.toml").exists()
    words = ["resume", "run"] if begun else ["train", *WORDS, "--output", "run"]
    return run(words, folder, killed, after)


def kill_and_go_on(folder, undisturbed, kills):
    for kill in kills:
        code = go_on(folder, **kill)
        assert_whole(folder / "run")
        if code == 0:
            break  # it was over before the kill came
        assert code == -signal.SIGKILL
    assert go_on(folder) == 0
    assert outcome(folder / "run") == undisturbed[0]
    assert {path.name for path in (folder / "run").iterdir()} == {
        "checkpoint.safetensors",
        "environment.json",
        "log.jsonl",
        "run.toml",
        "weights.safetensors",
    }


@pytest.mark.slow
@pytest.mark.parametrize("kills", [[("training", 3000)], [("saving", 2300), ("training", 500)]], ids=str)
def test_a_run_that_was_killed_ends_with_the_same_bits(tmp_path, undisturbed, kills):
    kill_and_go_on(tmp_path, undisturbed, [{"killed": kill} for kill in kills])


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_many_kills(tmp_path, undisturbed):
    """At random lines of training and saving, and at random times; FASTCONV_KILLS=100 makes a hundred of them."""
    count, rng = int(os.environ.get("FASTCONV_KILLS", "8")), random.Random(20261128)
    done = 0
    while done < count:
        folder = Path(tmp_path / str(done))
        folder.mkdir()
        kills = []
        for _ in range(min(rng.choice([1, 2, 3, 4]), count - done)):
            place = rng.choice(["training", "saving", "outside"])
            if place == "outside":
                kills.append({"after": rng.uniform(0.2, 1.2) * undisturbed[1]})
            else:
                kills.append({"killed": (place, rng.randrange(1, 12_000 if place == "training" else 4_000))})
        kill_and_go_on(folder, undisturbed, kills)
        done += len(kills)
