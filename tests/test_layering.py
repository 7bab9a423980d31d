"""Imports go only downwards: zoo and blocks at the bottom, then builder, training, search, and the front door."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {
    "zoo": set(),
    "blocks": {"blocks"},
    "builder": {"blocks", "builder", "zoo"},
    "training": {"blocks", "training"},
    "search": {"blocks", "builder", "training", "search"},
    "lmnet": {"blocks", "builder", "training", "search", "zoo", "lmnet"},
}
# Training takes any nn.Module. Its upper floors know the builder: exported files, run folders, command lines.
KNOW_THE_BUILDER = ("training/export", "training/runs", "training")
# Below these, a recipe is strict YAML.
KNOWS_THE_BUILDER = {"training/fitting/recipe.py"}
# The one writer of files and the one reader of weights know no spec.
FILES_AND_WEIGHTS = ("lmnet.builder.files", "lmnet.builder.weights", "lmnet.builder.did_you_mean")
FILES_AND_WEIGHTS += ("lmnet.builder.process_identity",)
# What blocks may use besides torch and timm, and where.
THIRD_PARTY_OF_BLOCKS = {
    "blocks/encoder_weights.py": {"huggingface_hub"},  # of timm: is a file in its cache?
    "blocks/testing/checks.py": {"onnxruntime", "onnxscript"},
}
FILES = sorted(path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def imports_of(file):
    """Yield the full name of everything that a file imports, at its top and inside functions."""
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: imports must be absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(name):
    parts = name.split(".")
    if parts[0] != "lmnet":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else "lmnet"


@pytest.mark.parametrize("file", FILES)
def test_imports_go_downwards(file):
    allowed = set(ROOMS[file.partition("/")[0]])
    if file in KNOWS_THE_BUILDER or file.rpartition("/")[0] in KNOW_THE_BUILDER:
        allowed |= {"builder"}
    upwards = [
        name
        for name in imports_of(file)
        if room_of(name) not in allowed | {None}
        and name != "lmnet.__version__"
        and not (file.startswith("training/") and name.startswith(FILES_AND_WEIGHTS))
    ]
    assert upwards == []


@pytest.mark.parametrize("file", [*FILES, *(p.relative_to(ROOT).as_posix() for p in (ROOT / "tests").rglob("*.py"))])
def test_no_room_is_imported_by_its_folder(file):
    """`import blocks` from the repository's root would load, and register, every block twice."""
    assert [name for name in imports_of(file) if name.partition(".")[0] in set(ROOMS) - {"lmnet"}] == []


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("blocks/")])
def test_blocks_use_torch_and_timm_only(file):
    allowed = {"lmnet", "torch", "timm", *sys.stdlib_module_names, *THIRD_PARTY_OF_BLOCKS.get(file, ())}
    assert {name.partition(".")[0] for name in imports_of(file)} <= allowed


def test_exceptions_are_still_needed():
    assert [file for file in KNOWS_THE_BUILDER if "builder" not in map(room_of, imports_of(file))] == []
    for file, names in THIRD_PARTY_OF_BLOCKS.items():
        assert names <= {name.partition(".")[0] for name in imports_of(file)}, file


def modules_after(code):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_blocks_load_no_heavy_package():
    loaded = modules_after("import lmnet.blocks")
    assert loaded.isdisjoint(
        {
            *("optuna", "lightning", "pytorch_lightning", "pydantic", "onnxruntime", "pytest"),
            *("segmentation_models_pytorch", "monai"),
        }
    )


def test_front_door_loads_torch_late():
    loaded = modules_after("import lmnet, lmnet.training")
    assert loaded.isdisjoint({"torch", "timm", "numpy", "pydantic", "optuna"})


def test_the_builder_needs_no_training():
    code = "import lmnet.builder.models, lmnet.builder.cost, lmnet.builder.zoo"
    modules = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert [name for name in modules if name.startswith(("lmnet.training", "lmnet.search", "lightning"))] == []


def test_zoo_holds_no_code():
    statements = ast.parse((ROOT / "zoo" / "__init__.py").read_text()).body
    assert [
        node for node in statements if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ] == []


def test_the_folders_of_the_search_import_each_other_in_one_direction():
    folders = {file: file.split("/")[1] if file.count("/") > 1 else "." for file in FILES if file.startswith("search/")}
    edges = {folder: set() for folder in folders.values()}
    for file, folder in folders.items():
        for name in imports_of(file):
            parts = name.split(".")
            if parts[:2] == ["lmnet", "search"] and len(parts) > 2:
                edges[folder].add(parts[2] if parts[2] in edges else ".")
        edges[folder].discard(folder)
    assert len(edges) == 8
    while leaves := {name for name, used in edges.items() if not used & edges.keys()}:
        edges = {name: used for name, used in edges.items() if name not in leaves}
    assert edges == {}
