"""Winograd's gradient of the weight."""
