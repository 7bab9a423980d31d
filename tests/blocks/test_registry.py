import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from lmnet.blocks import REGISTRY, Example
from lmnet.blocks.registry import Registry

BLOCKS = Path(__file__).parents[2] / "blocks"
EXAMPLE = Example({}, ((1, 2, 2),), ((1, 2, 2),))
DROPPED = """
from torch import nn

from lmnet.blocks.registry import Example, register


@register("dropped", example=Example({}, ((1, 2, 2),), ((1, 2, 2),)))
class Dropped(nn.Identity):
    pass
"""


def test_registered_class_is_found_by_its_name():
    registry = Registry()
    registry.register("twice", example=EXAMPLE)(nn.Identity)
    assert registry.get("twice") is nn.Identity
    assert registry.example("twice") is EXAMPLE
    assert registry.names() == ["twice"]


def test_duplicate_name_is_refused_and_the_first_stays():
    registry = Registry()
    registry.register("twice", example=EXAMPLE)(nn.Identity)
    message = (
        r"registry: a block's name must be free, got name='twice', which is torch.nn.modules.linear.Identity\. "
        r"Register Linear under another name\."
    )
    with pytest.raises(ValueError, match=message):
        registry.register("twice", example=EXAMPLE)(nn.Linear)
    assert registry.get("twice") is nn.Identity


def test_unknown_name_comes_with_close_ones():
    with pytest.raises(
        ValueError, match=r"registry: block must be registered, got block='mult_branch'\. Did you mean "
    ):
        REGISTRY.get("mult_branch")
    with pytest.raises(ValueError, match=r"got block='qqqq'\. `lmnet-build --list-blocks` lists them\."):
        REGISTRY.example("qqqq")


@pytest.mark.parametrize("name", ["LFT", "my-block", "", "2d", "a b"])
def test_name_that_is_not_snake_case_is_refused(name):
    with pytest.raises(ValueError, match=r"registry: a block's name must be snake_case, got name="):
        Registry().register(name, example=EXAMPLE)


def test_file_dropped_into_blocks_joins_by_itself(tmp_path):
    folder = tmp_path / "lmnet" / "blocks"
    shutil.copytree(BLOCKS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "lmnet" / "__init__.py").touch()
    (folder / "dropped.py").write_text(DROPPED)
    code = "import lmnet.blocks as b; print(b.__file__, b.REGISTRY.get('dropped').__name__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=120
    )
    assert done.stdout.split() == [str(folder / "__init__.py"), "Dropped"], done.stderr
