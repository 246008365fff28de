"""An interrupt at any instant of fastconv's Python code."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import fastconv as fc
from fastconv.kernels import locks

HERE = str(Path(fc.__file__).parent)
EVERYWHERE = (HERE, str(Path(HERE).parent / "kernels"), contextlib.__file__)
STATE = tuple(
    f"{HERE}/{name}"
    for name in (
        "training/trainer",
        "training/step",  # and stepping
        "training/clipping",
        "training/captured",
        "optim/",
        "nn/core/undo",
        "nn/core/prepared",
        "nn/core/parameter",
    )
)

RECORDING = f"{HERE}/backends/cpu/backend", f"{HERE}/kernels/cpu/runtime/launch"


class Interrupts:
    """Raises KeyboardInterrupt before the `number`-th instruction, or line, of some of fastconv's Python code."""

    def __init__(self, number, where=STATE, *, instructions=False):
        self.left, self.where, self.instructions = number, where, instructions

    def __call__(self, frame, event, argument):
        if not frame.f_code.co_filename.startswith(self.where):
            return None
        frame.f_trace_opcodes = self.instructions
        if event == ("opcode" if self.instructions else "line"):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        return self

    def breaks(self, change):
        """Do `change`; tell whether it was interrupted, which it is not if it has fewer instructions."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            change()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False


def every_place(change, prepare, look, *, stride=1, where=EVERYWHERE, instructions=False):
    """Interrupt `change` before each line in turn; `look` gets whether it was done to the end."""
    try:
        for number in range(0, 10**6, stride):
            prepare()
            broken = Interrupts(number, where, instructions=instructions).breaks(change)
            look(broken)
            if not broken:
                return number
    finally:
        _open_locks()
    raise AssertionError("it never ends")


def _open_locks():
    """Leave what this thread still holds: between the end of a ``with`` and its `__exit__` Python heeds no signal.

    A trace function may raise there, and would leave a lock taken that later tests' threads wait for.
    """
    for lock in list(locks._locks):
        while lock._is_owned():
            lock.release()
