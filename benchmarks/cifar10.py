"""Real CIFAR-10: time and accuracy beside PyTorch's, same recipe, same batches, same machine.

    python -m benchmarks.cifar10 --data-dir DIR --precisions default strict fast  # keras_cnn, Adam, 3 epochs, 3 seeds
    python -m benchmarks.cifar10 --data-dir DIR --model resnet20 --epochs 2 --augment --seeds 0 --no-torch

For each seed ours trains, once in each precision, then PyTorch (its better layout, page faults tuned away, as many
threads); both take their batches from the same loader. Histories go to benchmarks/results/ as JSON, with versions,
machine and command.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

import fastconv as fc
from benchmarks import torch_peer
from benchmarks.torch_models import make_model
from fastconv.data import DataLoader, FlipCrop, cifar10

RESULTS = Path(__file__).parent / "results"
BATCH = 128


def machine() -> dict[str, Any]:
    """Return what a reader needs to know about where a number came from."""
    import numba

    names = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "date": date.today().isoformat(),
        "cpu": names[0] if names else platform.processor(),
        "cores": len(names),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "fastconv": fc.__version__,
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _loaders(directory: str, seed: int, augment: bool) -> tuple[DataLoader, DataLoader]:
    augmentation = FlipCrop(flip=True, pad=4) if augment else None
    train = DataLoader(cifar10(directory, "train"), BATCH, augmentation=augmentation, seed=seed)
    return train, DataLoader(cifar10(directory, "test"), 250, shuffle=False)


# Names of ours in the report, by precision.
OURS = {"default": "fastconv", "strict": "fastconv_strict", "fast": "fastconv_fast"}


def train_ours(model_name: str, directory: str, epochs: int, seed: int, augment: bool) -> dict[str, Any]:
    """Train with fastconv in the active precision; return the history."""
    fc.seed(seed)
    model = getattr(fc.models, model_name)(seed=seed)
    trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), fc.optim.Adam(model.parameters(), 1e-3))
    train, test = _loaders(directory, seed, augment)
    return dict(trainer.fit(train, epochs, validation_data=test).history)


def train_torch(torch: Any, model_name: str, directory: str, epochs: int, seed: int, augment: bool) -> dict[str, Any]:
    """Train with PyTorch in channels_last; return a history with the same keys."""
    torch.manual_seed(seed)
    model = make_model(torch, model_name).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    train, test = _loaders(directory, seed, augment)
    history: dict[str, Any] = {"loss": [], "val_accuracy": [], "seconds": []}
    for epoch in range(epochs):
        start, losses = time.perf_counter(), []
        train.set_epoch(epoch)
        model.train()
        for x, y in train:
            optimizer.zero_grad()
            logits = model(torch.from_numpy(x).permute(0, 3, 1, 2))
            loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y).long())
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        history["seconds"].append(time.perf_counter() - start)
        history["loss"].append(statistics.fmean(losses))
        model.eval()
        with torch.no_grad():
            right = sum(
                int((model(torch.from_numpy(x).permute(0, 3, 1, 2)).argmax(1).numpy() == y).sum()) for x, y in test
            )
        history["val_accuracy"].append(right / test.num_samples)
        print(
            f"  torch epoch {epoch + 1}: {history['val_accuracy'][-1]:.4f}, {history['seconds'][-1]:.1f} s", flush=True
        )
    return history


def main() -> None:
    """Run the recipe for every seed and write the histories."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--model", default="keras_cnn")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--augment", action="store_true")
    parser.add_argument("--precisions", nargs="+", default=["default"], choices=list(OURS))
    parser.add_argument("--no-torch", action="store_true")
    args = parser.parse_args()
    fc.set_backend("numba")
    from fastconv.kernels.cpu.runtime.launch import get_num_threads

    torch = None if args.no_torch else torch_peer.load(get_num_threads())
    recipe = {
        "model": args.model,
        "optimizer": "Adam 1e-3",
        "batch": BATCH,
        "augment": args.augment,
        "epochs": args.epochs,
    }
    report: dict[str, Any] = {"machine": machine(), "threads": get_num_threads(), "recipe": recipe, "runs": []}
    report["command"] = "python -m benchmarks.cifar10 " + " ".join(
        "DIR" if a == args.data_dir else a for a in sys.argv[1:]
    )
    for seed in args.seeds:
        arguments = (args.model, args.data_dir, args.epochs, seed, args.augment)
        run: dict[str, Any] = {"seed": seed}
        for precision in args.precisions:
            with fc.precision(precision):
                run[OURS[precision]] = history = train_ours(*arguments)
            print(f"seed {seed}: {OURS[precision]} {history['val_accuracy'][-1]:.4f}", flush=True)
        if torch is not None:
            report["torch"] = torch.__version__
            run["torch"] = train_torch(torch, *arguments)
        report["runs"].append(run)
    for name in (*OURS.values(), "torch"):
        last = [run[name] for run in report["runs"] if name in run]
        if last:
            accuracy = [history["val_accuracy"][-1] for history in last]
            seconds = [second for history in last for second in history["seconds"][1:] or history["seconds"]]
            report[f"{name}_summary"] = {
                "accuracy_mean": statistics.fmean(accuracy),
                "accuracy_stdev": statistics.stdev(accuracy) if len(accuracy) > 1 else 0.0,
                "seconds_per_epoch": statistics.median(seconds),
            }
            print(name, report[f"{name}_summary"])
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"cifar10-{args.model}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(path)


if __name__ == "__main__":
    main()
