"""Recipes: all that decides how a model is trained, in a strict YAML file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from lmnet.builder.did_you_mean import closest, did_you_mean
from lmnet.training.fitting.named import AUGMENTATIONS, LOSSES, OPTIMIZERS

_NOT_NEGATIVE = (
    "start_size",
    "min_lr",
    "warmup_epochs",
    "pretrained_lr_scale",
    "freeze_epochs",
    "weight_decay",
    "clip_norm",
    "dice_weight",
    "distill_weight",
)

_LATER_KEYS = frozenset(
    {
        "start_size",
        "optimizer",
        "pretrained_lr_scale",
        "freeze_epochs",
        "loss",
        "distill_weight",
        "distill_temperature",
        "deep_training",
    }
)
"""Keys that the first runs and studies did not have."""

RECIPES = Path(__file__).parents[1] / "recipes"

_CHOICES = {"precision": ("32-true", "16-mixed", "bf16-mixed")}


@dataclass(frozen=True)
class Recipe:
    """How a model is trained. The defaults are those of ``recipes/default.yaml``.

    Args:
        name: name of the recipe.
        size: side in pixels that images are resized to.
        start_size: side in pixels of the first epochs' training images, which then grow to ``size`` in steps of 32 over
            the first two thirds of the epochs; 0 to train at ``size`` throughout.
        epochs: passes over the training images.
        batch_size: images in one step, in each process.
        accumulate: batches whose gradients are added up to one step.
        optimizer: adamw, sgd (Nesterov momentum 0.9), or the name of your own.
        lr: learning rate at its peak.
        min_lr: learning rate at the end of the cosine.
        warmup_epochs: epochs over which the rate rises from 0, may be a fraction.
        pretrained_lr_scale: learning rate of the weights that were given, as a multiple of ``lr``.
        freeze_epochs: epochs at the start in which the weights that were given do not change.
        weight_decay: weight decay.
        clip_norm: largest norm of the gradient; 0 for no limit.
        loss: cross_entropy_dice, or the name of your own.
        class_weights: weights of the classes in the cross-entropy; empty for equal weights.
        label_smoothing: share of the target spread over all classes.
        dice_weight: weight of the Dice loss against the cross-entropy.
        use_background_dice: whether the Dice loss averages the background in.
        distill_weight: weight of the difference from a teacher's class probabilities; used if a teacher is given.
        distill_temperature: divides both logits before they are compared.
        deep_training: whether the slope of blocks ``fusible`` goes from 0 to 1 over the epochs, as LV-UNet is trained;
            the net's own slope must be 1.
        augment: none, light (flips, affine, colour), heavy (the same and more, stronger), robust (heavy, and what
            differs from hospital to hospital: tint, exposure, sharpness, noise, borders), paper (the authors' list),
            or the name of your own.
        ema_decay: decay of the moving average of the weights that is then scored and kept; 0 for none. The decay rises
            from 0 over the first steps, so that the average forgets the random weights.
        channels_last: memory order of the images; faster on many machines.
        precision: 32-true, 16-mixed or bf16-mixed, as Lightning names them.
        mean: mean of each channel, subtracted from images in 0..1.
        std: standard deviation of each channel; images are then divided by it.

    Example:
        >>> from lmnet.training import Recipe
        >>> Recipe(epochs=4, size=64).override({"lr": 1e-3}).lr
        0.001
    """

    name: str = "default"
    size: int = 128
    start_size: int = 0
    epochs: int = 10
    batch_size: int = 8
    accumulate: int = 1
    optimizer: str = "adamw"
    lr: float = 2e-3
    min_lr: float = 1e-5
    warmup_epochs: float = 1.0
    pretrained_lr_scale: float = 1.0
    freeze_epochs: int = 0
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    loss: str = "cross_entropy_dice"
    class_weights: tuple[float, ...] = ()
    label_smoothing: float = 0.0
    dice_weight: float = 1.0
    use_background_dice: bool = False
    distill_weight: float = 1.0
    distill_temperature: float = 2.0
    deep_training: bool = False
    augment: str = "light"
    ema_decay: float = 0.0
    channels_last: bool = True
    precision: str = "32-true"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ValueError: a value is out of its range.
        """
        for key, choices in _CHOICES.items():
            if getattr(self, key) not in choices:
                raise ValueError(
                    f"recipe: {key} must be one of {', '.join(choices)}, got {key}={getattr(self, key)!r}. "
                    f"Use {choices[0]}."
                )
        for names, name in ((AUGMENTATIONS, self.augment), (LOSSES, self.loss), (OPTIMIZERS, self.optimizer)):
            names.check(name)
        for key in ("size", "epochs", "batch_size", "accumulate"):
            _at_least(key, getattr(self, key), 1)
        for key in _NOT_NEGATIVE:
            _at_least(key, getattr(self, key), 0)
        for key, usual in (("lr", "1e-3"), ("distill_temperature", "2")):
            if not getattr(self, key) > 0:
                raise ValueError(
                    f"recipe: {key} must be above 0, got {key}={getattr(self, key)}. Use a value like {usual}."
                )
        for key in ("label_smoothing", "ema_decay"):
            if not 0 <= getattr(self, key) < 1:
                raise ValueError(
                    f"recipe: {key} must be at least 0 and below 1, got {key}={getattr(self, key)}. Use 0 for none."
                )
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(
                f"recipe: mean and std must have 3 values and std be above 0, got mean={self.mean}, std={self.std}. "
                "Leave them out for ImageNet's."
            )

    def override(self, values: Mapping[str, Any], *, where: str = "recipe") -> Recipe:
        """Return a recipe with some values changed.

        Args:
            values: new values by key.
            where: file or option that they come from, for messages.

        Raises:
            ValueError: a key is unknown, or a value is of the wrong type or out of range.
        """
        hints = get_type_hints(Recipe)
        changes = {}
        for key, value in values.items():
            if key not in hints:
                close = closest(key, hints)
                hint = f"Did you mean {close}?" if close else f"Known: {', '.join(hints)}."
                raise ValueError(f"{where}: a recipe has no key `{key}`. {hint}")
            changes[key] = _typed(where, key, value, hints[key])
        return dataclasses.replace(self, **changes)

    def facts(self) -> dict[str, Any]:
        """Return what two runs compare: all values, but for later keys that have their default.

        A run folder or study that was written before a key existed is so equal to one that does not use the key.
        """
        usual = dataclasses.asdict(Recipe())
        values = dataclasses.asdict(self)
        return {key: value for key, value in values.items() if key not in _LATER_KEYS or value != usual[key]}

    def dump(self) -> str:
        """Return the recipe as YAML that ``load_recipe`` reads."""
        import yaml

        content = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}
        return yaml.safe_dump(content, sort_keys=False, default_flow_style=None)


def load_recipe(recipe: str | Path) -> Recipe:
    """Return a recipe by its name (``default``, ``paper``) or from a file; keys left out keep the default's values.

    Raises:
        ValueError: no such name or file, or the file is not strict YAML with known keys and good values.
    """
    from lmnet.builder.strict_yaml import load_yaml  # late: only recipes need the builder

    path = Path(recipe)
    if path.suffix not in (".yaml", ".yml"):
        names = recipe_names()
        if str(recipe) not in names:
            raise ValueError(
                f"recipe: it must be one of {', '.join(names)} or a .yaml file, got recipe={str(recipe)!r}. "
                f"{did_you_mean(str(recipe), names) if closest(str(recipe), names) else 'Use default.'}"
            )
        path = RECIPES / f"{recipe}.yaml"
    content = load_yaml(path).data
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: a recipe must be key: value lines, got {type(content).__name__}. Copy {RECIPES}/default.yaml."
        )
    return Recipe(name=path.stem).override(content, where=str(path))


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def _at_least(key: str, value: float, low: float) -> None:
    if not low <= value < float("inf"):
        raise ValueError(f"recipe: {key} must be at least {low}, got {key}={value}. Raise {key}.")


def _typed(where: str, key: str, value: Any, hint: Any) -> Any:
    wanted = "a list of numbers" if get_origin(hint) is tuple else hint.__name__
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is float and is_number:
        return float(value)
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint in (bool, str) and isinstance(value, hint):
        return value
    if get_origin(hint) is tuple and isinstance(value, Sequence) and not isinstance(value, str):
        item = get_args(hint)[0]
        return tuple(_typed(where, key, entry, item) for entry in value)
    raise ValueError(f"{where}: {key} must be {wanted}, got {key}={value!r}. Write a value like {_like(key)}.")


def _like(key: str) -> str:
    value = getattr(Recipe(), key)
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value).lower()
