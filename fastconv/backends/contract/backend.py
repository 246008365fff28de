"""What a backend is: the operations, arrays to compute with, threads, and what it can do beyond computing."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import numpy as np

from fastconv.backends.contract.normalisation import Normalisations
from fastconv.backends.contract.types import AlgorithmChoice, Array, PrecisionChoice, Shape, Workspace


class Backend(Normalisations):
    """One implementation of every operation."""

    name: ClassVar[str]
    on_host: ClassVar[bool]
    """Whether arrays are `numpy.ndarray`, so that looking at a value costs no synchronisation."""
    precisions: ClassVar[tuple[PrecisionChoice, ...]] = ("strict", "default")
    fast_needs: ClassVar[str] = ""
    """What "fast" needs and is not there."""
    algorithms: ClassVar[tuple[AlgorithmChoice, ...]] = ("shapes",)
    """What `fastconv.set_algorithm` takes."""
    captures: ClassVar[bool] = False
    """Whether `capture` works."""
    pool: Workspace
    _by_name: ClassVar[Callable[[str], Backend]]
    """`fastconv.backends.get_backend`, which sets it."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle by name: there is one of each backend in a process."""
        return type(self)._by_name, (self.name,)

    def empty(self, shape: Shape, dtype: Any) -> Array:
        """Return an uninitialised C-contiguous array from the backend's pool."""
        return self.pool.empty(shape, dtype)

    def copy_of(self, array: Array) -> Array:
        """Return a new array with the same values."""
        copied = self.empty(array.shape, array.dtype)
        self.copy(array, out=copied)
        return copied

    def kept_dtype(self, dtype: Any, precision: PrecisionChoice) -> np.dtype:
        """Return the type in which activations are kept from forward to backward: `dtype`, or uint16 for bfloat16.

        A bfloat16 is the upper half of a float32. Where it is another type than `dtype`, these may be of it, each by
        itself, all else being of `dtype`:

        - x of `conv2d`, `conv2d_statistics` and `conv2d_max_pool2d_backward`; `out` of the first two, `before` with it,
          but nothing that is pooled
        - `grad_output` and x of `conv2d_backward_weight`
        - `grad_output`, x and `saved` of `conv2d_backward_input` and `conv2d_backward_input_norm`, and `norm_addend`;
          but no gradient of what was pooled
        - x, `addend` and `out` of `normalise`
        - x, `saved`, `addend` and `grad_input` of `batch_norm_backward`, x and `grad_input` of its ``_apply``
        """
        kept: np.dtype = np.dtype(dtype)
        return kept

    @abc.abstractmethod
    def owns(self, array: Any) -> bool:
        """Tell whether `array` is of the type that this backend computes with."""

    @abc.abstractmethod
    def asarray(self, array: Any, dtype: Any = None) -> Array:
        """Return `array` as a C-contiguous, native-endian array of the backend; copies only where it must."""

    @abc.abstractmethod
    def to_numpy(self, array: Array) -> np.ndarray:
        """Return `array` as a `numpy.ndarray`; on the CPU the very same one."""

    def facts(self) -> Mapping[str, str]:
        """Return what `fastconv info` shows of what it computes on; nothing if there is nothing to tell."""
        return {}

    def synchronize(self) -> None:
        """Wait until everything asked for is computed; on the CPU, and emulated, it is when a call returns."""

    def free_memory(self) -> int:
        """Give the memory that is kept for coming arrays back to the system; return how many bytes that was."""
        return self.pool.release()

    @property
    def num_threads(self) -> int:
        """Threads of the host that an operation uses at most; what was captured goes on with those of that time."""
        return 1

    def set_num_threads(self, count: int) -> None:
        """Use at most `count` threads of this package from now on; results do not depend on it."""

    def capture(self, function: Callable[[], None]) -> Callable[[], bool] | None:
        """Return what repeats the operations that `function` calls, on the same arrays and with the same numbers.

        `function` is called once, and nothing that it asks for is computed then. What it allocates belongs to the
        result: an array that it lets go may lie where a later one does. None if the backend cannot capture that: then
        call `function` itself each time.

        The result returns True; or False if it came to a value that is not finite, for which `function` would choose
        another kernel, or to an error in one, which `function` raises: then nothing after that place was computed.
        """
        parts = self.capture_parts(lambda cut: function())
        return None if parts is None else parts[0]

    def code_state(self) -> int:
        """Return a number that changes when a kernel of somebody's own is declared: a repeat runs those from before."""
        return 0

    def capture_parts(self, function: Callable[[Callable[[], None]], None]) -> Sequence[Callable[[], bool]] | None:
        """`capture` of a function that is called with `cut`: what it does after a call of that becomes another part.

        All parts are to be repeated in their order, up to one that returns False.
        """
        return None

    def trace(self, note: Callable[[str], Callable[[], None] | None]) -> AbstractContextManager[None]:
        """Within this, `note` gets the name of each kernel that this thread launches, before it runs.

        If it returns a function, that is called when the kernel has ended; on a device that waits for it. Several that
        were captured together are told of together, without their ends.
        """
        return nullcontext()
