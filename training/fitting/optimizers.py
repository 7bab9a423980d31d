"""Optimizers by name, and the groups of parameters that they are given."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from lmnet.training.fitting.recipe import Recipe


def adamw(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    """Return AdamW (arXiv 1711.05101)."""
    return torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay)


def sgd(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    """Return SGD with Nesterov momentum 0.9."""
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay)


def parameter_groups(model: nn.Module, pretrained: Collection[str], recipe: Recipe) -> list[dict[str, Any]]:
    """Return the parameters in groups, each with ``scale``: its rate relative to the recipe's.

    Args:
        model: the model.
        pretrained: names of the tensors that do not start at random; they learn at ``pretrained_lr_scale``.
        recipe: how to train.
    """
    named = dict(model.named_parameters())
    fresh = [parameter for name, parameter in named.items() if name not in pretrained]
    given = [parameter for name, parameter in named.items() if name in pretrained]
    if not given or recipe.pretrained_lr_scale == 1:
        return [{"params": list(named.values()), "scale": 1.0}]
    groups = [{"params": fresh, "scale": 1.0}, {"params": given, "scale": recipe.pretrained_lr_scale}]
    return [group for group in groups if group["params"]]


def freeze(model: nn.Module, pretrained: Collection[str], *, is_frozen: bool) -> None:
    """Stop or continue training the pretrained tensors; norms whose weights are frozen keep their statistics too."""
    for name, parameter in model.named_parameters():
        if name in pretrained:
            parameter.requires_grad_(not is_frozen)
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and f"{name}.weight" in pretrained:
            module.train(not is_frozen and model.training)
