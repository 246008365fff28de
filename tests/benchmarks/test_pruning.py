"""The pruning sample: its images by hand, and a few steps of it that stop, go on and are stored."""

import json
from unittest.mock import create_autospec

import numpy as np
import pytest

import fastconv as fc
from benchmarks import pruning


def test_crops_are_standardised_and_repeat(rng):
    images = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    first, again = (pruning.distorted(images, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first.shape, first.dtype) == ((6, 24, 24, 3), np.float32)
    np.testing.assert_allclose(first.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(first.std((1, 2, 3)), 1, atol=1e-4)
    window = images[2, 4:28, 4:28].astype(float)
    np.testing.assert_allclose(
        pruning.central(images)[2], (window - window.mean()) / window.std(), rtol=1e-4, atol=1e-5
    )


def test_batches_depend_on_the_step_alone(rng):
    images, labels = rng.integers(0, 256, (300, 32, 32, 3), dtype=np.uint8), np.arange(300)
    whole, parts = pruning.Batches(images, labels, 4, 0), pruning.Batches(images, labels, 2, 0)
    straight, later = list(whole), []
    for epoch in range(2):
        parts.set_epoch(epoch)
        later += list(parts)
    for (x, y), (x2, y2) in zip(straight, later, strict=True):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)
    assert len({*straight[0][1], *straight[1][1]}) == 256  # two batches a pass, without repeating an image
    assert set(straight[2][1]) != set(straight[0][1])


def test_initial_weights_are_those_of_the_sample():
    with fc.use_backend("numpy"):
        model = pruning.make_sample(0)
    weights = [fc.to_numpy(p.data) for p in model.parameters() if len(p.shape) > 1]
    for weight, deviation in zip(weights, (0.05, 0.05, 0.04, 0.04, 1 / 192), strict=True):
        assert np.abs(weight).max() <= 2 * deviation
        assert weight.std() == pytest.approx(0.88 * deviation, rel=0.05)  # of a normal that is cut off at two


@pytest.mark.slow
def test_a_short_run_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(pruning, "BATCH", 16)
    stand_in = create_autospec(fc.data.cifar10, side_effect=lambda directory, split: fc.data.shapes10(split, size=48))
    monkeypatch.setattr(pruning, "cifar10", stand_in)
    words = ["--data-dir", "here", "--limit", "48", "--steps", "6", "--every", "2", "--sparsities", "0", "0.9"]

    def run(name):
        out = tmp_path / f"{name}.json"
        pruning.main([*words, "--state", str(tmp_path / name), "--out", str(out)])
        found = json.loads(out.read_text())
        for each in found["runs"]:
            assert each["command"].startswith("python -m benchmarks.pruning --data-dir DIR --limit 48 --steps 6")
            assert each["curve"].pop("seconds")
            assert each.pop("environment")["backend"] == "numba"
        return found["runs"]

    straight = run("one")
    real, calls = pruning.Measure.on_epoch_end, []

    def stops(self, trainer, logs):
        real(self, trainer, logs)
        calls.append(trainer.epoch)
        if len(calls) == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pruning.Measure, "on_epoch_end", stops)
        with pytest.raises(KeyboardInterrupt):
            run("two")
    assert run("two") == straight
    dense, pruned = straight
    assert (dense["sparsity"], dense["curve"]["sparsity"]) == (0.0, [0.0] * 3)
    assert pruned["curve"]["step"] == [2, 4, 6]
    assert pruned["curve"]["sparsity"][-1] == pytest.approx(0.9, abs=1e-4)
    assert len(pruned["layers"]) == 5
