"""What the weights of a run show."""

import numpy as np
import pytest

import fastconv as fc
from fastconv.data import shapes10
from fastconv.errors import CheckpointError
from fastconv.report.findings import Findings, look_into
from fastconv.report.runs import read_runs
from fastconv.training import History
from fastconv.training.diagnostics import Machine

from .made import COUNT, make_run

MACHINE = Machine(1e9, 1e9)


def found(folder, *, timed=False, limit=None):
    return look_into(read_runs([folder.directory])[0], limit=limit, timed=timed, machine=MACHINE)


def test_images_are_judged_as_the_network_does(run):
    judged = found(run).judged
    data = shapes10("test", size=COUNT)
    x = (data.images / 255 - np.array(data.mean)) / np.array(data.std)
    logits = fc.to_numpy(run.load_model()(x.astype(np.float32))).astype(np.float64)
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (data.labels, logits.argmax(1)), 1)
    np.testing.assert_array_equal(judged.counts, counts)
    assert (judged.name, judged.class_names) == ("shapes10/test", data.class_names)
    wrong = np.flatnonzero(logits.argmax(1) != data.labels)
    order = wrong[np.argsort(share[wrong, data.labels[wrong]], kind="stable")][:12]
    assert [mistake.index for mistake in judged.worst] == order.tolist()
    first = judged.worst[0]
    np.testing.assert_array_equal(first.image, data.images[order[0]])
    assert first.label == data.class_names[data.labels[order[0]]]
    assert first.guess == data.class_names[logits[order[0]].argmax()]
    assert first.probability == pytest.approx(share[order[0]].max(), rel=1e-5)


def test_a_limit_is_of_the_first_images(run):
    judged = found(run, limit=7).judged
    assert judged.counts.sum() == 7
    assert max(mistake.index for mistake in judged.worst) < 7


def test_zeros_are_counted_in_each_weight(run):
    model = run.load_model()
    values = model.layers[0].weight.data.copy()
    values[..., :3] = 0
    model.layers[0].weight.data = values
    run.write_weights(model, {"input_shape": (32, 32, 3), "class_names": list("abcdefghij"), "mean": (0.5,) * 3,
                              "std": (1.0,) * 3})  # fmt: skip
    rows = found(run).sparsity
    assert (rows[0].shape, rows[0].size, rows[0].zeros) == ((5, 5, 3, 6), 450, 225)
    assert [row.zeros for row in rows[1:]] == [0] * (len(rows) - 1)
    assert not any("bias" in row.name for row in rows)


def test_layers_are_timed_if_asked(run):
    assert found(run).profile is None
    profile = found(run, timed=True).profile
    assert profile.input_shape == (4, 32, 32, 3)
    assert profile.machine == MACHINE
    assert profile.rows[0].kinds[0] == "Conv2d"


def test_the_first_convolution_is_shown_if_it_sees_an_image(run):
    assert found(run).first.weight.shape == (5, 5, 3, 6)


def test_nothing_is_found_before_there_are_weights(tmp_path):
    folder = make_run(tmp_path / "run", History(), weights=False)
    assert found(folder) == Findings(unjudged="there are no weights before the first epoch is over")


def test_images_that_are_not_there_are_told_and_all_else_is_shown(tmp_path):
    folder = make_run(tmp_path / "run", data={"name": "cifar10", "directory": str(tmp_path / "nowhere")})
    seen = found(folder)
    assert seen.judged is None
    assert "nowhere" in seen.unjudged
    assert "allowed: " in seen.unjudged
    assert seen.sparsity
    assert seen.first is not None


def test_damaged_weights_are_an_error(run):
    data = bytearray(run.weights.read_bytes())
    data[-1] ^= 1
    run.weights.write_bytes(data)
    with pytest.raises(CheckpointError, match="is damaged"):
        found(run)
