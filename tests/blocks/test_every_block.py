"""What holds for every registered block besides the contract kit: wrong inputs, docstrings."""

import inspect
import re

import pytest
import torch

from lmnet.blocks import REGISTRY
from lmnet.blocks.testing import Subject


def wrong_layouts(subject):
    channels, height, width = subject.example.inputs[0]
    others = subject.inputs()[1:]
    return {
        "no batch": ([torch.zeros(channels, height, width), *others], r"unsqueeze\(0\)"),
        "channels last": ([torch.zeros(2, height, width, channels), *others], r"permute\(0, 3, 1, 2\)"),
        "other channels": (
            [torch.zeros(2, channels + 1, height, channels + 2), *others],
            f"in_channels={channels + 1}",
        ),
    }


@pytest.mark.parametrize("layout", ["no batch", "channels last", "other channels"])
@pytest.mark.parametrize("name", REGISTRY.names())
def test_map_of_another_layout_is_refused_with_the_way_out(name, layout):
    subject = Subject(name)
    inputs, way_out = wrong_layouts(subject)[layout]
    with pytest.raises(ValueError, match=rf"^\w+: input must be \(N, \d+, H, W\), got \([\d, ]+\)\. .*{way_out}"):
        subject.build()(*inputs)


@pytest.mark.parametrize("name", [name for name in REGISTRY.names() if Subject(name).takes_many])
def test_missing_map_is_refused(name):
    subject = Subject(name)
    with pytest.raises(
        (ValueError, TypeError), match=r"takes \d inputs, got \d|missing 1 required positional argument"
    ):
        subject.build()(*subject.inputs()[:-1])


@pytest.mark.parametrize("name", REGISTRY.names())
def test_docstring_has_the_sections_in_order(name):
    docstring = inspect.cleandoc(REGISTRY.get(name).__doc__)
    sections = re.findall(r"^(\w+):$", docstring, re.MULTILINE)
    order = ["Args", "Shapes", "Raises", "Example", "Cost", "Source", "Differs"]
    assert {"Args", "Shapes", "Raises", "Cost"} <= set(sections)
    assert sections == [section for section in order if section in sections]


@pytest.mark.parametrize("name", REGISTRY.names())
def test_docstring_explains_every_option(name):
    cls = REGISTRY.get(name)
    options = set(cls.__init__.__annotations__) - {"return"}
    arguments = inspect.cleandoc(cls.__doc__).partition("Args:")[2].partition("Shapes:")[0]
    assert set(re.findall(r"^    (\w+):", arguments, re.MULTILINE)) == options


@pytest.mark.parametrize("name", REGISTRY.names())
def test_every_block_has_a_name_in_lmnet_blocks(name):
    import lmnet.blocks

    cls = REGISTRY.get(name)
    assert getattr(lmnet.blocks, cls.__name__) is cls


def test_a_transformer_that_is_left_out_leaves_the_rest():
    x = torch.randn(2, 8, 6, 5)
    lft = REGISTRY.get("lft")(8, num_heads=4, window=0)
    assert torch.equal(lft(x), x)
    assert not lft.state_dict()
    gft = REGISTRY.get("gft")(8, num_heads=4, depth=0, out_channels=3)
    assert torch.equal(gft(x), gft.project(x))
    assert {key.partition(".")[0] for key in gft.state_dict()} == {"project"}
