"""The run-book for a machine with a GPU: proof, then figures, in seven minutes.

    python -m benchmarks.gpu all --out DIR [--budget SECONDS] [--stages A,B] [--again]

runs from a bare checkout, nothing need be installed but CuPy. Every result is a line of ``DIR/gpu.jsonl`` as soon as it
is there; output goes to ``DIR/gpu.log``, a summary to ``DIR/gpu.txt``. What ends the call, the lines stay, and the same
call again goes on where results are missing; with ``--again`` it also repeats what failed. Each stage is a process of
its own, begun anew behind an error after which CUDA does not work, and ended when it hangs. A stage that does not fit
the budget is left out, with a line that says so. No setting of the card is touched. Without a working device it stops
after the first stage.

    python -m benchmarks.gpu report DIR      a summary of what is there, at any time
    python -m benchmarks.gpu estimate        the stages, and the seconds each takes on an H200
    python -m benchmarks.gpu kernels         every kernel variant that the stages need
    python -m benchmarks.gpu carry --out DIR [--jobs N]
                                             compile them here, to be carried along: FASTCONV_CACHE_DIR=DIR
    python -m benchmarks.gpu save-probes     keep the emulator's answers anew

Only ``all`` needs a GPU; with ``--backend cuda-emulator`` or ``fake-cupy`` it is rehearsed without one, on tiny shapes.
It exits with 1 where something is wrong, failed, or could not be run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import gpu_plan, gpu_report
from benchmarks.gpu_results import BACKENDS, Results, Setting, run_key
from benchmarks.gpu_run import Runner


def run_all(arguments: argparse.Namespace) -> int:
    """Run stages and print the summary."""
    setting = Setting(arguments.out.resolve(), run_key(arguments.backend), arguments.backend, arguments.stages)
    runner = Runner(setting, arguments.budget)
    results = runner.results
    results.append("run", None, "begun", command=" ".join(sys.orig_argv), budget=arguments.budget)
    if arguments.again:
        results.ask_again()
    try:
        for group in gpu_plan.groups(arguments.stages):
            runner.run(group)
            if group[0].name == "smoke" and not _works(results):
                print("nothing works here: no further stage is started")
                results.append("run", None, "stopped", message="no convolution of the smoke test was right")
                break
    finally:  # also when interrupted: what is there is worth a summary
        text = gpu_report.summary(results.rows())
        print(text, flush=True)
        (setting.out / "gpu.txt").write_text(text + "\n")
    return int(gpu_report.trouble(results.rows()) > 0)


def _works(results: Results) -> bool:
    """Return whether a convolution was right; what went wrong with the others is printed where none was."""
    rows = results.latest(["smoke"])
    if any(row["status"] == "ok" and "kernels" in row for row in rows.values()):
        return True
    for name, row in rows.items():
        print(f"smoke {name}: {row['status']}: {row.get('traceback') or row}")
    return False


def print_report(arguments: argparse.Namespace) -> int:
    """Print the summary of the last run in a folder."""
    rows = gpu_report.last_run(arguments.folder)
    if not rows:
        print(f"{arguments.folder}: no results; make some with python -m benchmarks.gpu all --out {arguments.folder}")
        return 1
    print(gpu_report.summary(rows))
    return 0


def print_estimate(arguments: argparse.Namespace) -> int:
    """Print the stages and their estimated seconds."""
    print(f"{'stage':<10} {'carried':>7} {'without':>7}  what (seconds on an H200)")
    for name, title, carried, without in gpu_plan.table():
        print(f"{name:<10} {carried:7.0f} {without:7.0f}  {title}")
    together = " and ".join(sorted(gpu_plan.TOGETHER))
    for carried, words in ((True, "carried"), (False, "made there")):
        seconds = gpu_plan.total(carried=carried)
        print(f"all, machine code {words}: {seconds:.0f} s = {seconds / 60:.1f} min ({together} run at the same time)")
    return 0


def print_kernels(arguments: argparse.Namespace) -> int:
    """Print every variant with the stage that needs it first."""
    from benchmarks import gpu_kernels

    for kernel, stage in gpu_kernels.variants().items():
        print(stage, kernel.source, kernel.name, *(f"{name}={value}" for name, value in kernel.defines))
    return 0


def carry(arguments: argparse.Namespace) -> int:
    """Compile every variant into a folder."""
    from benchmarks import gpu_kernels

    print(gpu_kernels.carry(arguments.out, arguments.jobs))
    return 0


def save_probes(arguments: argparse.Namespace) -> int:
    """Keep the emulator's answers."""
    from benchmarks import gpu_probes
    from fastconv.backends import get_backend

    gpu_probes.save(get_backend("cuda-emulator"))
    print(gpu_probes.SAVED)
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description="The run-book for a machine with a GPU."
    )
    commands = made.add_subparsers(dest="command", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    everything = command("all", run_all, "run the stages")
    everything.add_argument("--out", type=Path, required=True, help="folder of the results")
    everything.add_argument("--budget", type=float, default=gpu_plan.BUDGET, help="seconds (default: %(default).0f)")
    everything.add_argument("--backend", choices=BACKENDS, default="cupy", help="others: a rehearsal without a GPU")
    everything.add_argument("--stages", type=_stages, default=gpu_plan.NAMES, help="names with commas (default: all)")
    everything.add_argument("--again", action="store_true", help="repeat what failed or came too late")
    command("report", print_report, "summarise results").add_argument("folder", type=Path)
    command("estimate", print_estimate, "say how long the stages take")
    command("kernels", print_kernels, "list the kernel variants that the stages need")
    carried = command("carry", carry, "compile the kernel variants ahead, without a GPU")
    carried.add_argument("--out", type=Path, required=True, help="folder, to be named by FASTCONV_CACHE_DIR there")
    carried.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    command("save-probes", save_probes, "keep the emulator's answers to the leaf probes")
    return made


def _stages(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in gpu_plan.NAMES]
    if unknown:
        raise argparse.ArgumentTypeError(f"got {', '.join(unknown)}; allowed: {', '.join(gpu_plan.NAMES)}")
    return names


def main(words: Sequence[str] | None = None) -> int:
    """Run a command."""
    arguments = parser().parse_args(words)
    return int(arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(main())
