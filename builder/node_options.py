"""The options of a node: those of its block, or, if the block is a variable, those of each block that it may be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from lmnet.builder.expressions import ExpressionError, names_in
from lmnet.builder.options import Signature
from lmnet.builder.problems import Path, did_you_mean

IDENTITY = "identity"
"""The block that leaves a node out: it gets none of the options beside ``block``."""
OUT_CHANNELS = "out_channels"
"""The option that every block of a node must keep to, those too that have no such option."""


class Fault(NamedTuple):
    """What is wrong, where, and whether with the key there or with its value."""

    path: Path
    message: str
    at_key: bool


@dataclass(frozen=True)
class WiredBlock:
    """A block with the options that the spec gives it in one node.

    Args:
        name: the registered name.
        signature: what its constructor takes.
        options: as written, those with faults left out.
        places: where each option is written.
        channels: ``out_channels`` of the node if the block has no such option; its maps must have as many.
        path: the node's place.
        note: " (choice NAME)" for the messages of a node with several.
    """

    name: str
    signature: Signature
    options: dict[str, Any]
    places: dict[str, Path]
    channels: Any
    path: Path
    note: str

    def place(self, option: str) -> Path:
        """Return where an option is written, or where it would be."""
        return self.places.get(option, (*self.path, option))


class NodeOptions:
    """What a node gives its blocks.

    Args:
        path: the node's place.
        shared: options beside ``block``, for every block but ``identity``.
        by_block: further options of single blocks.
        signatures: the blocks that the node may be.
        has_choices: whether the block is a variable.
    """

    def __init__(
        self,
        path: Path,
        shared: Mapping[str, Any],
        by_block: Mapping[str, Mapping[str, Any]],
        signatures: Mapping[str, Signature],
        *,
        has_choices: bool,
    ) -> None:
        self.path, self.shared, self.by_block = path, shared, by_block
        self.signatures, self.has_choices = signatures, has_choices
        self.names: frozenset[str] = frozenset()
        self._faulty: dict[str, set[str]] = {block: set() for block in signatures}

    def faults(self, variables: Collection[str]) -> list[Fault]:
        """Return what is wrong; a fault of several choices is one that names them."""
        wrong = self._expression_faults(variables)
        about: dict[Fault, list[str]] = {}
        unknown: set[Path] = set()
        for block, signature in self.signatures.items():
            given = self._given(block)
            faults = signature.faults({key: value for key, (value, _) in given.items()})
            self._faulty[block] = {key for key, (_, place) in given.items() if key in faults or place in wrong}
            unknown |= {place for key, (_, place) in given.items() if key not in signature.options}
            for key, message in faults.items():
                place = given[key][1] if key in given else self._place(block, key)
                if place not in wrong:
                    fault = Fault(place, self._reworded(block, key, message), place in unknown)
                    about.setdefault(fault, []).append(block)
            for key in self._twice(block):
                message = f"{key} is given here and beside block. Remove one."
                about[Fault(self._place(block, key), message, at_key=True)] = [block]
        return [Fault(place, message, place in unknown) for place, message in wrong.items()] + [
            Fault(fault.path, fault.message + self._note(fault.path, blocks), fault.at_key)
            for fault, blocks in about.items()
        ]

    def wired(self, block: str, spoilt: Collection[str]) -> WiredBlock:
        """Return a block with its options; those with faults, or with a spoilt variable, are left out."""
        given = {
            key: (value, place)
            for key, (value, place) in self._given(block).items()
            if key not in self._faulty[block] and not names_in(value) & frozenset(spoilt)
        }
        return WiredBlock(
            block,
            self.signatures[block],
            {key: value for key, (value, _) in given.items()},
            {key: place for key, (_, place) in given.items()},
            self.shared.get(OUT_CHANNELS) if self._keeps_channels(block) else None,
            self.path,
            f" (choice {block})" if self.has_choices else "",
        )

    def _given(self, block: str) -> dict[str, tuple[Any, Path]]:
        """Return what a block gets, with the places."""
        own = {key: (value, self._place(block, key)) for key, value in self.by_block.get(block, {}).items()}
        if self.has_choices and block == IDENTITY:
            return own
        kept = OUT_CHANNELS if self._keeps_channels(block) else None
        return {key: (value, (*self.path, key)) for key, value in self.shared.items() if key != kept} | own

    def _keeps_channels(self, block: str) -> bool:
        """Whether a block has no ``out_channels`` of its own, so that the node's is a condition on its maps."""
        return self.has_choices and OUT_CHANNELS not in self.signatures[block].options

    def _twice(self, block: str) -> Collection[str]:
        own = self.by_block.get(block, {})
        return [] if block == IDENTITY else [key for key in own if key in self.shared]

    def _place(self, block: str, key: str) -> Path:
        """Return where an option of one block is written, or where it would be."""
        return (*self.path, "options", block, key) if block in self.by_block else (*self.path, key)

    def _reworded(self, block: str, key: str, message: str) -> str:
        """Say of an option beside ``block`` that only some of the choices have it."""
        if key == "options" and not self.has_choices:
            return (
                f"options by block are for a node whose block is a variable, got block: {block}. Write them beside it."
            )
        others = [name for name, signature in self.signatures.items() if key in signature.options]
        if key not in self.shared or key in self.signatures[block].options or not others:
            return message
        return (
            f"{block} has no option {key}, and {others[0]} has. Write it in options: {{{others[0]}: {{{key}: ...}}}}."
        )

    def _note(self, place: Path, blocks: Collection[str]) -> str:
        """Name the choices of a fault whose place does not."""
        if not self.has_choices or "options" in place[len(self.path) :]:
            return ""
        return f" ({'choice' if len(blocks) == 1 else 'choices'} {', '.join(blocks)})"

    def _expression_faults(self, variables: Collection[str]) -> dict[Path, str]:
        """Return what is wrong with expressions by place, and keep the names of the variables that are right."""
        values = {(*self.path, key): value for key, value in self.shared.items()}
        for block, own in self.by_block.items():
            values |= {(*self.path, "options", block, key): value for key, value in own.items()}
        faults = {}
        for place, value in values.items():
            try:
                used = names_in(value)
            except ExpressionError as err:
                faults[place] = str(err)
                continue
            unknown = sorted(used - frozenset(variables))
            if unknown:
                faults[place] = f"vars has no `{unknown[0]}`. {did_you_mean(unknown[0], variables)}"
            self.names |= used
        return faults
