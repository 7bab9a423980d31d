"""What anybody's module costs: ``lmnet.cost(module, (3, 224, 224))``."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from lmnet.builder.cost import measured


@dataclass(frozen=True, repr=False)
class ModuleCost:
    """The cost of one forward pass of a module at batch 1.

    Args:
        params: numbers that training learns.
        macs: multiply-accumulates of convolutions, linear layers and attention products.
        deploy_params: as ``params``, after re-parameterisation; equal if nothing is merged.
        deploy_macs: as ``macs``, after re-parameterisation.
        peak_bytes: largest memory of the maps that the re-parameterised form holds at once, float32, without inputs
            and weights.
    """

    params: int
    macs: int
    deploy_params: int
    deploy_macs: int
    peak_bytes: int

    @property
    def gmacs(self) -> float:
        """Multiply-accumulates of the re-parameterised form in 10^9, the figure that limits are compared with."""
        return self.deploy_macs / 1e9

    def __repr__(self) -> str:
        lines = [f"{_figures(self.deploy_params, self.deploy_macs)}, {self.peak_bytes / 2**20:.1f} MiB of maps"]
        if (self.params, self.macs) != (self.deploy_params, self.deploy_macs):
            lines.append(f"while training: {_figures(self.params, self.macs)}")
        return "\n".join(lines)


def _figures(params: int, macs: int) -> str:
    return f"{params / 1e6:.3f} M parameters, {macs / 1e9:.3f} GMACs"


def cost(module: nn.Module, *input_shapes: Sequence[int]) -> ModuleCost:
    """Count what a module costs on inputs of these shapes. Nothing is computed: a copy runs on the meta device.

    Args:
        module: any module that takes maps; it is not changed.
        input_shapes: shape of each input without the batch, such as (3, 224, 224).

    Returns:
        Parameters, multiply-accumulates and memory, in the training form and after re-parameterisation (for modules
        with a ``reparameterize`` method).

    Raises:
        ValueError: no shape is given, or a side is not positive.
        UnknownOperation: the module runs an operation that has no formula and is not known to be free.

    Example:
        >>> import lmnet
        >>> from lmnet.blocks import LocalFeatureTransformer
        >>> lmnet.cost(LocalFeatureTransformer(64, window=7, num_heads=4), (64, 56, 56))
        0.070 M parameters, 0.238 GMACs, 5.5 MiB of maps
    """
    if not input_shapes or any(side < 1 for shape in input_shapes for side in shape):
        raise ValueError(
            f"cost: give the shape of each input without the batch, got {input_shapes}. Use (3, 224, 224)."
        )
    found = measured(copy.deepcopy(module).to("meta").eval(), input_shapes, lambda out: ())
    return ModuleCost(found.params, found.macs, found.deploy_params, found.deploy_macs, found.peak_bytes)
