"""Models for 32x32 images, each returned built, on the active backend.

All take `num_classes`, `input_shape`, `dtype` and `seed` (that of `fastconv.seed` by default), and put out logits,
(N, num_classes).
"""

from fastconv.models.plain import keras_cnn, lenet5, mlp
from fastconv.models.residual import resnet9, resnet20

__all__ = ["keras_cnn", "lenet5", "mlp", "resnet9", "resnet20"]
