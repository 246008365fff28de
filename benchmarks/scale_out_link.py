"""Two ranks with a network link between them, of a rate that is set: what a step costs, beside what is predicted.

    python -m benchmarks.scale_out_link --out FOLDER [--rate 1gbit] [--model resnet20 --model keras_cnn] [--steps 30]

Two network namespaces of this machine play two hosts, a veth pair between them the cable, and `tc tbf` on both ends
its rate (https://man7.org/linux/man-pages/man8/tc-tbf.8.html). That needs root; each rank has one core, so a machine of
two cores is enough. Predicted is the step of a rank alone with its share of the batch, and then what sending takes
beyond what the backward pass hides: ``2 * ceil(log2(n)) * latency + 2 * (n - 1) / n * bytes / rate``. With latency and
rate of sums that were measured over the link, the same formula says what 8, 64 and 512 ranks would take that have a
batch of the same size each: a prediction, and no more.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import fastconv as fc
from benchmarks.scale_out import THREADS, start, write
from fastconv.parallel import connect
from fastconv.parallel.manual import OutputReader, start_managers, wait_for

HOSTS = {"fcA": "10.77.0.1", "fcB": "10.77.0.2"}
DEVICE = "v0"
SETTINGS = {
    "overlap": {"shards": 2},
    "overlap=False": {"shards": 2, "overlap": False, "bucket_mb": 1000},
    "overlap, bfloat16": {"shards": 2, "gradients": "bfloat16"},
    "overlap=False, bfloat16": {"shards": 2, "overlap": False, "bucket_mb": 1000, "gradients": "bfloat16"},
}
_BACKWARD = 2 / 3
"""The share of a step that is its backward pass: two products for each of the forward pass."""


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True, capture_output=True)


def _wait_until_up() -> None:
    """Wait for both ends, which takes the system a moment: MPI does not see a device before."""
    end = time.monotonic() + 10
    for name in HOSTS:
        words = ["ip", "-n", name, "-brief", "link", "show", "up", "dev", DEVICE]
        while " UP " not in subprocess.run(words, check=True, capture_output=True, text=True).stdout:
            if time.monotonic() > end:
                raise OSError(f"{DEVICE} in {name} did not come up")
            time.sleep(0.05)


@contextmanager
def link(rate: str | None) -> Iterator[None]:
    """Join two namespaces by a cable of this rate within the block; OSError where the system does not let us."""
    names = list(HOSTS)
    try:
        for name in names:
            _ip(f"netns add {name}")
        _ip(f"link add {DEVICE} netns {names[0]} type veth peer name {DEVICE} netns {names[1]}")
        for name, address in HOSTS.items():
            _ip(f"-n {name} addr add {address}/24 dev {DEVICE}")
            for device in ("lo", DEVICE):
                _ip(f"-n {name} link set {device} up")
            if rate:
                shape = f"tc -n {name} qdisc replace dev {DEVICE} root tbf rate {rate} burst 256kb latency 50ms"
                subprocess.run(shape.split(), check=True, capture_output=True)
        _wait_until_up()
        yield
    except subprocess.CalledProcessError as error:
        raise OSError(f"no network namespaces here: {error.stderr.decode().strip()}") from error
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


class _Reading(OutputReader):
    """Keeps the last line of JSON."""

    report: dict[str, Any] | None = None

    def run(self) -> None:
        for line in self.stream:
            if line.startswith("{"):
                self.report = json.loads(line)
            else:
                sys.stderr.write(line)


def across(settings: dict[str, Any]) -> dict[str, Any]:
    """Return what rank 0 reports of a training by a rank on either side of the link; without settings, of sums."""
    said = _Reading()
    variables = {**os.environ, **dict.fromkeys(THREADS, "1"), "UCX_TLS": "tcp,self", "UCX_NET_DEVICES": DEVICE}
    words = ["-m", "benchmarks.scale_out", "work", json.dumps(settings)]
    if not settings:
        words = ["-m", "benchmarks.scale_out_link", "measure"]
    first, *_ = enter = [("ip", "netns", "exec", name) for name in HOSTS]
    job, managers = start_managers(words, list(HOSTS.values()), variables, said, prefix=first)
    sides = [
        subprocess.Popen([*where, *shlex.split(command)], env=variables)
        for where, command in zip(enter, managers, strict=True)
    ]
    for side in sides:
        side.wait()
    status = wait_for(job, said)
    if status or said.report is None:
        raise SystemExit(f"the job ended with {status}")
    return said.report


def bits_per_second(rate: str) -> float:
    """Return a rate that is written as tc does."""
    units = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
    return next(float(rate.removesuffix(unit)) * factor for unit, factor in units.items() if rate.endswith(unit))


def predicted(
    alone_ms: float,
    parameters: int,
    how: dict[str, Any],
    *,
    bytes_per_ms: float,
    latency_ms: float = 0.0,
    ranks: int = 2,
) -> float:
    """Return the milliseconds of a step of several ranks, each of which computes what `alone_ms` takes."""
    width = 2 if how.get("gradients") == "bfloat16" else 4
    sent_ms = 2 * math.ceil(math.log2(ranks)) * latency_ms
    sent_ms += 2 * (ranks - 1) / ranks * width * parameters / bytes_per_ms
    hidden = _BACKWARD * alone_ms if how.get("overlap", True) else 0.0
    return alone_ms + max(sent_ms - hidden, 0.0)


def measure() -> None:
    """Sum a small and a large array over the link; rank 0 prints the milliseconds, the least of many."""
    communicator = connect()
    found = {}
    for name, size in (("small_ms", 2), ("large_ms", 1 << 20)):
        buffer, times = np.ones(size, np.float32), []
        for _ in range(20):
            communicator.barrier()
            begin = time.perf_counter()
            communicator.allreduce(buffer)
            times.append(1e3 * (time.perf_counter() - begin))
        found[name] = min(times)
    if communicator.rank == 0:
        print(json.dumps(found), flush=True)


def predictions(rows: list[dict[str, Any]], sums: dict[str, float]) -> list[dict[str, Any]]:
    """Return what more ranks would take, from the time of a rank alone, and of sums over the link."""
    latency_ms = sums["small_ms"] / 2
    bytes_per_ms = (4 << 20) / (sums["large_ms"] - sums["small_ms"])
    found = []
    for row in rows:
        if row["setting"] in ("overlap", "overlap, bfloat16"):
            for ranks in (8, 64, 512):
                rate = {"bytes_per_ms": bytes_per_ms, "latency_ms": latency_ms, "ranks": ranks}
                step = predicted(row["alone_ms"], row["parameters"], SETTINGS[row["setting"]], **rate)
                found.append(
                    {key: row[key] for key in ("model", "setting")} | {"ranks": ranks, "step_ms": round(step, 1)}
                )
                found[-1]["efficiency"] = round(row["alone_ms"] / step, 2)
    return found


def main() -> None:
    """Measure, and write scale_out-link.json."""
    if sys.argv[1:] == ["measure"]:
        measure()
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rate", default="1gbit")
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for model in options.model or ["resnet20", "keras_cnn"]:
        parameters = sum(row.parameters for row in getattr(fc.models, model).unbuilt().summary((32, 32, 3)).rows)
        base = {"model": model, "norm": "ghost", "steps": options.steps}
        half = {**base, "batch": options.batch // 2, "how": {"shards": 1}}
        alone = start(sys.executable, 1, half)["step_ms"][1]
        for name, how in SETTINGS.items():
            settings = {**base, "batch": options.batch, "how": how}
            here = start(sys.executable, 2, settings)
            with link(options.rate):
                there = across(settings)
            row = {"model": model, "parameters": parameters, "rate": options.rate, "setting": name}
            row |= {"alone_ms": alone, "no_link_ms": here["step_ms"][1], "link_ms": there["step_ms"][1]}
            step = predicted(alone, parameters, how, bytes_per_ms=bits_per_second(options.rate) / 8e3)
            row |= {"wait_ms": there["wait_ms"], "predicted_ms": round(step, 1)}
            rows.append(row)
            print(json.dumps(row), flush=True)
    with link(options.rate):
        sums = across({})
    more = predictions(rows, sums)
    for row in more:
        print(json.dumps(row), flush=True)
    write(options.out / "scale_out-link.json", rows, batch=options.batch, sums=sums, predicted=more)


if __name__ == "__main__":
    main()
