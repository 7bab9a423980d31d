"""Which block a node is at given variables, and the values of its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmnet.builder.expressions import ExpressionError, evaluate, names_in
from lmnet.builder.node_options import OUT_CHANNELS, WiredBlock
from lmnet.builder.problems import Problem
from lmnet.builder.strict_yaml import Document
from lmnet.builder.wiring import WiredNode


@dataclass(frozen=True)
class ChosenBlock:
    """A block with the values of its options.

    Args:
        block: the block as the spec gives it.
        options: all of its options, the defaults too.
        channels: the channels that its maps must have, if ``out_channels`` is no option of the block.
    """

    block: WiredBlock
    options: dict[str, Any]
    channels: int | None


def problem_at(document: Document, block: WiredBlock, option: str | None, message: str) -> Problem:
    """Return a problem at an option of a block, or at its node; if a node has choices, the choice is named."""
    place = block.path if option is None else block.place(option)
    return document.problem(place, message + block.note, at_key=option is None)


def choose(
    node: WiredNode, variables: Mapping[str, Any], document: Document
) -> tuple[list[Problem], ChosenBlock | None]:
    """Return what is wrong with the block that the variables choose, and the block, or None as ``resolve`` does."""
    if not node.blocks or names_in(node.block) - variables.keys():  # reported already
        return [], None
    try:
        name = str(evaluate(node.block, variables))
    except ExpressionError as err:
        return [document.problem((*node.path, "block"), str(err))], None
    if name in node.blocks:
        return resolve(node.blocks[name], variables, document)
    if name in node.unregistered:
        return [], None
    message = f"block must be one of {', '.join(node.blocks)}, got {name}. Take one of these, or add {name} to search."
    return [document.problem((*node.path, "block"), message)], None


def resolve(
    block: WiredBlock, variables: Mapping[str, Any], document: Document
) -> tuple[list[Problem], ChosenBlock | None]:
    """Return what is wrong with a block's options, and the block with those that are right.

    None instead of the block if a required option is missing.
    """
    faults: dict[str, str] = {}
    given = dict(block.options)
    if block.channels is not None:
        given[OUT_CHANNELS] = block.channels
    options = block.signature.defaults()
    for key, value in given.items():
        options.pop(key, None)
        if names_in(value) - variables.keys():  # a variable without value, already reported
            continue
        try:
            options[key] = evaluate(value, variables)
        except ExpressionError as err:
            faults[key] = str(err)
    channels = options.pop(OUT_CHANNELS, None) if block.channels is not None else None
    if channels is not None and type(channels) is not int:
        faults[OUT_CHANNELS] = f"out_channels must be a whole number, got out_channels={channels!r}. Write one."
        channels = None
    for key, message in block.signature.faults(options).items():
        if key in options:  # the others are missing or reported already
            faults[key] = message
            options.pop(key)
    problems = [problem_at(document, block, key, message) for key, message in faults.items()]
    if any(option.is_required and name not in options for name, option in block.signature.options.items()):
        return problems, None
    return problems, ChosenBlock(block, options, channels)
