"""Numba kernels, in wings: runtime, vector, elementwise, loss, pool, norm, conv. None imports one that comes later.

TABLE names the kernels that carry out each operation of the contract; the backend, the tests, the benchmarks and
kernels/README.md use the same names.
"""

from ..epilogue import ALL_NATIVE, Native
from ..losses import LOSSES
from ..pointwise import POINTWISE
from ..update_rules import UPDATE_RULES
from .conv.algorithms import CONVOLUTIONS, DENSE, kernels_of

_CONVOLUTION = kernels_of(CONVOLUTIONS, "forward")
_BACKWARD_INPUT = kernels_of(CONVOLUTIONS, "backward_input")
_PACK_BF16 = ("conv.bf16.pack.pack_bf16", "conv.bf16.pack.pack_bf16_transposed")
_FINITE = ("elementwise.finite.times_zero", "elementwise.finite.refuse_not_finite")
_CONVERT = "vector.bf16_storage.convert_stored"  # where a kernel does not load or store bfloat16 itself
_POOL = (
    "conv.winograd.pool.conv2d_winograd_pool",
    "conv.winograd.pool.conv2d_winograd_pool_narrow",
    "conv.winograd.pool.conv2d_winograd_pool_wide",
)
_POOL_STATISTICS = tuple(
    f"conv.winograd.pool.conv2d_winograd_pool_statistics{size}" for size in ("", "_narrow", "_wide")
)
_MASKED = (
    "conv.winograd.mask.conv2d_winograd_masked",
    "conv.winograd.mask.conv2d_winograd_masked_narrow",
    "conv.winograd.mask.conv2d_winograd_masked_wide",
)
_UNPOOL = (
    "conv.winograd.unpool.conv2d_winograd_unpool",
    "conv.winograd.unpool.conv2d_winograd_unpool_narrow",
    "conv.winograd.unpool.conv2d_winograd_unpool_odd",
    "conv.winograd.unpool.conv2d_winograd_unpool_narrow_odd",
    "conv.winograd.unpool.conv2d_backward_weight_winograd_unpool",
    "conv.winograd.unpool.conv2d_backward_weight_winograd_unpool_32",
    "conv.winograd.unpool.conv2d_backward_weight_winograd_unpool_16",
    "conv.winograd.weight_gradient.gradient.transform_sums",
    "vector.sums.add_parts",
)
_NORM = (
    "conv.winograd.norm.conv2d_winograd_norm",
    "conv.winograd.norm.conv2d_winograd_norm_narrow",
    "conv.winograd.norm.conv2d_winograd_norm_wide",
    "conv.winograd.unpool.conv2d_winograd_unpool_norm",
    "conv.winograd.unpool.conv2d_winograd_unpool_norm_narrow",
    "conv.winograd.unpool.conv2d_winograd_unpool_norm_odd",
    "conv.winograd.unpool.conv2d_winograd_unpool_norm_narrow_odd",
)
_LOSS_FILES = {"softmax_cross_entropy": "softmax"}  # others by what they are over
_STATISTICS = ("norm.batch_norm.batch_norm_statistics", "norm.batch_norm.combine_statistics")
_NORM_SUMS = ("norm.batch_norm_gradient.batch_norm_gradient_sums", "norm.batch_norm_gradient.combine_gradients")
_NORM_APPLY = ("norm.batch_norm_gradient.gradient_constants", "norm.batch_norm_gradient.batch_norm_gradient_apply")
_NORM_GRADIENT = (*_NORM_SUMS, *_NORM_APPLY)

TABLE = {
    "prepare_conv2d_weight": (
        "conv.pack.pack_weight",
        "conv.winograd.prepare.transform_weight",
        "conv.winograd.prepare.transform_weight_wide",
        "conv.winograd.prepare.transform_weight_5x5",
        *_PACK_BF16,
        *_FINITE,
    ),
    "conv2d": (*_CONVOLUTION, *_POOL, _CONVERT),
    "conv2d_backward_input": (
        *(*_BACKWARD_INPUT, *_MASKED),
        *("vector.sums.add_parts", "elementwise.channels.add_bias_rows", _CONVERT),
    ),
    "conv2d_backward_weight": (*kernels_of(CONVOLUTIONS, "backward_weight"), *_FINITE, _CONVERT),
    "sum_rows": ("elementwise.reduce.sum_rows", "vector.sums.add_parts"),
    "prepare_dense_weight": ("conv.pack.pack_weight", *_PACK_BF16),
    "dense": kernels_of(DENSE, "forward"),
    "dense_backward_input": kernels_of(DENSE, "backward_input"),
    "dense_backward_weight": kernels_of(DENSE, "backward_weight"),
    "max_pool2d": ("pool.max_pool.max_pool2d_rows", "pool.max_pool.max_pool2d_maps"),
    "max_pool2d_backward": ("pool.max_pool.max_pool2d_backward_rows", "pool.max_pool.max_pool2d_backward_squares"),
    "avg_pool2d": ("pool.avg_pool.avg_pool2d_rows",),
    "avg_pool2d_backward": ("pool.avg_pool.avg_pool2d_backward_rows", "pool.avg_pool.avg_pool2d_backward_squares"),
    "batch_norm": (*_STATISTICS, "norm.normalise.normalise"),
    "batch_norm_backward": (
        *_NORM_GRADIENT,
        "norm.pool_gradient.batch_norm_pool_gradient_sums",
        "norm.pool_gradient.batch_norm_pool_gradient_apply",
        _CONVERT,
    ),
    "normalise": ("norm.normalise.normalise", "norm.normalise.normalise_max_pool2d", _CONVERT),
    "update_running_stats": ("norm.batch_norm.move_running_stats",),
    "activate": tuple(f"elementwise.pointwise.{name}_forward" for name in POINTWISE),
    "activate_backward": tuple(f"elementwise.pointwise.{name}_gradient" for name in POINTWISE),
    "add": ("elementwise.maps.add_arrays",),
    "scale": ("elementwise.maps.scale_array",),
    "copy": ("elementwise.maps.copy_array",),
    "fill": ("elementwise.maps.fill_array",),
    "clip": ("elementwise.clipping.clip_array",),
    "sum_squares": ("elementwise.clipping.sum_square_parts", "elementwise.clipping.add_square_parts"),
    "clip_norm": ("elementwise.clipping.scale_to_norm",),
    "concatenate": ("elementwise.move.copy_channels",),
    "split": ("elementwise.move.copy_channels",),
    "subsample_pad": ("elementwise.move.subsample",),
    "subsample_pad_backward": ("elementwise.move.spread",),
    "add_bias": ("elementwise.channels.add_bias_rows",),
    "prelu": ("elementwise.channels.prelu_rows",),
    "prelu_backward": (
        "elementwise.channels.prelu_gradient",
        "vector.sums.add_parts",
        "elementwise.reduce.sum_rows",
    ),
    "softmax": ("loss.probabilities.softmax_rows",),
    "softmax_backward": ("loss.probabilities.softmax_gradient",),
    "local_response_norm": ("norm.local_response.local_response_norm_rows",),
    "local_response_norm_backward": ("norm.local_response.local_response_norm_gradient",),
    "group_norm": ("norm.group_norm.group_norm_images", "elementwise.maps.fill_array"),
    "group_norm_backward": (
        "norm.group_norm.group_norm_gradient",
        "vector.sums.add_parts",
        "elementwise.maps.fill_array",
    ),
    "adaptive_avg_pool2d": ("pool.adaptive_pool.adaptive_avg_pool2d_rows",),
    "adaptive_avg_pool2d_backward": ("pool.adaptive_pool.adaptive_avg_pool2d_gradient",),
    "upsample2d": ("pool.upsample.upsample_rows",),
    "upsample2d_backward": ("pool.upsample.upsample_gradient",),
    "loss_and_grad": (
        *(f"loss.{_LOSS_FILES.get(name, loss.over)}.{name}_{loss.over}" for name, loss in LOSSES.items()),
        "loss.softmax.softmax_cross_entropy_targets",
        "loss.weights.weigh_rows",
        "loss.losses.sum_losses",
    ),
    "loss_divisor": ("loss.weights.weigh_rows",),
    "count_correct": ("loss.metrics.count_correct_rows",),
    "count_confusions": ("loss.metrics.count_confusion_rows",),
    "sum_errors": ("loss.metrics.sum_error_columns",),
    "dropout": ("elementwise.dropout.dropout_elements",),
    "augment": ("elementwise.augment.augment_images",),
    "transform_images": ("elementwise.transform.transform_each",),
    "update": tuple(f"elementwise.optimizer.{name}_update" for name in UPDATE_RULES),
    "normalise_gram": ("elementwise.gram.normalise_gram_rows",),
    "gram_polynomial": ("elementwise.gram.gram_polynomial_rows",),
    "conv2d_statistics": (
        *_CONVOLUTION,
        *_POOL_STATISTICS,
        "conv.statistics.combine_partial_statistics",
        *_STATISTICS,
        _CONVERT,
    ),
    "conv2d_max_pool2d_backward": _UNPOOL,
    "conv2d_backward_input_norm": (*_BACKWARD_INPUT, *_NORM, *_NORM_SUMS, _CONVERT),
    "batch_norm_backward_apply": _NORM_APPLY,
    "activate_backward_bias": ("elementwise.reduce.activation_gradient_bias", "vector.sums.add_parts"),
}
"""Operation -> kernels, as wing.module.function of this package."""

_ALL = frozenset(POINTWISE)
NATIVE = {
    "conv2d": ALL_NATIVE,
    "conv2d_backward_input": Native(adds=True, activations=_ALL),
    "conv2d_max_pool2d_backward": Native(activations=_ALL),
    "conv2d_backward_input_norm": Native(adds=True, activations=_ALL, pools=True),
    "conv2d_statistics": Native(pools=True),
    "normalise": ALL_NATIVE,
    "batch_norm_backward": ALL_NATIVE,
    "activate_backward_bias": Native(activations=_ALL),
}
"""Operation -> the epilogues that its kernels do in their own pass, where shapes let them."""
