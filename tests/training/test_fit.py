import copy
import errno
import json
import math
import os

import pytest
import torch

from lmnet.builder.files import SaveError, write_durably
from lmnet.builder.weights import read_weights, save_weights
from lmnet.training import Recipe, Schedule, TrainingDiverged, TrainState, fit, load_data
from lmnet.training.fitting.loaders import EpochSampler, training_loader
from lmnet.training.fitting.state import load_weights

QUICK = Recipe(size=32, epochs=3, batch_size=4, lr=1e-2)


def equal(first, second):
    return first.keys() == second.keys() and all(first[name].equal(second[name]) for name in first)


def lasting(history):
    return [
        {key: value for key, value in row.items() if key not in ("seconds", "images_per_second", "waiting_share")}
        for row in history
    ]


def test_a_net_learns_and_is_left_with_its_best_weights(tiny_net, write_folder, tmp_path):
    net = tiny_net()

    result = fit(net, load_data(write_folder(tmp_path, 24)), QUICK, epochs=12)

    assert result.score > 0.9
    assert result.score == max(row["val_dice_foreground_mean"] for row in result.history)
    assert result.history[result.best_epoch - 1]["val_dice_foreground_mean"] == result.score
    assert not net.training
    assert equal(net.state_dict(), result.state.best_weights)
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]


def test_the_result_depends_on_the_seed_and_not_on_workers_or_the_callers_state(drawn, tiny_net):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = fit(tiny_net(), drawn, QUICK, epochs=2)
    assert torch.get_rng_state().equal(before)
    torch.manual_seed(6)
    second = fit(tiny_net(), drawn, QUICK, epochs=2, workers=2)
    other = fit(tiny_net(), drawn, QUICK, epochs=2, seed=1)

    assert equal(first.state.weights, second.state.weights)
    assert lasting(first.history) == lasting(second.history)
    assert not equal(first.state.weights, other.state.weights)


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.9}, {"accumulate": 2, "augment": "paper"}], ids=str)
def test_a_training_cut_in_pieces_is_the_training_in_one(drawn, tiny_net, changes):
    recipe = QUICK.override(changes)
    whole = fit(tiny_net(), drawn, recipe, epochs=3)

    piece = fit(tiny_net(), drawn, recipe, epochs=1, schedule=Schedule(3))
    rest = fit(tiny_net(seed=9), drawn, recipe, epochs=3, resume=piece.state)

    assert equal(whole.state.weights, rest.state.weights)
    assert equal(whole.state.best_weights, rest.state.best_weights)
    assert lasting(whole.history) == lasting(rest.history)
    assert piece.epoch == 1
    assert len(piece.history) == 1


def test_a_training_in_a_folder_goes_on_from_its_checkpoint(drawn, tiny_net, tmp_path):
    whole = fit(tiny_net(), drawn, QUICK, epochs=3)

    out = tmp_path / "runs" / "new"  # folders that are not there are made
    fit(tiny_net(), drawn, QUICK, epochs=2, schedule=Schedule(3), out=out, workers=0)
    rest = fit(tiny_net(seed=9), drawn, QUICK, epochs=3, out=out, workers=0)
    again = fit(tiny_net(seed=9), drawn, QUICK, epochs=3, out=out, workers=0)

    assert equal(whole.state.weights, rest.state.weights)
    assert lasting(again.history) == lasting(whole.history)
    assert (out / "log.csv").read_text().count("\n") == 4
    assert list((out / "tensorboard").iterdir())
    read = read_weights(out / "best.safetensors")
    weights, facts = read.state, read.facts
    assert equal(weights, whole.state.best_weights)
    assert facts["size"] == "32"
    assert json.loads(facts["mean"]) == list(QUICK.mean)


def test_callbacks_hear_of_every_epoch_and_may_stop(drawn, tiny_net):
    heard = []

    result = fit(tiny_net(), drawn, QUICK, callbacks=[lambda report: heard.append(report) or report.epoch == 2])

    assert [report.epoch for report in heard] == [1, 2]
    assert heard[1].score == heard[1].row["val_dice_foreground_mean"]
    assert result.is_stopped
    assert result.epoch == 2


def test_one_output_channel_is_a_lesion_logit(drawn, tiny_net):
    assert fit(tiny_net(num_classes=1), drawn, QUICK, epochs=1).score >= 0


def test_a_loss_that_is_not_finite_ends_the_training(drawn, tiny_net):
    net = tiny_net()
    with torch.no_grad():
        net[-1].bias.fill_(float("nan"))

    with pytest.raises(TrainingDiverged, match=r"the loss became nan in epoch 1, step 1\. Lower lr"):
        fit(net, drawn, QUICK)


def test_a_model_whose_output_is_no_logits_is_refused(drawn):
    class Pooled(torch.nn.Conv2d):
        def forward(self, image):
            return super().forward(image).mean(dim=(2, 3))

    with pytest.raises(ValueError, match=r"output must be logits \(N, K, H, W\), got \(1, 2\)"):
        fit(Pooled(3, 2, 1), drawn, QUICK)


@pytest.mark.parametrize("device", ["cuda:7", "tpu", "meta"])
def test_a_device_that_is_not_there_is_refused(drawn, tiny_net, device):
    with pytest.raises(ValueError, match="device: "):
        fit(tiny_net(), drawn, QUICK, device=device)


def test_a_checkpoint_of_another_model_is_refused(drawn, tiny_net, tmp_path):
    fit(tiny_net(), drawn, QUICK, epochs=1, out=tmp_path, workers=0)

    with pytest.raises(ValueError, match=r"last.ckpt: the checkpoint is of another model: 0 tensors missing"):
        fit(tiny_net(width=12), drawn, QUICK, out=tmp_path)


def test_weights_with_other_names_are_refused(tiny_net):
    with pytest.raises(ValueError, match="9 tensors missing, 1 extra") as caught:
        load_weights(tiny_net(), {"odd": torch.zeros(1)}, where="here")
    assert str(caught.value).startswith("here: ")


@pytest.mark.parametrize("content", [b"", b"PK junk", None], ids=["empty", "junk", "another format"])
def test_a_broken_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "last.ckpt"
    if content is None:
        torch.save({"format": "lmnet-train/0"}, path)
    else:
        path.write_bytes(content)

    with pytest.raises(ValueError, match=r"last.ckpt: (the checkpoint cannot be read|it is no checkpoint)"):
        TrainState.load(path)


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"format": "lmnet-train/1", "epoch": Evil()}, tmp_path / "last.ckpt")

    with pytest.raises(ValueError, match=r"last.ckpt: the checkpoint cannot be read \("):
        TrainState.load(tmp_path / "last.ckpt")
    assert not (tmp_path / "ran").exists()


def test_a_net_that_is_nan_only_in_evaluation_is_refused(drawn, tiny_net):
    """As a running variance beyond float16 is: training goes on well with the statistics of its batches."""

    class Broken(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = tiny_net()

        def forward(self, image):
            return self.net(image) if self.training else self.net(image) * math.nan

    with pytest.raises(
        TrainingDiverged, match=r"the loss of the val images is nan after epoch 1.*start from other weights"
    ):
        fit(Broken(), drawn, QUICK, epochs=2)


def test_broken_weights_are_refused(tmp_path):
    (tmp_path / "best.safetensors").write_bytes(b"no")

    with pytest.raises(ValueError, match="it is no whole file of weights"):
        read_weights(tmp_path / "best.safetensors")


def test_half_weights_come_back_as_float32_at_half_the_size(tmp_path, tiny_net):
    weights = tiny_net().state_dict()
    save_weights(tmp_path / "a.safetensors", weights, {"size": "32"}, half=True)

    read = read_weights(tmp_path / "a.safetensors")
    again, facts = read.state, read.facts

    assert facts == {"size": "32"}
    assert all(again[name].dtype == tensor.dtype for name, tensor in weights.items())
    assert all(torch.allclose(again[name].float(), tensor.float(), atol=1e-3) for name, tensor in weights.items())


def test_half_weights_keep_what_float16_cannot_hold(tmp_path):
    state = {"norm.running_var": torch.tensor([1.0, 3e5]), "conv.weight": torch.ones(4)}
    save_weights(tmp_path / "a.safetensors", state, half=True)

    again = read_weights(tmp_path / "a.safetensors").state

    assert torch.equal(again["norm.running_var"], state["norm.running_var"])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    save_weights(tmp_path / "a.safetensors", {"norm.running_var": torch.tensor([1.0, value]), "bias": torch.ones(1)})

    with pytest.raises(
        ValueError, match=r"1 of its 2 tensors hold values that are not finite, the first norm\.running_var"
    ):
        read_weights(tmp_path / "a.safetensors")


def full_disk(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_last_good_checkpoint(drawn, tiny_net, tmp_path, monkeypatch, call):
    fit(tiny_net(), drawn, QUICK, epochs=1, schedule=Schedule(3), out=tmp_path, workers=0)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}

    with monkeypatch.context() as patched:
        patched.setattr(os, call, full_disk)
        with pytest.raises(SaveError, match=r"last.ckpt: .*No space left on device.*; the one before it is kept"):
            fit(tiny_net(), drawn, QUICK, epochs=3, out=tmp_path, workers=0)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == kept
    rest = fit(tiny_net(), drawn, QUICK, epochs=3, out=tmp_path, workers=0)
    assert equal(rest.state.weights, fit(tiny_net(), drawn, QUICK, epochs=3).state.weights)


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full_disk)

    with pytest.raises(SaveError, match="nothing was written"):
        write_durably(tmp_path / "a", b"content")
    assert list(tmp_path.iterdir()) == []


def test_the_processes_of_an_epoch_share_its_cases_out():
    samplers = [EpochSampler(11, seed=0, rank=rank, world_size=2) for rank in range(2)]
    shares = [[index for index, _ in sampler] for sampler in samplers]

    assert len(shares[0]) == len(shares[1]) == 6
    assert sorted({*shares[0], *shares[1]}) == list(range(11))


def test_every_epoch_has_its_order_and_its_augmentation():
    sampler = EpochSampler(11, seed=0)
    first = list(sampler)
    sampler.set_epoch(1)
    resumed = EpochSampler(11, seed=0, first_epoch=1)

    assert list(sampler) == list(resumed)
    assert dict(first) != dict(sampler)
    assert [index for index, _ in first] != [index for index, _ in sampler]


def test_a_last_batch_that_is_not_full_is_dropped_unless_it_is_the_only_one(drawn):
    cases = drawn.train.at(32)
    for batch_size, batches in ((8, len(cases) // 8), (100, 1)):
        sampler = EpochSampler(len(cases), seed=0)
        loader = training_loader(cases, augment="none", batch_size=batch_size, sampler=sampler, workers=0)
        assert len(list(loader)) == batches


def test_the_learning_rate_rises_and_falls():
    recipe = Recipe(lr=1.0, min_lr=0.1, warmup_epochs=2.0)

    assert Schedule(10).learning_rate(recipe, 1) == 0.5
    assert Schedule(10).learning_rate(recipe, 2) == 1
    assert Schedule(10).learning_rate(recipe, 6) == pytest.approx(0.55)
    assert Schedule(10).learning_rate(recipe, 10) == Schedule(10).learning_rate(recipe, 11) == pytest.approx(0.1)


def test_a_recipe_with_channels_last_changes_no_callers_recipe(drawn, tiny_net):
    recipe = copy.deepcopy(QUICK)
    fit(tiny_net(), drawn, recipe, epochs=1)

    assert recipe == QUICK
