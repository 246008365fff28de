"""`fastconv data`: what it lists, and what a download says."""

import gzip
import hashlib

import numpy as np
import pytest

from fastconv.cli import main
from fastconv.data import SOURCES
from fastconv.data.sources import RemoteFile, Source
from tests.data.files import idx
from tests.data.server import serving

from .commands import fails


@pytest.fixture
def small_mnist(monkeypatch, rng):
    """MNIST of random images, on a server."""
    with serving() as served:
        files = []
        for declared in SOURCES["mnist"].files:
            shape = (40, 28, 28) if "images" in declared.name else (40,)
            data = gzip.compress(idx(rng.integers(1, 10, shape, dtype=np.uint8)))
            served.files[f"/{declared.name}"] = data
            digest = hashlib.sha256(data).hexdigest()
            files.append(RemoteFile(f"{served.url}/{declared.name}", len(data), digest, declared.places))
        source = SOURCES["mnist"]
        monkeypatch.setitem(SOURCES, "mnist", Source("mnist", source.about, source.read, tuple(files)))
        yield served


def rows(out):
    return {line.split()[0]: line for line in out.splitlines()}


def test_the_list_names_every_data_set_and_its_state(capsys, tmp_path, small_mnist):
    assert main(["data", "list", "--data-dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert set(SOURCES) < set(rows(out))
    assert rows(out)["cifar10"].endswith("170 MB  not there")
    assert rows(out)["shapes10"].endswith("none  ready")
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "t10k-images-idx3-ubyte").write_bytes(b"")
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte").write_bytes(b"")
    assert main(["data", "list", "--data-dir", str(tmp_path)]) == 0
    assert "unusable: " in rows(capsys.readouterr().out)["mnist"]


def test_what_is_downloaded_trains_predicts_and_is_evaluated(capsys, tmp_path, small_mnist, monkeypatch):
    monkeypatch.setenv("FASTCONV_DATA_DIR", str(tmp_path / "sets"))
    assert main(["data", "download", "mnist"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"mnist is in {tmp_path}/sets",
        "next      fastconv train --dataset mnist",
    ]
    small = ["--epochs", "1", "--limit", "30", "--batch-size", "10", "--backend", "numpy"]
    assert main(["train", "--dataset", "mnist", "--model", "lenet5", *small, "--output", "run"]) == 0
    assert main(["evaluate", "run/weights.safetensors", "--backend", "numpy"]) == 0
    assert "mnist/test: loss " in capsys.readouterr().out
    assert main(["predict", "run/weights.safetensors", "--backend", "numpy", "--index", "3"]) == 0


def test_a_download_that_breaks_off_is_one_line_and_goes_on(capsys, tmp_path, small_mnist):
    small_mnist.breaks[:] = [100]
    error = fails(capsys, "data", "download", "mnist", "--data-dir", tmp_path / "a b")
    assert "got 100 bytes, then the connection broke off; allowed: " in error
    assert main(["data", "download", "mnist", "--data-dir", str(tmp_path / "a b")]) == 0
    assert f"--data-dir '{tmp_path}/a b'" in capsys.readouterr().out


def test_an_interrupt_prints_how_to_go_on(capsys, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastconv.cli.data.download", interrupt)
    assert main(["data", "download", "mnist", "--data-dir", "x"]) == 130
    assert "to go on: fastconv data download mnist --data-dir x" in capsys.readouterr().err


def test_an_unknown_name_is_refused_with_the_nearest_one(capsys):
    assert "(nearest: 'cifar100')" in fails(capsys, "data", "download", "cifar-100")


def test_the_bar_shows_how_far_a_file_is(tmp_path, small_mnist, monkeypatch):
    import io

    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", stream)
    assert main(["data", "download", "mnist", "--data-dir", str(tmp_path)]) == 0
    assert "train-images-idx3-ubyte.gz" in stream.getvalue()
