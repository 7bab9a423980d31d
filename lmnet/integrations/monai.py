"""LM-Net's parts in MONAI's 2D U-Net."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.layers.simplelayers import SkipConnection
from monai.networks.nets import UNet
from torch import Tensor, nn

from lmnet.integrations.skips import MakeBlock, check_unwrapped, make_skip_block

__all__ = ["wrap_skips"]


class _Carried:
    """Replace the first part of a SkipConnection's output, its input, by a block's map."""

    def __init__(self, block: nn.Module) -> None:
        self.block = block

    def __call__(self, _module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        carried = args[0]
        return torch.cat([self.block(carried), output[:, carried.shape[1] :]], dim=1)


class _Bottom:
    """Replace a module's output by a block's map of it."""

    def __init__(self, block: nn.Module) -> None:
        self.block = block

    def __call__(self, _module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        return self.block(output)


def wrap_skips(model: UNet, skip: MakeBlock | None, bottom: MakeBlock | None = None, *, residual: bool = True) -> UNet:
    """Put a block on each skip of a MONAI UNet and another at its bottom, in place.

    Args:
        model: monai.networks.nets.UNet with spatial_dims=2.
        skip: makes the block of a skip from its channels; None for none.
        bottom: makes the block at the bottom; None for none.
        residual: see ``lmnet.integrations.skips.wrap_skips``.

    Returns:
        the model; its new weights are under ``skip_blocks``.

    Raises:
        ValueError: the model is not a MONAI UNet of two dimensions, is wrapped already, or what the block raises.
    """
    check_unwrapped(model)
    dimensions = getattr(model, "dimensions", None)
    if not isinstance(model, UNet) or dimensions != 2:
        raise ValueError(
            f"wrap_skips: model must be monai.networks.nets.UNet with spatial_dims=2, got {type(model).__name__}, "
            f"spatial_dims={dimensions}. For a model with an encoder use lmnet.integrations.skips.wrap_skips."
        )
    skips = [module for module in model.modules() if isinstance(module, SkipConnection)]  # from the outermost inwards
    blocks = nn.ModuleDict()
    for level, (module, channels) in enumerate(zip(skips, model.channels, strict=False)):
        if skip is not None:
            blocks[str(level)] = block = make_skip_block(skip, channels, residual=residual)
            module.register_forward_hook(_Carried(block))
    if bottom is not None:
        blocks["bottom"] = block = make_skip_block(bottom, model.channels[-1], residual=residual)
        skips[-1].submodule.register_forward_hook(_Bottom(block))
    model.add_module("skip_blocks", blocks)
    return model
