"""Pruned models in small files."""

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError


def test_a_pruned_model_is_loaded_by_name_from_a_small_file(tmp_path, backend, rng):
    model = fc.models.lenet5(seed=0)
    fc.optim.Pruning(fc.optim.SGD(model.parameters(), 0.1), end=0, target=0.95)
    report = fc.models.export_pruned(model, tmp_path / "small.safetensors")
    loaded = fc.models.load("lenet5", weights=tmp_path / "small.safetensors")
    for ours, theirs in zip(model.parameters(), loaded.parameters(), strict=True):
        np.testing.assert_array_equal(fc.to_numpy(ours.data), fc.to_numpy(theirs.data))
    assert report.nbytes == (tmp_path / "small.safetensors").stat().st_size
    assert report.dense_nbytes == 4 * 62_006
    assert report.nbytes < 0.12 * report.dense_nbytes  # with 4 kB of names and checksums
    assert [row.name for row in report.layers] == ["0", "3", "7", "9", "11"]
    assert abs(report.sparsity - 0.95) < 1e-3
    lines = str(report).splitlines()
    assert lines[0].split() == ["0", "428", "of", "450", "95.11%"]
    assert lines[-1].startswith("95.00% of the weights are zero: ")
    assert lines[-1].endswith(f"{report.nbytes:,} bytes instead of 248,024, {report.nbytes / 248_024:.1%}")


def test_a_model_that_was_not_pruned_is_refused(tmp_path):
    with fc.use_backend("numpy"), pytest.raises(ArgumentError, match="got one without a weight that is zero"):
        fc.models.export_pruned(fc.models.lenet5(seed=0), tmp_path / "w")
    assert not list(tmp_path.iterdir())


def test_what_is_no_model_is_refused(tmp_path):
    for wrong, got in (("lenet5", "'lenet5'"), (None, "None"), (fc.models.lenet5, "<")):
        with pytest.raises(ArgumentError, match=f"model: got {got}.*; allowed: a built layer, such as a Sequential"):
            fc.models.export_pruned(wrong, tmp_path / "w")
