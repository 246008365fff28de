"""Spark as what starts a job: `run`, for the ranks of a barrier stage.

The tasks of the stage start together. The first one runs an mpiexec that starts nothing itself but prints the command
of each process manager (Hydra, ``-launcher manual``); every task runs one of these, on whichever host it is, and the
ranks then talk by MPI, which Spark has nothing to do with. ``mapInArrow(barrier=True)`` works on a classic session and
over Spark Connect, which knows no RDDs (https://issues.apache.org/jira/browse/SPARK-42993).
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastconv import _validate as validate
from fastconv.errors import ArgumentError, DependencyError, ParallelError
from fastconv.parallel.called import result_of
from fastconv.parallel.launching import die_with_parent, environment_of, launch, threads_of
from fastconv.parallel.manual import OutputReader, end, start_managers, wait_for

_LARGEST = 10 * 2**20  # bytes that a function may bring along: data are opened by each rank


def run(
    program: Callable[..., Any] | Sequence[str],
    *arguments: Any,
    num_processes: int,
    spark: Any = None,
    threads: int | None = None,
    timeout: float = 600.0,
) -> Any:
    """Run a function, or a command, on several ranks that Spark places, and return what rank 0 returns.

    Parameters
    ----------
    program : callable or sequence of str
        A function, which is called with `arguments` on every rank; or a script and its arguments, or ``-m``, a module
        and its arguments, which are found at the same place on all hosts. `fastconv.parallel.connect` finds the ranks.
        It shall open its data itself, by a path that all hosts know: what it brings along is sent to every task.
    *arguments
        Of the function.
    num_processes : int
        Above 0, as many ranks, each a task of Spark's, which waits for so many free slots; 0, as many as there are
        slots (``spark.default.parallelism``, by default the cores of all executors); below 0, minus as many on this
        machine, without Spark. The rule is that of Databricks' HorovodRunner
        (https://docs.databricks.com/archive/machine-learning/train-model/horovod-runner.html).
    spark : pyspark.sql.SparkSession or None
        The active session by default.
    threads : int or None
        Of each rank; by default the cores of its host divided among the ranks there.
    timeout : float
        Seconds that a rank waits for the others in one call before it ends the job; 0: for ever.

    Returns
    -------
    object
        What the function returns on rank 0; None of a command.

    Raises
    ------
    DependencyError
        pyspark, Java, mpi4py or an mpiexec is missing.
    ArgumentError
        A function that cannot be sent, or brings more than 10 MB along.
    ParallelError
        There are fewer slots than ranks: at once where no more can come (``local[N]``), else when Spark gives up. Or
        the job failed each time that Spark started the stage anew: as often as ``spark.task.maxFailures`` and
        ``spark.stage.maxConsecutiveAttempts`` allow, 4 times by default, and only once with the master ``local[N]``
        (``local[N, 4]`` is as a cluster).

    Examples
    --------
    >>> def train(directory):
    ...     from fastconv.parallel import connect
    ...     return connect().size
    >>> run(train, "/shared/run", num_processes=2)  # doctest: +SKIP
    2
    """
    num_processes = validate.at_least(num_processes, -(2**16), "num_processes")
    work = _Work.of(program, arguments)
    if num_processes < 0:
        return _run_here(work, -num_processes, threads, timeout)
    session = _session(spark)
    count = num_processes or _slots(session)
    _check_slots(session.conf.get("spark.master", ""), count)
    task = _Task(work, threads, timeout)
    frame = session.range(0, count, 1, count).mapInArrow(task, "result binary", barrier=True)
    try:
        # Spark starts a barrier stage anew where its tasks failed, unless it is the last one of a job: so one follows.
        rows = frame.repartition(1).collect()
    except Exception as error:
        failure = next((line for line in str(error).splitlines() if "ParallelError:" in line), None)
        if "SPARK-24819" in str(error):  # what Spark says after it has waited for slots
            raise ParallelError(
                f"num_processes: got {count} ranks, and fewer slots; allowed: as many as tasks can run at once"
            ) from error
        if failure is None:
            raise
        raise ParallelError(failure.split("ParallelError:", 1)[1].strip()) from error
    return pickle.loads(rows[0][0])  # noqa: S301 - what this program's own rank wrote


class _Work:
    """What every rank does: `words`, or the pickled call of a function."""

    def __init__(self, words: Sequence[str] | None, call: bytes | None) -> None:
        self.words, self.call = words, call

    @classmethod
    def of(cls, program: Callable[..., Any] | Sequence[str], arguments: tuple[Any, ...]) -> _Work:
        """Return it, pickled by value as Spark pickles, so that functions of a notebook can be sent."""
        if not callable(program):
            words = [program] if isinstance(program, str) else [str(word) for word in program]
            if arguments or not words:
                raise ArgumentError(
                    f"program: got {program!r} and {len(arguments)} arguments; allowed: a function and its arguments,"
                    " or a list of a script and what follows it"
                )
            return cls(words, None)
        try:
            call = _cloudpickle().dumps((program, arguments))
        except (TypeError, pickle.PicklingError, AttributeError) as error:
            raise ArgumentError(
                f"program: got a function that cannot be sent ({error}); allowed: one that opens what it needs itself"
            ) from error
        if len(call) > _LARGEST:
            raise ArgumentError(
                f"program: got a function that brings {len(call) / 2**20:.0f} MB along to every rank; allowed: at most"
                f" {_LARGEST >> 20} MB: give it paths, and let each rank open its data"
            )
        return cls(None, call)

    def put(self, directory: Path) -> list[str]:
        """Return the words that do it, with the call, if it is one, in a file of `directory`."""
        if self.call is None:
            return list(self.words or ())
        file = directory / "call.pickle"
        half = directory / f"{uuid.uuid4().hex}.half"
        half.write_bytes(self.call)
        half.replace(file)
        return ["-m", "fastconv.parallel.called", str(file)]

    def result(self, directory: Path) -> bytes:
        """Return what rank 0 returned, pickled."""
        return pickle.dumps(None) if self.call is None else result_of(directory / "call.pickle").read_bytes()


class _Task:
    """What Spark runs as each task of the stage."""

    def __init__(self, work: _Work, threads: int | None, timeout: float) -> None:
        self.work, self.threads, self.timeout = work, threads, timeout

    def __call__(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Start a part of the job; yield the result from the first task."""
        import pyarrow
        from pyspark import BarrierTaskContext

        for _ in batches:
            pass
        context = BarrierTaskContext.get()
        number = context.partitionId()
        name = context.allGather(f"fastconv-{uuid.uuid4().hex}")[0]  # the same path on all hosts
        directory = Path(tempfile.gettempdir()) / name
        directory.mkdir(exist_ok=True)
        try:
            result = self._take_part(context, number, directory)
        finally:
            with suppress(OSError):  # ranks of one host share it, and another may be quicker
                shutil.rmtree(directory)
        results = [result] if number == 0 else []
        yield pyarrow.RecordBatch.from_pydict({"result": pyarrow.array(results, pyarrow.binary())})

    def _take_part(self, context: Any, number: int, directory: Path) -> bytes:
        words = self.work.put(directory)
        addresses = [info.address.rsplit(":", 1)[0] for info in context.getTaskInfos()]
        here = addresses.count(addresses[number])
        job: subprocess.Popen[str] | None = None
        said, problem = OutputReader(), ""
        proxies: list[str] = []
        if number == 0:
            try:
                each = threads_of(here, self.threads, len(os.sched_getaffinity(0)))
                hosts = [f"slot{i}" for i in range(len(addresses))]
                job, proxies = start_managers(words, hosts, environment_of(each, self.timeout), said)
            except Exception as error:  # every task must hear of it, or all wait
                problem = f"{type(error).__name__}: {error}"
        try:
            problem, *proxies = json.loads(context.allGather(json.dumps([problem, *proxies]))[0])
            if problem:
                raise ParallelError(f"job: got no ranks ({problem}); allowed: see fastconv.parallel.launch")
            # Where the manager of processes was killed mpiexec knows; its own status may be 0.
            subprocess.run(shlex.split(proxies[number]), check=False, preexec_fn=die_with_parent())  # noqa: S603 - Hydra's
            status = wait_for(job, said) if job is not None else 0
            status, last = json.loads(context.allGather(json.dumps([status, said.last]))[0])
            if status:
                raise ParallelError(f"job: ended with {status} ({last}); allowed: 0 on every rank")
            result = self.work.result(directory) if number == 0 else b""
            context.barrier()  # nobody clears up before it was read
            return result
        finally:  # a stage may be broken off while tasks wait for each other
            if job is not None:
                end(job)


def _run_here(work: _Work, count: int, threads: int | None, timeout: float) -> Any:
    with tempfile.TemporaryDirectory(prefix="fastconv-") as name:
        directory = Path(name)
        status = launch(work.put(directory), count, threads=threads, timeout=timeout)
        if status:
            raise ParallelError(f"job: ended with {status}; allowed: 0 on every rank")
        return pickle.loads(work.result(directory))  # noqa: S301 - what this program's own rank wrote


def _cloudpickle() -> Any:
    try:
        from pyspark import cloudpickle
    except ImportError as error:
        raise DependencyError(f"spark: got {error}; allowed: pip install 'fastconv[spark]'") from error
    return cloudpickle


def _session(spark: Any) -> Any:
    _cloudpickle()
    from pyspark.sql import SparkSession

    session = SparkSession.getActiveSession() if spark is None else spark
    if session is None and "SPARK_REMOTE" not in os.environ and not _finds_java():
        raise DependencyError(
            "spark: got no Java; allowed: Java 17 or newer, on the PATH or in JAVA_HOME, and a SparkSession"
        )
    if session is None:
        raise ArgumentError("spark: got no active session; allowed: a SparkSession")
    return session


def _finds_java() -> bool:
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java", path=None if home is None else f"{home}/bin") is not None


def _check_slots(master: str, count: int) -> None:
    """Refuse more ranks than a session of one machine can ever run at once: Spark would wait for ten minutes."""
    local = re.fullmatch(r"local(?:\[(\d+|\*)(?:,\s*\d+)?\])?", master)
    if local is None:
        return
    slots = len(os.sched_getaffinity(0)) if local[1] == "*" else int(local[1] or 1)
    if count > slots:
        raise ParallelError(
            f"num_processes: got {count} ranks for the {slots} slots of {master!r}; allowed: at most {slots}, or"
            " another master"
        )


def _slots(session: Any) -> int:
    """Return how many tasks can run at once."""
    said = session.conf.get("spark.default.parallelism", None)
    # Else it is the partitions of a range: over Connect, which has no SparkContext, nothing else tells.
    return int(said) if said else int(session.range(1 << 16).selectExpr("spark_partition_id()").distinct().count())
