"""The one command `lmnet` beside the commands of the rooms."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import lmnet
from lmnet.commands.main import COMMANDS, main


def test_help_names_every_command_and_loads_no_torch():
    code = "import sys; from lmnet.commands.main import main; main(['--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")
    assert all(f"lmnet {word}" in done.stdout for word in COMMANDS)


def test_it_says_its_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lmnet {lmnet.__version__}\n"


def test_an_unknown_word_gets_the_nearest_one(capsys):
    assert main(["trian"]) == 2
    assert "lmnet: there is no command trian. Did you mean train?" in capsys.readouterr().err
    assert main([]) == 2
    assert "usage: lmnet COMMAND" in capsys.readouterr().err


def test_a_word_runs_its_command(capsys):
    assert main(["build", "cat", "unet"]) == 0
    assert "schema: lmnet/1" in capsys.readouterr().out


def test_every_command_of_the_package_is_a_word_of_it():
    tomllib = pytest.importorskip("tomllib", reason="came with Python 3.11")
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    names = {name.removeprefix("lmnet-") for name in project["scripts"]} - {"lmnet"}
    assert names == set(COMMANDS)
    assert all(callable(importlib.import_module(module).main) for module, _ in COMMANDS.values())
