"""The registry of blocks: a name that specs use, the class behind it and a small example of its use."""

from __future__ import annotations

import difflib
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import nn

Shape = tuple[int, int, int]
"""Channels, height, width of one feature map (without the batch)."""

BlockType = TypeVar("BlockType", bound=type[nn.Module])


@dataclass(frozen=True)
class Example:
    """A small use of a block: what contract tests, docs and ``lmnet-build --list-blocks`` show.

    Args:
        options: keyword options of the constructor, without in_channels.
        inputs: (C, H, W) of each input.
        outputs: (C, H, W) of each output.
    """

    options: Mapping[str, Any]
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]


@dataclass
class Registry:
    """Names to block classes. A block is an nn.Module whose constructor takes in_channels and plain keyword options."""

    _classes: dict[str, type[nn.Module]] = field(default_factory=dict)
    _examples: dict[str, Example] = field(default_factory=dict)
    _plugins_loaded: bool = False

    def register(self, name: str, *, example: Example) -> Callable[[BlockType], BlockType]:
        """Return a decorator that registers a class under ``name``.

        Raises:
            ValueError: the name is taken by another class, or is not snake_case.

        Example:
            >>> from torch import nn
            >>> from lmnet.blocks import Example, register
            >>> @register("halve", example=Example({}, inputs=((4, 16, 16),), outputs=((4, 8, 8),)))
            ... class Halve(nn.AvgPool2d):
            ...     def __init__(self, in_channels: int) -> None:
            ...         super().__init__(2)
            ...         self.out_channels = in_channels
        """
        if not name.isidentifier() or name != name.lower():
            raise ValueError(f"registry: a block's name must be snake_case, got name={name!r}.")

        def decorate(cls: BlockType) -> BlockType:
            taken = self._classes.get(name)
            if taken is not None:
                raise ValueError(
                    f"registry: a block's name must be free, got name={name!r}, which is "
                    f"{taken.__module__}.{taken.__qualname__}. Register {cls.__qualname__} under another name."
                )
            self._classes[name] = cls
            self._examples[name] = example
            return cls

        return decorate

    def load_plugins(self) -> None:
        """Import the modules that installed packages name in the entry-point group ``lmnet.blocks``, once."""
        if not self._plugins_loaded:
            self._plugins_loaded = True
            for entry_point in importlib.metadata.entry_points(group="lmnet.blocks"):
                entry_point.load()

    def get(self, name: str) -> type[nn.Module]:
        """Return the class registered under ``name``; ValueError with the closest names if there is none."""
        if name not in self._classes:
            self.load_plugins()
        if name not in self._classes:
            close = difflib.get_close_matches(name, self.names(), n=3)
            hint = f"Did you mean {' or '.join(close)}?" if close else "`lmnet-build --list-blocks` lists them."
            raise ValueError(f"registry: block must be registered, got block={name!r}. {hint}")
        return self._classes[name]

    def example(self, name: str) -> Example:
        """Return the example that the block was registered with."""
        self.get(name)
        return self._examples[name]

    def names(self) -> list[str]:
        """Return all registered names, sorted."""
        self.load_plugins()
        return sorted(self._classes)


REGISTRY = Registry()
register = REGISTRY.register
