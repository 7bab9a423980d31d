"""Neighbourhood attention by the package NATTEN, where it is installed.

Source: Hassani et al.: NATTEN, https://github.com/SHI-Labs/NATTEN, version 0.21.
"""

from __future__ import annotations

import importlib.util

from torch import Tensor
from torch.nn import functional

_IS_INSTALLED = importlib.util.find_spec("natten") is not None  # once: a compiled net asks in every forward pass


def has_natten() -> bool:
    """Say whether NATTEN can be imported."""
    return _IS_INSTALLED


def natten_attention(query: Tensor, key: Tensor, value: Tensor, window: int, scale: float) -> Tensor:
    """Return the attention (N, H, W, heads, head size); differentiable on CUDA, forward only on CPU.

    NATTEN wants head sizes that are multiples of 8 (on CPU, powers of two): zeros fill the rest up. They change neither
    scores nor sums, as long as the scale stays that of the true head size.

    Raises:
        ImportError: NATTEN is not installed.
    """
    if not has_natten():
        raise ImportError("neighborhood_attention: backend natten needs the package natten. Run: pip install natten")
    from natten.functional import na2d

    size = query.shape[-1]
    full = -size % 8 if query.is_cuda else max(8, 1 << (size - 1).bit_length()) - size
    query, key, value = (functional.pad(x, (0, full)) for x in (query, key, value))
    sides = min(window, query.shape[1]), min(window, query.shape[2])
    out: Tensor = na2d(query, key, value, kernel_size=sides, scale=scale)
    return out[..., :size]
