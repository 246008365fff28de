"""The kernels of fastconv, and nothing else: `cpu` in Numba, `cuda` in CUDA C++; README.md is the catalogue."""
