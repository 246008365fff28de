"""The emulated GPU in tests: taken or skipped, run in a chosen order of threads, with bugs planted in its sources."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fastconv.backends import get_backend
from fastconv.backends.contract.backend import Backend
from tests.backends.emulator.planted import Bug
from tests.backends.usable import backend_or_skip


def emulator_or_skip() -> Backend:
    """Return the backend; skip the test for want of g++."""
    return backend_or_skip("cuda-emulator")


@contextmanager
def running(
    *, order: str = "forward", copies: str = "lazy", checks: bool = False, blocks: int | None = None
) -> Iterator[None]:
    """Run kernels in this order of threads, with races and bounds checked if asked for.

    `blocks` is how many blocks the kernels that walk over rows or elements in strides may use at most; by default as
    many as the shape asks for, which with small shapes is one a stride.
    """
    from fastconv.backends.emulator.settings import parse, using
    from fastconv.kernels.cuda.runtime import grids

    with pytest.MonkeyPatch.context() as patch, using(parse(",".join([order, copies, *["checks"] * checks]))):
        if blocks is not None:
            patch.setattr(get_backend("cuda-emulator").device, "multiprocessors", blocks)
            patch.setattr(grids, "BLOCKS_PER_MULTIPROCESSOR", 1)
        yield


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """Compile the sources with a bug in them."""
    from fastconv.kernels.cuda.runtime import build

    original, planted_in = build.source_text, set()

    def source_text(kernel):
        text = original(kernel)
        if bug.right not in text:
            return text
        assert text.count(bug.right) == 1, f"{bug.name}: stands {text.count(bug.right)} times in {kernel.source}"
        planted_in.add(kernel.source)
        return text.replace(bug.right, bug.wrong)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "source_text", source_text)
        yield
    assert planted_in, f"{bug.name}: stands in no source that was compiled"
