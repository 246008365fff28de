"""TensorFlow's pruning of its CIFAR-10 network, done again: accuracy at several sparsities.

    python -m benchmarks.pruning --data-dir DIR                          # 0, 50, 75, 90, 95 %, 20,000 steps each
    python -m benchmarks.pruning --data-dir DIR --sparsities 0.9 --seeds 1 2
    python -m benchmarks.pruning --time 20                               # a step beside PyTorch's, on random images

The network is `fc.models.tf_cifar10` with the sample's initial weights, batches of 128 distorted crops of 24 x 24, SGD
with rate 0.1, L2 on the two hidden dense layers, and the averaged weights for evaluation, on central crops. The
published runs took 150,000 steps; what is counted in steps is scaled to ours: the masks change from a fifteenth to two
thirds of the run, the rate falls to a tenth at 91 %, the average looks back over as large a part.

After every `--every` steps the accuracy is measured and the state is written to `--state`, so that the same command
goes on where it was stopped. Curves go to benchmarks/results/pruning.json, run by run; those that are there are kept.

Source: https://github.com/tensorflow/tensorflow/tree/r1.15/tensorflow/contrib/model_pruning
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

import fastconv as fc
from benchmarks import torch_peer
from benchmarks.said import said
from benchmarks.torch_models import make_model
from fastconv.data import cifar10
from fastconv.training import Callback, StepInfo
from fastconv.training.environment import environment

RESULTS = Path(__file__).parent / "results" / "pruning.json"
BATCH, SIDE = 128, 24
PUBLISHED = {0.0: 0.86, 0.5: 0.86, 0.75: None, 0.9: None, 0.95: 0.77}  # after 150,000 steps; two say TODO
PUBLISHED_STEPS = 150_000


def standardised(images: np.ndarray) -> np.ndarray:
    """Return images with mean 0 and deviation 1 each, at least 1 / sqrt(size) being divided by."""
    mean, deviation = images.mean((1, 2, 3), keepdims=True), images.std((1, 2, 3), keepdims=True)
    return ((images - mean) / np.maximum(deviation, images[0].size ** -0.5)).astype(np.float32)


def distorted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return random crops, mirrored, brighter or darker by up to 63, with 0.2 to 1.8 of their contrast."""
    count, side = len(images), images.shape[1]
    top, left = rng.integers(0, side - SIDE + 1, (2, count))
    rows, columns = top[:, None] + np.arange(SIDE), left[:, None] + np.arange(SIDE)
    mirrored = rng.random(count) < 0.5
    columns[mirrored] = columns[mirrored, ::-1]
    crops = images[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]].astype(np.float32)
    crops += rng.uniform(-63, 63, (count, 1, 1, 1)).astype(np.float32)
    mean, contrast = crops.mean((1, 2), keepdims=True), rng.uniform(0.2, 1.8, (count, 1, 1, 1)).astype(np.float32)
    return standardised((crops - mean) * contrast + mean)


def central(images: np.ndarray) -> np.ndarray:
    """Return the central crops."""
    begin = (images.shape[1] - SIDE) // 2
    return standardised(images[:, begin : begin + SIDE, begin : begin + SIDE].astype(np.float32))


class Batches:
    """Distorted batches in random order; what `Trainer.fit` calls an epoch is `every` of them."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, every: int, seed: int) -> None:
        self._images, self._labels, self._every, self._seed = images, labels, every, seed
        self._begin = 0

    def __len__(self) -> int:
        return self._every

    def set_epoch(self, epoch: int) -> None:
        """Go to the first batch of this epoch."""
        self._begin = epoch * self._every

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        per_pass = len(self._images) // BATCH
        for step in range(self._begin, self._begin + self._every):
            done, place = divmod(step, per_pass)
            order = np.random.default_rng((self._seed, 0, done)).permutation(len(self._images))
            chosen = order[place * BATCH : (place + 1) * BATCH]
            yield distorted(self._images[chosen], np.random.default_rng((self._seed, 1, step))), self._labels[chosen]


def make_sample(seed: int) -> fc.nn.Layer:
    """Return the network with the sample's initial weights: normal, cut off at two deviations."""
    model, rng = fc.models.tf_cifar10(seed=seed), np.random.default_rng((seed, 2))
    deviations = iter((0.05, 0.05, 0.04, 0.04, 1 / 192))
    biases = iter((0.0, 0.1, 0.1, 0.1, 0.0))
    for parameter in model.parameters():
        if len(parameter.shape) > 1:
            values = rng.standard_normal(parameter.shape)
            while (far := np.abs(values) > 2).any():
                values[far] = rng.standard_normal(int(far.sum()))
            parameter.data = (next(deviations) * values).astype(np.float32)
        else:
            parameter.data = np.full(parameter.shape, next(biases), np.float32)
    return model


def make_optimizer(model: fc.nn.Layer, sparsity: float, steps: int) -> tuple[fc.optim.Optimizer, fc.optim.EMA]:
    """Return what trains, pruning included, and the average within it."""
    dense = [parameter for parameter in model.parameters() if len(parameter.shape) == 2][:-1]
    groups = fc.optim.split_groups(model.parameters(), lambda parameter: parameter in dense, weight_decay=0.004)
    decay = 1 - min(1e-4 * PUBLISHED_STEPS / steps, 0.1)
    average = fc.optim.EMA(fc.optim.SGD(groups, 0.1), decay=decay, warmup=True)
    if not sparsity:
        return average, average
    return fc.optim.Pruning(average, steps * 2 // 3, target=sparsity, begin=steps // 15), average


class Measure(Callback):
    """Measures the averaged weights on the test images and writes the state, after each epoch."""

    saves = True

    def __init__(self, average: fc.optim.EMA, test: tuple[np.ndarray, np.ndarray], state: Path) -> None:
        self._average, self._test, self._state = average, test, state
        self.curve: dict[str, list[float]] = {"step": [], "loss": [], "accuracy": [], "sparsity": [], "seconds": []}
        self._seconds, self._began = 0.0, 0.0

    def on_step_begin(self, trainer: Any, x: Any, y: Any) -> None:
        """Note when it begins."""
        self._began = time.perf_counter()

    def on_step_end(self, trainer: Any, info: StepInfo) -> None:
        """Count its time, without that for its batch."""
        float(info.loss)
        self._seconds += time.perf_counter() - self._began

    def on_epoch_end(self, trainer: Any, logs: dict[str, float]) -> None:
        """Measure and write."""
        with self._average.averaged():
            accuracy = trainer.evaluate(self._test, batch_size=500)["accuracy"]
        told = {"step": trainer.step, "loss": round(logs["loss"], 5), "accuracy": round(accuracy, 5)}
        told |= {"sparsity": round(logs.get("sparsity", 0.0), 6), "seconds": round(self._seconds, 1)}
        for name, value in told.items():
            self.curve[name].append(value)
        trainer.save(self._state)
        print(" ".join(f"{name} {value}" for name, value in told.items()), flush=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the curve and the time so far."""
        return {"curve": self.curve, "seconds": self._seconds}

    def load_state_dict(self, state: Any) -> None:
        """Take what `state_dict` gave."""
        self.curve, self._seconds = {name: list(values) for name, values in state["curve"].items()}, state["seconds"]


def train(sparsity: float, seed: int, steps: int, every: int, state: Path, data: dict[str, Any]) -> dict[str, Any]:
    """Train to this sparsity, or go on with it, and return what goes into the results."""
    fc.seed(seed)
    model = make_sample(seed)
    optimizer, average = make_optimizer(model, sparsity, steps)
    measure = Measure(average, data["test"], state)
    fall = round(0.912 * steps)
    trainer = fc.Trainer(
        *(model, fc.losses.SoftmaxCrossEntropy(), optimizer),
        schedule=lambda step: 0.1 if step < fall else 0.01,
        callbacks=measure,
    )
    if state.exists():
        trainer.restore(state)
        print(f"goes on from step {trainer.step}", flush=True)
    left = steps // every - trainer.epoch
    if left > 0:
        trainer.fit(Batches(*data["train"], every, seed), left)
    layers = {name.partition("/")[2]: round(share, 6) for name, share in optimizer.quantities().items() if "/" in name}
    return {"sparsity": sparsity, "seed": seed, "steps": steps, "layers": layers, "curve": measure.curve}


def store(run: dict[str, Any], settings: dict[str, Any], path: Path) -> None:
    """Put a run into the file of results, in the place of one of the same sparsity, seed and length."""
    report = json.loads(path.read_text()) if path.exists() else {"runs": []}
    key = ("sparsity", "seed", "steps")
    others = [other for other in report["runs"] if any(other[name] != run[name] for name in key)]
    runs = sorted([*others, settings | run], key=lambda each: [each[name] for name in key])
    published = {str(share): accuracy for share, accuracy in PUBLISHED.items()}
    report = {"published": published, "published_steps": PUBLISHED_STEPS, "runs": runs}
    path.parent.mkdir(exist_ok=True)
    text = json.dumps(report, indent=1)
    path.write_text(text + "\n")


def settings_of(words: list[str], places: dict[Path | str, str], precision: str) -> dict[str, Any]:
    """Return what the results say of how they came about: `places` are names for paths of one machine."""
    return {
        "date": date.today().isoformat(),
        "environment": environment(),
        "threads": fc.get_backend().num_threads,
        "precision": precision,
        "command": said("pruning", words, places),
    }


def time_steps(count: int) -> dict[str, float]:
    """Return medians in milliseconds of a step of ours, plain and pruned, and of PyTorch's, in turn."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((BATCH, SIDE, SIDE, 3)).astype(np.float32), rng.integers(0, 10, BATCH).astype(np.int32)
    steps: dict[str, Callable[[], Any]] = {}
    for name, sparsity in (("fastconv", 0.0), ("fastconv pruned", 0.9)):
        model = make_sample(0)
        optimizer, _ = make_optimizer(model, sparsity, 3)
        trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer)
        steps[name] = lambda trainer=trainer: float(trainer.train_step(x, y))
    torch = torch_peer.load(fc.get_backend().num_threads)
    for layout in torch_peer.LAYOUTS if torch else ():
        steps[f"torch {layout}"] = _torch_step(torch, x, y, layout)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(count + 5):
        for name, step in steps.items():
            begin = time.perf_counter()
            step()
            times[name].append(1000 * (time.perf_counter() - begin))
    return {name: statistics.median(values[5:]) for name, values in times.items()}


def _torch_step(torch: Any, x: np.ndarray, y: np.ndarray, layout: str) -> Callable[[], float]:
    """Return PyTorch's step with masks, averages and decay, as its user would write them."""
    model = make_model(torch, "tf_cifar10").to(memory_format=getattr(torch, layout))
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    masks = [(torch.rand_like(weight) > 0.9).float() for weight in weights]
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    averages = [parameter.detach().clone() for parameter in model.parameters()]
    images, labels = torch_peer.image(torch, x, layout), torch.from_numpy(y).long()

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_mul_(weights, masks)
            torch._foreach_lerp_(averages, list(model.parameters()), 1e-3)
        return loss.item()

    return step


def main(argv: list[str] | None = None) -> None:
    """Train all sparsities and seeds, one after the other, or time a step."""
    words = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir")
    parser.add_argument("--sparsities", type=float, nargs="+", default=list(PUBLISHED))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--every", type=int, default=1000, help="steps between two measurements and saved states")
    parser.add_argument("--limit", type=int, help="use the first N images of each part only")
    parser.add_argument("--precision", default="default")
    parser.add_argument("--state", type=Path, default=Path("runs/pruning"), help="folder of the states to go on from")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--time", type=int, metavar="N", help="time N steps, and train nothing")
    args = parser.parse_args(words)
    fc.set_precision(args.precision)
    if args.time:
        for name, value in time_steps(args.time).items():
            print(f"{name:28} {value:8.1f} ms")
        return
    if args.data_dir is None or args.steps % args.every:
        parser.error("--data-dir is needed, and --steps is a multiple of --every")
    parts = {part: cifar10(args.data_dir, part).take(slice(args.limit)) for part in ("train", "test")}
    data: dict[str, Any] = {"train": (parts["train"].images, parts["train"].labels)}
    data["test"] = central(parts["test"].images), parts["test"].labels
    places = {args.data_dir: "DIR", args.state: "STATE", args.out: "RESULT"}
    settings = settings_of(words, places, args.precision)
    args.state.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        for sparsity in args.sparsities:
            print(f"sparsity {sparsity:g}, seed {seed}", flush=True)
            state = args.state / f"sparsity-{sparsity:g}-seed-{seed}-steps-{args.steps}.safetensors"
            store(train(sparsity, seed, args.steps, args.every, state, data), settings, args.out)
    print(args.out)


if __name__ == "__main__":
    main()
