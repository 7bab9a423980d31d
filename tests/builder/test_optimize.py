import pytest
import torch
from torch import nn

import lmnet
from lmnet.blocks import LocalFeatureTransformer
from lmnet.commands.build import main
from lmnet.training.export.benchmark import machine_peak_gflops, measure_interleaved, peak_memory


def trained_looking(model):
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.normal_(module.bias, std=0.1)
    return model.eval()


@pytest.mark.parametrize("name", ["lmnet_xxs", "lmnet_paper", "unet"])
def test_the_optimised_net_equals_the_original_and_has_fewer_norms(name):
    model = trained_looking(lmnet.create_model(name))
    fast = lmnet.optimize_for_inference(model)
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected, out = model(image), fast(image)
    assert (out - expected).abs().max() <= 1e-5 * expected.abs().max()

    def norms(net):
        return sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())

    assert norms(fast) < norms(model) / 3
    assert next(fast.parameters()).requires_grad is False
    assert next(model.parameters()).requires_grad is True


def test_maps_stay_channels_last_from_end_to_end():
    fast = lmnet.optimize_for_inference(lmnet.create_model("lmnet_paper").eval())
    seen = {}
    for name, module in fast.named_children():
        module.register_forward_hook(lambda _, __, out, name=name: seen.__setitem__(name, out))
    with torch.no_grad():
        fast(torch.randn(2, 3, 64, 96))
    not_last = [name for name, out in seen.items() if not out.is_contiguous(memory_format=torch.channels_last)]
    assert not_last == []


def test_a_module_of_ones_own_needs_a_shape():
    net = nn.Sequential(nn.Conv2d(3, 8, 1), LocalFeatureTransformer(8, num_heads=2))
    with pytest.raises(ValueError, match="the shape of an image is not known for Sequential"):
        lmnet.optimize_for_inference(net)
    assert lmnet.optimize_for_inference(net, input_shape=(3, 16, 16)) is not net


def test_a_wrong_fold_is_caught():
    class Wrong(nn.Conv2d):
        def fold_norm(self):
            with torch.no_grad():
                self.weight.mul_(2)

    with pytest.raises(RuntimeError, match="the copy must equal the net to 0.0001, got error="):
        lmnet.optimize_for_inference(nn.Sequential(Wrong(3, 4, 1)), input_shape=(3, 8, 8))


def test_passes_are_measured_in_turns():
    order = []
    first, second = measure_interleaved([lambda: order.append(0), lambda: order.append(1)], repeats=3)
    assert order == [0, 1] * 5
    assert len(first) == len(second) == 3
    assert machine_peak_gflops(size=128, repeats=2) > 0


@pytest.mark.slow
def test_peak_memory_grows_with_the_batch():
    from lmnet.builder.planner import plan_spec
    from lmnet.builder.spec import load_spec

    plan = plan_spec(load_spec("unet"))
    one, four = (peak_memory(plan, batch=batch, optimised=False) for batch in (1, 4))
    assert one > 2**20
    assert four > 2 * one


def test_a_benchmark_against_another_spec_prints_ratios(capsys):
    assert (
        main(["lmnet_xxs", "--benchmark", "--input-size", "64", "64", "--against", "lmnet_xs", "--threads", "1"]) == 0
    )
    printed = capsys.readouterr().out
    assert "lmnet_xs, optimised" in printed
    assert "1.00x" in printed
    assert main(["lmnet_xxs", "--benchmark", "--runtimes", "--against", "lmnet_xs"]) == 2
    assert "--runtimes: it compares one net with itself, got --against too" in capsys.readouterr().err
    assert main(["lmnet_xxs", "--benchmark", "--batch", "0"]) == 2
    assert "--batch: a benchmark needs 1 or more, got 0" in capsys.readouterr().err
