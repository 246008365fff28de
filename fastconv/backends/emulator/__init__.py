"""The CUDA kernels executed on the CPU: the backend "cuda-emulator".

The very sources that CuPy compiles are built with g++ and run with one fibre for each CUDA thread, so that they can be
tested, stepped through and checked for races without a GPU. It is slow, and made for small shapes. It shows nothing of
speed, nor of the rounding inside a tensor core, nor of memory that is weaker than sequentially consistent.
"""

from fastconv.backends.emulator.backend import EmulatedArray, EmulatorBackend
from fastconv.backends.emulator.device import EmulatorDevice, KernelError
from fastconv.backends.emulator.settings import Settings

__all__ = ["EmulatedArray", "EmulatorBackend", "EmulatorDevice", "KernelError", "Settings"]
