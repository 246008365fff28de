"""What runs and compiles kernels: variants and devices, sources, NVRTC, machine code on disk, grids."""
