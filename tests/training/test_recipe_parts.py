"""Parts of recipes: names of one's own, growing images, given weights, teachers."""

import pytest
import torch
from torch import nn

from lmnet.builder.models import build_model
from lmnet.builder.spec import parse_spec
from lmnet.training import Recipe, Schedule, fit, register_loss
from lmnet.training.fitting.distillation import Teacher, distillation_loss
from lmnet.training.fitting.named import LOSSES
from lmnet.training.fitting.optimizers import parameter_groups

QUICK = Recipe(size=32, epochs=2, batch_size=8, warmup_epochs=0, augment="none")


def test_a_loss_of_ones_own_is_used_by_name_or_as_an_object(drawn, tiny_net):
    seen = []

    class Mine(nn.Module):
        def forward(self, logits, mask):
            seen.append(len(mask))
            return nn.functional.cross_entropy(logits, mask)

    register_loss("mine_for_a_test")(lambda recipe: Mine())
    try:
        with pytest.raises(ValueError, match="loss: the name 'mine_for_a_test' is taken"):
            register_loss("mine_for_a_test")
        fit(tiny_net(), drawn, QUICK.override({"loss": "mine_for_a_test"}), epochs=1)
    finally:
        LOSSES._known.pop("mine_for_a_test")
    named = len(seen)
    fit(tiny_net(), drawn, QUICK, epochs=1, loss=Mine())
    assert named > 0
    assert len(seen) == 2 * named


def test_images_grow_over_two_thirds_of_the_epochs():
    recipe = Recipe(size=256, start_size=96)
    sizes = [Schedule(30).training_size(recipe, 256, epoch) for epoch in range(30)]

    assert sizes[0] == 96
    assert sizes == sorted(sizes)
    assert set(sizes[20:]) == {256}
    assert {size % 32 for size in sizes} == {0}
    assert Schedule(30).training_size(Recipe(size=64), 64, 0) == 64


def test_a_training_whose_images_grow_is_resumed_bit_by_bit(drawn, tiny_net):
    recipe = Recipe(size=64, start_size=32, epochs=3, batch_size=8, ema_decay=0.9, augment="heavy")
    whole = fit(tiny_net(), drawn, recipe)
    piece = fit(tiny_net(), drawn, recipe, epochs=1, schedule=Schedule(3))
    rest = fit(tiny_net(seed=5), drawn, recipe, resume=piece.state)

    assert all(
        torch.equal(a, b) for a, b in zip(whole.state.average.values(), rest.state.average.values(), strict=True)
    )


def test_a_moving_average_forgets_the_first_weights(drawn, tiny_net):
    start = tiny_net()
    before = start.state_dict()["0.weight"].clone()

    state = fit(start, drawn, QUICK.override({"ema_decay": 0.9999, "lr": 1e-2})).state

    moved = (state.average["module.0.weight"] - before).abs().mean()
    assert moved > 0.5 * (state.weights["0.weight"] - before).abs().mean()


def test_given_weights_learn_slower_or_not_at_all_at_first(drawn, tiny_net):
    net = tiny_net()
    given = {"0.weight", "0.bias", "1.weight", "1.bias"}
    groups = parameter_groups(net, given, QUICK.override({"pretrained_lr_scale": 0.1}))
    assert [(len(group["params"]), group["scale"]) for group in groups] == [(2, 1.0), (4, 0.1)]
    before = {key: value.clone() for key, value in net.state_dict().items()}

    result = fit(net, drawn, QUICK.override({"freeze_epochs": 2}), pretrained=given)

    after = result.state.weights
    assert all(torch.equal(after[key], before[key]) for key in given)
    assert torch.equal(after["1.running_mean"], before["1.running_mean"])
    assert not torch.equal(after["5.weight"], before["5.weight"])
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_the_rate_begins_anew_where_a_run_is_trained_further():
    recipe = Recipe(lr=1.0, min_lr=0.0, warmup_epochs=0)
    assert Schedule(20, start=10).learning_rate(recipe, 10) == 1.0
    assert Schedule(20, start=10).learning_rate(recipe, 20) == pytest.approx(0)


def test_a_student_learns_what_its_teacher_says(drawn, tiny_net):
    teacher = Teacher(tiny_net(seed=3), 32, (0.5,) * 3, (0.5,) * 3)
    image = torch.randint(0, 255, (2, 3, 64, 48), dtype=torch.uint8)
    logits = teacher.logits(image)

    assert logits.shape == (2, 2, 64, 48)
    assert distillation_loss(logits, logits, temperature=2) == pytest.approx(0, abs=1e-6)
    assert distillation_loss(-logits, logits, temperature=2) > 0
    with pytest.raises(ValueError, match="the teacher has 3 classes, the student 2"):
        distillation_loss(logits, torch.zeros(2, 3, 64, 48), temperature=2)
    alone = fit(tiny_net(), drawn, QUICK, epochs=1).state.weights
    taught = fit(tiny_net(), drawn, QUICK, epochs=1, teacher=teacher).state.weights
    assert not torch.equal(alone["0.weight"], taught["0.weight"])


def test_maps_of_aux_get_losses_of_their_own(drawn):
    text = """
schema: lmnet/1
name: deep
input: {channels: 3, size: [64, 64]}
nodes:
  stem: {block: downsample, from: input, out_channels: 8}
  head: {block: segmentation_head, from: stem, scale: 2}
  deep: {block: segmentation_head, from: stem}
outputs: {logits: head}
aux: {deep: 0.5}
"""

    def trained(text, **options):
        torch.manual_seed(0)
        model = build_model(parse_spec(text))
        return model.state_dict(), fit(model, drawn, QUICK, epochs=1, **options).state.weights

    before, after = trained(text)
    assert not torch.equal(before["aux_nodes.deep.conv.weight"], after["aux_nodes.deep.conv.weight"])
    weightless = trained(text.replace("0.5", "0"))[1]
    alone = trained(
        text.replace("\n  deep: {block: segmentation_head, from: stem}", "").replace("aux: {deep: 0.5}", "")
    )[1]
    assert torch.equal(weightless["stem.conv.conv.weight"], alone["stem.conv.conv.weight"])
    assert not torch.equal(after["stem.conv.conv.weight"], alone["stem.conv.conv.weight"])
    teacher = Teacher(build_model(parse_spec(text)), 32, (0.5,) * 3, (0.5,) * 3)
    assert not torch.equal(trained(text, teacher=teacher)[1]["stem.conv.conv.weight"], after["stem.conv.conv.weight"])
