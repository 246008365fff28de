"""Losses with their gradients, and the sums that metrics are made of."""
