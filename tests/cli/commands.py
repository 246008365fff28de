"""What the tests of the command share: small runs, data in files, streams that do not work."""

import io
import os
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from fastconv.cli import main
from fastconv.data import cifar
from fastconv.training.run_folder import RunFolder

SMALL = ("--model", "lenet5", "--limit", "60", "--epochs", "2", "--batch-size", "20", "--backend", "numpy")
TINY = ("--model", "lenet5", "--limit", "20", "--epochs", "1", "--batch-size", "20", "--backend", "numpy")
COUNT = 20  # images a batch in the synthetic files of CIFAR-10


def fails(capsys, *arguments):
    """Run a command that must fail on its input, and return its line on stderr."""
    assert main([str(part) for part in arguments]) == 2
    return only_line(capsys)


def only_line(capsys):
    """Return the line on stderr, which must be the only one, and no traceback."""
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def weights_of(folder):
    """Bytes of all tensors of a run; the file's own bytes vary, as its metadata has no order."""
    return {name: array.tobytes() for name, array in load_file(f"{folder}/weights.safetensors").items()}


def history_of(folder):
    """The figures of a run, one list for each quantity."""
    return RunFolder(Path(folder)).read_history().history


def files_of(folder):
    """Name and bytes of all files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_cifar10(folder, monkeypatch):
    """Write six small batches of CIFAR-10's binary layout, of random pixels."""
    monkeypatch.setattr(cifar, "_IMAGES_PER_BATCH", COUNT)
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        records = rng.integers(0, 256, (COUNT, 3073), dtype=np.uint8)
        records[:, 0] = rng.integers(0, 10, COUNT)
        (folder / f"{name}.bin").write_bytes(records.tobytes())


def full_stream():
    """Return a stream onto a full disk."""
    return open("/dev/full", "w")


def stream_without_reader():
    """Return a stream into a pipe whose other end is closed."""
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "w")


def ascii_stream():
    """Return a stream that shows ASCII only, and keeps it."""
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii")
