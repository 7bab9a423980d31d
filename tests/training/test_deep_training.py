"""Deep training moves the slope of fusible blocks by the epoch; what is scored and kept has the net's own."""

import math

import pytest
import torch
from torch import nn

from lmnet.blocks.fusible import FusibleConv
from lmnet.builder.graph import GraphModel
from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import parse_spec
from lmnet.training import Recipe, Schedule, fit
from lmnet.training.cli_train import main as train

SPEC = """\
schema: lmnet/1
name: bends
input: {channels: 3, size: [32, 32]}
vars: {slope: 1.0}
nodes:
  down: {block: fusible, from: input, out_channels: 4, resize: down, slope: "${slope}"}
  up: {block: fusible, from: down, out_channels: 4, resize: up, slope: "${slope}"}
  head: {block: segmentation_head, from: up}
outputs: {logits: head}
"""
RECIPE = Recipe(size=32, epochs=3, batch_size=8, deep_training=True)


def net(slope=1.0):
    torch.manual_seed(0)
    return GraphModel(plan_spec(parse_spec(SPEC).override({"slope": slope})))


class Watched(nn.Module):
    """A loss that writes down the slopes of the steps, and those in force while the net is scored."""

    def __init__(self, model):
        super().__init__()
        self.blocks = [each for each in model.modules() if isinstance(each, FusibleConv)]
        self.slopes = []

    def forward(self, logits, mask):
        self.slopes += [each.training_slope for each in self.blocks if each.training]
        return nn.functional.cross_entropy(logits, mask)


def test_the_slope_goes_from_0_towards_1_and_is_the_nets_own_afterwards(drawn):
    model = net()
    loss = Watched(model)

    fit(model, drawn, RECIPE, loss=loss)

    expected = [1 - math.cos(math.pi / 2 * epoch / 3) for epoch in range(3)]
    assert list(dict.fromkeys(loss.slopes)) == pytest.approx(expected)
    assert [each.training_slope for each in loss.blocks] == [None, None]


def test_a_slope_for_training_changes_training_alone():
    block = FusibleConv(4, out_channels=4, slope=1.0)
    image = torch.randn(2, 4, 8, 8)
    trained = block(image)
    scored = block.eval()(image)

    block.training_slope = 0.0

    assert torch.equal(block(image), scored)
    assert not torch.equal(block.train()(image), trained)


def test_a_warm_restart_keeps_the_slope():
    assert Schedule(10).training_slope(0) == 0
    assert Schedule(20, start=10).training_slope(10) == 1


def test_nets_without_such_blocks_and_of_another_slope_are_refused_before_anything_is_written(tmp_path, capsys, drawn):
    with pytest.raises(
        ValueError, match=r"deep_training ends at slope 1, got slope=0\.5 in down\. Give --set slope=1, "
    ):
        fit(net(slope=0.5), drawn, RECIPE)
    with pytest.raises(
        ValueError, match=r"deep_training needs blocks `fusible`, and the net has none\. Leave it out\."
    ):
        fit(nn.Conv2d(3, 2, 1), drawn, RECIPE)
    words = ["--data", "synthetic", "--set", "deep_training=true", "--out", str(tmp_path / "run")]
    assert train(["lvunet", *words]) == 2
    assert "got slope=0 in down1. Give --set slope=1" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
