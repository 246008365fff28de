"""The command: list, run, show."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.copied_tree import copy_of_tree
from tests.plant import __doc__ as description
from tests.plant.faults import COUNT, SEED, Fault, draw, read_sources, room_of
from tests.plant.trial import DEADLINE, Trial


def drawn(given: argparse.Namespace) -> list[tuple[int, Fault]]:
    """Return the faults asked for, with their numbers in the list."""
    every = list(enumerate(draw(read_sources(), given.count, given.seed)))
    rooms, numbers = given.rooms, given.numbers
    return [
        (number, fault)
        for number, fault in every
        if (not rooms or room_of(fault.file) in rooms) and (not numbers or number in numbers)
    ]


def show(results: Sequence[dict[str, Any]]) -> int:
    """Print how many faults were killed, and the survivors; return the exit status."""
    counts = Counter(result["status"] for result in results)
    killed = counts["killed"] + counts["hung"]
    print(f"{killed} of {len(results)} killed ({counts['hung']} hung), {counts['survived']} survived")
    for result in results:
        if result["status"] == "survived":
            print(Fault(**result["fault"]), f"    asked: {result['by']}", sep="\n")
    return int(counts["survived"] > 0)


def run(given: argparse.Namespace) -> int:
    """Try the faults one after the other, and keep each result as it comes."""
    results: list[dict[str, Any]] = json.loads(given.out.read_text()) if given.out.exists() else []
    known = {json.dumps(result["fault"], sort_keys=True) for result in results}
    todo = [(n, f) for n, f in drawn(given) if json.dumps(asdict(f), sort_keys=True) not in known]
    with copy_of_tree() as copy:
        trial = Trial(copy, given.deadline)
        for number, fault in todo:
            print(f"{number:3} {fault}", flush=True)
            outcome = trial(fault, words=shlex.split(given.tests), whole=given.whole)
            print(f"    {outcome.status} after {outcome.seconds:.0f} s: {outcome.by}", flush=True)
            results.append({"number": number, "fault": asdict(fault), **asdict(outcome)})
            given.out.write_text(json.dumps(results, indent=1))
    return show(results)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="tests.plant", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    choice = argparse.ArgumentParser(add_help=False)
    choice.add_argument("--count", type=int, default=COUNT)
    choice.add_argument("--seed", type=int, default=SEED)
    choice.add_argument("--rooms", nargs="+", default=[], help="fastconv/cli, kernels/cpu, ...")
    choice.add_argument("--numbers", nargs="+", type=int, default=[])
    commands.add_parser("list", parents=[choice], help="print the faults that are drawn")
    trial = commands.add_parser("run", parents=[choice], help="plant them and run the tests")
    trial.add_argument("--out", type=Path, required=True)
    trial.add_argument("--deadline", type=float, default=DEADLINE, help=f"seconds for a run of pytest ({DEADLINE})")
    trial.add_argument("--tests", default="", help="words for pytest, in place of the tests of each fault's file")
    trial.add_argument("--whole", action="store_true", help="ask the whole default suite before a fault has survived")
    commands.add_parser("show", help="print what was found").add_argument("found", type=Path)
    given = parser.parse_args(arguments)
    if given.command == "show":
        return show(json.loads(given.found.read_text()))
    if given.command == "run":
        return run(given)
    for number, fault in drawn(given):
        print(f"{number:3} {fault}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
