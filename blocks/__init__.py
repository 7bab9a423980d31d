"""LM-Net's blocks and their kin: plain modules, each usable alone.

A new file in this folder that registers a block is found by itself; a name for ``from lmnet.blocks import ...`` is
added below.
"""

import importlib
import pkgutil

from lmnet.blocks.attention_gate import AttentionGate, ChannelAttention, SpatialAttention
from lmnet.blocks.axial import AxialDepthwise
from lmnet.blocks.branches_compiled import build_branch_kernel
from lmnet.blocks.cascaded_fields import CascadedFields
from lmnet.blocks.compiled import build_kernels
from lmnet.blocks.conv_norm_act import ConvNormAct
from lmnet.blocks.cross_scale_fusion import CrossScaleFusion
from lmnet.blocks.double_conv import DoubleConv
from lmnet.blocks.fusible import FusibleConv
from lmnet.blocks.fusion_decoder import FusionDecoder
from lmnet.blocks.gated_attention import AttentionBridge, DilatedGatedAttention, ExternalAttention
from lmnet.blocks.gft import GlobalFeatureTransformer
from lmnet.blocks.hadamard import GroupBridge, HadamardAttention
from lmnet.blocks.inverted_residual import InvertedResidual
from lmnet.blocks.large_kernel import GroupedFusion, LargeKernelStage
from lmnet.blocks.lft import LocalFeatureTransformer
from lmnet.blocks.local_global import LocalGlobalStage
from lmnet.blocks.merge import Add, Concat, Multiply
from lmnet.blocks.multi_branch import MultiBranchConv, MultiBranchStage
from lmnet.blocks.multi_kernel import MultiKernelConv
from lmnet.blocks.multi_level_heads import FpnHead, LrasppHead, SegformerHead
from lmnet.blocks.neighborhood import neighborhood_attention
from lmnet.blocks.neighborhood_attention import NeighborhoodAttention2d
from lmnet.blocks.neighborhood_backends import attention_backend
from lmnet.blocks.neighborhood_compiled import build_attention_kernel
from lmnet.blocks.norm_act import NormAct
from lmnet.blocks.pyramid_pool import PyramidPool
from lmnet.blocks.rearrange import ChannelShuffle, ChannelSplit, Identity
from lmnet.blocks.registry import REGISTRY, Example, register
from lmnet.blocks.resample import Downsample, Upsample
from lmnet.blocks.resize import Pool, Resize
from lmnet.blocks.rolling_mlp import RollingMlp
from lmnet.blocks.segmentation_head import SegmentationHead
from lmnet.blocks.separable_up import SeparableUpsample
from lmnet.blocks.shift_mlp import ShiftMlpStage
from lmnet.blocks.standardize import Standardize
from lmnet.blocks.timm_encoder import TimmEncoder

__all__ = [
    "REGISTRY",
    "Add",
    "AttentionBridge",
    "AttentionGate",
    "AxialDepthwise",
    "CascadedFields",
    "ChannelAttention",
    "ChannelShuffle",
    "ChannelSplit",
    "Concat",
    "ConvNormAct",
    "CrossScaleFusion",
    "DilatedGatedAttention",
    "DoubleConv",
    "Downsample",
    "Example",
    "ExternalAttention",
    "FpnHead",
    "FusibleConv",
    "FusionDecoder",
    "GlobalFeatureTransformer",
    "GroupBridge",
    "GroupedFusion",
    "HadamardAttention",
    "Identity",
    "InvertedResidual",
    "LargeKernelStage",
    "LocalFeatureTransformer",
    "LocalGlobalStage",
    "LrasppHead",
    "MultiBranchConv",
    "MultiBranchStage",
    "MultiKernelConv",
    "Multiply",
    "NeighborhoodAttention2d",
    "NormAct",
    "Pool",
    "PyramidPool",
    "Resize",
    "RollingMlp",
    "SegformerHead",
    "SegmentationHead",
    "SeparableUpsample",
    "ShiftMlpStage",
    "SpatialAttention",
    "Standardize",
    "TimmEncoder",
    "Upsample",
    "attention_backend",
    "build_attention_kernel",
    "build_branch_kernel",
    "build_kernels",
    "neighborhood_attention",
    "register",
]

for _module in pkgutil.iter_modules(__path__):
    if _module.name != "testing":
        importlib.import_module(f"{__name__}.{_module.name}")


def __dir__() -> list[str]:
    """Return the public names, without the files that they come from."""
    return sorted(__all__)
