"""Convolutions and dense layers.

`conv2d.py` and `dense.py` are the operations; `choice.py` says which algorithm computes a convolution.
"""
