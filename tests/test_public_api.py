"""`__all__` is sorted, complete and true."""

import ast
import importlib
import subprocess
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "lmnet": "lmnet",
    "lmnet.blocks": "blocks",
    "lmnet.builder": "builder",
    "lmnet.search": "search",
    "lmnet.training": "training",
}
WITH_ALL = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for room in ("lmnet", "blocks", "builder", "training", "search")
    for path in (ROOT / room).rglob("*.py")
    if "\n__all__ = [" in path.read_text()
)


def kind_then_name(name):
    """Constants, then classes, then functions: the order that ruff and isort give."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("module", WITH_ALL)
def test_all_is_sorted_and_true(module):
    path = ROOT / f"{module.replace('.', '/')}.py"
    assignments = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign)]
    names = next(ast.literal_eval(node.value) for node in assignments if ast.unparse(node.targets[0]) == "__all__")
    full = (module if module.startswith("lmnet") else f"lmnet.{module}").removesuffix(".__init__")
    if full.startswith("lmnet.integrations."):
        package = pytest.importorskip(full, reason="needs the extra `integration`", exc_type=ImportError)
    else:
        package = importlib.import_module(full)
    assert names == sorted(names, key=kind_then_name)
    assert [name for name in names if not hasattr(package, name)] == []


@pytest.mark.parametrize("name", PACKAGES)
def test_all_agrees_with_the_public_names(name):
    package = importlib.import_module(name)
    public = {
        key
        for key, value in vars(package).items()
        if not key.startswith("_") and not isinstance(value, types.ModuleType) and key != "annotations"
    }
    assert len(set(package.__all__)) == len(package.__all__)
    assert public - set(package.__all__) == set()
    assert [key for key in package.__all__ if getattr(package, key, None) is None] == []


@pytest.mark.parametrize("name", PACKAGES)
def test_dir_shows_the_public_names_only(name):
    package = importlib.import_module(name)
    assert dir(package) == sorted(package.__all__)


@pytest.mark.parametrize("name", ["lmnet", "lmnet.builder", "lmnet.search", "lmnet.training"])
def test_lazy_package_offers_what_its_stub_says(name):
    tree = ast.parse((ROOT / PACKAGES[name] / "__init__.pyi").read_text())
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    offered = [alias.asname or alias.name for node in imports for alias in node.names]
    assert sorted(importlib.import_module(name).__all__) == sorted(offered)


def test_every_name_of_the_api_has_a_docstring():
    missing = [
        f"{name}.{key}"
        for name in PACKAGES
        for key in importlib.import_module(name).__all__
        if isinstance(value := getattr(importlib.import_module(name), key), (type, types.FunctionType))
        and not isinstance(value, types.GenericAlias)  # a type in Python 3.10
        and not value.__doc__
    ]
    assert missing == []


def test_rooms_are_reached_through_the_front_door():
    code = "import lmnet; print(lmnet.search.run, lmnet.training.fit, lmnet.blocks.REGISTRY, lmnet.builder, lmnet.Spec)"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, cwd="/")


@pytest.mark.parametrize("name", PACKAGES)
def test_no_public_name_is_that_of_a_file_beside_it(name):
    """lazy-loader below 0.6 gives the module instead of the function once a module of that name was imported."""
    folder = ROOT / PACKAGES[name]
    modules = {path.stem for path in folder.glob("*.py")} | {path.name for path in folder.iterdir() if path.is_dir()}
    tree = ast.parse((folder / "__init__.pyi").read_text()) if (folder / "__init__.pyi").exists() else ast.parse("")
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module]
    assert modules & {alias.asname or alias.name for node in imports for alias in node.names} == set()


def test_functions_stay_functions_after_every_module_was_imported():
    import pkgutil

    import lmnet

    for package in (lmnet.search, lmnet.training):
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
    for function in (lmnet.search.run, lmnet.search.survey, lmnet.training.fit, lmnet.training.evaluate):
        assert isinstance(function, types.FunctionType)
    for function in (lmnet.training.predict, lmnet.training.compare, lmnet.training.summarize):
        assert isinstance(function, types.FunctionType)
