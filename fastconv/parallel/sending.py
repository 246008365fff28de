"""Gradients on their way: buckets that are sent as soon as all of theirs is written, in one order on all ranks."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from fastconv.nn.core.parameter import ArenaSlice, Parameter
from fastconv.parallel.buckets import TreeSum, cut, reduce_array
from fastconv.parallel.data_parallel import DataParallel
from fastconv.parallel.exchange import Promise


@dataclass(frozen=True)
class _Bucket:
    """A piece of the gradients with this number among flat arrays."""

    array: int
    begin: int
    end: int
    parameters: tuple[Parameter, ...]


class Sender:
    """Sends the gradients of the last part that a rank computes, joined with those before.

    Parameters
    ----------
    tree : TreeSum
        Of the gradients of `pieces`.
    late : collection of Parameter
        Those that are written several times in a pass, and so are done at its end only.
    """

    def __init__(
        self, parallel: DataParallel, tree: TreeSum, pieces: Sequence[ArenaSlice], late: Collection[Parameter] = ()
    ) -> None:
        self._parallel, self._tree, self._late = parallel, tree, frozenset(late)
        largest = parallel.bucket_bytes if parallel.overlap else sys.maxsize
        self._buckets = [
            _Bucket(number, begin, end, _within(piece, begin, end))
            for number, piece in reversed(list(enumerate(pieces)))
            for begin, end in cut(piece.end - piece.begin, piece.arena.data.dtype.itemsize, largest)
        ]
        self._unwritten: frozenset[Parameter] = frozenset()
        self._sent: list[Promise[None]] = []

    def begin(self) -> None:
        """Begin a step: nothing is sent yet."""
        self._sent = []

    def know(self, parameters: Sequence[Parameter]) -> None:
        """Learn which parameters a pass, at whose end this is, leaves without a gradient."""
        self._unwritten = frozenset(parameter for parameter in parameters if not parameter.has_grad)

    def ready(self) -> int:
        """Return how many of the next buckets have all their gradients."""
        count = 0
        for bucket in self._buckets[len(self._sent) :]:
            for parameter in bucket.parameters:
                done = parameter.has_grad and parameter not in self._late
                if not done and parameter not in self._unwritten:
                    return count
            count += 1
        return count

    def send(self, count: int) -> None:
        """Send so many of the next buckets: on the thread of the exchange, if there is one."""
        for bucket in self._buckets[len(self._sent) : len(self._sent) + count]:
            self._sent.append(self._parallel.exchange.later(partial(self._reduce, bucket)))

    @contextmanager
    def keeping_sent(self) -> Iterator[None]:
        """Within this the gradients are written anew; those that were sent come back after it, summed as they are."""
        for promise in self._sent:
            promise.wait()
        pieces = [self._tree.arrays[b.array][b.begin : b.end] for b in self._buckets[: len(self._sent)]]
        kept = [piece.copy() for piece in pieces]
        yield
        for piece, values in zip(pieces, kept, strict=True):
            piece[...] = values

    def abandon(self) -> None:
        """Give a step up: of one process alone nothing of it comes late; several end by whoever gave up."""
        for promise in self._sent if self._parallel.size == 1 else ():
            promise.wait()

    def finish(self) -> None:
        """Send what is left, and wait until all ranks' sums are here."""
        begun = len(self._sent)
        self.send(len(self._buckets) - begun)
        with self._parallel.span("wait for gradients"):
            for promise in self._sent:
                promise.wait()

    def _reduce(self, bucket: _Bucket) -> None:
        self._tree.add_piece(self._tree.parts - 1, bucket.array, bucket.begin, bucket.end)
        with self._parallel.span("reduce"):
            piece = self._tree.arrays[bucket.array][bucket.begin : bucket.end]
            how = {"ordered": self._parallel.deterministic, "bf16": self._parallel.gradients == "bfloat16"}
            reduce_array(self._parallel.communicator, piece, **how)


def _within(piece: ArenaSlice, begin: int, end: int) -> tuple[Parameter, ...]:
    """Return the parameters of which a part lies there."""
    first, last = piece.begin + begin, piece.begin + end
    return tuple(p for p in piece.parameters if p.offset < last and p.offset + p.size > first)
