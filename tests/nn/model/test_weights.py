"""Weights files: all or nothing on both ways."""

import hashlib
import json
import os

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import CheckpointError
from fastconv.nn.model.weights import read_tensors, write_tensors


def model_of(width=4, seed=0, dtype=np.float32):
    return nn.Sequential(
        nn.Conv2d(width, 3), nn.BatchNorm2d(), nn.Conv2d(3, 1), nn.GlobalAvgPool2d(), nn.Dense(2)
    ).build((5, 5, 3), dtype, seed)


def values(model):
    return {t.name: fc.to_numpy(t.data).copy() for t in model.tensors()}


def assert_equal(got, want):
    assert got.keys() == want.keys()
    for name, array in want.items():
        np.testing.assert_array_equal(got[name], array)


def test_there_and_back(backend, rng, tmp_path):
    model, other = model_of(seed=1), model_of(seed=2)
    model.forward(fc.asarray(rng.standard_normal((3, 5, 5, 3)).astype(np.float32)), training=True)
    x = fc.asarray(rng.standard_normal((2, 5, 5, 3)).astype(np.float32))
    other(x)  # prepared weights of the old values must not survive
    model.save_weights(tmp_path / "w.safetensors")
    other.load_weights(tmp_path / "w.safetensors")
    assert_equal(values(other), values(model))
    np.testing.assert_array_equal(fc.to_numpy(other(x)), fc.to_numpy(model(x)))
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_other_programs_can_read_it(tmp_path):
    from safetensors.numpy import load_file

    with fc.use_backend("numpy"):
        model = model_of()
        model.save_weights(tmp_path / "w.safetensors")
        assert_equal(load_file(tmp_path / "w.safetensors"), values(model))


def test_arrays_in_any_memory_order(tmp_path, rng):
    """The safetensors package itself writes wrong bytes for all of these."""
    array = rng.standard_normal((4, 6))
    tensors = {"f": np.asfortranarray(array), "t": array.T, "r": array[::-1], "b": np.broadcast_to(array[:1], (3, 6))}
    write_tensors(tmp_path / "t", tensors, {"kind": "test"})
    got, _ = read_tensors(tmp_path / "t", "test")
    assert_equal(got, {name: np.array(value) for name, value in tensors.items()})


def test_every_flipped_byte_is_found(tmp_path):
    with fc.use_backend("numpy"):
        model = model_of()
        path = tmp_path / "w.safetensors"
        model.save_weights(path)
        good, want = path.read_bytes(), values(model)
        header = int.from_bytes(good[:8], "little")
        places = [*range(0, 8), *range(8, 8 + header, 7), *range(8 + header, len(good), 11), len(good) - 1]
        for place in places:
            bad = bytearray(good)
            bad[place] ^= 0x10
            path.write_bytes(bytes(bad))
            try:
                model.load_weights(path)
            except CheckpointError:
                assert_equal(values(model), want)
            else:  # what JSON does not mind, such as a changed space, must not matter
                assert place < 8 + header
                assert_equal(values(model), want)


@pytest.mark.parametrize("length", [0, 7, 8, 100, -1])
def test_cut_files_are_refused(tmp_path, length):
    with fc.use_backend("numpy"):
        model = model_of()
        path = tmp_path / "w.safetensors"
        model.save_weights(path)
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(CheckpointError, match=r"w\.safetensors"):
            model.load_weights(path)


def test_files_of_other_models_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    with fc.use_backend("numpy"):
        for other, message in [
            (model_of(width=5), r"0\.weight is float32 \(3, 3, 3, 5\)"),
            (model_of(dtype=np.float64), "float64"),
            (nn.Sequential(nn.Flatten(), nn.Dense(2)).build((5, 5, 3)), "another model"),
        ]:
            other.save_weights(path)
            model = model_of()
            before = values(model)
            with pytest.raises(CheckpointError, match=message):
                model.load_weights(path)
            assert_equal(values(model), before)


def test_what_is_no_weights_file_is_refused(tmp_path):
    from safetensors.numpy import save_file

    with fc.use_backend("numpy"):
        model = model_of()
        save_file(values(model), tmp_path / "foreign")
        (tmp_path / "text").write_text("weights")
        write_tensors(tmp_path / "state", values(model), {"kind": "training state"})
        for name, message in [
            ("missing", "no file"),
            (".", "no file"),
            ("foreign", "another program"),
            ("text", "cannot be read"),
            ("state", "a file of training state"),
        ]:
            with pytest.raises(CheckpointError, match=message):
                model.load_weights(tmp_path / name)


def test_other_versions_are_refused(tmp_path):
    from safetensors.numpy import save_file

    text = json.dumps({"version": 2, "kind": "weights", "sha256": {}})
    digest = hashlib.sha256(text.encode()).hexdigest()
    head = {"format": "fastconv", "manifest": text, "manifest_sha256": digest}
    save_file({"a": np.zeros(1)}, tmp_path / "new", metadata=head)
    with pytest.raises(CheckpointError, match="version 2"):
        read_tensors(tmp_path / "new", "weights")


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("[1]", "whose metadata is no table; allowed: a file that fastconv wrote"),
        ("[" * 100_000, "whose metadata is no table; allowed: a file that fastconv wrote"),
        ('{"kind": "weights"}', "of format version None; allowed: 1"),
        ('{"version": 1}', "a file of None; allowed: a file of weights"),
        ('{"version": 1, "kind": "weights"}', "whose tensors are not those of its metadata; allowed: an intact file"),
    ],
    ids=["list", "deep", "no version", "no kind", "no digests"],
)
def test_metadata_of_another_form_are_refused(tmp_path, manifest, words):
    from safetensors.numpy import save_file

    digest = hashlib.sha256(manifest.encode()).hexdigest()
    head = {"format": "fastconv", "manifest": manifest, "manifest_sha256": digest}
    save_file({"w": np.zeros(1, np.float32)}, tmp_path / "w", metadata=head)
    with pytest.raises(CheckpointError, match=rf"^path: got '.*/w',? {words}$"):
        read_tensors(tmp_path / "w", "weights")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    with fc.use_backend("numpy"):
        model = model_of(seed=1)
        path = tmp_path / "w.safetensors"
        model.save_weights(path)
        good = path.read_bytes()

        def full(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            model_of(seed=2).save_weights(path)
    assert path.read_bytes() == good
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with fc.use_backend("numpy"):
        model_of().save_weights(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    read_tensors(tmp_path / "real", "weights")


class Scalars(nn.Layer):
    """Parameters and a buffer of shapes that files are not used to."""

    def __init__(self, shapes=((), (1,), (1, 1), (2, 1, 3))):
        self.shapes = shapes

    def setup(self, input_shape, scope):
        self.own = [scope.parameter(f"p{i}", shape, init="ones") for i, shape in enumerate(self.shapes)]
        self.count = scope.buffer("count", (), value=2.0)
        return input_shape

    def forward(self, x, *, training):
        return x, (x if training else None)

    def backward(self, grad_output, context, *, needs_input_grad=True):
        for p in self.own:
            p.add_grad(fc.asarray(np.ones(p.shape, self.dtype)))
        return grad_output


def scalars():
    model = nn.Sequential(Scalars(), nn.Dense(2)).build((3,))
    for i, tensor in enumerate(model.tensors()):
        tensor.data = np.full(tensor.shape, i + 0.5)
    return model


def test_scalars_and_other_shapes_there_and_back(backend, tmp_path):
    model, other = scalars(), nn.Sequential(Scalars(), nn.Dense(2)).build((3,), seed=1)
    model.save_weights(tmp_path / "w")
    tensors, _ = read_tensors(tmp_path / "w", "weights")
    assert {name: array.shape for name, array in tensors.items()} == {t.name: t.shape for t in model.tensors()}
    other.load_weights(tmp_path / "w")
    assert_equal(values(other), values(model))


def test_scalars_of_older_files_are_read(tmp_path):
    """They were written as (1,); that is not taken for any other shape."""
    with fc.use_backend("numpy"):
        model, other = scalars(), nn.Sequential(Scalars(), nn.Dense(2)).build((3,), seed=1)
        old = {name: np.ascontiguousarray(array) for name, array in values(model).items()}
        assert old["0.p0"].shape == (1,)
        write_tensors(tmp_path / "old", old, {"kind": "weights"})
        other.load_weights(tmp_path / "old")
        assert_equal(values(other), values(model))
        for name, shape in (("0.p1", (1, 1)), ("0.p0", (1, 1)), ("0.p1", ()), ("1.bias", (1, 2))):
            write_tensors(tmp_path / "bad", {**old, name: np.resize(old[name], shape)}, {"kind": "weights"})
            with pytest.raises(CheckpointError, match=name):
                other.load_weights(tmp_path / "bad")


def test_training_states_with_scalars(tmp_path):
    with fc.use_backend("numpy"):
        trainers = []
        for model in (scalars(), scalars(), scalars()):
            optimizer = fc.optim.Adam(model.parameters(), 0.1)
            trainers.append(fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer))
        x, y = np.ones((2, 3), np.float32), np.array([0, 1], np.int32)
        trainers[0].train_step(x, y)
        trainers[0].save(tmp_path / "state")
        trainers[1].restore(tmp_path / "state")
        tensors, metadata = read_tensors(tmp_path / "state", "training state")
        older = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
        write_tensors(tmp_path / "older", older, {k: v for k, v in metadata.items() if k not in ("version", "sha256")})
        trainers[2].restore(tmp_path / "older")
        for trainer in trainers:
            trainer.train_step(x, y)
        for trainer in trainers[1:]:
            assert_equal(values(trainer.model), values(trainers[0].model))
