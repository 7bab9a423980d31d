"""Blocks on the skips and at the bottom of a model that exists already, without a fork of its library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

MakeBlock = Callable[[int], nn.Module]
"""Channels to a block that keeps them: ``lambda channels: LocalFeatureTransformer(channels, num_heads=8)``."""

Model = TypeVar("Model", bound=nn.Module)


class ScaledResidual(nn.Module):
    """Add a block's map, times a learned scale a channel that begins at 0, to its input.

    Args:
        block: keeps channels and size.
        channels: number of the map's channels.

    Shapes:
        (N, channels, H, W) -> the same.
    """

    def __init__(self, block: nn.Module, channels: int) -> None:
        super().__init__()
        self.block = block
        self.scale = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum."""
        return x + self.scale * self.block(x)


class FeatureHook(nn.Module):
    """Blocks for some maps of the list that an encoder returns; ``replace`` is the encoder's forward hook."""

    def __init__(self, blocks: Mapping[int, nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict({str(level): block for level, block in blocks.items()})

    def replace(self, _module: nn.Module, _args: Any, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the encoder's maps with the blocks applied."""
        maps = list(features)
        for level, block in self.blocks.items():
            maps[int(level)] = block(maps[int(level)])
        return maps


def make_skip_block(make: MakeBlock, channels: int, *, residual: bool) -> nn.Module:
    """Return a block for a skip of this many channels, in a ScaledResidual if asked for."""
    block = make(channels)
    return ScaledResidual(block, channels) if residual else block


def check_unwrapped(model: nn.Module) -> None:
    """Raise ValueError if the model has blocks on its skips already."""
    if hasattr(model, "skip_blocks"):
        raise ValueError("wrap_skips: a model is wrapped once, got one with skip_blocks. Wrap a new model.")


def encoder_channels(encoder: nn.Module) -> tuple[list[int], int]:
    """Return the channels of the maps that an encoder returns, and which map is the first that its decoder uses.

    Raises:
        ValueError: the encoder is none of SMP's, timm's, nnU-Net's or lmnet's.
    """
    info: Any = getattr(encoder, "feature_info", None)
    if info is not None:  # timm
        return list(info.channels()), 0
    for name in ("out_channels", "output_channels"):  # SMP and lmnet, nnU-Net
        channels: Any = getattr(encoder, name, None)
        if isinstance(channels, (list, tuple)):
            return list(channels), int(hasattr(encoder, "output_stride"))  # SMP's decoders leave map 0 out
    raise ValueError(
        f"wrap_skips: the encoder must name its channels (feature_info, out_channels or output_channels), got "
        f"{type(encoder).__name__}. Pass channels=[...], one for each map that it returns."
    )


def wrap_skips(
    model: Model,
    skip: MakeBlock | None,
    bottom: MakeBlock | None = None,
    *,
    encoder: str = "encoder",
    channels: Sequence[int] | None = None,
    residual: bool = True,
) -> Model:
    """Put a block on each skip of a model whose encoder returns a list of maps, and another at its bottom, in place.

    For models of SMP, nnU-Net, MONAI's FlexibleUNet and your own; for MONAI's UNet see
    ``lmnet.integrations.monai.wrap_skips``. The names of the model's own weights stay as they are; the new ones are
    under ``skip_blocks``.

    Args:
        model: finest map first, the last map is the bottom.
        skip: makes the block of a skip from its channels; None for none.
        bottom: makes the block at the bottom; None for none.
        encoder: name of the submodule that returns the list.
        channels: number of channels of each map; None to ask the encoder. A map of 0 channels is left alone.
        residual: add the block's map to the skip, times a scale that begins at 0: the model begins as it was. False
            puts the block's map in the skip's place, as LM-Net has it; train such a model from scratch.

    Returns:
        the model.

    Raises:
        ValueError: there is no such submodule, it does not name its channels, the model is wrapped already, or what
            the block raises for these channels.
    """
    check_unwrapped(model)
    names = [name for name, _ in model.named_children()]
    if encoder not in dict(model.named_modules()):
        raise ValueError(
            f"wrap_skips: encoder must be a submodule of the model, got encoder={encoder!r}. "
            f"Use one of {', '.join(names)}."
        )
    target = model.get_submodule(encoder)
    widths, first = (list(channels), 0) if channels is not None else encoder_channels(target)
    blocks = {}
    for level, width in enumerate(widths):
        make = bottom if level == len(widths) - 1 else skip
        if make is not None and width and level >= first:
            blocks[level] = make_skip_block(make, width, residual=residual)
    hook = FeatureHook(blocks)
    model.add_module("skip_blocks", hook)
    target.register_forward_hook(hook.replace)
    return model
