"""A spec's wiring: which node takes which, checked before any value is known."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from lmnet.blocks.registry import REGISTRY
from lmnet.builder.choices import Choice, choices_of
from lmnet.builder.expressions import ExpressionError, is_expression, names_in
from lmnet.builder.layout import INPUT_SIZE, NAME, Spec
from lmnet.builder.node_options import NodeOptions, WiredBlock
from lmnet.builder.options import Signature, signature_of
from lmnet.builder.plan import INPUT, Reference
from lmnet.builder.problems import Path, Problem, did_you_mean
from lmnet.builder.strict_yaml import read_scalar

_TAKEN = frozenset({"plan", "spec", "hash", "training", "facts", "aux_nodes", "forward_with_aux"})


@dataclass(frozen=True)
class WiredNode:
    """A node as written, with what does not depend on variables.

    Args:
        name: the node's name.
        path: the node's place.
        block: a block's name, or an expression.
        blocks: the registered blocks that it may be, by name.
        unregistered: the others, which are reported.
        inputs: the maps that it takes; None if they are wrong.
        names: the variables that it uses.
    """

    name: str
    path: Path
    block: Any
    blocks: dict[str, WiredBlock]
    unregistered: frozenset[str]
    inputs: tuple[Reference, ...] | None
    names: frozenset[str]

    @property
    def has_choices(self) -> bool:
        """Whether the block is a variable."""
        return is_expression(self.block)


def _is_number(text: str) -> bool:
    """Whether a text is a whole number in ASCII digits; Python's isdigit is also true for superscripts."""
    return text.isascii() and text.isdecimal() and len(text) < 10


class Wiring:
    """Reads a spec's nodes and outputs and collects what is wrong with them.

    Args:
        spec: the spec.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.problems: list[Problem] = []
        self.spoilt: set[str] = set()  # variables that were reported: their uses are not
        self.nodes: list[WiredNode] = []
        self._check_vars()
        self._read_nodes()
        self.outputs = self._read_outputs()
        self.aux = self._read_aux()
        self._check_use()

    def _fault(self, path: Path, message: str, *, at_key: bool = False) -> None:
        self.problems.append(self.spec.document.problem(path, message, at_key=at_key))

    def _check_vars(self) -> None:
        variables = self.spec.layout.vars
        for name in variables:
            text = variables[name]
            if isinstance(text, str) and type(read_scalar(text)) in (int, float):
                self.spoilt.add(name)
                self._fault(("vars", name), f"{name} is the text {text!r}. Write the number {text} without quotes.")
            if not name.isidentifier() or name in ("min", "max", "round_to", INPUT):
                self._fault(("vars", name), f"a variable's name must be a free identifier, got {name}.", at_key=True)
        for name in self.spec.layout.search:
            if name.partition("[")[0] not in variables and name != INPUT_SIZE:
                hint = did_you_mean(name, variables)
                self._fault(("search", name), f"search must name a variable, got {name}. {hint}", at_key=True)

    def _read_nodes(self) -> None:
        raw = self.spec.layout.nodes
        later = set(raw)
        known: set[str] = set()
        for name, fields in raw.items():
            path: Path = ("nodes", name)
            if name == INPUT or not NAME.fullmatch(name) or hasattr(nn.Module, name) or name in _TAKEN:
                self._fault(
                    path,
                    f"a node's name must be snake_case and not a module's attribute, got {name}. Rename it.",
                    at_key=True,
                )
            later.discard(name)
            blocks, unregistered, names = self._read_blocks(path, fields)
            inputs = self._read_inputs(path, fields, known, later)
            self.nodes.append(WiredNode(name, path, fields.get("block"), blocks, unregistered, inputs, names))
            known.add(name)

    def _read_blocks(
        self, path: Path, fields: Mapping[str, Any]
    ) -> tuple[dict[str, WiredBlock], frozenset[str], frozenset[str]]:
        """Return the blocks that a node may be, the names of unregistered ones, and the variables that it uses."""
        text = fields.get("block")
        shared = {key: value for key, value in fields.items() if key not in ("block", "from")}
        by_block: dict[str, dict[str, Any]] = {}
        choices: list[Choice] = []
        names: frozenset[str] = frozenset()
        if not isinstance(text, str):
            got = "none" if text is None else repr(text)
            self._fault((*path, "block"), f"a node needs block (a name), got {got}. Add block: NAME.")
        elif is_expression(text):
            by_block = self._read_by_block(path, shared.pop("options", {}))
            try:
                choices = choices_of(self.spec, text, by_block, (*path, "options"))
                names = names_in(text)
            except ExpressionError as err:
                self._fault((*path, "block"), str(err))
        else:
            choices = [Choice(text, (*path, "block"))]
        known = [str(choice.block) for choice in choices]
        for block in by_block if known else ():
            if block not in known:
                message = f"options must be for a block that {path[-1]} may be, got {block}. "
                message += did_you_mean(block, known)
                self._fault((*path, "options", block), message, at_key=True)
        signatures = {choice.block: found for choice in choices if (found := self._signature(choice)) is not None}
        options = NodeOptions(path, shared, by_block, signatures, has_choices=is_expression(text))
        for fault in options.faults(self.spec.layout.vars):
            self._fault(fault.path, fault.message, at_key=fault.at_key)
        blocks = {block: options.wired(block, self.spoilt) for block in signatures}
        return blocks, frozenset(known) - blocks.keys(), names | options.names

    def _read_by_block(self, path: Path, options: Any) -> dict[str, dict[str, Any]]:
        """Return a node's options by block; what is no mapping is reported."""
        if not isinstance(options, dict):
            message = f"options must be by block, got {options!r}. Write options: {{BLOCK: {{OPTION: VALUE}}}}."
            self._fault((*path, "options"), message)
            return {}
        for block, given in options.items():
            if not isinstance(given, dict):
                message = f"the options of {block} must be a mapping, got {given!r}. Write {block}: {{OPTION: VALUE}}."
                self._fault((*path, "options", block), message)
        return {block: given if isinstance(given, dict) else {} for block, given in options.items()}

    def _signature(self, choice: Choice) -> Signature | None:
        """Return what a block takes; None if it is not registered, or cannot be used from a spec."""
        try:
            if isinstance(choice.block, str):
                return signature_of(choice.block)
            message = f"block must be registered, got {choice.block!r}. Write a block's name."
        except ValueError:
            message = f"block must be registered, got {choice.block}. {did_you_mean(choice.block, REGISTRY.names())}"
        except TypeError as err:
            message = str(err)
        self._fault(choice.path, message, at_key=choice.at_key)
        return None

    def _read_inputs(
        self, path: Path, fields: Mapping[str, Any], known: set[str], later: set[str]
    ) -> tuple[Reference, ...] | None:
        source = fields.get("from")
        texts = source if isinstance(source, list) else [source]
        if not texts or not all(isinstance(text, str) for text in texts):
            self._fault(
                (*path, "from"),
                f"a node needs from (a name or a list of names), got {'none' if source is None else repr(source)}. "
                "Add from: input.",
            )
            return None
        references = []
        for index, text in enumerate(texts):
            place = (*path, "from", index) if isinstance(source, list) else (*path, "from")
            name, _, output = text.partition(".")
            if output and not _is_number(output):
                self._fault(place, f"an output must be given by number, got {text}. Write {name}.0.")
            elif name in later or name == path[1]:
                cycle = self._cycle(str(path[1]), name)
                if cycle:
                    self._fault(place, f"the graph must have no cycle, got {' -> '.join(cycle)}. Cut one edge.")
                else:
                    self._fault(place, f"from must name a node above, got {name}, which stands below. Move it up.")
            elif name not in known and name != INPUT:
                self._fault(
                    place, f"from must name a node or input, got {name}. {did_you_mean(name, [*sorted(known), INPUT])}"
                )
            else:
                references.append((name, int(output or 0)))
                continue
        return tuple(references) if len(references) == len(texts) else None

    def _cycle(self, start: str, target: str) -> list[str] | None:
        """Return a path from ``start`` over ``target`` back to ``start``, along from, if there is one."""
        raw = self.spec.layout.nodes
        trail, seen = [(target, [start, target])], {target}
        while trail:
            name, path = trail.pop()
            if name == start:
                return path
            sources = raw.get(name, {}).get("from")
            for text in sources if isinstance(sources, list) else [sources]:
                source = str(text).partition(".")[0]
                if source in raw and (source not in seen or source == start):
                    seen.add(source)
                    trail.append((source, [*path, source]))
        return None

    def _read_outputs(self) -> dict[str, Reference]:
        outputs: dict[str, Reference] = {}
        nodes = self.spec.layout.nodes
        for key, text in self.spec.layout.outputs.items():
            name, _, output = text.partition(".")
            if name not in nodes:
                self._fault(("outputs", key), f"an output must name a node, got {name}. {did_you_mean(name, nodes)}")
            elif output and not _is_number(output):
                self._fault(("outputs", key), f"an output must be given by number, got {text}. Write {name}.0.")
            else:
                outputs[key] = (name, int(output or 0))
        return outputs

    def _read_aux(self) -> dict[str, Reference]:
        """Return the maps that get a loss of their own while training."""
        aux: dict[str, Reference] = {}
        for text in self.spec.layout.aux:
            name, _, output = text.partition(".")
            if name not in self.spec.layout.nodes:
                hint = did_you_mean(name, self.spec.layout.nodes)
                self._fault(("aux", text), f"aux must name a node, got {name}. {hint}", at_key=True)
            elif output and not _is_number(output):
                message = f"an output must be given by number, got {text}. Write {name}.0."
                self._fault(("aux", text), message, at_key=True)
            else:
                aux[text] = (name, int(output or 0))
        return aux

    def main_nodes(self) -> frozenset[str]:
        """Return the nodes that the outputs need: all but those that only ``aux`` uses."""
        needed = {name for name, _ in self.outputs.values()}
        for node in reversed(self.nodes):
            if node.name in needed:
                needed |= {name for name, _ in node.inputs or ()}
        return frozenset(needed)

    def _check_use(self) -> None:
        nodes = self.spec.layout.nodes
        named = [*self.spec.layout.outputs.values(), *self.spec.layout.aux]
        used = {str(text).partition(".")[0] for text in named}
        for fields in nodes.values():
            source = fields.get("from")
            used |= {str(text).partition(".")[0] for text in (source if isinstance(source, list) else [source])}
        for name in used - nodes.keys():  # a misspelt name is one fault, not two
            used |= set(difflib.get_close_matches(name, nodes, n=1))
        for name in nodes:
            if name not in used:
                self._fault(
                    ("nodes", name),
                    f"a node must be used, got {name} unused. Name it in a from or in outputs.",
                    at_key=True,
                )
