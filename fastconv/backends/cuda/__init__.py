"""The backend that computes with the CUDA kernels of `fastconv.kernels.cuda`, and its devices through CuPy."""
