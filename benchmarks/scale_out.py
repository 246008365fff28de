"""Training by several ranks on one machine: whether the bits are the same, and what it costs.

    python -m benchmarks.scale_out equality --python PYTHON ... --out FOLDER [--steps 200] [--cifar10 DIR]
    python -m benchmarks.scale_out speed --python PYTHON --out FOLDER [--steps 30]

Each PYTHON is that of an environment with mpi4py and an MPI whose mpiexec lies beside it. `equality` trains models by
1, 2 and 4 ranks and compares the SHA-256 of all weights and statistics; `speed` times steps, and says how long a rank
waits for gradients (from a timeline, of which each rank writes a Chrome trace).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

THREADS = ("FASTCONV_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
MODELS = (("lenet5", "none"), ("resnet20", "ghost"), ("resnet20", "sync"))
RANKS = (1, 2, 4)


def start(python: str, ranks: int, settings: dict[str, Any], threads: int = 1) -> dict[str, Any]:
    """Run `work` with these settings on so many ranks; return what rank 0 reports."""
    mpiexec = Path(python).with_name("mpiexec")
    version = subprocess.run([mpiexec, "--version"], capture_output=True, text=True, check=True).stdout
    command = [str(mpiexec), *(["--oversubscribe"] if "Open MPI" in version else []), "-n", str(ranks), python]
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    unbound = {
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "PRTE_MCA_hwloc_default_binding_policy": "none",
    }
    environment = {**os.environ, **dict.fromkeys(THREADS, str(threads)), **root, **unbound}
    command += ["-m", "benchmarks.scale_out", "work", json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    report["mpi"] = "Open MPI" if "Open MPI" in version else "MPICH"
    return report


def write(path: Path, rows: list[dict[str, Any]], **more: Any) -> None:
    """Write rows with when and where they were made: `benchmarks.report` makes tables of them."""
    from fastconv.training.environment import environment

    about = {"date": date.today().isoformat(), "environment": environment(), **more}
    path.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")


def work(settings: dict[str, Any]) -> None:
    """Train on this rank; rank 0 prints a report."""
    import fastconv as fc
    from fastconv.parallel import DataParallel, Timeline, connect
    from fastconv.training import Callback

    class Clock(Callback):
        """Notes when steps end, and ends the training after some."""

        def __init__(self) -> None:
            self.ends: list[float] = []
            self.exposed: list[float] = []

        def on_step_end(self, trainer: Any, info: Any) -> None:
            self.ends.append(time.perf_counter())
            trainer.stop_now = len(self.ends) >= settings["steps"]

    model = getattr(fc.models, settings["model"])(seed=1, **({"input_shape": (32, 32, 3)}))
    if settings["norm"] == "sync":
        fc.nn.SyncBatchNorm.convert(model)
    data = (
        fc.data.cifar10(settings["cifar10"], "train")
        if settings.get("cifar10")
        else fc.data.shapes10(size=settings.get("images", 1000))
    )
    batch = settings["batch"]
    loader = fc.data.DataLoader(data, batch, augmentation=fc.data.FlipCrop(), seed=3)
    timeline, clock = Timeline(), Clock()
    parallel = None
    if settings.get("parallel", True):
        parallel = DataParallel(connect(), timeline=timeline, **settings.get("how", {}))
    optimizer = fc.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    loss = fc.losses.SoftmaxCrossEntropy()
    trainer = fc.Trainer(
        model, loss, optimizer, callbacks=clock, parallel=parallel, seed=7, capture=settings.get("capture")
    )
    trainer.fit(loader, epochs=10**6)
    found = hashlib.sha256(b"".join(np.ascontiguousarray(t.array).tobytes() for t in model.tensors())).hexdigest()
    computed = np.zeros(1 if parallel is None else parallel.size, np.int64)
    computed[0 if parallel is None else parallel.rank] = trainer.images_computed
    steps = np.diff(clock.ends)[len(clock.ends) // 5 :]
    waits = [end - begin for name, _, begin, end in timeline.spans if name == "wait for gradients"]
    reduces = sum(end - begin for name, _, begin, end in timeline.spans if name == "reduce")
    if parallel is not None:
        parallel.communicator.allreduce(computed)
        if settings.get("trace"):
            timeline.save(f"{settings['trace']}-rank{parallel.rank}.json", parallel.rank)
    if parallel is None or parallel.rank == 0:
        report = {"sha256": found, "images": computed.tolist(), "steps": trainer.step}
        report["step_ms"] = [round(1e3 * float(f(steps)), 2) for f in (np.min, np.median)]
        report["wait_ms"] = round(1e3 * float(np.median(waits)), 2) if waits else 0.0
        report["reduce_ms"] = round(1e3 * reduces / max(len(waits), 1), 2)
        print(json.dumps(report), flush=True)


def equality(options: argparse.Namespace) -> int:
    """Write the table; 1 if there is a difference."""
    rows, same = [], True
    for model, norm in MODELS:
        if options.models and f"{model}/{norm}" not in options.models:
            continue
        for python in options.python:
            for ranks in options.ranks or RANKS:
                settings = {"model": model, "norm": norm, "steps": options.steps, "batch": options.batch}
                report = start(python, ranks, settings | ({"cifar10": options.cifar10} if options.cifar10 else {}))
                of = "CIFAR-10" if options.cifar10 else "shapes10"
                rows.append({"model": model, "norm": norm, "data": of, "ranks": ranks, **report})
                print(json.dumps(rows[-1]), flush=True)
                write(options.out / "scale_out-equality.json", rows)
        of_model = [row for row in rows if (row["model"], row["norm"]) == (model, norm)]
        same &= len({row["sha256"] for row in of_model}) == 1
        for row in of_model:
            total = sum(row["images"])
            same &= max(row["images"]) - min(row["images"]) <= row["steps"] and total == sum(of_model[0]["images"])
    print("the same bits in every row of a model" if same else "DIFFERENT")
    return int(not same)


def speed(options: argparse.Namespace) -> int:
    """Time what ranks, threads and settings make of a step."""
    python, base = options.python[0], {"model": options.model, "norm": "ghost", "batch": options.batch}
    base["steps"] = options.steps
    plain: dict[str, Any] = {"deterministic": False}
    cases: list[tuple[str, int, int, dict[str, Any]]] = [
        ("no DataParallel", 1, 1, {"parallel": False}),
        ("no DataParallel, 2 threads", 1, 2, {"parallel": False}),
        ("8 shards", 1, 1, {}),
        ("8 shards, not captured", 1, 1, {"capture": False}),
        ("deterministic=False", 1, 1, {"how": plain}),
        ("8 shards", 2, 1, {"trace": str(options.out / "shards")}),
        ("8 shards, buckets of 0.25 MB", 2, 1, {"how": {"bucket_mb": 0.25}}),
        ("8 shards, bfloat16", 2, 1, {"how": {"gradients": "bfloat16"}}),
        ("2 shards", 2, 1, {"how": {"shards": 2}}),
        ("deterministic=False", 2, 1, {"how": plain}),
        ("deterministic=False, buckets of 0.25 MB", 2, 1, {"how": {**plain, "bucket_mb": 0.25}}),
        ("deterministic=False, not captured", 2, 1, {"how": plain, "capture": False}),
        ("SyncBatchNorm, 8 shards", 1, 1, {"norm": "sync"}),
        ("SyncBatchNorm, 8 shards", 2, 1, {"norm": "sync"}),
    ]
    rows = []
    for _ in range(options.rounds):
        for name, ranks, threads, more in cases:
            if options.only and not any(part in name for part in options.only):
                continue
            report = start(python, ranks, {**base, **more}, threads)
            rows.append({"case": name, "ranks": ranks, "threads": threads, **report})
            print(json.dumps(rows[-1]), flush=True)
            write(options.out / "scale_out-speed.json", rows, model=options.model, batch=options.batch)
    return 0


def main() -> int:
    """Read the command line."""
    if sys.argv[1:2] == ["work"]:
        work(json.loads(sys.argv[2]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("equality", "speed"))
    parser.add_argument("--python", action="append", default=[])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--models", action="append", default=[])
    parser.add_argument("--ranks", action="append", type=int, default=[])
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--cifar10")
    options = parser.parse_args()
    options.python = options.python or [sys.executable]
    options.out.mkdir(parents=True, exist_ok=True)
    return equality(options) if options.what == "equality" else speed(options)


if __name__ == "__main__":
    sys.exit(main())
