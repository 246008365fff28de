"""The kernels of fastconv."""
