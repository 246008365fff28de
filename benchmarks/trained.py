"""Trainings on real images, from the first step to the last: accuracy and time, beside PyTorch's where asked for.

    python -m benchmarks.trained keras_cnn --data-dir DIR --precisions default strict fast --torch
    python -m benchmarks.trained resnet20 --data-dir DIR --seeds 0 --runs runs
    python -m benchmarks.trained mnist_cnn --data-dir DIR --torch

A training is what ``fastconv train`` with the arguments below does, or ``fastconv resume`` where the folder of its run
in `--runs` is there already: so it may be stopped at any time and goes on where it was. PyTorch trains the same network
from weights of the same distribution, on batches of the same loader, in channels_last, with its page faults tuned away
and as many threads. The histories of a seed go to benchmarks/results/ as JSON when it ends, with versions, machine and
command, beside those of other seeds of the same training, which may be of another day and machine.
"""

import argparse
import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import fastconv as fc
from benchmarks import torch_peer
from benchmarks.said import said
from fastconv import cli
from fastconv.training.environment import environment
from fastconv.training.run_data import load_data
from fastconv.training.run_folder import RunFolder

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes
    ----------
    train : str
        Arguments of ``fastconv train``.
    torch_optimizer : callable or None
        Makes PyTorch's optimizer of torch and parameters: with a constant rate, as the peer's loop has no schedule.
    """

    train: str
    torch_optimizer: Callable[[Any, Any], Any] | None = None


_RESIDUAL = "--weight-decay 5e-4 --augmentation FlipCrop pad=4"
TRAININGS = {
    "keras_cnn": Training(
        "--dataset cifar10 --model keras_cnn --optimizer Adam --lr 1e-3 --schedule Constant --epochs 3 --no-augment",
        lambda torch, parameters: torch.optim.Adam(parameters, 1e-3),
    ),
    # The 12 epochs of the lecture's notebook with its optimizer, on the data set of the same form.
    "mnist_cnn": Training(
        "--dataset fashion-mnist --model mnist_cnn --optimizer Adadelta rho=0.95 eps=1e-7 --lr 1 --schedule Constant"
        " --epochs 12 --no-augment",
        lambda torch, parameters: torch.optim.Adadelta(parameters, 1.0, rho=0.95, eps=1e-7),
    ),
    "resnet9": Training(
        f"--dataset cifar10 --model resnet9 --optimizer SGD --lr 0.4 --batch-size 256 --epochs 10 --label-smoothing 0.1"
        f" {_RESIDUAL} --augmentation Cutout length=8"
    ),
    "resnet20": Training(f"--dataset cifar10 --model resnet20 --optimizer SGD --lr 0.2 --epochs 30 {_RESIDUAL}"),
}
OURS = {"default": "fastconv", "strict": "fastconv_strict", "fast": "fastconv_fast"}
"""Names of ours in the report, by precision."""


def train_ours(training: Training, data_dir: str, folder: Path, seed: int, precision: str) -> dict[str, Any]:
    """Train, or go on training, in the folder of the run; return the history."""
    if (folder / "run.toml").exists():
        arguments = ["resume", str(folder)]
    else:
        arguments = ["train", *shlex.split(training.train), "--data-dir", data_dir, "--seed", str(seed)]
        arguments += ["--precision", precision, "--save-every-steps", "100", "--output", str(folder)]
    status = cli.main(arguments)
    if status:
        sys.exit(status)
    return dict(RunFolder.open(folder).read_history().history)


def train_torch(torch: Any, training: Training, folder: Path, seed: int) -> dict[str, Any]:
    """Train the network of the run in `folder` with PyTorch; return a history with the same keys."""
    from tests.models.twins import twin

    assert training.torch_optimizer is not None
    recipe = RunFolder.open(folder).recipe
    train_set, test_set = load_data(recipe)
    loader = recipe.make_loader(train_set)
    test = fc.data.DataLoader(test_set, 250, shuffle=False)
    fc.seed(seed)
    torch.manual_seed(seed)
    model = twin(torch, recipe.make_model(train_set.images.shape[1:], len(train_set.class_names)))
    model = model.to(memory_format=torch.channels_last)
    optimizer = training.torch_optimizer(torch, model.parameters())
    history: dict[str, Any] = {"loss": [], "val_accuracy": [], "seconds": []}
    for epoch in range(recipe.tables["run"]["epochs"]):
        start, losses = time.perf_counter(), []
        loader.set_epoch(epoch)
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y).long())
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        history["seconds"].append(time.perf_counter() - start)
        history["loss"].append(statistics.fmean(losses))
        model.eval()
        with torch.no_grad():
            right = sum(int((model(torch.from_numpy(x)).argmax(1).numpy() == y).sum()) for x, y in test)
        history["val_accuracy"].append(right / test.num_samples)
        print(f"torch epoch {epoch + 1}: {history['val_accuracy'][-1]:.4f}, {history['seconds'][-1]:.1f} s", flush=True)
    return history


def summary(histories: list[dict[str, Any]]) -> dict[str, float | None]:
    """Return mean and standard deviation of the last accuracy, and seconds: an epoch, and of a whole training.

    One seed has no deviation: None.
    """
    accuracy = [history["val_accuracy"][-1] for history in histories]
    later = [second for history in histories for second in history["seconds"][1:] or history["seconds"]]
    return {
        "accuracy_mean": statistics.fmean(accuracy),
        "accuracy_stdev": statistics.stdev(accuracy) if len(accuracy) > 1 else None,
        "seconds_per_epoch": statistics.median(later),
        "seconds": statistics.median(sum(history["seconds"]) for history in histories),
    }


def store(run: dict[str, Any], train: str, path: Path) -> dict[str, Any]:
    """Put the run of a seed into the file of results; what another training left there goes. Return what is stored."""
    report = json.loads(path.read_text()) if path.exists() else {}
    old = report["runs"] if report.get("train") == train else []
    runs = sorted([*(each for each in old if each["seed"] != run["seed"]), run], key=lambda each: each["seed"])
    stored: dict[str, Any] = {"train": train, "runs": runs}
    for name in (*OURS.values(), "torch"):
        histories = [each[name] for each in runs if name in each]
        if histories:
            stored[f"{name}_summary"] = summary(histories)
    path.write_text(json.dumps(stored, indent=1) + "\n")
    return stored


def main() -> None:
    """Train with every seed, and write the histories."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=TRAININGS)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--precisions", nargs="+", default=["default"], choices=OURS)
    parser.add_argument("--torch", action="store_true", help="train with PyTorch too")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the folders of the runs are")
    args = parser.parse_args()
    fc.set_backend("numba")
    training, threads = TRAININGS[args.name], fc.get_backend().num_threads
    if args.torch and training.torch_optimizer is None:
        parser.error(f"--torch: {args.name} has a schedule, which the peer's loop has not")
    torch = torch_peer.load(threads) if args.torch else None
    command = said("trained", sys.argv[1:], {args.data_dir: "DIR", args.runs: "RUNS"})
    path = RESULTS / f"trained-{args.name}.json"
    for seed in args.seeds:
        run: dict[str, Any] = {
            "seed": seed,
            "date": date.today().isoformat(),
            "environment": environment(),
            "command": command,
        }
        for precision in args.precisions:
            folder = args.runs / f"{args.name}-{precision}-{seed}"
            run[OURS[precision]] = train_ours(training, args.data_dir, folder, seed, precision)
        if torch is not None:
            run["environment"]["versions"]["torch"] = torch.__version__
            run["torch"] = train_torch(torch, training, folder, seed)
        stored = store(run, f"fastconv train {training.train}", path)
        print({name: value for name, value in stored.items() if name.endswith("summary")})
    print(path)


if __name__ == "__main__":
    main()
