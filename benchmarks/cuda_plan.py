"""What the plan of kernels/cuda/NOTES.md should gain: its steps done to the launches of a training step, and predicted.

    python -m benchmarks.cuda_plan

prints the table. A step of the plan takes the launches as the one before left them (what each reads and writes tells
which array comes from where) and leaves out, joins or changes some. What is not counted but assumed stands below.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.cuda_model import L2_RATE, MMA_SHARE, Work
from benchmarks.cuda_steps import STEPS

RESULTS = Path(__file__).parent / "results" / "cuda_report.json"
PRECISION = "fast"

# Assumptions. An epilogue takes about 40 instructions for two results today; 8 are a test of both, their packing, and
# a share of the way through shared memory to stores of 16 bytes. Statistics add a sum and a square of each.
EPILOGUE_SHARE, STATISTICS_SHARE = 8 / 40, 4 / 8
# `wgmma` reaches 80 % of the data sheet's rate; it reads shared memory once for four warps; tiles of 256 pixels, or
# weights that stay, halve what is fetched from L2.
WGMMA_SHARE, WGMMA_COLUMNS, WGMMA_SHARED, WGMMA_L2 = 0.80, 64, 0.5, 0.5

_CONVOLUTIONS = ("conv2d_gather", "conv2d_halo")
_NORMALISE = ("normalise_inference", "normalise_activate")
_GRADIENT_SUMS = ("batch_norm_gradient_sums", "activate_gradient_sums")


class Flow:
    """Which launch writes and reads what, in order."""

    def __init__(self, works: Sequence[Work]) -> None:
        self.works = list(works)

    def writer(self, key: int, before: int) -> int | None:
        """Return the last launch before one that writes an array."""
        found = (i for i in range(before - 1, -1, -1) if any(o.key == key for o in self.works[i].writes))
        return next(found, None)

    def readers(self, key: int, after: int) -> list[int]:
        """Return the launches behind one that read what it wrote to an array."""
        found = []
        for i in range(after + 1, len(self.works)):
            if any(o.key == key for o in self.works[i].reads):
                found.append(i)
            if any(o.key == key for o in self.works[i].writes):
                break
        return found


def _renamed(work: Work, names: dict[int, int]) -> Work:
    return replace(work, reads=tuple(replace(o, key=names.get(o.key, o.key)) for o in work.reads))


def pack_once(works: Sequence[Work]) -> list[Work]:
    """Pack an array once for all that read it, sixteen bytes a thread."""
    packed: dict[int, int] = {}
    names: dict[int, int] = {}
    left = []
    for work in works:
        if work.kernel != "pack_input":
            left.append(_renamed(work, names))
            for operand in work.writes:
                packed.pop(operand.key, None)
        elif (key := work.reads[0].key) in packed:
            names[work.writes[0].key] = packed[key]
        else:
            packed[key] = work.writes[0].key
            left.append(replace(work, issue=0.0))
    return left


def store_bf16(works: Sequence[Work]) -> list[Work]:
    """Keep activations and their gradients in 16 bits: half the bytes, and nothing to pack but what needs padding."""
    made = {operand.key for work in works for operand in work.writes}
    names: dict[int, int] = {}
    left = []
    for work in works:
        if work.kernel == "pack_input" and 2 * work.writes[0].nbytes == work.reads[0].nbytes:
            names[work.writes[0].key] = work.reads[0].key
            continue
        reads, writes = (
            tuple(replace(o, nbytes=o.nbytes // 2) if o.activation and o.key in made else o for o in part)
            for part in (work.reads, work.writes)
        )
        halved = work.kernel in _CONVOLUTIONS and any(o.activation for o in work.writes)
        written = work.l2_written / 2 if halved else work.l2_written
        left.append(_renamed(replace(work, reads=reads, writes=writes, l2_written=written), names))
    return left


def short_epilogue(works: Sequence[Work]) -> list[Work]:
    """Give convolutions an epilogue of few instructions."""
    return [replace(w, behind=w.behind * EPILOGUE_SHARE) if w.kernel in _CONVOLUTIONS else w for w in works]


def fuse_pooling(works: Sequence[Work]) -> list[Work]:
    """The pass that normalises pools too; the gradient's two passes take the mask, from x, and the pooling."""
    return _fused_forward(_fused_backward(works))


def _fused_backward(works: Sequence[Work]) -> list[Work]:
    flow, dropped = Flow(works), set()
    for at, sums in enumerate(works):
        if sums.kernel != "batch_norm_gradient_sums":
            continue
        grad = sums.reads[0]
        maker = flow.writer(grad.key, at)
        if maker is None or works[maker].kernel != "max_pool2d_backward_pixels":
            continue
        source = works[maker].reads
        dropped.add(maker)
        mask = flow.writer(source[0].key, maker)
        if mask is not None and works[mask].kernel == "relu_gradient":
            source = (works[mask].reads[0], *source[1:])
            dropped.add(mask)
        apply = next(i for i in flow.readers(grad.key, maker) if works[i].kernel == "batch_norm_gradient_apply")
        for i in (at, apply):
            flow.works[i] = replace(works[i], reads=(*source, *works[i].reads[1:]))
    return [work for i, work in enumerate(flow.works) if i not in dropped]


def _fused_forward(works: Sequence[Work]) -> list[Work]:
    flow = Flow(works)
    dropped: set[int] = set()
    for at, norm in enumerate(works):
        y = norm.writes[0] if norm.kernel in _NORMALISE else None
        readers = [] if y is None else flow.readers(y.key, at)
        pooling = next((i for i in readers if works[i].kernel == "max_pool2d_pixels"), None)
        if y is None or pooling is None:
            continue
        writes = works[pooling].writes if readers == [pooling] else (y, *works[pooling].writes)
        flow.works[pooling] = replace(works[pooling], kernel="normalise_fused", reads=norm.reads, writes=writes)
        dropped.add(at)
    return [work for i, work in enumerate(flow.works) if i not in dropped]


def statistics_in_epilogue(works: Sequence[Work]) -> list[Work]:
    """Let a convolution sum its results and their squares while it has them."""
    flow, dropped = Flow(works), set()
    for at, work in enumerate(works):
        maker = flow.writer(work.reads[0].key, at) if work.kernel == "batch_norm_statistics" else None
        if maker is not None and works[maker].kernel in _CONVOLUTIONS:
            conv = flow.works[maker]
            more = conv.behind * (1 + STATISTICS_SHARE)
            flow.works[maker] = replace(conv, behind=more, writes=(*conv.writes, *work.writes))
            dropped.add(at)
    return [work for i, work in enumerate(flow.works) if i not in dropped]


def sums_in_epilogue(works: Sequence[Work]) -> list[Work]:
    """Let the gradient of a convolution's input add, mask and sum for the normalisation in front of it."""
    flow, dropped = Flow(works), set()
    names: dict[int, int] = {}
    for at, work in enumerate(works):
        if work.kernel not in _GRADIENT_SUMS:
            continue
        grad, *others = work.reads
        maker = flow.writer(grad.key, at)
        if maker is not None and works[maker].kernel == "add_arrays":
            first = works[maker].reads
            made = [flow.writer(o.key, maker) for o in first]
            conv = next((i for i in made if i is not None and works[i].kernel in _CONVOLUTIONS), None)
            if conv is not None:
                others += [o for o, i in zip(first, made, strict=True) if i != conv]
                names[works[conv].writes[0].key] = grad.key
                dropped.add(maker)
                maker = conv
        if (
            maker is None
            or works[maker].kernel not in _CONVOLUTIONS
            or any(o.nbytes < grad.nbytes // 8 for o in others[:1])
        ):
            continue
        conv_work = flow.works[maker]
        more = sum(o.nbytes for o in others) / L2_RATE
        behind = conv_work.behind * (1 + STATISTICS_SHARE)
        reads, writes = (*conv_work.reads, *others), (*conv_work.writes, *(o for o in work.writes if not o.activation))
        flow.works[maker] = replace(
            conv_work, reads=reads, writes=writes, l2_read=conv_work.l2_read + more, behind=behind
        )
        names |= {o.key: grad.key for o in work.writes if o.activation}
        dropped.add(at)
    return [_renamed(work, names) for i, work in enumerate(flow.works) if i not in dropped]


def fewer_launches(works: Sequence[Work]) -> list[Work]:
    """Pack weights and add parts of their gradients in the optimizer's kernel; small kernels go into their readers."""
    folded = {"pack_weight", "sum_splits", "move_running", "combine_statistics", "combine_gradients"}
    packed = tuple(o for work in works if work.kernel == "pack_weight" for o in work.writes)
    parts = tuple(o for work in works if work.kernel == "sum_splits" for o in work.reads)
    left = []
    for work in works:
        if work.kernel == "sgd_update":
            left.append(replace(work, reads=(*work.reads, *parts), writes=(*work.writes, *packed)))
        elif work.kernel not in folded:
            left.append(work)
    return left


def use_wgmma(works: Sequence[Work]) -> list[Work]:
    """Multiply with `wgmma` where there are columns enough."""
    return [
        replace(
            work,
            tensor=work.tensor * MMA_SHARE / WGMMA_SHARE,
            shared=work.shared * WGMMA_SHARED,
            l2_read=work.l2_read * WGMMA_L2,
        )
        if work.columns >= WGMMA_COLUMNS
        else work
        for work in works
    ]


PLAN: tuple[tuple[str, Callable[[Sequence[Work]], list[Work]]], ...] = (
    ("today", list),
    ("activations packed once", pack_once),
    ("bf16 storage end to end", store_bf16),
    ("a short epilogue", short_epilogue),
    ("native normalise-pool", fuse_pooling),
    ("statistics in the convolution's epilogue", statistics_in_epilogue),
    ("mask and sums in the gradient's epilogue", sums_in_epilogue),
    ("weights packed by the optimizer, small kernels folded", fewer_launches),
    ("wgmma", use_wgmma),
)


@dataclass(frozen=True)
class Stage:
    """The plan up to a step, for one model: what a training step then takes."""

    name: str
    model: str
    batch: int
    seconds: float
    launches: int
    nbytes: int


def stages(model: str, batch: int, works: Sequence[Work]) -> list[Stage]:
    """Return what each step of the plan leaves of a training step."""
    rows, left = [], list(works)
    for name, change in PLAN:
        left = change(left)
        moved = sum(work.nbytes for work in left)
        rows.append(Stage(name, model, batch, sum(work.total for work in left), len(left), moved))
    return rows


def table(rows: Sequence[Stage]) -> str:
    """Return the plan's table: milliseconds and gain of each step, launches and gigabytes that are left."""
    head = [f"{model}, {batch}" for model, batch in STEPS]
    lines = [f"| step | {' | '.join(head)} |", "|---|" + "--:|" * len(head)]
    before: dict[tuple[str, int], float] = {}
    for name, _ in PLAN:
        cells = []
        for model, batch in STEPS:
            row = next(r for r in rows if (r.name, r.model, r.batch) == (name, model, batch))
            gain = before.get((model, batch), row.seconds) - row.seconds
            before[model, batch] = row.seconds
            gained = f" (-{1e3 * gain:.2f})" if name != "today" else ""
            cells.append(f"{1e3 * row.seconds:.2f} ms{gained}, {row.launches}, {row.nbytes / 1e9:.1f} GB")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Print the table of the committed report."""
    rows = [Stage(**row) for row in json.loads(RESULTS.read_text())["plan"]]
    print(table(rows), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
