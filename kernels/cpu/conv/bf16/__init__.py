"""Convolutions and dense layers in bfloat16, by tile registers (AMX) or by dot products."""
