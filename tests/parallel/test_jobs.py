"""Whole trainings by ranks that are processes."""

from __future__ import annotations

import time

import pytest

import fastconv as fc
from fastconv.parallel import SingleProcess
from tests.parallel.jobs import run_job
from tests.training.ranks import digest, small_data, small_model, trainer_of

pytestmark = pytest.mark.mpi

_TRAIN = """
    import os, signal, sys, time
    import fastconv as fc
    from fastconv.parallel import connect
    from fastconv.training import Callback, ModelCheckpoint
    from tests.training.ranks import digest, small_data, small_model, trainer_of

    sync, how, folder = sys.argv[1] == "sync", sys.argv[2], sys.argv[3]
    communicator = connect()
    last = communicator.rank == communicator.size - 1

    class Ends(Callback):
        def on_step_end(self, trainer, info):
            if last and trainer.step == 5:
                print("dies at", time.time(), flush=True)
                if how == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                elif how == "exit":
                    sys.exit(3)
                elif how == "raise":
                    raise ValueError("the reason")

    fc.set_backend("numpy")
    model = small_model(sync=sync)
    callbacks = [ModelCheckpoint(folder, save_every_steps=2), Ends()] if folder != "none" else [Ends()]
    seed = communicator.rank if how == "seed" else 3
    if how == "code" and last:
        sys.argv[0] = fc.__file__  # as if it were the program
    data = small_data(seed=int(how == "data" and last))
    trainer = trainer_of(model, communicator, shards=8 if how == "shards" else 4, callbacks=callbacks, seed=seed)
    if folder != "none" and os.path.exists(folder + "/last.safetensors"):
        trainer.restore(folder + "/last.safetensors")
    trainer.fit(data, 3 - trainer.epoch, batch_size=8)
    if communicator.rank == 0:
        print("weights", digest(model), trainer.images_computed, flush=True)
"""


def _weights(job):
    assert job.returncode == 0, job.stdout + job.stderr
    return next(line.split()[1] for line in job.stdout.splitlines() if line.startswith("weights"))


def _by_one(sync):
    with fc.use_backend("numpy"):
        trainer = trainer_of(small_model(sync=sync), SingleProcess(), shards=4, seed=3)
        trainer.fit(small_data(), 3, batch_size=8)
        return digest(trainer.model)


@pytest.mark.parametrize("sync", [False, True], ids=["ghost", "sync"])
def test_processes_give_the_bits_of_one(sync):
    wanted = _by_one(sync)
    for size in (2, 4):
        assert _weights(run_job(size, _TRAIN, "sync" if sync else "ghost", "whole", "none")) == wanted


@pytest.mark.parametrize("how", ["kill", "exit", "raise"])
def test_a_rank_that_dies_ends_the_job_and_another_number_goes_on(tmp_path, how):
    job = run_job(2, _TRAIN, "ghost", how, tmp_path, timeout=120)
    ended = time.time()
    assert job.returncode != 0
    died = next(float(line.split()[-1]) for line in job.stdout.splitlines() if line.startswith("dies at"))
    assert ended - died < 20  # it is 5 s at most where nothing else runs
    assert job.stderr.count("ValueError: the reason") == (how == "raise")
    assert _weights(run_job(4, _TRAIN, "ghost", "whole", tmp_path)) == _by_one(False)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("seed", "ParallelError: seed: got 1 on rank 1"),
        ("data", "ParallelError: train: got "),
        ("code", "ParallelError: code: got sources of SHA-256"),
    ],
)
def test_ranks_that_differ_are_refused_once(how, said):
    job = run_job(2, _TRAIN, "ghost", how, "none", timeout=120)
    assert job.returncode != 0
    assert job.stderr.count(said) == job.stderr.count("ParallelError: ") == 1
    assert "weights" not in job.stdout


def test_the_state_of_other_shards_is_refused_once(tmp_path):
    with fc.use_backend("numpy"):
        trainer = trainer_of(small_model(), SingleProcess(), shards=4, seed=3)
        trainer.train_step(*small_data(16))
        trainer.save(tmp_path / "last.safetensors")
    job = run_job(2, _TRAIN, "ghost", "shards", tmp_path, timeout=120)
    assert job.returncode != 0
    assert job.stderr.count("CheckpointError: path: got ") == job.stderr.count("one by 4 shards") == 1
    assert "weights" not in job.stdout


def test_ranks_that_do_not_divide_the_shards_are_refused_once():
    job = run_job(3, _TRAIN, "ghost", "whole", "none", timeout=120)
    assert job.returncode != 0
    assert job.stderr.count("ParallelError: communicator: got 3 ranks for 4 shards") == 1
