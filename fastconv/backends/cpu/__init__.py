"""The backend that computes with the Numba kernels of `fastconv.kernels.cpu`."""
