"""All C++ kernels of this folder at once."""

from __future__ import annotations

from torch import nn

from lmnet.blocks.branches_compiled import build_branch_kernel
from lmnet.blocks.cpu_kernels import can_build
from lmnet.blocks.multi_branch import MultiBranchConv
from lmnet.blocks.multi_kernel import MultiKernelConv
from lmnet.blocks.neighborhood_attention import NeighborhoodAttention2d, NeighborhoodAttentionTokens
from lmnet.blocks.neighborhood_compiled import build_attention_kernel

_USERS = (MultiBranchConv, MultiKernelConv, NeighborhoodAttention2d, NeighborhoodAttentionTokens)


def build_kernels(model: nn.Module | None = None) -> bool:
    """Build and load the compiled attention and the compiled branches, for faster training and inference on a CPU.

    ``lmnet.training.fit`` calls this where it trains on a CPU. In a training loop of your own the first training step
    on a CPU builds what it uses; call this before it to keep those seconds out of the step, or for inference. Results
    are those of pure PyTorch up to rounding. Nothing is built where there is no C++ compiler (a line in the log says
    so), or where the environment has ``LMNET_KERNELS=0``.

    Args:
        model: build only if it holds a block that uses a kernel; None to build in any case.

    Returns:
        Whether both can be used.
    """
    if model is not None and not any(isinstance(module, _USERS) for module in model.modules()):
        return False
    if not can_build():
        return False
    return build_attention_kernel() and build_branch_kernel()  # where the first does not build, one line says why
