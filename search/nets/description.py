"""What a net is, in numbers that nets of all families share: where its cost lies, its depth, widths and reach.

A family's knobs say nothing of another family. These columns come from the plan alone, so nothing is built or trained,
and two nets of one architecture and size have the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmnet.builder.plan import NodePlan, Plan

Array = NDArray[np.floating[Any]]
STRIDES = (1, 2, 4, 8, 16, 32)
"""Strides of the columns; a coarser map counts with the last, another one with the nearest."""
KINDS: Mapping[str, tuple[str, ...]] = {
    "convolution": ("conv_norm_act", "double_conv", "downsample", "fusible", "inverted_residual"),
    "depthwise": (
        "axial_depthwise", "cascaded_fields", "large_kernel", "multi_branch", "multi_branch_stage", "multi_kernel",
    ),
    "window": ("local_global", "lft", "neighborhood_attention"),
    "global": ("external_attention", "gft", "hadamard_attention"),
    "gate": (
        "attention_bridge", "attention_gate", "channel_attention", "dilated_gated_attention", "spatial_attention",
    ),
    "mlp": ("rolling_mlp", "shift_mlp"),
    "encoder": ("timm_encoder",),
    "fusion": (
        "cross_scale_fusion", "fusion_decoder", "group_bridge", "grouped_fusion", "pyramid_pool", "separable_up",
        "upsample",
    ),
    "head": ("fpn_head", "lraspp_head", "segformer_head", "segmentation_head"),
    "other": (),
}  # fmt: skip
"""Kinds of blocks; a block that is in no list, such as one of the user's, is of the last kind."""
KIND_OF = {block: kind for kind, blocks in KINDS.items() for block in blocks}
WINDOW, KERNELS, DILATIONS = ("window",), ("kernel_size", "kernels"), ("dilation", "dilations")
"""Options that give the side of what a pixel sees."""
EXPANSIONS = ("expand_ratio", "mlp_ratio")
"""Options that widen a block inside."""
REPEATS = "depth"
"""Option that repeats a block."""
COLUMNS: tuple[str, ...] = (
    "log_macs", "log_params", "log_peak", "log_pixels", "path", "reach", "expansion", "encoder", "pretrained",
    *(f"macs_stride_{stride}" for stride in STRIDES),
    *(f"params_stride_{stride}" for stride in STRIDES),
    *(f"width_stride_{stride}" for stride in STRIDES),
    *(f"narrow_stride_{stride}" for stride in STRIDES),
    *(f"depth_stride_{stride}" for stride in STRIDES),
    *(f"window_stride_{stride}" for stride in STRIDES),
    *(f"kernel_stride_{stride}" for stride in STRIDES),
    *(f"macs_{kind}" for kind in KINDS),
    *(f"params_{kind}" for kind in KINDS),
)  # fmt: skip
"""Names of the numbers, in their order. Logarithms are to the base 2.

log_macs, log_peak: multiply-accumulates and bytes of activations for each pixel of the image. log_pixels: its pixels.
log_params: parameters. path: logarithm of the blocks on the longest way through the net. reach: mean over the MACs of
the logarithm of what a block sees, in pixels of the image. expansion: mean over the MACs by how much blocks are wider
inside. encoder: whether there is a timm encoder; pretrained: whether it has weights.
By stride: shares of MACs and parameters, logarithms of the widest and the narrowest map of its blocks, of the number
of blocks, of the largest window and of the largest kernel, each 0 if there is none. By kind of block: shares of MACs
and parameters.
"""


def describe(plan: Plan, *, is_pretrained: bool = False) -> Array:
    """Return the numbers of a net, by the names of ``COLUMNS``.

    Args:
        plan: its plan; costs are those of the re-parameterised net.
        is_pretrained: whether its timm encoder starts from weights.
    """
    height, width = plan.padded_size
    pixels = height * width
    found = dict.fromkeys(COLUMNS, 0.0)
    path: dict[str, int] = {}
    macs, params, reach = max(1, plan.deploy_macs), max(1, plan.deploy_params), 0.0
    for node in plan.nodes:
        cost, kind = node.cost, KIND_OF.get(node.block, "other")
        window, kernel = _side(node, WINDOW), _side(node, KERNELS)
        repeats = max(1, int(_largest(node.options.get(REPEATS), 1))) if cost.deploy_macs else 0
        path[node.name] = repeats + max((path.get(name, 0) for name, _ in node.inputs), default=0)
        found[f"macs_{kind}"] += cost.deploy_macs / macs
        found[f"params_{kind}"] += cost.deploy_params / params
        if kind == "encoder":
            found["encoder"], found["pretrained"] = 1.0, float(is_pretrained)
        found["expansion"] += cost.deploy_macs / macs * max(_largest(node.options.get(name), 1) for name in EXPANSIONS)
        for channels, side, _ in cost.out_shapes:
            share, stride = 1 / len(cost.out_shapes), _nearest(height / side)
            found[f"macs_stride_{stride}"] += share * cost.deploy_macs / macs
            found[f"params_stride_{stride}"] += share * cost.deploy_params / params
            if repeats:
                wide, narrow = f"width_stride_{stride}", f"narrow_stride_{stride}"
                own = math.log2(1 + channels)
                found[wide], found[narrow] = max(found[wide], own), min(found[narrow] or own, own)
            found[f"depth_stride_{stride}"] += share * repeats
            found[f"window_stride_{stride}"] = max(found[f"window_stride_{stride}"], math.log2(window))
            found[f"kernel_stride_{stride}"] = max(found[f"kernel_stride_{stride}"], math.log2(kernel))
            reach += share * cost.deploy_macs / macs * math.log2(max(window, kernel) * height / side)
    for stride in STRIDES:
        found[f"depth_stride_{stride}"] = math.log2(1 + found[f"depth_stride_{stride}"])
    found |= {
        "log_macs": math.log2(macs / pixels),
        "log_params": math.log2(params),
        "log_pixels": math.log2(pixels),
        "log_peak": math.log2(1 + plan.peak_bytes / pixels),
        "path": math.log2(1 + max(path.values(), default=0)),
        "reach": reach,
    }
    return np.array([found[name] for name in COLUMNS])


def _side(node: NodePlan, names: tuple[str, ...]) -> float:
    """Return the largest side that some options of a node give, dilated; 1 if it has none."""
    side = max(1.0, *(_largest(node.options.get(name), 1) for name in names))
    return 1 + (side - 1) * max(_largest(node.options.get(name), 1) for name in DILATIONS)


def _largest(value: Any, default: float) -> float:
    """Return the largest number in an option, which may be a list of lists; the default if there is none."""
    if isinstance(value, Iterable) and not isinstance(value, (str, Mapping)):
        return max((_largest(each, default) for each in value), default=default)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else default


def _nearest(stride: float) -> int:
    return min(STRIDES, key=lambda each: abs(math.log2(max(stride, 1e-9) / each)))
