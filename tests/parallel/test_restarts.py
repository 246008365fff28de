"""Whoever dies, when and how, and however many ranks go on: the training ends with the same weights, to the bit."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from fastconv.parallel import launch
from tests.parallel.jobs import gone

_TRAINING = """
import hashlib, os, signal, sys
import numpy as np
import fastconv as fc
from fastconv.parallel import DataParallel
from fastconv.training.callbacks import Callback

directory, at, victim, how = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
fc.set_backend("numba")
fc.seed(3)
parallel = DataParallel(shards=4)


class Die(Callback):
    def on_step_end(self, trainer, info):
        if trainer.step == at and parallel.rank == victim:
            if how == "raise":
                raise ValueError("the end")
            if how == "exit":
                os._exit(3)
            os.kill(os.getpid(), getattr(signal, how))


class Save(Callback):
    saves = first_rank_only = True

    def on_step_end(self, trainer, info):
        if trainer.step % 5 == 0:
            trainer.save(f"{directory}/state")


rng = np.random.default_rng(0)
x = rng.standard_normal((96, 8, 8, 3)).astype(np.float32)
y = rng.integers(0, 10, 96).astype(np.int32)
nn = fc.nn
model = nn.Sequential(
    nn.Conv2d(8, 3), nn.BatchNorm2d(), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Dense(10)
).build((8, 8, 3), seed=1)
optimizer = fc.optim.SGD(model.parameters(), 0.05, momentum=0.9)
trainer = fc.Trainer(
    model, fc.losses.SoftmaxCrossEntropy(), optimizer, seed=2, parallel=parallel, callbacks=(Die(), Save())
)
if os.path.exists(f"{directory}/state"):
    trainer.restore(f"{directory}/state")
trainer.fit(fc.data.DataLoader((x, y), 16, seed=4), 8 - trainer.epoch)
if parallel.rank == 0:
    digest = hashlib.sha256(b"".join(fc.to_numpy(p.data).tobytes() for p in model.parameters()))
    with open(f"{directory}/digest", "w") as file:
        file.write(f"{trainer.step} {digest.hexdigest()}")
"""
_STEPS = 48


def _cases():
    drawn = np.random.default_rng(26)
    kinds = ["SIGKILL", "SIGSEGV", "SIGTERM", "raise", "exit"]
    for number in range(int(os.environ.get("FASTCONV_KILLS", "5"))):
        ranks = int(drawn.choice([2, 4]))
        yield (
            int(drawn.integers(1, _STEPS)),
            ranks,
            int(drawn.integers(ranks)),
            kinds[number % 5],
            int(drawn.choice([1, 2, 4])),
        )


@pytest.fixture(scope="module")
def undisturbed(job_environment, tmp_path_factory):
    """The weights of a training that nobody disturbs, on one rank."""
    directory = tmp_path_factory.mktemp("undisturbed")
    (directory / "training.py").write_text(_TRAINING)
    assert launch([str(directory / "training.py"), str(directory), "-1", "0", "raise"], 1) == 0
    return (directory / "digest").read_text()


@pytest.mark.mpi
@pytest.mark.filterwarnings("ignore:.*take turns")  # as they may in a test
@pytest.mark.parametrize(("step", "ranks", "victim", "how", "later"), list(_cases()))
def test_it_goes_on(job_environment, undisturbed, tmp_path, step, ranks, victim, how, later):
    script = tmp_path / f"training_{os.getpid()}_{step}_{ranks}_{how}.py"
    script.write_text(_TRAINING)
    words = [str(script), str(tmp_path), str(step), str(victim), how]
    assert launch(words, ranks, threads=1, timeout=60) != 0
    died = time.monotonic()
    assert gone(script.name, 5), time.monotonic() - died
    assert not (tmp_path / "digest").exists()
    assert launch([*words[:2], "-1", "0", "raise"], later, threads=1, timeout=60) == 0
    assert (tmp_path / "digest").read_text() == undisturbed == f"{_STEPS} {undisturbed.split()[1]}"
