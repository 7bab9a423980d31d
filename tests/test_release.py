"""One version, the same in the package, the citation and the changelog."""

import importlib.metadata
import re
from pathlib import Path

import yaml

import lmnet

ROOT = Path(__file__).parents[1]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_citation_and_changelog_name_the_packages_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    newest, date = re.search(r"^## (\S+) \((\S+)\)$", CHANGELOG, re.MULTILINE).groups()
    assert (newest, date) == (citation["version"], str(citation["date-released"])) == (lmnet.__version__, date)
    assert importlib.metadata.version("lmnet") == lmnet.__version__


def test_a_version_of_the_changelog_is_short_enough_to_read():
    for part in CHANGELOG.split("\n## ")[1:]:
        assert len(part.splitlines()) < 40


def test_the_licence_names_its_owner():
    assert "[yyyy]" not in (ROOT / "LICENSE").read_text(encoding="utf-8")
