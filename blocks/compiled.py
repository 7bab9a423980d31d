"""All C++ kernels of this folder at once."""

from __future__ import annotations

import os

from lmnet.blocks.branches_compiled import build_branch_kernel
from lmnet.blocks.cpu_kernels import find_compiler
from lmnet.blocks.neighborhood_compiled import build_attention_kernel

SWITCH = "LMNET_KERNELS"
"""The environment variable that leaves the kernels out where it is 0."""


def build_kernels() -> bool:
    """Build and load the compiled attention and the compiled branches, for faster training and inference on a CPU.

    ``lmnet-train`` and ``lmnet-search`` call this where they train on a CPU. Results are those of pure PyTorch up to
    rounding. Nothing is built where there is no C++ compiler, or where the environment has ``LMNET_KERNELS=0``.

    Returns:
        Whether both can be used.
    """
    if os.environ.get(SWITCH) == "0" or find_compiler() is None:
        return False
    return build_attention_kernel() and build_branch_kernel()  # where the first does not build, one line says why
