"""The networks of twenty years, each with the same short budget: what they make of a few images of CIFAR-10.

    python -m benchmarks.architectures --data-dir DIR
    python -m benchmarks.architectures --data-dir DIR --models lenet5 vgg16 --runs runs

Every one is trained by the recipe below, once over the first 3,000 images, and tested on the first 3,000 test images.
That takes some twenty minutes of one core, half of them GoogLeNet's, and is far from what any of them can reach: it
says which are on their way fast. A training is what ``fastconv train`` or ``fastconv resume`` does, as in trained.py,
so it may be stopped at any time; what is done stands in benchmarks/results/architectures.json and is not done again.
"""

import argparse
import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

import fastconv as fc
from benchmarks.said import said
from benchmarks.trained import RESULTS, Training, train_ours
from fastconv._files import write_atomically
from fastconv.training.environment import environment

RESULT = RESULTS / "architectures.json"
IMAGES, EPOCHS = 3000, 1
RECIPE = (
    f"--dataset cifar10 --limit {IMAGES} --epochs {EPOCHS} --batch-size 32 --optimizer Adam --lr 1e-3 --schedule Cosine"
    " --no-augment"
)
MODELS = (
    "lenet5",
    "alexnet",
    "vgg16",
    "googlenet",
    "resnet20",
    "resnet18",
    "keras_cnn",
    "mobilenet",
    "resnet9",
)


def read(path: Path) -> dict[str, Any]:
    """Return what has been computed by this recipe; what another one left goes."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return (
        found if found.get("train") == f"fastconv train {RECIPE}" else {"train": f"fastconv train {RECIPE}", "runs": {}}
    )


def main() -> None:
    """Train what is not there yet, one network after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the folders of the runs are")
    parser.add_argument("--result", type=Path, default=RESULT)
    args = parser.parse_args()
    command = said("architectures", sys.argv[1:], {args.data_dir: "DIR", args.runs: "RUNS", args.result: "RESULT"})
    found = read(args.result)
    fc.set_backend("numba")
    for seed in args.seeds:
        for name in args.models:
            runs = found["runs"].setdefault(name, {})
            if str(seed) in runs:
                continue
            training = Training(f"--model {name} {RECIPE}")
            history = train_ours(training, args.data_dir, args.runs / f"architecture-{name}-{seed}", seed, "default")
            where = environment()
            runs[str(seed)] = {
                **{key: history[key] for key in ("loss", "val_accuracy")},
                "seconds": sum(history["seconds"]),
                "machine": f"{where['facts']['name']}, {where['threads']} thread{'s' * (where['threads'] != 1)}",
                "date": date.today().isoformat(),
                "command": command,
            }
            found["runs"] = {each: found["runs"][each] for each in MODELS if each in found["runs"]}
            write_atomically(args.result, f"{json.dumps(found, indent=1)}\n".encode())
            print(f"{name}, seed {seed}: {history['val_accuracy'][-1]:.4f}", flush=True)


if __name__ == "__main__":
    main()
