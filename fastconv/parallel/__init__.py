"""Training by several processes: what they say to each other, and how a step is shared among them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fastconv._attributes import unknown_name

if TYPE_CHECKING:
    from fastconv.parallel.communicator import Communicator
    from fastconv.parallel.connecting import connect
    from fastconv.parallel.data_parallel import DataParallel
    from fastconv.parallel.launching import launch
    from fastconv.parallel.mpi import MPICommunicator
    from fastconv.parallel.nccl import NCCLCommunicator
    from fastconv.parallel.single import SingleProcess
    from fastconv.parallel.timeline import Timeline

__all__ = [
    "Communicator",
    "DataParallel",
    "MPICommunicator",
    "NCCLCommunicator",
    "SingleProcess",
    "Timeline",
    "connect",
    "launch",
]

_HOMES = {
    "Communicator": "communicator",
    "DataParallel": "data_parallel",
    "MPICommunicator": "mpi",
    "NCCLCommunicator": "nccl",
    "SingleProcess": "single",
    "Timeline": "timeline",
    "connect": "connecting",
    "launch": "launching",
}


def __getattr__(name: str) -> Any:
    """Load what a name stands for when it is first asked for."""
    if name not in _HOMES:
        raise unknown_name(__name__, name)
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
