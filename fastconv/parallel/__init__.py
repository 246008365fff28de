"""Training by several processes: what they say to each other, and how a step is shared among them."""

from fastconv.parallel.communicator import Communicator
from fastconv.parallel.connecting import connect
from fastconv.parallel.launching import launch
from fastconv.parallel.mpi import MPICommunicator
from fastconv.parallel.nccl import NCCLCommunicator
from fastconv.parallel.single import SingleProcess

__all__ = ["Communicator", "MPICommunicator", "NCCLCommunicator", "SingleProcess", "connect", "launch"]
