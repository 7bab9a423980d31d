"""HTML pages that need no other file: one base for the reports of a training run and of a search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).parent


def render(template: Path, **content: Any) -> str:
    """Return the page of a template that extends ``base.html``.

    Args:
        template: file of the template.
        content: what the template names. Text is escaped; SVG or HTML has to be marked ``safe`` in the template.

    Raises:
        jinja2.UndefinedError: the template names something that ``content`` lacks.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, HERE]), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template.name).render(**content)
