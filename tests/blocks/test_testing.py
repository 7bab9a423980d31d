"""The contract kit finds what it says it finds: one broken block a check."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lmnet.blocks import REGISTRY, Example, register
from lmnet.blocks.testing import CheckResult, check_block, check_names, make_trained_looking, run_check
from lmnet.builder.cost import NodeCost, node_cost

SAME_SHAPE = Example({}, ((4, 8, 12),), ((4, 8, 12),))


class Good(nn.Module):
    """A block that keeps the contract; the broken ones differ in one thing each."""

    def __init__(self, in_channels: int, *, gain: float = 1.0):
        super().__init__()
        self.in_channels = self.out_channels = in_channels
        self.gain = gain
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, in_channels, 3, padding=1)

    def forward(self, x):
        return self.conv(self.norm(x)) * self.gain


class PositionalOption(Good):
    def __init__(self, in_channels: int, gain: float = 1.0):
        super().__init__(in_channels, gain=gain)


class NoType(Good):
    def __init__(self, in_channels: int, *, gain=1.0):
        super().__init__(in_channels, gain=gain)


class Forwards(Good):
    def __init__(self, in_channels: int, **kwargs: float):
        super().__init__(in_channels, **kwargs)


class WrongChannels(Good):
    def __init__(self, in_channels: int):
        super().__init__(in_channels)
        self.out_channels = 7


class NoChannels(Good):
    def __init__(self, in_channels: int):
        super().__init__(in_channels)
        del self.out_channels


class FixedSize(Good):
    def forward(self, x):
        return nn.functional.adaptive_avg_pool2d(super().forward(x), (8, 12))


class NeedsThree(Good):
    def forward(self, x):
        return super().forward(x) + x[:, 2:3]


class Infinite(Good):
    def forward(self, x):
        return super().forward(x) / 0


class Float32Only(Good):
    def forward(self, x):
        return super().forward(x).float()


class Recomputed(Good):
    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=False)


class DeadWeight(Good):
    def __init__(self, in_channels: int):
        super().__init__(in_channels)
        self.unused = nn.Linear(2, 2)


class Detached(Good):
    def forward(self, x):
        return super().forward(x.detach())


class Noisy(Good):
    def forward(self, x):
        return super().forward(x) + torch.rand_like(x)


class UpdatesInEval(Good):
    def forward(self, x):
        self.norm.num_batches_tracked += 1
        return super().forward(x)


class MixesRows(Good):
    def forward(self, x):
        return super().forward(x - x.mean(dim=0, keepdim=True))


class WritesInput(Good):
    def forward(self, x):
        return super().forward(x.mul_(2))


class HidesState(Good):
    def __init__(self, in_channels: int):
        super().__init__(in_channels)
        self.hidden = [nn.Conv2d(in_channels, in_channels, 1)]  # a list hides it from the state_dict

    def forward(self, x):
        return self.hidden[0](super().forward(x))


class ReadsValues(Good):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else x


class WrongFusion(Good):
    def reparameterize(self):
        self.norm = nn.Identity()


class ReturnsTuple3d(Good):
    def forward(self, x):
        return super().forward(x)[0]


BROKEN = [
    (PositionalOption, "signature", "options must be keyword-only and named, got gain: float = 1.0"),
    (NoType, "signature", "options must have a type, got gain without one"),
    (Forwards, "signature", r"options must be keyword-only and named, got \*\*kwargs"),
    (WrongChannels, "output_shapes", r"out_channels must be \[4\], got \[7\]"),
    (NoChannels, "output_shapes", "a block must have out_channels .*, got None"),
    (ReturnsTuple3d, "output_shapes", r"a block must return one map \(N, C, H, W\) or a list of them, got Tensor"),
    (FixedSize, "other_sizes", r"for inputs \(4, 9, 15\) an output must be 9x15, got 8x12"),
    (NeedsThree, "one_channel", "RuntimeError|out_channels must be"),
    (Infinite, "float32", "outputs must be finite float32, got torch.float32, finite=False"),
    (Float32Only, "bfloat16", "outputs must be finite bfloat16, got torch.float32"),
    (Recomputed, "functional_call", "through functional_call, the gradient must equal the block's to 1e-05, got"),
    (DeadWeight, "gradients", "unused.weight must get a finite gradient, got none"),
    (Detached, "gradients", "input 0 must get a finite gradient, got none"),
    (Noisy, "deterministic", "a second run in eval mode must equal the block's"),
    (UpdatesInEval, "deterministic", "eval mode must leave the state as it is, got norm.num_batches_tracked changed"),
    (MixesRows, "rows_independent", "image 0 alone must equal the block's to 1e-05, got"),
    (WritesInput, "input_unchanged", "inputs must not be changed, got input 0 changed"),
    (HidesState, "state_dict", "a loaded copy must equal the block's"),
    (ReadsValues, "meta_device", "RuntimeError"),
    (ReadsValues, "export", "GuardOnDataDependentSymNode"),
    (WrongFusion, "reparameterize", "re-parameterised by timm, it must equal the block's to 1e-05, got"),
]


@pytest.fixture(autouse=True)
def registry_of_its_own(monkeypatch):
    monkeypatch.setattr(REGISTRY, "_classes", dict(REGISTRY._classes))
    monkeypatch.setattr(REGISTRY, "_examples", dict(REGISTRY._examples))


def test_good_block_passes_every_check():
    register("good", example=SAME_SHAPE)(Good)
    results = check_block("good", cost=node_cost)
    assert [result.name for result in results] == check_names()
    assert [result for result in results if not result.passed] == []
    assert [result.name for result in results if result.skipped] == ["reparameterize"]


@pytest.mark.parametrize(
    ("cls", "check", "reason"), BROKEN, ids=[f"{cls.__name__}-{check}" for cls, check, _ in BROKEN]
)
def test_broken_block_fails_with_its_reason(cls, check, reason):
    register("broken", example=SAME_SHAPE)(cls)
    result = run_check("broken", check)
    assert not result.passed
    assert "\n" not in result.reason
    pytest.raises(AssertionError, _raise, result.reason).match(reason)


def _raise(message):
    raise AssertionError(message)


def test_a_failing_check_does_not_stop_the_others():
    register("broken", example=SAME_SHAPE)(Infinite)
    results = {result.name: result for result in check_block("broken")}
    assert not results["float32"].passed
    assert results["output_shapes"].passed
    assert results["meta_device"].passed


def test_example_that_lies_about_its_shapes_fails():
    register("liar", example=Example({}, ((4, 8, 12),), ((4, 8, 13),)))(Good)
    assert run_check("liar", "output_shapes").reason == (
        "outputs must be (1, 4, 8, 13) as the example says, got (1, 4, 8, 12)"
    )
    assert not run_check("liar", "meta_device").passed


def test_example_with_options_that_yaml_cannot_say_fails():
    register("tuple_option", example=Example({"gain": (1, 2)}, ((4, 8, 12),), ((4, 8, 12),)))(Good)
    assert "must be plain" in run_check("tuple_option", "signature").reason


@pytest.mark.parametrize(
    ("cost", "reason"),
    [
        (NodeCost(((4, 8, 13),), 0, 0, 0, 0, 0), "priced shapes must be"),
        (NodeCost(((4, 8, 12),), 5, 1, 5, 1, 0), "priced parameters must be 156, got 5"),
        (NodeCost(((4, 8, 12),), 156, 0, 156, 0, 0), "a block with weights must cost something, got 0 MACs"),
    ],
)
def test_wrong_price_fails(cost, reason):
    register("good", example=SAME_SHAPE)(Good)
    result = run_check("good", "cost", cost=lambda block, options, shapes: cost)
    assert not result.passed
    assert reason in result.reason


def test_cost_is_skipped_without_a_cost_function():
    assert run_check("add", "cost") == CheckResult(
        "cost", True, "no cost function was given (cost=lmnet.builder.cost.node_cost)", skipped=True
    )


def test_unknown_check_and_block_are_refused():
    with pytest.raises(ValueError, match="run_check: check must be one of signature, .*, got check='speed'"):
        run_check("add", "speed")
    with pytest.raises(ValueError, match="block must be registered, got block='ad'. Did you mean add?"):
        check_block("ad")


def test_trained_looking_changes_batch_norms_only_and_always_alike():
    first, second = Good(4), Good(4)
    second.load_state_dict(first.state_dict())
    weight = first.conv.weight.clone()
    make_trained_looking(first)
    make_trained_looking(second)
    assert torch.equal(first.conv.weight, weight)
    assert torch.equal(first.norm.running_var, second.norm.running_var)
    assert first.norm.running_var.min() >= 1
    assert first.norm.running_var.std() > 0.1


def test_kit_leaves_the_random_state_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    check_block("downsample")
    assert torch.equal(torch.get_rng_state(), before)
