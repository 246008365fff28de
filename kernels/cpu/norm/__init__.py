"""Normalisation over a batch, over groups of channels, and across channels, with the gradients."""
