"""Links from pages to files outside docs/: on the site they become the file's name, as the site holds pages only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)#]+)(#[^)]*)?\)")
IMAGE = re.compile(r"!\[([^\]]*)\]\((\.\./[^)]+)\)\n?")


def on_page_markdown(markdown: str, page: Any, **other: Any) -> str:
    """Replace links that leave docs/; a link to a file that does not exist is an error."""
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def replace(match: re.Match[str]) -> str:
        target = (folder / match[2]).resolve()
        if not target.exists():
            raise ValueError(f"{page.file.src_uri}: there is no {match[2]}")
        if target.is_relative_to(ROOT / "docs"):
            return match[0]
        return f"{match[1]} (`{target.relative_to(ROOT)}` in the repository)"

    def replace_image(match: re.Match[str]) -> str:
        target = (folder / match[2]).resolve()
        return match[0] if target.is_relative_to(ROOT / "docs") else ""

    return LINK.sub(replace, IMAGE.sub(replace_image, markdown))
