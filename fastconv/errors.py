"""Exceptions of fastconv: one base class, one class per kind of mistake.

Each class is also the built-in exception that a caller would expect, so that ``except ValueError`` keeps working. A
message names the argument, what came, and what is allowed.
"""


class FastconvError(Exception):
    """Base class of every exception that fastconv raises on purpose."""


class ShapeError(FastconvError, ValueError):
    """An array's shape, or a geometric argument (stride, padding, ...), does not fit."""


class DTypeError(FastconvError, TypeError):
    """An array's type of element is not one that the operation takes."""


class ArgumentError(FastconvError, ValueError):
    """An argument that is no shape and no array has a value that is not allowed."""


class UnknownAttributeError(FastconvError, AttributeError):
    """An object has no attribute of that name, to read or to set."""


class UnsupportedError(FastconvError, NotImplementedError):
    """A valid request that the active backend cannot carry out."""


class BackendUnavailableError(FastconvError, ImportError):
    """A backend was asked for by name and cannot be used here."""


class DeviceMemoryError(FastconvError, MemoryError):
    """The GPU has not enough memory left."""


class BackendMismatchError(FastconvError, TypeError):
    """An array or a model lives on another backend than the active one."""


class DataError(FastconvError, ValueError):
    """A data set is missing, incomplete or damaged."""


class DivergenceError(FastconvError, ArithmeticError):
    """The loss of training became NaN or infinite."""


class CheckpointError(FastconvError, ValueError):
    """A weights file is missing, damaged, or does not fit the model."""


class ParallelError(FastconvError, RuntimeError):
    """The processes of one training do not fit together."""


class OutputError(FastconvError, OSError):
    """A file could not be written; what was there before is as it was."""


class DependencyError(FastconvError, ImportError):
    """A package that something needs, and that fastconv does not require, is not installed."""
