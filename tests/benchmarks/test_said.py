"""Results say how they came about: the command as it can be typed again, without the paths of a machine."""

from pathlib import Path

from benchmarks.said import said


def test_paths_have_the_names_of_what_lies_there():
    places = {"/data/cifar": "DIR", Path("runs"): "RUNS"}
    words = ["--data-dir=/data/cifar", "--runs", "./runs", "--seeds", "0", "--cells", "rate 50", "/data/cifar/"]
    expected = "python -m benchmarks.sweeps --data-dir=DIR --runs RUNS --seeds 0 --cells 'rate 50' DIR"
    assert said("sweeps", words, places) == expected
