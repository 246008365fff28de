"""What the ranks of a job say to each other: six calls, and nothing else of fastconv knows who carries them.

A rank is one process of the job. Every call but `abort` is collective: all ranks make the same ones in the same order,
each from one thread at a time.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from fastconv.backends.contract.types import Array


@runtime_checkable
class Communicator(Protocol):
    """The calls, over C-contiguous buffers: NumPy arrays, or CuPy arrays where the implementation says so.

    Examples
    --------
    >>> communicator: fc.parallel.Communicator = fc.parallel.connect()
    >>> communicator.rank, communicator.size
    (0, 1)
    """

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        ...

    @property
    def size(self) -> int:
        """How many ranks there are."""
        ...

    def allreduce(self, buffer: Array, *, ordered: bool = True, bf16: bool = False) -> None:
        """Put the sum of all ranks' buffers into each of them, the same bits on all ranks.

        Parameters
        ----------
        buffer : array
            float32, float64, or a type of integers; of one shape and type on all ranks. Written.
        ordered : bool
            Add in the order of `fastconv.parallel.tree.in_tree` over the ranks, of which there must be a power of two.
            Else in the order that the carrier likes best, which may depend on how many ranks there are.
        bf16 : bool
            Send float32 as bfloat16: half the bytes. The terms and the sum are rounded to it; the terms are added in
            float32, in that order.
        """
        ...

    def broadcast(self, buffer: Array, root: int = 0) -> None:
        """Give all ranks what is in the buffer of one.

        Parameters
        ----------
        buffer : array
            Of one shape and type on all ranks. Written on all but `root`.
        root : int
            The rank whose buffer it is.
        """
        ...

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        ...

    def abort(self, code: int = 1) -> None:
        """End the processes of all ranks at once, from any thread; it does not return.

        Parameters
        ----------
        code : int
            With which they exit.
        """
        ...
