"""Layers that run as one: the plan of a sequence, and its steps."""
