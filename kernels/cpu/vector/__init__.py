"""What kernels are written in: vectors, register tiles, loads and stores, bfloat16, fixed point, prefetches, sums."""
