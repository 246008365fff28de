"""Files of weights and of the state of a training."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from fastconv import _validate as validate
from fastconv._files import home_path_of, write_atomically, writing
from fastconv.errors import ArgumentError, CheckpointError
from fastconv.optim.schedules.plateau import Mode, counted
from fastconv.training.callbacks.callback import Callback, StepInfo, Training, check_state
from fastconv.training.callbacks.monitor import check_monitor, score
from fastconv.training.callbacks.writing import check_directory
from fastconv.training.folder_lock import lock_folder

_KeepBy = Literal["newest", "best"]
_FILES = frozenset((".safetensors", ".h5", ".hdf5", ".keras", ".ckpt", ".pt", ".pth", ".npz"))
_STEP = re.compile(r"step-\d{8,}\.safetensors")


class ModelCheckpoint(Callback):
    """Writes ``last.safetensors``, for `Trainer.restore`, and the best weights, ``best.safetensors``.

    The best weights are looked for after each epoch. With `keep`, each state that is written to ``last.safetensors`` is
    kept beside it, as ``step-00001234.safetensors``, and those that are over are taken away; only what this training
    wrote, and what it wrote before it was taken up again.

    Each file is written all or nothing. A directory that cannot be written, or that another training owns, is found
    before the first step: one training at a time writes there.

    Parameters
    ----------
    directory : path
        Made if it does not exist.
    monitor : str or None
        The quantity that decides what is best of the trainer's history: the greatest if its name ends in "accuracy",
        else the least; what is not finite is never best, nor is an accuracy whose loss is not. By default the first
        there is of "val_accuracy", "val_loss", "loss". `Trainer.fit` refuses one that it does not record.
    mode : "auto", "min" or "max"
        Which direction is better; "auto" is what is said at `monitor`, or that of the metric.
    every_epochs : int
        The state is written after so many epochs, and after the last one.
    save_every_steps : int or None
        And after so many steps, in the middle of an epoch too; as also where a callback ends the training there.
    keep : int or None
        How many states stay beside ``last.safetensors``; None keeps none.
    keep_by : "newest" or "best"
        Which ones: of the best, each is as good as the epoch before it was written, so it takes no `save_every_steps`.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(1)).build((1,), seed=0)
    >>> optimizer, kept = fc.optim.SGD(model.parameters(), 0.1), fc.training.ModelCheckpoint("run", keep=1)
    >>> trainer = fc.Trainer(model, fc.losses.MeanSquaredError(), optimizer, callbacks=kept)
    >>> one = np.ones((4, 1), np.float32)
    >>> history = trainer.fit((one, one), 2)
    >>> [path.name for path in (kept.best_path, kept.last_path, *kept.kept_paths)]
    ['best.safetensors', 'last.safetensors', 'step-00000002.safetensors']
    """

    saves = True
    first_rank_only = True
    absent: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("save_best_only", "save_weights_only"), "best.safetensors has the best weights anyway"),
        "filepath": "directory",
        "save_freq": "every_epochs, save_every_steps",
    }

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        monitor: str | None = None,
        mode: Mode = "auto",
        every_epochs: int = 1,
        save_every_steps: int | None = None,
        keep: int | None = None,
        keep_by: _KeepBy = "newest",
    ) -> None:
        self.directory = home_path_of(directory, "directory")
        if not self.directory.is_dir() and (self.directory.suffix in _FILES or "{" in self.directory.name):
            raise ArgumentError(
                f"directory: got {str(directory)!r}, a name of files; allowed: that of a folder, in which it writes"
                " last.safetensors and best.safetensors (with keep=n also states by their steps)"
            )
        self.monitor = monitor
        self.mode: Mode = validate.one_of(mode, "mode", get_args(Mode))
        self.every_epochs = validate.at_least_one(every_epochs, "every_epochs")
        self.save_every_steps = validate.at_least_one_or_none(save_every_steps, "save_every_steps")
        self.keep = validate.at_least_one_or_none(keep, "keep")
        self.keep_by = validate.one_of(keep_by, "keep_by", get_args(_KeepBy))
        if keep_by == "best" and save_every_steps is not None:
            raise ArgumentError(
                "keep_by: got 'best' with save_every_steps; allowed: 'newest', as within an epoch nothing says how good"
                " a state is, or no save_every_steps"
            )
        self._kept: dict[str, float | None] = {}  # names of files, in order, and their scores
        self._resumed = False
        self._descriptor: int | None = None  # that owns the directory

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle all but what owns the directory, which a copy does not."""
        return vars(self) | {"_descriptor": None}

    def __repr__(self) -> str:
        return f"ModelCheckpoint({str(self.directory)!r}, monitor={self.monitor!r})"

    @property
    def last_path(self) -> Path:
        """The file of the newest state."""
        return self.directory / "last.safetensors"

    @property
    def best_path(self) -> Path:
        """The file of the best weights."""
        return self.directory / "best.safetensors"

    @property
    def kept_paths(self) -> tuple[Path, ...]:
        """The files that `keep` keeps, in the order in which they were written."""
        return tuple(self.directory / name for name in self._kept)

    def files(self) -> tuple[Path, ...]:
        return self.last_path, self.best_path

    def on_train_begin(self, trainer: Training) -> None:
        check_monitor(self.monitor, trainer.quantities)
        check_directory("directory", self.directory)
        with writing("directory", self.directory):
            self._descriptor = lock_folder(self.directory, "directory")
        if not self._resumed and not trainer.step:
            self._kept = {}
        self._resumed = False
        with writing("directory", self.directory):
            self._drop_surplus()

    def on_train_end(self, trainer: Training) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def on_step_end(self, trainer: Training, info: StepInfo) -> None:
        if trainer.stop_now or (self.save_every_steps and trainer.step % self.save_every_steps == 0):
            self._save(trainer, None)

    def on_epoch_end(self, trainer: Training, logs: dict[str, float]) -> None:
        name = self.monitor or next(key for key in ("val_accuracy", "val_loss", "loss") if key in logs)
        scores = self._scores(trainer, name, logs)
        over = trainer.stop or trainer.epoch >= trainer.last_epoch
        if over or trainer.epoch % self.every_epochs == 0:
            self._save(trainer, scores[-1] if scores else None)
        check_monitor(self.monitor, logs)
        *before, now = scores
        if math.isfinite(now) and now > max(filter(math.isfinite, before), default=-math.inf):
            with writing("directory", self.best_path):
                trainer.model.save_weights(self.best_path)

    def _scores(self, trainer: Training, name: str, logs: dict[str, float]) -> list[float]:
        """Return how good each epoch was, NaN where it was not finite; nothing if it does not record that quantity."""
        if name not in logs:
            return []
        history = trainer.history.history
        epochs = (dict(zip(history, row, strict=True)) for row in zip(*history.values(), strict=True))
        return [score(trainer, name, counted(name, epoch), self.mode) for epoch in epochs]

    def _save(self, trainer: Training, value: float | None) -> None:
        """Write the state, which counts this file among those kept; what is over goes when all is written."""
        name = f"step-{trainer.step:08d}.safetensors"
        known = value if value is not None and math.isfinite(value) else None
        kept = {**{other: its for other, its in self._kept.items() if other != name}, name: known}
        stays = self.keep is not None and name in self._without_surplus(kept)
        with writing("directory", self.last_path):
            if stays:
                self._write_both(trainer, name, kept)
            else:
                trainer.save(self.last_path)
            self._drop_surplus()

    def _write_both(self, trainer: Training, name: str, kept: dict[str, float | None]) -> None:
        """Write the file that is kept, then the newest state; what was not written is not counted."""
        before = self._kept
        try:
            self._kept = kept
            trainer.save(self.directory / name)
            write_atomically(self.last_path, (self.directory / name).read_bytes())
        except BaseException:
            self._kept = before
            raise

    def _drop_surplus(self) -> None:
        kept = self._without_surplus(self._kept)
        for name in self._kept.keys() - kept.keys():
            (self.directory / name).unlink(missing_ok=True)
        self._kept = kept

    def _without_surplus(self, kept: Mapping[str, float | None]) -> dict[str, float | None]:
        """Return without the oldest, or the worst, of several such the newest, as many as `keep` says."""
        left = dict(kept)
        while self.keep is not None and len(left) > self.keep:
            scores = {name: -math.inf if its is None else its for name, its in reversed(left.items())}
            del left[min(scores, key=scores.__getitem__) if self.keep_by == "best" else next(iter(left))]
        return left

    def state_dict(self) -> dict[str, Any]:
        return {"kept": dict(self._kept)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        check_state(self, state, {"kept": Mapping})
        for name, its in state["kept"].items():
            if not _STEP.fullmatch(name) or not isinstance(its, Real | None):  # it may delete these files
                raise CheckpointError(
                    f"state: got {validate.shown({name: its})} as kept; allowed: scores of"
                    " step-00001234.safetensors and such files"
                )
        self._kept, self._resumed = dict(state["kept"]), True
