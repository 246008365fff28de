"""The files for clusters, as far as they can be checked without one: their form, and the words of the commands."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess

import numpy as np
import pytest

from fastconv.cli.parser import build_parser
from tests.data.files import idx
from tests.parallel.jobs import ROOT

DEPLOY = ROOT / "docs" / "deploy"


@pytest.mark.parametrize("name", ["slurm.sh", "mpijob.yaml"])
def test_the_commands_are_ones_that_fastconv_takes(name):
    text = (DEPLOY / name).read_text()
    found = re.findall(r"(?:command|words)=\(([^)]*)\)", text)
    assert [words.split()[0] for words in found] in (["resume", "train"], ["train", "resume"])
    for words in found:
        options = build_parser().parse_args(shlex.split(words))
        assert options.run
    assert "-m fastconv.parallel.rank -m fastconv" in text


def test_the_script_is_one_that_bash_reads():
    subprocess.run(["bash", "-n", DEPLOY / "slurm.sh"], check=True)


def test_the_script_asks_slurm_for_what_it_uses():
    text = (DEPLOY / "slurm.sh").read_text()
    asked = re.findall(r"^#SBATCH --([a-z-]+)", text, re.MULTILINE)
    assert {"nodes", "ntasks-per-node", "cpus-per-task", "requeue"} <= set(asked)
    assert "SLURM_CPUS_PER_TASK" in text
    assert "signal=USR1@" in text


@pytest.mark.parametrize(("status", "calls"), [(0, "srun"), (75, "srun scontrol"), (1, "srun"), (137, "srun")])
@pytest.mark.parametrize("begun", [False, True])
def test_the_script_asks_for_another_run_where_the_training_was_told_to_stop(tmp_path, status, calls, begun):
    for name, code in (("srun", status), ("scontrol", 0)):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> "{tmp_path}/calls"\nexit {code}\n')
        program.chmod(0o755)
    run = tmp_path / "run"
    if begun:
        run.mkdir()
        (run / "run.toml").touch()
    more = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "RUN": str(run),
        "SLURM_CPUS_PER_TASK": "2",
        "SLURM_JOB_ID": "7",
    }
    done = subprocess.run(["bash", DEPLOY / "slurm.sh"], check=False, env=os.environ | more)
    assert done.returncode == status
    found = (tmp_path / "calls").read_text().splitlines()
    assert " ".join(line.split()[0] for line in found) == calls
    assert (" resume " if begun else " train ") in found[0]
    assert found[1:] in ([], ["scontrol requeue 7"])


def test_the_manifest_is_a_job_of_the_mpi_operator():
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load((DEPLOY / "mpijob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v2beta1", "MPIJob")
    replicas = job["spec"]["mpiReplicaSpecs"]
    count = replicas["Worker"]["replicas"] * job["spec"]["slotsPerWorker"]
    for kind in ("Launcher", "Worker"):
        pod = replicas[kind]["template"]["spec"]
        (container,) = pod["containers"]
        assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
    words = replicas["Launcher"]["template"]["spec"]["containers"][0]["args"][0]
    assert f"mpirun -n {count} " in words
    subprocess.run(["bash", "-n"], input=words, text=True, check=True)


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.slow)], indirect=True)
def test_the_notebook_trains_and_logs_without_a_job_too(tmp_path, rng, backend):
    for prefix, count in (("train", 200), ("t10k", 40)):
        images, labels = (
            rng.integers(1, 256, (count, 28, 28), dtype=np.uint8),
            rng.integers(0, 10, count, dtype=np.uint8),
        )
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))
    train = runpy.run_path(str(DEPLOY / "mnist_on_spark.py"))["train"]
    size, epochs, accuracy = train(str(tmp_path), str(tmp_path), 1, 128)
    assert (size, epochs) == (1, 1)
    assert 0 <= accuracy <= 1
    assert (tmp_path / "log-1.csv").read_text().count("\n") == 2
