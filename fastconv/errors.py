"""Exceptions of fastconv: one base class, one class per kind of mistake.

Each class is also the built-in exception that a caller would expect, so that ``except ValueError`` keeps working. A
message names the argument, what came, and what is allowed.
"""

from __future__ import annotations

from collections.abc import Callable

from fastconv import _nearest


class FastconvError(Exception):
    """Base class of every exception that fastconv raises on purpose.

    Examples
    --------
    >>> try:
    ...     fc.nn.Dropout(2.0)
    ... except fc.errors.FastconvError as error:
    ...     print(error)
    p: got 2.0; allowed: a finite number at least 0 and below 1
    """


class ShapeError(FastconvError, ValueError):
    """An array's shape, or a geometric argument (stride, padding, ...), does not fit.

    Examples
    --------
    >>> fc.functional.dense(np.zeros((2, 3)), np.zeros((4, 5)))
    Traceback (most recent call last):
        ...
    fastconv.errors.ShapeError: weight: got shape (4, 5); allowed: (3, 5), (C, K) for the C features of x
    """


class DTypeError(FastconvError, TypeError):
    """An array's type of element is not one that the operation takes.

    Examples
    --------
    >>> fc.functional.relu(np.array([1, 2]))
    Traceback (most recent call last):
        ...
    fastconv.errors.DTypeError: x: got int64; allowed: float32 or float64 (use x.astype('float32'))
    """


class ArgumentError(FastconvError, ValueError):
    """An argument that is no shape and no array has a value that is not allowed.

    Examples
    --------
    >>> fc.nn.Dropout(2.0)
    Traceback (most recent call last):
        ...
    fastconv.errors.ArgumentError: p: got 2.0; allowed: a finite number at least 0 and below 1
    """


class UnknownAttributeError(FastconvError, AttributeError):
    """An object has no attribute of that name, to read or to set.

    The nearest name is looked for when the message is asked for, which `hasattr` does not do.

    Attributes
    ----------
    elsewhere : callable or None
        Returns where else a name is, or nothing; asked with the message too.

    Examples
    --------
    >>> fc.nn.ELU().alpa = 2.0
    Traceback (most recent call last):
        ...
    fastconv.errors.UnknownAttributeError: alpa: got an attribute that ELU has not; allowed: its own (nearest: 'alpha')
    """

    elsewhere: Callable[[str], str] | None = None

    def __str__(self) -> str:
        text = super().__str__()
        if self.obj is None or text.endswith(")"):
            return text
        home = self.elsewhere(str(self.name)) if self.elsewhere else ""
        if home:
            return f"{text} ({home})"
        # The case does not count: Conv2D is Conv2d here, and CIFAR10 cifar10. A module says what is for others.
        names = getattr(self.obj, "__all__", None) or [name for name in dir(self.obj) if not name.startswith("_")]
        return text + _nearest.nearest(str(self.name).lower(), {name.lower(): name for name in names})


class UnsupportedError(FastconvError, NotImplementedError):
    """A valid request that the active backend cannot carry out.

    Examples
    --------
    >>> with fc.use_backend("numpy"):
    ...     fc.set_algorithm("winograd")
    Traceback (most recent call last):
        ...
    fastconv.errors.UnsupportedError: algorithm: got 'winograd' with the backend 'numpy'; allowed: shapes
    """


class BackendUnavailableError(FastconvError, ImportError):
    """A backend was asked for by name and cannot be used here.

    Examples
    --------
    >>> issubclass(fc.errors.BackendUnavailableError, ImportError)
    True
    """


class DeviceMemoryError(FastconvError, MemoryError):
    """The GPU has not enough memory left.

    Examples
    --------
    >>> issubclass(fc.errors.DeviceMemoryError, MemoryError)
    True
    """


class BackendMismatchError(FastconvError, TypeError):
    """An array or a model lives on another backend than the active one.

    Examples
    --------
    >>> issubclass(fc.errors.BackendMismatchError, TypeError)
    True
    """


class DataError(FastconvError, ValueError):
    """A data set is missing, incomplete or damaged.

    Examples
    --------
    >>> fc.data.read_idx("missing.idx")
    Traceback (most recent call last):
        ...
    fastconv.errors.DataError: missing.idx: got No such file or directory; allowed: an IDX file that can be read
    """


class DivergenceError(FastconvError, ArithmeticError):
    """The loss of training became NaN or infinite.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(1)).build((1,))
    >>> trainer = fc.Trainer(model, fc.losses.MeanSquaredError(), fc.optim.SGD(model.parameters(), lr=0.1))
    >>> one = np.ones((1, 1), np.float32)
    >>> try:
    ...     trainer.fit((one, one * np.inf), 1)
    ... except fc.errors.DivergenceError as error:
    ...     print(str(error).partition(",")[0])
    loss: got inf in batch 1 of epoch 1
    """


class CheckpointError(FastconvError, ValueError):
    """A weights file is missing, damaged, or does not fit the model.

    Examples
    --------
    >>> try:
    ...     fc.nn.Dense(2).build((3,)).load_weights("missing.safetensors")
    ... except fc.errors.CheckpointError as error:
    ...     print(str(error).partition(";")[0])
    path: got 'missing.safetensors', which is no file
    """


class ParallelError(FastconvError, RuntimeError):
    """The processes of one training do not fit together.

    Examples
    --------
    >>> class Three(fc.parallel.SingleProcess):
    ...     size = 3
    >>> try:
    ...     fc.parallel.DataParallel(Three(), shards=8)
    ... except fc.errors.ParallelError as error:
    ...     print(str(error).partition(";")[0])
    communicator: got 3 ranks for 8 shards
    """


class OutputError(FastconvError, OSError):
    """A file could not be written; what was there before is as it was.

    Examples
    --------
    >>> issubclass(fc.errors.OutputError, OSError)
    True
    """


class DependencyError(FastconvError, ImportError):
    """A package that something needs, and that fastconv does not require, is not installed.

    Examples
    --------
    >>> issubclass(fc.errors.DependencyError, ImportError)
    True
    """
