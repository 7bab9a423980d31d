"""Every net of the zoo passes the contract that blocks pass: for the test each is registered as a block itself."""

import pytest
from torch import nn

import lmnet
from lmnet.blocks import REGISTRY, Example
from lmnet.blocks.testing import check_names, run_check
from lmnet.builder.cost import node_cost
from lmnet.builder.models import build_model
from lmnet.builder.spec import load_spec

SIZE = (3, 64, 96)
BRISK = ["output_shapes", "float32", "gradients", "rows_independent", "state_dict", "meta_device", "reparameterize"]


def as_block(name):
    class Net(nn.Module):
        def __init__(self, in_channels: int) -> None:
            super().__init__()
            self.net = build_model(load_spec(name).override({"input.channels": in_channels}))
            self.out_channels = 2

        def forward(self, x):
            if not (self.training and self.net.has_aux):
                return self.net(x)
            logits, aux = self.net.forward_with_aux(x)  # the losses of aux train what the logits do not
            return sum((weight * other for weight, other in aux), logits)

    return Net


def check(monkeypatch, name, which):
    registered = f"zoo_{name}"
    monkeypatch.setitem(REGISTRY._classes, registered, as_block(name))
    monkeypatch.setitem(REGISTRY._examples, registered, Example({}, (SIZE,), ((2, *SIZE[1:]),)))
    results = [run_check(registered, check, cost=node_cost) for check in which]
    assert [f"{result.name}: {result.reason}" for result in results if not result.passed] == []


@pytest.mark.parametrize("name", ["lmnet_xxs", "unet"])
def test_a_net_passes_the_brisk_part_of_the_contract(monkeypatch, name):
    check(monkeypatch, name, BRISK)


@pytest.mark.slow
@pytest.mark.parametrize("name", lmnet.list_models())
def test_a_net_passes_the_contract(monkeypatch, name):
    check(monkeypatch, name, check_names())
