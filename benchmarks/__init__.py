"""Benchmarks: `pytest benchmarks/ --benchmark-only`."""

import os

# Read when NumPy loads: idle threads of its OpenBLAS must not take our cores, where they would spin for a tenth of a
# second (128x2304x512 behind a product of NumPy's: 5 ms instead of 1).
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
