"""The contract: what every backend computes. No code of a backend, and nothing that knows which backends there are.

`types` has what the operations are called with. `operations`, `layers`, `losses` and `training` have each operation
with its only full documentation, `fused` and `normalisation` those that do several in one pass. `composing`, `checking`
and `converting` are what all backends share, and `backend` is the class that each one implements: all of these, arrays
and threads.
"""
