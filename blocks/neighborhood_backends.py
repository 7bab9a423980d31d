"""Which code computes the neighbourhood attention: choosing it, and overriding the choice for whole nets.

All backends give the same numbers to rounding:

- ``gather``: every window gathered, in plain tensor operations; slow, much memory; the oracle.
- ``torch``: PyTorch operations on views (neighborhood_planar.py); any device.
- ``compiled``: a C++ kernel, built on first use (neighborhood_compiled.py). It takes float32 and the half types on CPU;
  without a compiler, and for all others, ``torch`` runs instead.
- ``auto``: ``compiled`` for maps on the CPU once ``build_attention_kernel()`` or the first training step has built the
  kernel in this process, else ``torch``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from lmnet.blocks.checks import check_choice
from lmnet.blocks.neighborhood_compiled import (
    can_compute,
    compiled_attention,
    compiled_attention_backward,
    is_kernel_default,
)
from lmnet.blocks.neighborhood_planar import planar_attention, planar_attention_backward

BACKENDS = ("auto", "torch", "compiled", "gather")

_override: str | None = None


@contextmanager
def attention_backend(backend: str) -> Iterator[None]:
    """Let every neighbourhood attention in this process use ``backend`` while the context is open.

    It goes before what the layers and calls ask for. It is meant for whole nets: ``with attention_backend("gather"):
    net(x)``. The backward pass uses what its forward pass used. It holds for all threads.

    Args:
        backend: auto, torch, compiled or gather.

    Raises:
        ValueError: an unknown backend.
    """
    global _override
    check_choice("attention_backend", BACKENDS, backend=backend)
    before, _override = _override, backend
    try:
        yield
    finally:
        _override = before


def asked_backend(backend: str) -> str:
    """Return the override where one is open, else ``backend``."""
    return backend if _override is None else _override


def run_forward(backend: str, query: Tensor, key: Tensor, value: Tensor, window: int, scale: float) -> Tensor:
    """Return the attention, contiguous, by the backend auto, torch or compiled."""
    if query.numel() == 0:
        return query.new_empty(query.shape)
    attend = compiled_attention if _is_compiled(backend, query) else planar_attention
    return attend(query, key, value, window, scale)


def run_backward(
    backend: str, grad: Tensor, query: Tensor, key: Tensor, value: Tensor, window: int, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of query, key and value, contiguous, by the backend auto, torch or compiled."""
    if query.numel() == 0:
        return query.new_empty(query.shape), query.new_empty(query.shape), query.new_empty(query.shape)
    backward = compiled_attention_backward if _is_compiled(backend, query) else planar_attention_backward
    return backward(grad, query, key, value, window, scale)


def _is_compiled(backend: str, query: Tensor) -> bool:
    return can_compute(query) and (backend == "compiled" or (backend == "auto" and is_kernel_default()))
