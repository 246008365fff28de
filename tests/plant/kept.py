"""Faults that were drawn once, and stay: the slow suite plants each again, and its test must fail."""

from __future__ import annotations

from dataclasses import dataclass

from tests.plant.faults import Fault


@dataclass(frozen=True)
class Kept:
    """A fault that is found by its text, wherever in the file that stands now.

    Attributes
    ----------
    file : str
        From the root of the tree.
    before, after : str
        One line, which stands there once, and what takes its place.
    test : str
        What must fail, as a word for pytest.
    """

    file: str
    before: str
    after: str
    test: str

    def fault(self, text: str) -> Fault:
        """Return it as a fault of the file's present text."""
        lines = text.split("\n")
        found = [number for number, line in enumerate(lines, 1) if line.strip() == self.before]
        if len(found) != 1:
            raise ValueError(f"{self.file}: {self.before!r} stands in {len(found)} lines; a kept fault needs one")
        line = lines[found[0] - 1]
        return Fault(self.file, found[0], "kept", line, line.replace(self.before, self.after))


KEPT = [
    Kept("fastconv/_files.py", "file.flush()", "pass", "tests/test_files.py"),
    Kept(
        "fastconv/_dense.py",
        'return sum_rows(grad_output, "(N, K)")',
        "return None",
        "tests/test_functional.py::test_results_are_new_contiguous_and_of_the_type_of_the_inputs",
    ),
    Kept(
        "fastconv/training/logits.py",
        "broken = int(np.count_nonzero(~np.isfinite(logits).all(1)))",
        "broken = int(np.count_nonzero(~np.isfinite(logits).all(2)))",
        "tests/cli/test_evaluate.py",
    ),
    Kept(
        "fastconv/data/loader.py",
        "if not x.ndim or x.shape[:1] != y.shape[:1]:",
        "if not x.ndim and x.shape[:1] != y.shape[:1]:",
        "tests/data/test_loader.py",
    ),
    Kept(
        "fastconv/models/residual.py",
        "*(GlobalMaxPool2d(), Dense(num_classes, bias=False), Scale(1 / 8)),",
        "*(GlobalMaxPool2d(), Dense(num_classes), Scale(1 / 8)),",
        "tests/models/test_models.py::test_counts_and_shapes",
    ),
    Kept(
        "fastconv/nn/model/weights.py",
        'if manifest.get("kind") != kind:',
        'if not (manifest.get("kind") != kind):',
        "tests/nn/model/test_weights.py",
    ),
    Kept(
        "fastconv/optim/schedules/cycles.py",
        "t = min((step - first) / (last - first), 1.0) if last > first else 1.0",
        "t = min((step - first) / (last - first), 1.0) if not (last > first) else 1.0",
        "tests/optim/schedules/test_cycles.py",
    ),
    Kept(
        "fastconv/training/parts.py",
        "foreign = set(found.parameters).difference(parameters)",
        "foreign = set(parameters).difference(found.parameters)",
        "tests/training/test_parts.py::test_what_a_trainer_is_made_of_is_checked",
    ),
    Kept(
        "kernels/geometry.py",
        "return windows - 1 if ceil_mode and (windows - 1) * stride >= size + low else windows",
        "return windows - 1 if ceil_mode and (windows - 1) * stride > size + low else windows",
        "tests/kernels/test_geometry.py",
    ),
    Kept(
        "kernels/cpu/vector/simd.py",
        "mantissa = 23 if vector.dtype.bitwidth == 32 else 52",
        "mantissa = 23 if vector.dtype.bitwidth != 32 else 52",
        "tests/kernels/cpu/vector/test_simd.py::test_scale_by_power",
    ),
    Kept(
        "kernels/cuda/runtime/cubins.py",
        "return next(filter(_is_whole, candidates), None)",
        "return None",
        "tests/kernels/cuda/runtime/test_cubins.py::test_compiled_once_and_found_again",
    ),
    Kept(
        "kernels/cuda/pool/avg_pool.cu",
        "for (int k = 0; k < W; ++k) part.lane[k] += term.lane[k];",
        "for (int k = 1; k < W; ++k) part.lane[k] += term.lane[k];",
        "tests/backends/emulator/test_ops.py::test_no_race_and_no_access_outside_an_array[avg_pool2d-2x2-c64-count-pad]",
    ),
]
