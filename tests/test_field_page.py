"""docs/field.md is what docs/make_field.py writes today."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_of_the_fields_nets_is_fresh():
    spec = importlib.util.spec_from_file_location("make_field", DOCS / "make_field.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (DOCS / "field.md").read_text(encoding="utf-8") == module.render(), (
        "run `make docs` and commit docs/field.md"
    )
