"""A net made ready for inference: re-parameterised, batch norms folded, channels last, checked on the spot."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lmnet.builder.graph import GraphModel

TOLERANCE = 1e-4


def _first(out: Tensor | dict[str, Tensor]) -> Tensor:
    return out if isinstance(out, Tensor) else next(iter(out.values()))


def fold_norms(model: nn.Module) -> None:
    """Call ``fold_norm`` of every part that has it, in place; the model must be in eval mode."""
    for module in list(model.modules()):
        fold = getattr(module, "fold_norm", None)
        if callable(fold):
            fold()


def optimize_for_inference(
    model: nn.Module, example: Tensor | None = None, *, input_shape: Sequence[int] | None = None
) -> nn.Module:
    """Return a faster copy of a net, for inference only: it cannot be trained further.

    Multi-branch convolutions are re-parameterised, batch norms behind a convolution are folded into it, and weights are
    laid out channels last, which the blocks keep from end to end: attention and layer norm then need no copies.

    Args:
        model: a net of the builder, or any module that holds blocks.
        example: an image (N, C, H, W) to check with; None for a random one.
        input_shape: (C, H, W) of the random image; None for the net's own, at most 128 per side.

    Raises:
        ValueError: the module has no shape of its own, and neither example nor input_shape is given.
        RuntimeError: the copy's output differs from the original's by more than 1e-4 of its largest value.

    Example:
        >>> import torch
        >>> import lmnet
        >>> fast = lmnet.optimize_for_inference(lmnet.create_model("lmnet_xxs").eval())
        >>> fast(torch.randn(1, 3, 64, 64)).shape
        torch.Size([1, 2, 64, 64])
    """
    from timm.utils import reparameterize_model  # late: its import takes longer than torch's

    if example is None:
        example = _example(model, input_shape)
    was_training = model.training
    fast = copy.deepcopy(model).eval()
    reparameterize_model(nn.ModuleList([fast]), inplace=True)
    fold_norms(fast)
    fast = fast.requires_grad_(False).to(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = _first(model.eval()(example))
        error = float((_first(fast(example)) - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
    model.train(was_training)
    if not error <= TOLERANCE:
        raise RuntimeError(
            f"optimize_for_inference: the copy must equal the net to {TOLERANCE}, got error={error:.2e}. "
            "Check the fold_norm or reparameterize of your own blocks."
        )
    return fast


def _example(model: nn.Module, input_shape: Sequence[int] | None) -> Tensor:
    if input_shape is None:
        if not isinstance(model, GraphModel):
            raise ValueError(
                f"optimize_for_inference: the shape of an image is not known for {type(model).__name__}. "
                "Give example or input_shape."
            )
        channels, height, width = model.plan.input_shape
        input_shape = (channels, min(height, 128), min(width, 128))
    parameter = next(model.parameters())
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, *input_shape, generator=generator).to(parameter.device, parameter.dtype)
