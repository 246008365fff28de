"""Training by several processes: what they say to each other, and how a step is shared among them."""

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
