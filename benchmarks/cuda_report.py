"""What the CUDA kernels should take on an H100, predicted without one.

    python -m benchmarks.cuda_report

takes some ten minutes and writes benchmarks/results/cuda_report.json, kernels/cuda/PREDICTED.md and the table of
kernels/cuda/NOTES.md: each pass of each layer, whole training steps, the plan of what to build next, and the machine
code of every variant. The model is that of cuda_model.py.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import cuda_compile, cuda_model, cuda_plan, nvrtc, sass
from benchmarks.cuda_compile import label
from benchmarks.cuda_launches import TENSOR_KERNELS
from benchmarks.cuda_model import Variant, Work, variant_of, work_of
from benchmarks.cuda_plan import Stage
from benchmarks.cuda_steps import STEPS, Group, Step, step_of
from benchmarks.cuda_traffic import traffic_of
from benchmarks.gpu_layers import BATCH, DIRECTIONS, LAYERS, PRECISIONS, operation, result_shape
from benchmarks.shapes import Conv
from fastconv.backends import get_backend
from fastconv.backends.cuda.launches import Launch
from fastconv.backends.emulator.dry import dry_backend

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "cuda_report.json"
TABLE = ROOT / "kernels" / "cuda" / "PREDICTED.md"
NOTES = ROOT / "kernels" / "cuda" / "NOTES.md"
COMMAND = "python -m benchmarks.cuda_report"
PACKING = ("pack_input", "pack_weight")
_MARKS = "<!-- plan: {} -->"


@dataclass(frozen=True)
class Prediction:
    """A pass of a layer: seconds, by what takes them; those of the main launch, of packing, and of other launches."""

    layer: str
    direction: str
    precision: str
    kernel: str
    variant: str
    tensor: float
    shared: float
    l2: float
    issue: float
    ends: float
    memory: float
    packing: float
    others: float
    total: float
    roofline: float
    binds: str


def launches_of(conv: Conv, direction: str, precision: Any) -> list[Launch]:
    """Return what a pass launches at the batch of `conv`."""
    shapes = {"x": conv.x_shape, "weight": conv.weight_shape, "grad": result_shape(conv, "forward")}
    with dry_backend() as backend:
        arrays = {name: backend.empty(shape, np.float32) for name, shape in shapes.items()}
        arrays["out"] = backend.empty(result_shape(conv, direction), np.float32)
        run = operation(backend, conv, direction, precision, arrays)
        with backend.device.recording() as launches:
            run()
    return launches


def main_launch(launches: Sequence[Launch]) -> Launch:
    """Return the launch of a pass that multiplies."""
    return next(launch for launch in launches if launch.kernel.name in TENSOR_KERNELS)


def predict(conv: Conv, direction: str, precision: Any) -> tuple[Launch, Prediction]:
    """Predict one pass; return its main launch too."""
    launches = launches_of(replace(conv, batch=BATCH), direction, precision)
    main = main_launch(launches)
    works = [(launch, work_of(launch, BATCH)) for launch in launches]
    work = next(work for launch, work in works if launch is main)
    rest: list[Work] = [work for launch, work in works if launch is not main]
    packing = sum(w.total for w in rest if w.kernel in PACKING)
    others = sum(w.total for w in rest if w.kernel not in PACKING)
    times = {name: getattr(work, name) for name in ("tensor", "shared", "l2", "issue", "ends", "memory", "roofline")}
    names = (conv.name, direction, precision, main.kernel.name, label(main.kernel))
    total = work.total + packing + others
    return main, Prediction(*names, packing=packing, others=others, total=total, binds=work.binds, **times)


# The files

_HEAD = f"""# Predicted times

**A prediction, made without a GPU** by `{COMMAND}`; no time in here was measured. Batch {BATCH}, an H100 SXM.
Once the run-book has left a file, `python -m benchmarks.cuda_measured FILE` prints measured times beside these.

Microseconds. A pass takes its main launch, its packing of operands, and its sums of parts ("others"). The main launch
takes the longer of its arrays in memory ({cuda_model.MEMORY_RATE / 1e12:g} TB/s) and of what its blocks do: the main
loop, then the ends. The main loop takes the longest of products on the tensor cores (padding included, at
{cuda_model.MMA_SHARE:.0%} of the data sheet's rate, which is what `mma.sync` reaches), wavefronts of shared memory (one
a clock), sectors of L2 ({cuda_model.L2_RATE / 1e12:g} TB/s, an assumption), and instructions (one a clock and
scheduler). The ends are the instructions that a warp takes before and behind the main loop, epilogue included; as
the blocks of a multiprocessor begin and end together, they are added. Packing and the rest take the longer of bytes
and instructions, and no launch less than {1e6 * cuda_model.LAUNCH:g} us. The roofline is the longer of the layer's
operations at the full rate and its arrays, in the type that is multiplied, moved once.

"""
_STEPS_HEAD = """
## Whole steps

A training step as it is launched today, the sum of its launches by kernel. Lost is what convolutions take beyond their
rooflines, and all of what computes no convolution. What most of the time waits for is in the last column.
"""
_LOOPS = """
## The kernels

Every variant of a tensor-core kernel that the layers above, the models or the tests' cases launch, in the sm_90 machine
code: instructions of all of its code; those that a warp takes in a turn of the main loop (0: the loop has one turn, and
all is in front), before it and behind it where all results are finite; and of which kinds a turn's are, every branch
counted as taken and loops inside of it left out. Blocks that a multiprocessor holds, and what limits them; wavefronts
of shared memory and sectors of global memory as multiples of those needed (1 is no conflict and no byte too many),
counted by the emulator over the whole kernel on a few images.

"""


def write(variants: list[Variant], predictions: list[Prediction], steps: list[Step], plan: list[Stage]) -> None:
    """Write the JSON and the readable tables."""
    record: dict[str, Any] = {"command": COMMAND, "nvrtc": nvrtc.version(), "kind": "prediction, not a measurement"}
    for name, rows in (("predictions", predictions), ("variants", variants), ("steps", steps), ("plan", plan)):
        record[name] = [asdict(row) for row in rows]
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    text = _HEAD + _predictions_table(predictions) + _STEPS_HEAD + "".join(map(step_text, steps))
    TABLE.write_text(text + _LOOPS + _variants_table(variants))
    NOTES.write_text(with_plan(NOTES.read_text(), cuda_plan.table(plan)))


def with_plan(text: str, table: str) -> str:
    """Return the text with the table between its marks."""
    begin, end = _MARKS.format("begin"), _MARKS.format("end")
    return re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n\n{table}\n{end}", text, flags=re.DOTALL)


def _lines(titles: Sequence[str], numbers: str, rows: Sequence[Sequence[Any]]) -> str:
    """Return a table; `numbers` has a character for each column: n for a number, t for text."""
    marks = "|".join({"n": "--:", "t": "---"}[kind] for kind in numbers)
    cells = [" | ".join(map(str, row)) for row in (titles, *rows)]
    return "\n".join([f"| {cells[0]} |", f"|{marks}|", *(f"| {line} |" for line in cells[1:])]) + "\n"


def _predictions_table(rows: list[Prediction]) -> str:
    columns = ("tensor", "shared", "l2", "issue", "ends", "memory", "packing", "others", "total", "roofline")
    cells = []
    for row in rows:
        numbers = [f"{1e6 * getattr(row, name):.1f}" for name in columns]
        math_ = {"default": "tf32", "fast": "bf16"}[row.precision]
        cells.append((f"`{row.layer}`", row.direction, math_, *numbers, f"{row.roofline / row.total:.0%}", row.binds))
    return _lines(("layer", "pass", "multiplies", *columns, "share", "binds"), "ttt" + "n" * 11 + "t", cells)


def step_text(step: Step) -> str:
    """Return the section of a step: what it takes, its kernels, and where the largest loss is."""
    worst = step.largest_loss
    head = (
        f"\n**{step.model}, batch {step.batch}, {step.precision}**: {1e3 * step.seconds:.2f} ms, {step.launches}"
        f" launches, {step.nbytes / 1e9:.1f} GB. The largest loss is `{worst.kernel}`, {1e3 * worst.lost:.2f} ms.\n\n"
    )
    cells = [
        (
            *(f"`{g.kernel}`", g.launches, f"{g.nbytes / 1e6:.0f}", f"{1e6 * g.seconds:.0f}"),
            *(f"{g.seconds / step.seconds:.0%}", f"{1e6 * g.lost:.0f}", g.binds),
        )
        for g in step.groups
    ]
    return head + _lines(("kernel", "launches", "MB", "us", "share", "lost", "binds"), "tnnnnnt", cells)


def _variants_table(rows: list[Variant]) -> str:
    classes = (*sass.CLASSES, "other")
    sizes = ("registers", "shared_bytes", "blocks", "limit", "code", "turn", "before", "behind")
    cells = []
    for row in rows:
        counts = [row.loop.get(name, 0) for name in classes]
        ratios = (f"{row.conflicts:.2f}", f"{row.sectors:.2f}")
        cells.append((f"`{row.kernel}`", row.variant, *(getattr(row, name) for name in sizes), *counts, *ratios))
    titles = ("kernel", "variant", *(name.replace("_", " ") for name in sizes), *classes, "wavefronts", "sectors")
    return _lines(titles, "ttnnnt" + "n" * (len(classes) + 6), cells)


def _passes() -> tuple[dict[Any, Launch], list[Prediction]]:
    launches: dict[Any, Launch] = {}
    predictions = []
    for conv in LAYERS:
        for direction in DIRECTIONS:
            for precision in PRECISIONS:
                main, prediction = predict(conv, direction, precision)
                launches.setdefault(main.kernel, main)
                predictions.append(prediction)
                took = f"{1e6 * prediction.total:.1f} us, {prediction.binds}"
                print(f"{conv.name} {direction} {precision}: {took}", flush=True)
    return launches, predictions


def _steps() -> tuple[list[Step], list[Stage]]:
    steps, plan = [], []
    for model, batch in STEPS:
        for precision in PRECISIONS:
            launches = cuda_compile.training_launches(model, precision, batch=batch)
            works = [work_of(launch, batch) for launch in launches]
            steps.append(step_of(model, batch, precision, works))
            if precision == cuda_plan.PRECISION:
                plan += cuda_plan.stages(model, batch, works)
            print(f"{model} {batch} {precision}: {1e3 * steps[-1].seconds:.2f} ms", flush=True)
    return steps, plan


def main() -> int:
    """Predict all and write."""
    get_backend("cuda-emulator")  # says what is missing, before minutes go by
    launches = {k: launch for k, launch in cuda_compile.variants().items() if k.name in TENSOR_KERNELS}
    more, predictions = _passes()
    launches = {**more, **launches}
    steps, plan = _steps()
    variants = []
    for launch in launches.values():
        variants.append(variant_of(launch, traffic_of(launch)))
        print(f"{len(variants)} of {len(launches)}: {variants[-1].kernel} {variants[-1].conflicts}", flush=True)
    write(sorted(variants, key=lambda row: (row.kernel, row.variant)), predictions, steps, plan)
    print(f"{len(predictions)} passes and {len(steps)} steps in {TABLE.relative_to(ROOT)}")
    return 0


def read_steps(record: dict[str, Any]) -> list[Step]:
    """Return the steps of the JSON."""
    return [Step(**{**row, "groups": tuple(Group(**group) for group in row["groups"])}) for row in record["steps"]]


if __name__ == "__main__":
    sys.exit(main())
