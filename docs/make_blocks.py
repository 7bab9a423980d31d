"""Writes docs/blocks.md, the gallery of blocks, from the registry: `make docs`, or `python docs/make_blocks.py`.

Every figure is counted and every word is a docstring's, so the page cannot say what the code does not do.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

from lmnet.blocks import REGISTRY
from lmnet.blocks.registry import Shape
from lmnet.builder.cost import node_cost
from lmnet.builder.options import describe, plain, signature_of

PAGE = Path(__file__).with_name("blocks.md")
ROOT = Path(__file__).parents[1]
HEADER = """\
# Blocks

<!-- Made by docs/make_blocks.py (`make docs`); edit the docstrings instead. -->

Every block is a plain `nn.Module` that works alone, and a name that specs use. `in_channels` comes first (a list where
a block takes several inputs) and is inferred in a spec; all options are keywords.

```python
import torch
from lmnet.blocks import LocalFeatureTransformer

block = LocalFeatureTransformer(12, window=7, num_heads=4)
block(torch.randn(2, 12, 32, 32)).shape  # (2, 12, 32, 32)
```

Figures are for the example: parameters and multiply-accumulates (MACs) at batch 1, and, where a block re-parameterises,
the same afterwards ("deployed"). `lmnet-build check-block NAME` checks a block, your own too, against the contract.
"""


def sections_of(docstring: str) -> dict[str, str]:
    """Return a docstring's parts by heading; its first paragraphs are under an empty heading."""
    parts = re.split(r"^(\w+):\n", inspect.cleandoc(docstring), flags=re.MULTILINE)
    named = dict(zip(parts[1::2], parts[2::2], strict=True))
    return {"": parts[0].strip(), **{name: textwrap.dedent(part).strip() for name, part in named.items()}}


def arguments_of(section: str) -> dict[str, str]:
    """Return what each argument means, on one line."""
    found = re.split(r"^(\w+): ", section, flags=re.MULTILINE)
    return {name: on_one_line(text) for name, text in zip(found[1::2], found[2::2], strict=True)}


def on_one_line(text: str) -> str:
    """Return a text without its line breaks, its code marked as Markdown does."""
    return " ".join(text.split()).replace("``", "`")


def shape_text(shapes: tuple[Shape, ...]) -> str:
    """Return shapes as `6 x 16 x 24`, one behind the other."""
    return ", ".join(" x ".join(map(str, shape)) for shape in shapes)


def value_text(value: Any) -> str:
    """Return a value as YAML would write it."""
    return json.dumps(plain(value))


def options_table(name: str, meanings: dict[str, str]) -> list[str]:
    """Return the table of a block's options."""
    signature = signature_of(name)
    if not signature.options:
        return ["No options.", ""]
    lines = ["| option | type | default | meaning |", "|---|---|---|---|"]
    for option in signature.options.values():
        default = "required" if option.is_required else f"`{value_text(option.default)}`"
        meaning = meanings.get(option.name, "").replace("|", "\\|")
        lines.append(f"| `{option.name}` | {describe(option.annotation)} | {default} | {meaning} |")
    return [*lines, ""]


def example_of(name: str) -> list[str]:
    """Return a block's example with its figures."""
    example, cost = (
        REGISTRY.example(name),
        node_cost(name, REGISTRY.example(name).options, REGISTRY.example(name).inputs),
    )
    options = ", ".join(f"{key}: {value_text(value)}" for key, value in example.options.items())
    figures = f"{cost.params:,} parameters, {cost.macs:,} MACs"
    if (cost.deploy_params, cost.deploy_macs) != (cost.params, cost.macs):
        figures += f"; deployed {cost.deploy_params:,} and {cost.deploy_macs:,}"
    return [
        f"Example: `{{{', '.join(part for part in (f'block: {name}', options) if part)}}}` turns "
        f"{shape_text(example.inputs)} into {shape_text(example.outputs)}. {figures}.",
        "",
    ]


def entry_of(name: str) -> list[str]:
    """Return a block's part of the page."""
    cls = REGISTRY.get(name)
    sections = sections_of(cls.__doc__ or "")
    file = Path(sys.modules[cls.__module__].__file__ or "").name
    lines = [
        f"## {name}",
        "",
        f"`{cls.__name__}`, [blocks/{file}](../blocks/{file})",
        "",
        on_one_line(sections[""]),
        "",
    ]
    lines += [f"Shapes: {on_one_line(sections.get('Shapes', 'not said.'))}", ""]
    lines += options_table(name, arguments_of(sections.get("Args", "")))
    lines += example_of(name)
    for heading in ("Cost", "Source", "Differs"):
        if heading in sections:
            lines.append(f"- **{heading}:** {on_one_line(sections[heading])}")
    return [*lines, ""]


def index_lines() -> list[str]:
    """Return the table of all blocks with what each does."""
    lines = ["| block | what it does | example | parameters | MACs |", "|---|---|---|---|---|"]
    for name in own_names():
        example = REGISTRY.example(name)
        cost = node_cost(name, example.options, example.inputs)
        first = on_one_line(sections_of(REGISTRY.get(name).__doc__ or "")[""].split("\n\n")[0])
        shapes = f"{shape_text(example.inputs)} → {shape_text(example.outputs)}"
        lines.append(f"| [`{name}`](#{name}) | {first} | {shapes} | {cost.params:,} | {cost.macs:,} |")
    return [*lines, ""]


def own_names() -> list[str]:
    """Return the blocks that come with lmnet, not those of installed plug-ins."""
    return [name for name in REGISTRY.names() if REGISTRY.get(name).__module__.startswith("lmnet.blocks.")]


def render() -> str:
    """Return the page."""
    lines = [HEADER, *index_lines()]
    for name in own_names():
        lines += entry_of(name)
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    """Write the page."""
    PAGE.write_text(render(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(own_names())} blocks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
