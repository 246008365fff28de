"""Jobs that Spark starts, with a real session, classic and over Connect; skipped where PySpark or Java is missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import sys

import numpy as np
import pytest

from fastconv.errors import ArgumentError, DependencyError, ParallelError
from fastconv.parallel import spark
from tests.parallel.jobs import ROOT

_spark_warns = pytest.mark.filterwarnings("default")  # of its own code, in each release of other things


@pytest.fixture(scope="module", params=["classic", "connect"])
def session(request):
    """A session whose tasks may fail and start again, as on a cluster."""
    if not all(map(importlib.util.find_spec, ("pyspark", "pyarrow", "pandas", "mpi4py"))) or not shutil.which("java"):
        pytest.skip("Spark: pip install 'fastconv[spark]', and Java 17")
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYTHONPATH", str(ROOT))
        builder = SparkSession.builder.config("spark.ui.enabled", "false")
        made = (builder.remote if request.param == "connect" else builder.master)("local[2,4]").getOrCreate()
        yield made
        made.stop()


def _total(word):
    from fastconv.parallel import connect

    communicator = connect()
    total = np.full(3, communicator.rank + 1.0)
    communicator.allreduce(total)
    return word, communicator.rank, communicator.size, total.tolist()


@pytest.mark.mpi
@_spark_warns
def test_ranks_talk_and_rank_0_answers(session):
    assert spark.run(_total, "hello", num_processes=2, spark=session) == ("hello", 0, 2, [3.0] * 3)


@pytest.mark.mpi
@_spark_warns
def test_as_many_ranks_as_there_are_slots(session):
    """Whose number nobody set."""
    assert spark.run(_total, "all", num_processes=0, spark=session) == ("all", 0, 2, [3.0] * 3)


@pytest.mark.mpi
@_spark_warns
def test_a_command(session, tmp_path):
    script = tmp_path / "program.py"
    script.write_text(
        "import sys\nfrom fastconv.parallel import connect\nrank = connect().rank\n"
        "open(f'{sys.argv[1]}/{rank}', 'w').write('here')\n"
    )
    assert spark.run([str(script), str(tmp_path)], num_processes=2, spark=session) is None
    assert [(tmp_path / name).read_text() for name in "01"] == ["here"] * 2


def _dies_once(path):
    from fastconv.parallel import connect

    communicator = connect()
    if communicator.rank == 1 and not os.path.exists(path):
        open(path, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    communicator.barrier()
    return "the second time"


@pytest.mark.mpi
@_spark_warns
def test_the_stage_starts_again_when_a_rank_was_killed(session, tmp_path):
    assert spark.run(_dies_once, str(tmp_path / "died"), num_processes=2, spark=session) == "the second time"


@pytest.mark.mpi
@pytest.mark.filterwarnings("default")
def test_more_ranks_than_slots_are_refused_at_once(session):
    with pytest.raises(ParallelError, match=r"num_processes: got 3 ranks for the 2 slots of 'local\[2,4\]'"):
        spark.run(_total, "hello", num_processes=3, spark=session)


@pytest.mark.parametrize(
    ("master", "slots"), [("local", 1), ("local[3]", 3), ("local[3, 4]", 3), ("local[*]", None), ("yarn", 2**16)]
)
def test_slots_of_one_machine_are_counted(master, slots):
    slots = slots or len(os.sched_getaffinity(0))
    spark._check_slots(master, slots)
    if master != "yarn":
        with pytest.raises(ParallelError, match=rf"num_processes: got {slots + 1} ranks for the {slots} slots of"):
            spark._check_slots(master, slots + 1)


def _fails():
    from fastconv.parallel import connect

    if connect().rank == 1:
        raise ValueError("the reason")
    connect().barrier()


@pytest.mark.mpi
@_spark_warns
def test_a_job_that_always_fails_says_why(session):
    with pytest.raises(ParallelError, match="ValueError: the reason"):
        spark.run(_fails, num_processes=2, spark=session)


@pytest.mark.mpi
def test_below_zero_it_runs_here(job_environment):
    pytest.importorskip("pyspark")
    assert spark.run(_total, "here", num_processes=-2) == ("here", 0, 2, [3.0] * 3)


def test_data_is_not_sent_along():
    pytest.importorskip("pyspark")
    images = np.zeros(11 << 20, np.uint8)
    with pytest.raises(ArgumentError, match=r"program: got a function that brings 11 MB along.*open its data"):
        spark.run(lambda: images.sum(), num_processes=2)


@pytest.mark.parametrize(("program", "arguments"), [([], ()), (["script.py"], ("more",))])
def test_a_command_is_a_list_of_words(program, arguments):
    with pytest.raises(ArgumentError, match="program: got"):
        spark.run(program, *arguments, num_processes=2)


def test_without_pyspark_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(DependencyError, match=r"fastconv\[spark\]"):
        spark.run(_total, "x", num_processes=2)


@pytest.fixture
def no_session(monkeypatch):
    """No session is active, whatever other tests have begun."""
    pytest.importorskip("pyspark")
    monkeypatch.setattr("pyspark.sql.SparkSession.getActiveSession", lambda: None)
    monkeypatch.delenv("SPARK_REMOTE", raising=False)


@pytest.mark.parametrize("home", [False, True])
def test_without_java_it_says_what_to_install(no_session, monkeypatch, tmp_path, home):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    if home:
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(DependencyError, match="spark: got no Java; allowed: Java 17"):
        spark.run(["script.py"], num_processes=2)


def test_without_a_session_it_says_so(no_session, monkeypatch, tmp_path):
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.touch(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ArgumentError, match="spark: got no active session"):
        spark.run(["script.py"], num_processes=2)
