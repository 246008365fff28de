"""Benchmarks: `pytest benchmarks/ --benchmark-only`."""
