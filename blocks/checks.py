"""Checks that blocks share: each raises one line that names the block, the rule, the values and the next step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from torch import Tensor, nn


def check_positive(where: str, **values: float) -> None:
    """Raise ValueError unless every value is above zero."""
    for name, value in values.items():
        if value <= 0:
            raise ValueError(f"{where}: {name} must be above 0, got {name}={value}. Use 1 or more.")


def check_odd(where: str, **values: int) -> None:
    """Raise ValueError unless every value is an odd number above zero."""
    for name, value in values.items():
        if value < 1 or value % 2 == 0:
            raise ValueError(f"{where}: {name} must be odd and above 0, got {name}={value}. Use {max(1, value + 1)}.")


MAX_DEPTH = 64
"""Largest number of repeated parts in one node: planning a node stays under a second."""


def check_depth(where: str, **values: int) -> None:
    """Raise ValueError unless every number of repeated parts is from 1 to ``MAX_DEPTH``."""
    check_positive(where, **values)
    for name, value in values.items():
        if value > MAX_DEPTH:
            raise ValueError(
                f"{where}: {name} must be at most {MAX_DEPTH}, got {name}={value}. Use several nodes for more."
            )


def check_rate(where: str, **values: float) -> None:
    """Raise ValueError unless every value is in [0, 1)."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"{where}: {name} must be in [0, 1), got {name}={value}. Use 0 for none.")


def check_heads(where: str, channels: int, num_heads: int) -> None:
    """Raise ValueError unless ``num_heads`` divides ``channels``; the message names the nearest values that fit."""
    check_positive(where, num_heads=num_heads)
    if channels % num_heads:
        fitting = [heads for heads in range(1, channels + 1) if channels % heads == 0] if channels < 10**5 else [1]
        heads = min(fitting, key=lambda heads: (abs(heads - num_heads), heads))
        lower = channels // num_heads * num_heads
        near = [value for value in (lower, lower + num_heads) if value]
        raise ValueError(
            f"{where}: num_heads must divide in_channels, got num_heads={num_heads}, in_channels={channels}. "
            f"Use {heads} heads, or {' or '.join(map(str, near))} channels."
        )


def check_choice(where: str, choices: Iterable[str], **values: str) -> None:
    """Raise ValueError unless every value is one of ``choices``."""
    choices = list(choices)
    for name, value in values.items():
        if value not in choices:
            close = difflib.get_close_matches(str(value), choices, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"Use {choices[0]}."
            raise ValueError(f"{where}: {name} must be one of {', '.join(choices)}, got {name}={value!r}. {hint}")


def check_inputs(
    where: str,
    in_channels: Sequence[int],
    *,
    at_least: int = 1,
    at_most: int | None = None,
    exactly: int | None = None,
) -> None:
    """Raise ValueError unless a block of several inputs is given as many as it takes, each with channels above 0."""
    count = len(in_channels)
    if exactly is not None and count != exactly:
        raise ValueError(f"{where}: needs exactly {exactly} inputs, got {count}. List {exactly} names in from.")
    if count < at_least:
        raise ValueError(f"{where}: needs at least {at_least} inputs, got {count}. List more names in from.")
    if at_most is not None and count > at_most:
        raise ValueError(f"{where}: takes at most {at_most} inputs, got {count}. List fewer names in from.")
    for channels in in_channels:
        check_positive(where, in_channels=channels)


def check_map(where: str, x: Tensor, in_channels: int) -> None:
    """Raise ValueError unless ``x`` is a feature map (N, in_channels, H, W)."""
    if x.ndim == 4 and x.shape[1] == in_channels:
        return
    got = "(" + ", ".join(str(size) for size in x.shape) + ")"
    if x.ndim == 3:
        hint = "Add the batch: x.unsqueeze(0)."
    elif x.ndim == 4 and x.shape[3] == in_channels:
        hint = "It looks like channels last: x.permute(0, 3, 1, 2)."
    else:
        hint = f"Build the block with in_channels={x.shape[1]}." if x.ndim == 4 else "Pass one feature map."
    raise ValueError(f"{where}: input must be (N, {in_channels}, H, W), got {got}. {hint}")


def check_maps(where: str, maps: Sequence[Tensor], in_channels: Sequence[int]) -> None:
    """Raise ValueError unless ``maps`` are feature maps with the channels that the block was built for."""
    if len(maps) != len(in_channels):
        raise ValueError(f"{where}: takes {len(in_channels)} inputs, got {len(maps)}. Pass one map an input.")
    for x, channels in zip(maps, in_channels, strict=True):
        check_map(where, x, channels)


def check_same_size(where: str, maps: Sequence[Tensor]) -> None:
    """Raise ValueError unless all maps have one height and width."""
    first = maps[0].shape[2:]
    for index, x in enumerate(maps[1:], start=1):
        if x.shape[2:] != first:
            raise ValueError(
                f"{where}: inputs must have one size, got {first[0]}x{first[1]} (input 0) and "
                f"{x.shape[2]}x{x.shape[3]} (input {index}). {_resize_hint(first, x.shape[2:], index)}"
            )


def _resize_hint(first: Sequence[int], size: Sequence[int], index: int) -> str:
    """Return how to bring input ``index`` and input 0 to one size."""
    for large, small, names in ((first, size, (index, 0)), (size, first, (0, index))):
        factor = large[0] // max(1, small[0])
        if factor > 1 and all(a == factor * b for a, b in zip(large, small, strict=True)):
            return f"Upsample input {names[0]} by {factor}, or downsample input {names[1]} by {factor}."
    return "Pad the image to a multiple of the net's stride."


def act_layer_of(where: str, name: str) -> type[nn.Module]:
    """Return timm's activation class of that name; ValueError for an unknown name."""
    from timm.layers import get_act_layer  # late: its import takes longer than torch's

    try:
        layer = get_act_layer(name)
    except (KeyError, AssertionError) as err:
        raise ValueError(
            f"{where}: act_layer must be one of timm's, got act_layer={name!r}. Try gelu or relu."
        ) from err
    if not isinstance(layer, type):
        raise ValueError(f"{where}: act_layer must be one of timm's, got act_layer={name!r}. Try gelu or relu.")
    return layer


def make_act(where: str, name: str) -> nn.Module:
    """Return an activation by timm's name, or the identity for ``none``; ValueError for an unknown name."""
    return nn.Identity() if name == "none" else act_layer_of(where, name)()


def make_norm(
    where: str, name: str, channels: int, *, eps: float | None = None, groups: int | None = None
) -> nn.Module:
    """Return a normalisation by timm's name, or the identity for ``none``.

    Args:
        where: block that asks, for the message.
        name: timm's name, or ``none``.
        channels: channels of the map.
        eps: added to the variance; None for the layer's own.
        groups: groups of a ``groupnorm``; None for timm's 32.

    Raises:
        ValueError: the name is unknown, groups do not divide the channels or are given for another layer.
    """
    if name == "none":
        return nn.Identity()
    layer = norm_layer_of(where, name)
    options: dict[str, float] = {} if eps is None else {"eps": eps}
    if groups is not None:
        if name != "groupnorm":
            raise ValueError(f"{where}: norm_groups are for norm_layer=groupnorm, got {name}. Leave norm_groups out.")
        if groups < 1 or channels % groups:
            raise ValueError(
                f"{where}: norm_groups must divide the channels, got norm_groups={groups}, channels={channels}. "
                "Use norm_groups=1."
            )
        options["num_groups"] = groups
    return layer(channels, **options)


def norm_layer_of(where: str, name: str) -> type[nn.Module]:
    """Return timm's normalisation class of that name; ValueError for an unknown name."""
    from timm.layers import get_norm_layer  # late: its import takes longer than torch's

    try:
        layer = get_norm_layer(name)
    except (KeyError, AssertionError) as err:
        raise ValueError(
            f"{where}: norm_layer must be one of timm's, got norm_layer={name!r}. Try batchnorm2d or groupnorm."
        ) from err
    if not isinstance(layer, type):
        raise ValueError(
            f"{where}: norm_layer must be one of timm's, got norm_layer={name!r}. Try batchnorm2d or groupnorm."
        )
    return layer
