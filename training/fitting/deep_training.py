"""Deep training: convolutions that shall become one learn with a bend between them, which goes as the epochs pass.

Source: LV-UNet, arXiv 2408.16886; VanillaNet, arXiv 2305.12972.

Differs: what is scored and kept is always the net without the bend, which is the one that is used; the authors score it
with the bend of the epoch, which is never quite gone, and then merge the convolutions all the same.
"""

from __future__ import annotations

from torch import nn

from lmnet.blocks.fusible import FusibleConv
from lmnet.training.fitting.recipe import Recipe


def check_deep_training(recipe: Recipe, model: nn.Module) -> None:
    """Check that a net has what ``deep_training`` moves, if the recipe asks for it.

    Raises:
        ValueError: it has none, or its convolutions never become one.
    """
    if not recipe.deep_training:
        return
    slopes = {name: block.slope for name, block in _blocks(model).items()}
    if not slopes:
        raise ValueError("recipe: deep_training needs blocks `fusible`, and the net has none. Leave it out.")
    for name, slope in slopes.items():
        if slope != 1:
            raise ValueError(
                f"recipe: deep_training ends at slope 1, got slope={slope:g} in {name}. Give --set slope=1, or leave "
                "deep_training out."
            )


def set_training_slope(model: nn.Module, slope: float | None) -> None:
    """Give all fusible blocks a slope for training alone; None for their own."""
    for block in _blocks(model).values():
        block.training_slope = slope


def _blocks(model: nn.Module) -> dict[str, FusibleConv]:
    return {name: block for name, block in model.named_modules() if isinstance(block, FusibleConv)}
