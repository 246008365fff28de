"""CUDA kernels.

TABLE names the kernels that carry out each operation of the contract; the backends, the tests and kernels/README.md use
the same names. A name is the file's and the kernel's: ``losses.sum_losses`` stands in losses.cu.
"""

from dataclasses import replace

from ..epilogue import Native
from ..losses import LOSSES
from ..pointwise import POINTWISE
from ..update_rules import UPDATE_RULES

_CONVOLUTION = (
    "conv2d_gather.conv2d_gather",
    "conv2d_halo.conv2d_halo",
    "conv2d_plain.conv2d_plain",
    "conv2d_depthwise.conv2d_depthwise",
    "pack.pack_input",
)
_DENSE = ("conv2d_gather.conv2d_gather", "conv2d_plain.conv2d_plain", "pack.pack_input")
_SUM = ("reduce.sum_rows", "words.fill_array")
_LOSS_FILES = {"softmax_cross_entropy": "softmax"}
_STATISTICS = ("batch_norm.batch_norm_statistics", "batch_norm.combine_statistics")
_WEIGHT = (
    "conv2d_weight.conv2d_weight",
    "conv2d_weight_plain.conv2d_weight_plain",
    "conv2d_splits.sum_splits",
    "pack.pack_input",
    "words.fill_array",
)

TABLE = {
    "prepare_conv2d_weight": ("pack.pack_weight",),
    "conv2d": _CONVOLUTION,
    "conv2d_backward_input": (*_CONVOLUTION, *_SUM),
    "conv2d_backward_weight": (*_WEIGHT, "conv2d_depthwise.conv2d_depthwise_weight", "reduce.sum_rows"),
    "sum_rows": _SUM,
    "activate_backward_bias": ("activate_sums.activate_gradient_sum_rows", *_SUM),
    "conv2d_statistics": (*_CONVOLUTION, "max_pool.max_pool2d_pixels", *_STATISTICS),
    "prepare_dense_weight": ("pack.pack_weight",),
    "dense": _DENSE,
    "dense_backward_input": _DENSE,
    "dense_backward_weight": _WEIGHT,
    "max_pool2d": ("max_pool.max_pool2d_pixels",),
    "max_pool2d_backward": ("max_pool.max_pool2d_backward_pixels",),
    "avg_pool2d": ("avg_pool.avg_pool2d_pixels",),
    "avg_pool2d_backward": ("avg_pool.avg_pool2d_backward_pixels",),
    "batch_norm": (*_STATISTICS, "batch_norm.normalise"),
    "batch_norm_backward": (
        "batch_norm_activate.activate_gradient_sums",
        "batch_norm.batch_norm_gradient_apply",
        "batch_norm.batch_norm_gradient_sums",
        "batch_norm.combine_gradients",
        "words.copy_array",
    ),
    "normalise": ("batch_norm.normalise_inference", "batch_norm_activate.normalise_activate"),
    "update_running_stats": ("batch_norm.move_running",),
    "activate": tuple(f"pointwise.{name}_forward" for name in POINTWISE),
    "activate_backward": tuple(f"pointwise.{name}_gradient" for name in POINTWISE),
    "add": ("elementwise.add_arrays",),
    "scale": ("elementwise.scale_array",),
    "copy": ("words.copy_array",),
    "fill": ("words.fill_array",),
    "clip": ("clipping.clip_array",),
    "sum_squares": ("clipping.sum_square_parts", "clipping.add_square_parts"),
    "clip_norm": ("clipping.scale_to_norm",),
    "concatenate": ("move.copy_channels",),
    "split": ("move.copy_channels",),
    "subsample_pad": ("move.subsample",),
    "subsample_pad_backward": ("move.spread",),
    "add_bias": ("channels.add_bias_rows",),
    "prelu": ("channels.prelu_rows",),
    "prelu_backward": ("channels.prelu_gradient", *_SUM),
    "softmax": ("probabilities.softmax_rows",),
    "softmax_backward": ("probabilities.softmax_gradient",),
    "local_response_norm": ("local_response.local_response_norm_rows",),
    "local_response_norm_backward": ("local_response.local_response_norm_gradient",),
    "group_norm": ("group_norm.group_norm_images",),
    "group_norm_backward": ("group_norm.group_norm_gradient", "group_norm.sum_images"),
    "adaptive_avg_pool2d": ("adaptive_pool.adaptive_avg_pool2d_pixels",),
    "adaptive_avg_pool2d_backward": ("adaptive_pool.adaptive_avg_pool2d_backward_pixels",),
    "upsample2d": ("upsample.upsample_pixels",),
    "upsample2d_backward": ("upsample.upsample_backward_pixels",),
    "loss_and_grad": (
        *(f"{_LOSS_FILES.get(name, 'losses')}.{name}_{loss.over}" for name, loss in LOSSES.items()),
        "softmax.softmax_cross_entropy_targets",
        "losses.weigh_rows",
        "losses.sum_losses",
    ),
    "loss_divisor": ("losses.weigh_rows",),
    "count_correct": ("metrics.count_correct_rows",),
    "count_confusions": ("metrics.count_confusion_rows",),
    "sum_errors": ("metrics.sum_error_columns",),
    "dropout": ("dropout.dropout_elements",),
    "augment": ("augment.augment_images",),
    "transform_images": ("transform.transform_each",),
    "update": tuple(f"optimizer.{name}_update" for name in UPDATE_RULES),
    "normalise_gram": ("gram.normalise_gram",),
    "gram_polynomial": ("gram.gram_polynomial",),
}

_EVERY = Native(adds=True, activations=frozenset(POINTWISE))
NATIVE = {
    "conv2d": replace(_EVERY, keeps=True),
    "conv2d_backward_input": _EVERY,
    "normalise": _EVERY,
    "batch_norm_backward": _EVERY,
    "activate_backward_bias": replace(_EVERY, adds=False),
}
"""Operation -> the epilogues that its kernels do in their own pass.

No pooling: its windows reach over the edges of a convolution's tiles, and the normalisation's kernels walk over rows of
channels, not over maps. No ``conv2d_backward_input_norm``: its sums over pixels would need the warps of a block to meet
after their last product, in every variant, and parts for `combine_gradients`; NOTES.md plans that with the statistics.
"""
