"""What the README shows is run: its Python, its commands, its spec and the messages of the broken one."""

import re
import shlex
from pathlib import Path

import pytest

from lmnet.builder.problems import SpecError
from lmnet.commands.build import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def fenced(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", [code for code in fenced("python") if "@register" not in code])
def test_python_of_the_readme_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})


COMMANDS = [line[2:] for text in fenced("console") for line in text.splitlines() if line.startswith("$ lmnet-build")]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_readme_run(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zoo").symlink_to(ROOT / "zoo")
    try:
        code = main(shlex.split(command)[1:])
    except SystemExit as end:  # --help
        code = end.code
    assert code == 0


def test_the_spec_of_the_readme_builds_and_breaks_as_shown(tmp_path, monkeypatch):
    from lmnet.builder.planner import plan_spec
    from lmnet.builder.spec import load_spec

    monkeypatch.chdir(tmp_path)
    (spec,) = fenced("yaml")
    Path("mine.yaml").write_text(spec)
    assert plan_spec(load_spec("mine.yaml")).input_shape == (3, 256, 256)

    broken = spec.replace("num_heads: 4", "num_heads: 5").replace("window: 7", "windw: 7")
    Path("mine.yaml").write_text(broken)
    with pytest.raises(SpecError) as caught:
        plan_spec(load_spec("mine.yaml"))
    assert str(caught.value) in README


def test_the_picture_of_the_readme_is_the_zoos(tmp_path):
    from lmnet.builder.drawing import to_svg
    from lmnet.builder.planner import plan_spec
    from lmnet.builder.spec import load_spec

    assert (ROOT / "docs" / "lmnet_paper.svg").read_text() == to_svg(plan_spec(load_spec("lmnet_paper")))
