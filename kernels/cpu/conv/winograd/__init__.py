"""Winograd's convolutions.

`blocks.py`, for wide tiles `wide.py`, takes a block of tiles through the transforms to the products. `output.py`,
`pool.py`, `mask.py`, `norm.py` and `unpool.py` take those back to outputs, each with something else behind them.
"""
