"""The kernels of fastconv, and nothing else: `cpu` for Numba; README.md beside this file is the catalogue."""
