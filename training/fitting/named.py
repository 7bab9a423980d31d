"""The names of losses, augmentations and optimizers that recipes use: those of lmnet, and yours."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

from lmnet.builder.did_you_mean import closest

Maker = TypeVar("Maker", bound=Callable[..., Any])


class Named:
    """Functions by name; those that come along are imported when they are first asked for.

    Args:
        kind: what the functions make, as messages say it; also the recipe's key.
        known: name to ``module:function``.
    """

    def __init__(self, kind: str, known: dict[str, str]) -> None:
        self.kind = kind
        self._known: dict[str, str | Callable[..., Any]] = dict(known)

    def register(self, name: str) -> Callable[[Maker], Maker]:
        """Return a decorator that gives a function a name for recipes.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._known:
            raise ValueError(f"{self.kind}: the name {name!r} is taken. Register it under another name.")

        def decorate(maker: Maker) -> Maker:
            self._known[name] = maker
            return maker

        return decorate

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted(self._known)

    def check(self, name: str) -> None:
        """Check that a name is known.

        Raises:
            ValueError: it is not.
        """
        if name not in self._known:
            close = closest(name, self._known)
            hint = f"Did you mean {close}?" if close else "Your own are known after --import MODULE."
            raise ValueError(
                f"recipe: {self.kind} must be one of {', '.join(self.names())}, got {self.kind}={name!r}. {hint}"
            )

    def get(self, name: str) -> Callable[..., Any]:
        """Return the function of a name.

        Raises:
            ValueError: the name is unknown.
        """
        self.check(name)
        maker = self._known[name]
        if isinstance(maker, str):
            module, _, function = maker.partition(":")
            maker = getattr(importlib.import_module(module), function)
        assert callable(maker)
        return maker


LOSSES = Named("loss", {"cross_entropy_dice": "lmnet.training.fitting.losses:cross_entropy_dice"})
"""``make(recipe) -> nn.Module`` that maps logits (N, K, H, W) and mask (N, H, W) int64 to a scalar."""

AUGMENTATIONS = Named(
    "augment", {name: f"lmnet.training.data.augment:{name}" for name in ("none", "light", "heavy", "robust", "paper")}
)
"""``make(size) -> Transform`` of torchvision.transforms.v2, called with an image and its mask."""

OPTIMIZERS = Named("optimizer", {name: f"lmnet.training.fitting.optimizers:{name}" for name in ("adamw", "sgd")})
"""``make(groups, recipe) -> torch.optim.Optimizer``; each group of parameters has its ``lr``."""

register_loss = LOSSES.register
register_augmentation = AUGMENTATIONS.register
register_optimizer = OPTIMIZERS.register
