"""docs/blocks.md is what docs/make_blocks.py writes today."""

import importlib.util
from pathlib import Path

import pytest

from lmnet.blocks import REGISTRY

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def make_blocks():
    spec = importlib.util.spec_from_file_location("make_blocks", DOCS / "make_blocks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_is_fresh(make_blocks):
    written = (DOCS / "blocks.md").read_text(encoding="utf-8")
    assert written == make_blocks.render(), "docs/blocks.md is stale: run `make docs` and commit it"


def test_page_names_every_block_and_every_option(make_blocks):
    page = make_blocks.render()
    for name in make_blocks.own_names():
        entry = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert f"`{REGISTRY.get(name).__name__}`" in entry
        for option in make_blocks.signature_of(name).options:
            assert f"| `{option}` |" in entry


def test_docstring_is_read_by_its_sections(make_blocks):
    sections = make_blocks.sections_of("""Do it.

    More.

    Args:
        a: first,
            on two lines.
        b: last.

    Cost:
        9.
    """)
    assert list(sections) == ["", "Args", "Cost"]
    assert make_blocks.arguments_of(sections["Args"]) == {"a": "first, on two lines.", "b": "last."}
