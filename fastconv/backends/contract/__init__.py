"""The contract: what every backend computes. No code of a backend, and nothing that knows which backends there are.

`types` has what the operations are called with, `operations` each operation with its only full documentation, `fused`
those that do several in one pass, and `backend` the class that a backend implements: all of these, arrays and threads.
"""
