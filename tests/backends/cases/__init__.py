"""The cases of the contract: each operation at the places where kernels go wrong. Every backend runs those of CASES."""

from tests.backends.cases import conv, elementwise, fused, norm, pointwise, pool, training

CASES = [case for part in (conv, pool, norm, pointwise, elementwise, training, fused) for case in part.CASES]
