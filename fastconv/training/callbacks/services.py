"""Logs for TensorBoard and MLflow, written by their own packages."""

from __future__ import annotations

import importlib
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastconv import _validate as validate
from fastconv._attributes import settings_of
from fastconv._files import home_path_of, writing
from fastconv.errors import ArgumentError, DependencyError
from fastconv.training.callbacks.callback import Callback, StepInfo, Training, check_state
from fastconv.training.callbacks.writing import check_directory


def _package(name: str, callback: Callback, extra: str) -> Any:
    """Return a package that is not one of fastconv's requirements, or say what to install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DependencyError(
            f"{type(callback).__name__}: got no {name} ({error}); allowed: where it is installed"
            f" (pip install 'fastconv[{extra}]')"
        ) from error


class TensorBoardLogger(Callback):
    """Curves for TensorBoard, through the package tensorboardX (the extra ``tensorboard``).

    Each quantity of the history is a curve over the steps; so are "step/loss" and "step/learning_rate" if there is
    `every_steps`. A training that was taken up again hides what the interrupted one wrote after that step.

    Parameters
    ----------
    directory : path
        Of the event files, a new one in each `fit`.
    every_steps : int or None
        Write the loss of the batch and the learning rate after so many steps; elsewhere than on the host that waits for
        the device.
    histograms : bool
        Whether the values of each parameter are written after each epoch.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(1)).build((1,), seed=0)
    >>> optimizer, log = fc.optim.SGD(model.parameters(), 0.1), fc.training.TensorBoardLogger("board")
    >>> trainer = fc.Trainer(model, fc.losses.MeanSquaredError(), optimizer, callbacks=log)
    >>> one = np.ones((4, 1), np.float32)
    >>> history = trainer.fit((one, one), 2)
    >>> len(list(log.directory.iterdir()))
    1
    """

    first_rank_only = True

    def __init__(
        self, directory: str | os.PathLike[str], *, every_steps: int | None = None, histograms: bool = False
    ) -> None:
        self.directory, self.histograms = home_path_of(directory, "directory"), validate.truth(histograms, "histograms")
        self.every_steps = validate.at_least_one_or_none(every_steps, "every_steps")
        self._writer: Any = None

    def __repr__(self) -> str:
        return f"TensorBoardLogger({str(self.directory)!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle without the open file."""
        return {**vars(self), "_writer": None}

    def files(self) -> tuple[Path, ...]:
        return (self.directory,)

    def on_train_begin(self, trainer: Training) -> None:
        package = _package("tensorboardX", self, "tensorboard")
        check_directory("directory", self.directory)
        first_hidden = trainer.step + 1 if trainer.step else None
        with writing("directory", self.directory):
            self._writer = package.SummaryWriter(str(self.directory), purge_step=first_hidden)

    def on_step_end(self, trainer: Training, info: StepInfo) -> None:
        if self.every_steps and trainer.step % self.every_steps == 0:
            self._write(trainer, {"step/loss": float(info.loss), "step/learning_rate": trainer.optimizer.lr})

    def on_epoch_end(self, trainer: Training, logs: dict[str, float]) -> None:
        self._write(trainer, logs)
        if self.histograms:
            for parameter in trainer.model.parameters():
                values = trainer.model.backend.to_numpy(parameter.array)
                self._writer.add_histogram(parameter.name, values, trainer.step)
        with writing("directory", self.directory):
            self._writer.flush()

    def on_train_end(self, trainer: Training) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, trainer: Training, quantities: Mapping[str, float]) -> None:
        for name, value in quantities.items():
            self._writer.add_scalar(name, value, trainer.step)


class MLflowLogger(Callback):
    """A run of MLflow, through the package mlflow or mlflow-skinny (the extra ``mlflow``).

    The quantities of the history are its metrics, over the steps; model, loss, optimizer, seed and what they are set to
    its parameters. A training that was taken up again goes on with the same run. What is not finite is left out, as
    not every store of MLflow takes it.

    Parameters
    ----------
    experiment : str
        Its name; made if there is none.
    tracking_uri : str or None
        Where MLflow keeps it; by default as MLflow is set, by MLFLOW_TRACKING_URI for one. The extra is a client
        for a server; for a database of one's own, ``sqlite:///mlflow.db``, install mlflow itself.
    run_name : str or None
        By default MLflow finds one.
    every_steps : int or None
        As of `TensorBoardLogger`.

    Attributes
    ----------
    run_id : str or None
        MLflow's, once the training began.

    Examples
    --------
    >>> logger = fc.training.MLflowLogger("cifar10", run_name="first")
    >>> logger.run_id is None
    True
    """

    first_rank_only = True

    def __init__(
        self,
        experiment: str = "fastconv",
        *,
        tracking_uri: str | None = None,
        run_name: str | None = None,
        every_steps: int | None = None,
    ) -> None:
        if not isinstance(experiment, str) or not experiment:
            raise ArgumentError(f"experiment: got {experiment!r}; allowed: a name")
        self.experiment, self.tracking_uri, self.run_name = experiment, tracking_uri, run_name
        self.every_steps = validate.at_least_one_or_none(every_steps, "every_steps")
        self.run_id: str | None = None
        self._resumed = False
        self._client: Any = None

    def __repr__(self) -> str:
        return f"MLflowLogger({self.experiment!r}, run_id={self.run_id!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle without the connection."""
        return {**vars(self), "_client": None}

    def on_train_begin(self, trainer: Training) -> None:
        package = _package("mlflow", self, "mlflow")
        try:
            self._client = self._begin(package, trainer)
        except package.exceptions.MlflowException as error:
            raise ArgumentError(
                f"tracking_uri: got {self.tracking_uri!r}, where MLflow could not begin a run ({error}); allowed: a"
                " store that it can reach, or None"
            ) from error
        self._resumed = False

    def _begin(self, package: Any, trainer: Training) -> Any:
        client = package.MlflowClient(tracking_uri=self.tracking_uri)
        if self._resumed and self.run_id is not None:
            client.update_run(self.run_id, status="RUNNING")
        else:
            found = client.get_experiment_by_name(self.experiment)
            number = client.create_experiment(self.experiment) if found is None else found.experiment_id
            self.run_id = client.create_run(number, run_name=self.run_name).info.run_id
            for name, value in _parameters_of(trainer).items():
                client.log_param(self.run_id, name, value)
        return client

    def on_step_end(self, trainer: Training, info: StepInfo) -> None:
        if self.every_steps and trainer.step % self.every_steps == 0:
            self._write(trainer, {"step/loss": float(info.loss), "step/learning_rate": trainer.optimizer.lr})

    def on_epoch_end(self, trainer: Training, logs: dict[str, float]) -> None:
        self._write(trainer, logs)

    def on_train_end(self, trainer: Training) -> None:
        if self._client is not None:
            over = trainer.stop or trainer.epoch >= trainer.last_epoch
            self._client.set_terminated(self.run_id, "FINISHED" if over else "KILLED")
            self._client = None

    def _write(self, trainer: Training, quantities: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        for name, value in quantities.items():
            if math.isfinite(value):
                self._client.log_metric(self.run_id, name, value, timestamp=now, step=trainer.step)

    def state_dict(self) -> dict[str, Any]:
        return {"run_id": self.run_id}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        check_state(self, state, {"run_id": str | None})
        self.run_id, self._resumed = state["run_id"], True


def _parameters_of(trainer: Training) -> dict[str, Any]:
    """Return what a run is told apart by."""
    model, optimizer = trainer.model, trainer.optimizer
    found: dict[str, Any] = {
        "model": type(model).__name__,
        "parameters": sum(parameter.size for parameter in model.parameters()),
        "loss": repr(trainer.loss),
        "optimizer": type(optimizer).__name__,
        "seed": trainer.seed,
    }
    settings = settings_of(optimizer) or {}
    return found | {f"optimizer.{name}": value for name, value in settings.items()}
