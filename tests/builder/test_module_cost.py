"""The cost of anybody's module."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import lmnet
from lmnet.blocks import Concat, MultiBranchConv


class Shuffled(nn.Module):
    """A small module that is nobody's block."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        tokens = self.conv(x).flatten(2).transpose(1, 2)
        return {"tokens": self.attention(tokens, tokens, tokens)[0]}


def test_a_zoo_net_costs_what_its_plan_says():
    model = lmnet.create_model("lmnet_xxs")
    cost = lmnet.cost(model, model.plan.input_shape)
    plan = model.plan
    assert (cost.params, cost.macs) == (plan.params, plan.macs)
    assert (cost.deploy_params, cost.deploy_macs) == (plan.deploy_params, plan.deploy_macs)
    assert cost.gmacs == plan.deploy_macs / 1e9


def test_a_foreign_module_of_any_output_costs_what_torch_counts():
    module = Shuffled().train()
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        Shuffled()(torch.empty(1, 3, 12, 10))
    cost = lmnet.cost(module, (3, 12, 10))
    assert cost.macs == counter.get_total_flops() // 2
    assert cost.params == cost.deploy_params == sum(p.numel() for p in module.parameters())
    assert module.training
    assert next(module.parameters()).device.type == "cpu"


def test_a_module_of_two_inputs():
    assert lmnet.cost(Concat([4, 6]), (4, 8, 8), (6, 8, 8)).macs == 0


def test_a_cost_prints_two_lines_where_branches_are_merged():
    lines = repr(lmnet.cost(MultiBranchConv(16, out_channels=32), (16, 64, 64))).splitlines()
    assert lines[0].endswith("4.0 MiB of maps")
    assert lines[1].startswith("while training: 0.009 M parameters")
    assert len(repr(lmnet.cost(nn.Conv2d(3, 8, 1), (3, 8, 8))).splitlines()) == 1


@pytest.mark.parametrize("shapes", [(), ((3, 0, 8),), ((3, -8, 8),)])
def test_a_wrong_shape_is_refused(shapes):
    with pytest.raises(ValueError, match=r"give the shape of each input without the batch, .* Use \(3, 224, 224\)"):
        lmnet.cost(nn.Identity(), *shapes)
