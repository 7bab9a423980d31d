"""What the documentation shows is run: its Python runs, its commands parse, and docs/zoo.md is fresh."""

import importlib.util
import json
import re
import shlex
import warnings
from pathlib import Path

import pytest

from lmnet.blocks import REGISTRY
from lmnet.commands import build
from lmnet.search import cli as search
from lmnet.search.suggest import cli as suggest
from lmnet.training import cli_eval, cli_predict, cli_train
from lmnet.training.fitting.named import LOSSES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md"])
PARSERS = {
    "lmnet-build": build.make_parser,
    "lmnet-train": cli_train.build_parser,
    "lmnet-eval": cli_eval.build_parser,
    "lmnet-predict": cli_predict.build_parser,
    "lmnet-search": search.make_parser,
    "lmnet-suggest": suggest.make_parser,
}
RUN = [path for path in PAGES if path.parent.name in ("tutorials", "howto")]


def fenced(path, language):
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("path", [path for path in RUN if fenced(path, "python")], ids=lambda path: path.stem)
def test_python_of_a_page_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(LOSSES, "_known", dict(LOSSES._known))  # what a page registers goes with it
    monkeypatch.setattr(REGISTRY, "_classes", dict(REGISTRY._classes))
    monkeypatch.setattr(REGISTRY, "_examples", dict(REGISTRY._examples))
    for code in fenced(path, "python"):
        exec(compile(code, str(path), "exec"), {"__name__": "page"})


def commands(path):
    """Yield the lmnet commands of a page: in blocks of sh and in indented ones."""
    lines = [line for text in fenced(path, "sh") for line in text.splitlines()]
    lines += [line[4:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("    lmnet-")]
    for line in lines:
        words = shlex.split(line, comments=True)
        while words and not words[0].startswith("lmnet-"):
            words = words[1:]
        if words and words[0] in PARSERS and len(words) > 1 and words[1] not in ("check-block", "cp", "cat", "status"):
            yield words


@pytest.mark.parametrize("path", [path for path in PAGES if list(commands(path))], ids=lambda path: path.stem)
def test_commands_of_a_page_parse(path):
    for program, *arguments in commands(path):
        PARSERS[program]().parse_args(arguments)


def test_the_zoo_page_is_fresh():
    spec = importlib.util.spec_from_file_location("make_zoo", DOCS / "make_zoo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (DOCS / "zoo.md").read_text(encoding="utf-8") == module.render(), "run `make docs` and commit docs/zoo.md"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme == module.with_table(readme), "run `make docs` and commit README.md"


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for path in DOCS.rglob("*.md"):
        assert f"{path.relative_to(DOCS).as_posix()}\n" in text


@pytest.mark.slow
def test_the_notebook_runs_and_holds_its_output(tmp_path, monkeypatch):
    cells = json.loads((ROOT / "examples" / "tour.ipynb").read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code)
    assert not [output for cell in code for output in cell["outputs"] if output["output_type"] == "error"]
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "tour"}
    with warnings.catch_warnings():  # the notebook sets a filter
        for cell in code:
            exec(compile("".join(cell["source"]), "tour.ipynb", "exec"), names)
