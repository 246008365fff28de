"""The lecture's notebook "MNIST with Keras, HorovodRunner, and MLflow", with Spark and MPI of today.

    python docs/deploy/mnist_on_spark.py DATA_DIR RUN_DIR              # one rank, two on this machine, four of Spark's
    python docs/deploy/mnist_on_spark.py DATA_DIR RUN_DIR --limit 2000 --epochs 4

DATA_DIR holds MNIST's or Fashion-MNIST's files, and every rank opens them itself: the notebook was warned of a function
of 222 MB, as its images were sent along. As there, each rank has a batch of 128, the learning rate is multiplied by the
number of ranks, and rank 0 writes the log. There each went through all images ceil(12 / size) times; here they share
every batch, so that these are `size` times as many epochs of theirs together.
"""

import argparse
import math
import time
from pathlib import Path

from fastconv.parallel import spark


def train(directory: str, run: str, epochs: int, limit: int | None) -> tuple[int, int, float]:
    """Train on as many ranks as there are; return how many, the epochs, and the test accuracy."""
    import fastconv as fc
    from fastconv.parallel import DataParallel
    from fastconv.training.callbacks import CSVLogger

    fc.seed(0)
    parallel = DataParallel()
    size = parallel.size
    images, test_images = (fc.data.fashion_mnist(directory, split).take(slice(limit)) for split in ("train", "test"))
    loader = fc.data.DataLoader(images, 128 * size, seed=0)
    test = fc.data.DataLoader(test_images, 256, shuffle=False)
    model = fc.models.mnist_cnn(seed=0)
    optimizer = fc.optim.Adadelta(model.parameters(), 1.0 * size, rho=0.95, eps=1e-7)
    log = CSVLogger(Path(run) / f"log-{size}.csv")
    trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer, callbacks=log, parallel=parallel)
    own_epochs = size * math.ceil(epochs / size)
    history = trainer.fit(loader, own_epochs, validation_data=test).history
    return size, own_epochs, history["val_accuracy"][-1]


def main() -> None:
    """Run it three times: alone, on this machine, and as a job of Spark's."""
    from pyspark.sql import SparkSession

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_dir")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--limit", type=int, help="use the first images only")
    parser.add_argument("--epochs", type=int, default=12, help="of one rank")
    parser.add_argument("--ranks", type=int, default=4, help="of Spark's")
    parser.add_argument("--remote", action="store_true", help="over Spark Connect")
    args = parser.parse_args()
    args.run_dir.mkdir(parents=True, exist_ok=True)
    words = (args.data_dir, str(args.run_dir), args.epochs, args.limit)

    builder = SparkSession.builder.config("spark.ui.enabled", "false")
    master = f"local[{args.ranks},4]"
    session = (builder.remote if args.remote else builder.master)(master).getOrCreate()
    for what, run in (
        ("one rank", lambda: train(*words)),
        ("this machine", lambda: spark.run(train, *words, num_processes=-2, threads=1)),
        ("Spark", lambda: spark.run(train, *words, num_processes=args.ranks, spark=session, threads=1)),
    ):
        began = time.perf_counter()
        size, epochs, accuracy = run()
        seconds = time.perf_counter() - began
        print(f"{what}: {size} ranks, {epochs} epochs, accuracy {accuracy:.4f}, {seconds:.0f} s in all", flush=True)
    session.stop()


if __name__ == "__main__":
    main()
