"""Convolution and dense layers: products on tensor cores and in plain arithmetic."""
