"""The shape of the sources: no import circle, no long file, no long function, no option list written twice."""

import ast
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("blocks", "builder", "training", "search", "lmnet")
FILES = sorted(path.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("*.py"))
LINES, BODY, ARGUMENTS = 400, 60, 20


def module_of(path):
    parts = [*(() if path.parts[0] == "lmnet" else ("lmnet",)), *path.with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path, modules):
    """Return our modules that a file imports: at its top, inside functions, and for type checkers alone."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in modules else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return (found & modules) - {module_of(path)}


def test_no_import_circle():
    modules = {module_of(path) for path in FILES}
    edges = {module_of(path): imports_of(path, modules) for path in FILES}
    while leaves := {name for name, used in edges.items() if not used & edges.keys()}:
        edges = {name: used for name, used in edges.items() if name not in leaves}
    assert edges == {}


def test_no_folder_circle():
    """Folders stand on floors; the layouts, plugins of training/data, are on one floor with it."""
    floor = {Path("training/data/layouts"): Path("training/data")}
    modules = {module_of(path): floor.get(path.parent, path.parent) for path in FILES}
    edges = {folder: set() for folder in modules.values()}
    for path in FILES:
        here = modules[module_of(path)]
        edges[here] |= {modules[name] for name in imports_of(path, modules.keys())} - {here}
    while leaves := {folder for folder, used in edges.items() if not used & edges.keys()}:
        edges = {folder: used for folder, used in edges.items() if folder not in leaves}
    assert edges == {}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_files_and_functions_are_short(path):
    text = (ROOT / path).read_text()
    assert text.count("\n") <= LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= BODY, f"{path}:{node.lineno}: {node.name} has {lines} lines"
            arguments = len(node.args.args) + len(node.args.kwonlyargs)
            assert arguments <= ARGUMENTS, f"{path}:{node.lineno}: {node.name} has {arguments} arguments"


def test_the_options_of_a_search_are_written_once():
    from lmnet.search.cli import make_parser
    from lmnet.search.nets.limits import LIMITS
    from lmnet.search.options import SearchOptions, help_lines
    from lmnet.search.run_search import run

    names = [limit.name for limit in LIMITS] + list(SearchOptions.__dataclass_fields__)
    offered = {action.dest: action.help for action in make_parser()._actions}
    assert set(names) <= offered.keys()
    assert all(offered[name] for name in names)
    assert list(help_lines()) == list(SearchOptions.__dataclass_fields__)
    assert set(names) <= inspect.signature(run).parameters.keys()
