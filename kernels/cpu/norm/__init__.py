"""Batch normalisation: its statistics, its second pass, its gradients."""
