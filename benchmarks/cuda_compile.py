"""The compile table of the CUDA kernels: registers, shared memory and spills of every variant that the models use.

    python -m benchmarks.cuda_compile

compiles for sm_80 and sm_90 without a GPU and writes benchmarks/results/cuda_compile.json and kernels/cuda/COMPILED.md.
The variants are those that a training step of each model launches at batch 512, in all precisions, and those of the
tests' cases that no model has; so every kernel of the sources is among them.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import fastconv as fc
from benchmarks import nvrtc
from fastconv.backends.cuda.launches import Launch
from fastconv.backends.emulator.dry import DryBackend, dry_backend
from fastconv.kernels import cuda
from fastconv.kernels.cuda.runtime import build
from fastconv.kernels.cuda.runtime.device import Kernel

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "cuda_compile.json"
TABLE = ROOT / "kernels" / "cuda" / "COMPILED.md"
MODELS = ("lenet5", "keras_cnn", "resnet20", "resnet9")
BATCH = 512
_MORE = {  # cases
    "strict",
    "depthwise-many-pixels",
    "groups2",
    "add-hardswish-depthwise-keep",
    "add-gelu-depthwise",
    "softmax_cross_entropy-weighted-smoothed",
}


@dataclass(frozen=True)
class Row:
    """One variant for one architecture."""

    kernel: str
    variant: str
    architecture: int
    threads: int
    registers: int
    static_shared: int
    dynamic_shared: int
    stack: int
    spills: int


def training_launches(model: str, precision: str, *, batch: int = BATCH) -> list[Launch]:
    """Return what one training step launches."""
    with dry_backend() as backend, fc.precision(precision):
        net = getattr(fc.models, model)()
        optimizer = fc.optim.SGD(net.parameters(), 0.1, momentum=0.9)
        trainer = fc.Trainer(net, fc.losses.SoftmaxCrossEntropy(), optimizer, capture=False)
        x = backend.empty((batch, 32, 32, 3), np.float32)
        y = backend.asarray(np.zeros(batch, np.int32))
        with backend.device.recording() as launches:
            trainer.train_step(x, y)
    return launches


def case_launches() -> list[Launch]:
    """Return what one case of each operation and type launches: simple kernels that no model uses."""
    launches: list[Launch] = []
    backend = DryBackend()
    for case in _one_case_of_each():
        for dtype in ("float32", "float64"):
            made = case.arrays(np.random.default_rng(0), dtype)
            arrays = {name: backend.asarray(a) for name, a in made.items()}
            results = {}
            for name, spec in case.outputs.items():
                shape, kind = spec if spec and isinstance(spec[0], tuple) else (spec, dtype)
                results[name] = backend.empty(shape, kind)
            with backend.device.recording() as recorded:
                case.call(backend, arrays, results, backend.pool)
            launches += recorded
    return launches


def _one_case_of_each():
    from tests.backends.cases import CASES

    cases = [case for case in CASES if "empty" not in case.id]
    chosen = {case.kind: case for case in reversed(cases)}
    more = [case for case in cases if case.id in _MORE]
    return [*chosen.values(), *more]


def variants() -> dict[Kernel, Launch]:
    """Return each kernel variant with a launch of it."""
    found: dict[Kernel, Launch] = {}
    for model in MODELS:
        for precision in ("default", "fast"):
            _collect(found, training_launches(model, precision))
    _collect(found, training_launches("lenet5", "strict"))
    _collect(found, case_launches())
    return found


def _collect(found: dict[Kernel, Launch], launches: Iterable[Launch]) -> None:
    for launch in launches:
        found.setdefault(launch.kernel, launch)


def label(kernel: Kernel) -> str:
    """Return a variant's macros in one line, shortest first in meaning: what is multiplied, sizes, tiles."""
    return " ".join(f"{name.lower()}={value}" for name, value in kernel.defines)


def source_digests() -> dict[str, str]:
    """Return a digest of each source with its headers and flags, without comments and spaces.

    A default test compares them with the record, so that an edit is noticed where no NVRTC is installed; and the
    compile gate need not compile each variant anew.
    """
    stems = {name.partition(".")[0] for names in cuda.TABLE.values() for name in names}
    return {f"{stem}.cu": _digest(f"{stem}.cu") for stem in sorted(stems)}


def _digest(name: str) -> str:
    code = re.sub(r"//[^\n]*|/\*.*?\*/|^#line .*?$", "", build.inlined(name), flags=re.DOTALL | re.MULTILINE)
    told = " ".join([*code.split(), *build.flags(Kernel(name, ""))])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def compile_row(launch: Launch, architecture: int) -> Row:
    """Compile one variant and say what it takes."""
    compiled = nvrtc.compile_kernel(launch.kernel, architecture)
    threads = launch.block[0] * launch.block[1] * launch.block[2]
    kernel = launch.kernel
    sizes = compiled.registers, compiled.static_shared, launch.shared_bytes, compiled.stack, compiled.spills
    return Row(kernel.name, label(kernel), architecture, threads, *sizes)


def compile_all(launches: Iterable[Launch], *, in_turn: bool = False) -> list[Row]:
    """Compile all for all architectures, or each for one of them in turn; on two threads: NVRTC needs no lock."""
    jobs = [(launch, architecture) for launch in launches for architecture in build.ARCHITECTURES]
    if in_turn:
        count = len(build.ARCHITECTURES)
        jobs = [job for i, job in enumerate(jobs) if i // count % count == i % count]
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(lambda job: compile_row(*job), jobs))
    return sorted(rows, key=lambda row: (row.kernel, row.variant, row.architecture))


def write(rows: list[Row]) -> None:
    """Write the JSON and the readable table."""
    record: dict[str, object] = {"command": "python -m benchmarks.cuda_compile", "nvrtc": nvrtc.version()}
    record["sources"] = source_digests()
    record["rows"] = [asdict(row) for row in rows]
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    lines = [
        "# Compiled kernels",
        "",
        f"Made by `python -m benchmarks.cuda_compile` with NVRTC {nvrtc.version()}; a test holds it. Registers are of a"
        " thread, memory in bytes;",
        "a spill fails the test. Variants are those of a training step of each model at batch 512, in all precisions,",
        "and one case of each other operation.",
        "",
        f"{len({(r.kernel, r.variant) for r in rows})} variants of {len({r.kernel for r in rows})} kernels;"
        f" {sum(r.spills for r in rows)} bytes spilled.",
        "",
        "| kernel | variant | threads | dynamic shared | registers sm_80 / sm_90 | static shared | stack | spills |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for old, new in zip(rows[::2], rows[1::2], strict=True):
        memory = f"{new.static_shared} | {max(old.stack, new.stack)} | {old.spills + new.spills}"
        registers = f"{old.registers} / {new.registers}"
        cells = (f"`{new.kernel}`", new.variant, new.threads, new.dynamic_shared, registers, memory)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    TABLE.write_text("\n".join(lines) + "\n")


def main() -> int:
    """Compile, write, and fail on a spill."""
    rows = compile_all(variants().values())
    write(rows)
    spilled = [row for row in rows if row.spills]
    for row in spilled:
        print(f"spills {row.spills} bytes: {row}", file=sys.stderr)
    print(f"{len(rows)} rows in {TABLE.relative_to(ROOT)}")
    return bool(spilled)


if __name__ == "__main__":
    sys.exit(main())
