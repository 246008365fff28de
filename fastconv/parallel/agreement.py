"""Whether all ranks do the same: what they are compared by, and one error for all of them where they differ."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np

from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.errors import ParallelError
from fastconv.parallel.communicator import Communicator
from fastconv.parallel.tree import gathered

_SHOWN = 200  # characters


def digest(parts: Iterable[bytes]) -> np.ndarray:
    """Return the SHA-256 of bytes, as 32 numbers."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return np.frombuffer(found.digest(), np.uint8).copy()


def digest_of(backend: Backend, arrays: Iterable[Array]) -> np.ndarray:
    """Return that of the values of arrays; waits for the device."""
    return digest(np.ascontiguousarray(backend.to_numpy(array)).tobytes() for array in arrays)


def check_alike(communicator: Communicator, facts: Mapping[str, str]) -> None:
    """Compare facts, of the same names on all ranks.

    Raises
    ------
    ParallelError
        On all ranks the same one: it names what differs, where, and what rank 0 has.
    """
    if communicator.size == 1:
        return
    mine = np.stack([digest([text.encode()]) for text in facts.values()])
    of_all = gathered(communicator, mine)
    others = (of_all != of_all[0]).any(axis=2)
    for number, (name, text) in enumerate(facts.items()):
        odd = np.flatnonzero(others[:, number])
        if len(odd):
            first, other = (_told(communicator, text, int(rank)) for rank in (0, odd[0]))
            ranks = ", ".join(map(str, odd))
            raise ParallelError(
                f"{name}: got {other} on rank {odd[0]}, not the same as on rank 0 (other ranks than it: {ranks});"
                f" allowed: the same on all ranks, there {first}"
            )


def check_values(communicator: Communicator, backend: Backend, arrays: Iterable[Array], step: int) -> None:
    """Compare the values of parameters, state and statistics; ParallelError on all ranks where they differ."""
    of_all = gathered(communicator, digest_of(backend, arrays))
    odd = np.flatnonzero((of_all != of_all[0]).any(axis=1))
    if len(odd):
        raise ParallelError(
            f"parameters: got other values than rank 0 has on the ranks {', '.join(map(str, odd))} after step {step};"
            " allowed: the same bits on all ranks (something was changed on one of them alone, or a machine computes"
            " otherwise than the others)"
        )


def share_values(communicator: Communicator, backend: Backend, arrays: Iterable[Array]) -> None:
    """Give all ranks the values that rank 0 has."""
    if communicator.size > 1:
        for array in arrays:
            communicator.broadcast(array)


def _told(communicator: Communicator, text: str, root: int) -> str:
    """Return the text that a rank has, cut short."""
    words = np.zeros(_SHOWN, np.uint8)
    own = text.encode()[:_SHOWN]
    words[: len(own)] = np.frombuffer(own, np.uint8)
    communicator.broadcast(words, root)
    return words.tobytes().rstrip(b"\0").decode(errors="replace")
