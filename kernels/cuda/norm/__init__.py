"""Batch normalisation and its gradients."""
