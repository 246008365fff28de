"""Logs for TensorBoard and MLflow, read back by other code than that which wrote them."""

import copy
import importlib.util
import math
import struct
import sys

import pytest

import fastconv as fc
from fastconv.errors import ArgumentError, CheckpointError, DependencyError, OutputError
from fastconv.training import MLflowLogger, TensorBoardLogger

from .runs import data_of, go_on, trainer_of

tensorboard = pytest.mark.skipif(not importlib.util.find_spec("tensorboardX"), reason="needs the extra 'tensorboard'")


def mlflow(test):
    """Skip it where MLflow is missing; its own packages may warn."""
    quiet = pytest.mark.filterwarnings("ignore")(test)
    return pytest.mark.skipif(not importlib.util.find_spec("mlflow"), reason="needs the extra 'mlflow'")(quiet)


@pytest.fixture(autouse=True)
def _numpy(monkeypatch):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database needs more packages, and takes seconds to make
    with fc.use_backend("numpy"):
        yield


def events(directory):
    """Return the events of all files in a directory: records of a length, its checksum, the bytes and theirs."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(directory.glob("events.*")):
        data, place = path.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            found.append(Event.FromString(data[place + 12 : place + 12 + length]))
            place += 16 + length
    return found


def scalars(directory):
    return [
        (value.tag, event.step, value.simple_value)
        for event in events(directory)
        for value in event.summary.value
        if value.HasField("simple_value")
    ]


@tensorboard
def test_event_files_hold_the_history(tmp_path):
    trainer = trainer_of(TensorBoardLogger(tmp_path, every_steps=2, histograms=True))
    trainer.fit(data_of(), 2, data_of(seed=1), batch_size=4)
    found = scalars(tmp_path)
    for name in trainer.quantities:
        got = [(step, value) for tag, step, value in found if tag == name]
        assert [step for step, _ in got] == [3, 6]
        assert [value for _, value in got] == pytest.approx(trainer.history.history[name], rel=1e-6)
    assert [step for tag, step, _ in found if tag == "step/loss"] == [2, 4, 6]
    histograms = {v.tag for event in events(tmp_path) for v in event.summary.value if v.HasField("histo")}
    assert histograms == {parameter.name for parameter in trainer.model.parameters()}


@tensorboard
def test_a_resumed_run_hides_what_comes_again(tmp_path):
    trainer = trainer_of(TensorBoardLogger(tmp_path / "log"))
    trainer.fit(data_of(), 2)
    trainer.save(tmp_path / "state")
    again = trainer_of(TensorBoardLogger(tmp_path / "log"))
    again.restore(tmp_path / "state")
    again.fit(data_of(), 1)
    starts = [event.step for event in events(tmp_path / "log") if event.HasField("session_log")]
    assert starts == [3]


@tensorboard
def test_a_logger_can_be_copied_and_its_directory_is_tried_first(tmp_path):
    logger = TensorBoardLogger(tmp_path / "file" / "log")
    assert copy.deepcopy(logger).directory == logger.directory
    (tmp_path / "file").touch()
    trainer = trainer_of(logger)
    with pytest.raises(OutputError, match=r"directory: got .*could not be written"):
        trainer.fit(data_of(), 1)
    assert trainer.step == 0


@mlflow
def test_a_run_of_mlflow_holds_the_history_and_is_gone_on_with(tmp_path):
    from mlflow import MlflowClient

    uri = f"file:{tmp_path / 'store'}"
    first = MLflowLogger("cifar", tracking_uri=uri, run_name="mine", every_steps=1)
    trainer = trainer_of(first)
    trainer.fit(data_of(), 2)
    trainer.save(tmp_path / "state")
    again = MLflowLogger("cifar", tracking_uri=uri, every_steps=1)
    resumed = trainer_of(again)
    go_on(resumed, tmp_path / "state", [(again, first.state_dict())])
    resumed.fit(data_of(), 1)
    client = MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("cifar").experiment_id])
    assert (run.info.run_id, run.info.status, run.info.run_name) == (again.run_id, "FINISHED", "mine")
    losses = client.get_metric_history(run.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in losses] == list(
        zip((1, 2, 3), resumed.history.history["loss"], strict=True)
    )
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "step/loss")] == [1, 2, 3]
    assert run.data.params["optimizer"] == "SGD"
    assert run.data.params["parameters"] == "51"


@mlflow
def test_what_is_not_finite_is_left_out_and_a_run_that_broke_off_is_said_to_be(tmp_path):
    from mlflow import MlflowClient

    logger = MLflowLogger(tracking_uri=f"file:{tmp_path}")
    trainer = trainer_of(logger)
    trainer.last_epoch = 2
    logger.on_train_begin(trainer)
    logger.on_epoch_end(trainer, {"loss": math.nan, "val_loss": 1.0})
    logger.on_train_end(trainer)
    run = MlflowClient(tracking_uri=f"file:{tmp_path}").get_run(logger.run_id)
    assert run.data.metrics == {"val_loss": 1.0}
    assert run.info.status == "KILLED"


@mlflow
def test_a_store_that_mlflow_refuses_is_found_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "false")
    trainer = trainer_of(MLflowLogger(tracking_uri=f"file:{tmp_path}"))
    with pytest.raises(ArgumentError, match=r"tracking_uri: got 'file:.*', where MLflow could not begin a run"):
        trainer.fit(data_of(), 1)
    assert trainer.step == 0


@pytest.mark.parametrize(
    ("make", "package", "extra"),
    [
        (lambda path: TensorBoardLogger(path), "tensorboardX", "tensorboard"),
        (lambda path: MLflowLogger(tracking_uri=f"file:{path}"), "mlflow", "mlflow"),
    ],
)
def test_a_package_that_is_not_installed_is_named_before_the_first_step(tmp_path, monkeypatch, make, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    trainer = trainer_of(make(tmp_path))
    with pytest.raises(DependencyError, match=rf"got no {package} .*pip install 'fastconv\[{extra}\]'"):
        trainer.fit(data_of(), 1)
    assert trainer.step == 0


def test_settings_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match="every_steps: got 0"):
        TensorBoardLogger(tmp_path, every_steps=0)
    with pytest.raises(ArgumentError, match="experiment: got ''; allowed: a name"):
        MLflowLogger("")
    with pytest.raises(CheckpointError, match=r"state: got nothing for MLflowLogger; allowed: .*'run_id'"):
        MLflowLogger().load_state_dict({})
