"""The cases of the contract: each operation at the places where kernels go wrong. Every backend runs those of CASES."""

from tests.backends.cases import conv, elementwise, fused, layers, losses, norm, pointwise, pool, training, transforms

_PARTS = (conv, pool, norm, pointwise, elementwise, layers, losses, training, transforms, fused)
CASES = [case for part in _PARTS for case in part.CASES]
