"""The confirmation of a search: paired differences, the verdict's words, and a search that ends with one."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from lmnet.builder.spec import parse_spec
from lmnet.builder.weights import read_weights
from lmnet.search.nets.limits import Limits
from lmnet.search.nets.pricing import Pricer
from lmnet.search.nets.space import Space
from lmnet.search.nets.survey import largest_within
from lmnet.search.options import SearchOptions
from lmnet.search.results.answer import answer_text
from lmnet.search.results.counts import Scored, Tally, with_verdict
from lmnet.search.results.summary import SearchResult
from lmnet.search.run_search import run
from lmnet.search.train.objective import TrainingObjective
from lmnet.search.train.pools import InlinePool
from lmnet.search.train.training import asks_for
from lmnet.search.verdict.again import ConfirmingObjective, confirm, read_confirmed
from lmnet.search.verdict.difference import (
    Confirmed,
    choose,
    compared,
    make_verdict,
    no_verdict,
    seed_noise,
)
from lmnet.training import CaseScores, Recipe
from lmnet.training.fitting.chooser import METRIC
from tests.search.confirming import confirmed_out_of_time

NAMES = tuple(f"image{index:02d}" for index in range(60))


def scores(dice, *, names=NAMES):
    """Return scores of images with the given foreground Dice: 100 lesion pixels, as many false as missed."""
    hits = np.round(100 * np.asarray(dice)).astype(np.int64)
    confusion = np.stack([np.stack([900 - 100 + hits, 100 - hits], -1), np.stack([100 - hits, hits], -1)], -2)
    return CaseScores(names, confusion)


def by_seed(mean, *, noise=0.0, seeds=(1, 2, 3)):
    """Return scores of three seeds; images differ much from each other, and alike for all nets."""
    hard = np.linspace(-0.3, 0.3, 60)
    return {seed: scores(np.clip(mean + hard + noise * np.random.default_rng(seed).normal(), 0, 1)) for seed in seeds}


def test_a_difference_is_paired_by_images():
    both = compared(by_seed(0.5), by_seed(0.53))

    found = both.of(METRIC)
    assert found.difference == pytest.approx(0.03, abs=0.002)
    assert 0.02 < found.low < found.high < 0.04  # each net's own interval is over 0.08 wide
    assert (both.seeds, both.with_lesion) == ((3, 3), 60)


def test_the_noise_of_seeds_widens_the_interval():
    found = compared(by_seed(0.5, noise=0.1), by_seed(0.53, noise=0.1, seeds=(3, 2, 1))).of(METRIC)

    assert found.low < 0 < found.high


def test_images_in_another_order_are_paired_by_name():
    order = np.random.default_rng(0).permutation(60)
    dice = np.linspace(0.2, 0.8, 60)
    shuffled = scores(dice[order], names=tuple(NAMES[place] for place in order))

    found = compared({1: scores(dice)}, {1: shuffled}).of(METRIC)

    assert found.low == found.high == 0


def test_without_a_common_seed_there_is_no_difference():
    assert compared({1: scores(np.full(60, 0.5))}, {2: scores(np.full(60, 0.5))}) is None


def test_without_a_lesion_in_the_test_images_nothing_is_compared():
    empty = CaseScores(NAMES, np.tile(np.array([[1000, 0], [0, 0]]), (60, 1, 1)))
    nets = [Confirmed("best", "b", 0.5, 10, {1: empty}), Confirmed("start", "s", 1.0, 20, {1: empty})]

    verdict = make_verdict(nets, epochs=5, milliseconds={})

    assert verdict["text"] == "The best net was not compared with the starting net: no test image has a lesion."
    assert json.loads(json.dumps(verdict, allow_nan=False))["nets"][0]["dice"] is None


def test_the_verdict_says_how_far_seeds_differ():
    nets = [
        Confirmed("best", "b", 0.5, 10, by_seed(0.5), {1: 0.70, 2: 0.72}),
        Confirmed("start", "s", 1.0, 20, by_seed(0.5), {1: 0.60}),
    ]

    verdict = make_verdict(nets, epochs=5, milliseconds={})

    assert verdict["seed_noise"] == seed_noise(nets) == pytest.approx(0.01 * 2**0.5)
    assert "varies by 0.014 (standard deviation)" in verdict["text"]
    assert seed_noise(nets[1:]) is None


@pytest.mark.parametrize(
    ("mean", "words"),
    [
        (0.6, "is better than the starting net"),
        (0.4, "is worse than the starting net"),
        (0.5, "is not shown to be better than the starting net"),
    ],
)
def test_the_verdict_says_what_was_shown(mean, words):
    nets = [Confirmed("best", "b", 0.5, 10, by_seed(mean)), Confirmed("start", "s", 1.0, 20, by_seed(0.5))]

    verdict = make_verdict(nets, epochs=5, milliseconds={"b": 3.0, "s": 4.0})

    assert words in verdict["text"]
    assert (
        "over 60 images and 3 training runs each, at 0.50 times its GMACs and 0.75 times its milliseconds"
        in verdict["text"]
    )
    assert verdict["best_minus_start"] == pytest.approx(mean - 0.5, abs=0.01)
    assert (verdict["seeds"], verdict["split"], len(verdict["interval"])) == (3, "test", 2)


def test_all_nets_of_a_verdict_have_the_same_seeds():
    """The time was over before the largest net had its third training run."""
    nets = [
        Confirmed("best", "b", 0.5, 10, by_seed(0.6)),
        Confirmed("start", "s", 1.0, 20, by_seed(0.5)),
        Confirmed("largest", "l", 2.0, 30, by_seed(0.5, seeds=(1, 2))),
        Confirmed("finalist", "f", 0.6, 10, by_seed(0.5)),
    ]

    verdict = make_verdict(nets, epochs=5, milliseconds={}, seeds=3)

    assert [len(one["dice_by_seed"]) for one in verdict["nets"]] == [2, 2, 2, 3]
    assert "3 training runs each" not in verdict["text"]
    assert "Only 2 of the planned 3 training runs of each net ended" in verdict["text"]
    assert verdict["seeds"] == 2


def test_a_net_whose_training_runs_all_failed_takes_no_seeds_from_the_others():
    nets = [
        Confirmed("best", "b", 0.5, 10, by_seed(0.6)),
        Confirmed("start", "s", 1.0, 20, by_seed(0.5)),
        Confirmed("largest", "l", 2.0, 30, {}),
    ]

    verdict = make_verdict(nets, epochs=5, milliseconds={}, seeds=3)

    assert "is better than the starting net: test Dice +0.1" in verdict["text"]
    assert "was not compared with the largest net" in verdict["text"]
    assert "Only" not in verdict["text"]


def test_the_verdict_comes_first_then_test_scores_then_the_scores_of_the_search(small):
    nets = [Confirmed("best", "b", 0.5, 10, by_seed(0.6)), Confirmed("start", "s", 1.0, 20, by_seed(0.5))]
    verdict = make_verdict(nets, epochs=5, milliseconds={"b": 3.0, "s": 4.0})
    scored = (Scored(0, (0,), "b", 0.7, {"gmacs": 0.5, "params": 10}),)
    counts = Tally(1, {}, 0, 0, 0, scored)

    lines = answer_text(SearchResult("study", "", None, Space(small), counts, None, verdict)).splitlines()

    assert lines[0].startswith("The best net is better than the starting net: test Dice +0.1")
    assert lines[2] == "scores of the nets trained again, on test images (60 images with a lesion):"
    assert lines[3].split() == ["net", "hash", "GMACs", "ms", "test", "Dice", "95", "%", "interval", "by", "seed"]
    assert re.match(r"the best net +b +0.500  3.0  0.60\d +0.55\d to 0.64\d +0.60\d 0.60\d 0.60\d$", lines[4]), lines[4]
    assert lines[5].startswith("the starting net")
    assert lines[7].startswith("scores of the search, on val images, from one training run each")
    assert lines[8] == "best net      0.7000  0.500 GMACs  10 parameters"


def test_synthetic_test_images_are_many_and_none_that_the_search_has_seen():
    base = TrainingObjective("synthetic", Recipe(size=32, epochs=1), seed=3)

    test = ConfirmingObjective(base, 1).test

    assert len(test) >= 300
    seen = {case.image.tobytes() for case in base.sets().cases.cases}
    assert seen.isdisjoint(case.image.tobytes() for case in test.cases)
    assert {name.partition("_")[0] for name in test.names} == {"endoscopy", "mri", "ultrasound"}


def test_a_verdict_without_time_says_so():
    nets = [Confirmed("best", "b", 0.5, 10, {}), Confirmed("start", "s", 1.0, 20, {})]

    verdict = make_verdict(nets, epochs=5, milliseconds={})

    assert verdict["text"] == (
        "The best net was not compared with the starting net: for no seed were both training runs finished in time."
    )
    assert verdict["best_minus_start"] is None


def test_the_largest_net_within_the_limits_is_found(small):
    pricer = Pricer(Space(small), Limits(max_gflops=0.004))
    every = [one for one in map(pricer.price, pricer.space.all_points()) if one.is_feasible]

    found = largest_within(pricer, min(every, key=lambda one: one.gmacs).point)

    assert found.is_feasible
    assert found.gmacs > 0.9 * max(one.gmacs for one in every)


def test_a_seed_is_given_only_where_it_is_asked_for():
    def asking(model, spec, report, seed): ...

    def own(model, spec, seed=3): ...

    assert asks_for(asking) == {"report", "seed"}
    assert asks_for(own) == set()


@pytest.fixture
def folder(tmp_path):
    for index in range(20):
        image = np.random.default_rng(index).integers(0, 90, (32, 32, 3), dtype=np.uint8)
        mask = np.zeros((32, 32), dtype=np.uint8)
        mask[4 + index % 8 :, 8:24] = 255
        image[mask > 0] += 120
        for name, pixels in (("images", image), ("masks", mask)):
            (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"case_{index:02d}.png")
    return tmp_path / "data"


def test_confirmations_are_trained_once_and_scored_on_the_test_images(small, folder, tmp_path):
    base = TrainingObjective(str(folder), Recipe(size=32, epochs=1, batch_size=4), seed=0, device="cpu")
    pricer, place, made = Pricer(Space(small), Limits()), tmp_path / "confirm", []
    one = pricer.price(pricer.space.start)

    def make_pool(objective):
        made.append(objective)
        return InlinePool(objective)

    again = ConfirmingObjective(base, 2)
    for _ in range(2):
        nets = [(one.hash, pricer.spec(one.point))]
        confirm(nets, again, make_pool, seeds=2, folder=place, deadline=None, is_stopped=lambda: False)

    found, val = read_confirmed(place, one.hash, 2)
    assert sorted(val) == [1000, 1001]
    assert all(0 <= score <= 1 for score in val.values())
    assert made == [again]
    kept = [f"{one.hash}-s1000.json", f"{one.hash}-s1000.safetensors", f"{one.hash}-s1001.json"]
    assert sorted(path.name for path in place.iterdir()) == kept
    facts = read_weights(place / f"{one.hash}-s1000.safetensors").facts
    assert (facts["size"], facts["seed"], facts["recipe"]) == ("32", "1000", "default")
    assert sorted(found) == [1000, 1001]
    assert set(found[1000].names) == set(base.sets().test.names)
    assert not np.array_equal(found[1000].dice, found[1001].dice)  # another seed, another net


def test_without_time_nothing_is_trained(small, tmp_path):
    pricer = Pricer(Space(small), Limits())

    class Refusing(InlinePool):
        def submit(self, slot, job):
            raise AssertionError("there is no time")

    pool = Refusing(None)

    nets = [("hash", pricer.spec(pricer.space.start))]
    confirm(nets, None, lambda objective: pool, seeds=2, folder=tmp_path, deadline=0.0, is_stopped=lambda: False)

    assert read_confirmed(tmp_path, "hash", 2) == ({}, {})


def test_failures_of_trainings_are_told(small, tmp_path):
    def broken(model, spec):
        raise ValueError("no such file")

    nets = [("hash", Pricer(Space(small), Limits()).spec(Space(small).start))]
    seen = []
    options = {"deadline": None, "is_stopped": lambda: False, "on_progress": lambda *ended: seen.append(ended)}
    told = confirm(nets, broken, InlinePool, seeds=2, folder=tmp_path, **options)

    assert told == ["error: ValueError: no such file"] * 2
    assert seen == [(0, 2), (1, 2)]


def test_a_start_outside_the_limits_is_told(small, tmp_path):
    pricer = Pricer(Space(small), Limits(max_gflops=0.001))
    nets = {one.hash: one for one in map(pricer.price, pricer.space.all_points()) if one.is_feasible}
    scored = tuple(Scored(i, one.point, one.hash, 0.5, one.costs) for i, one in enumerate(list(nets.values())[:2]))
    verdict = confirmed_out_of_time(scored, pricer, tmp_path)
    assert verdict["text"].endswith("The starting net is outside the limits and was not compared.")
    assert verdict["cases"] == []


@pytest.mark.parametrize(
    ("limit", "same"),
    [
        (None, "the starting net and the largest net within the limits"),
        (0.001, "the largest net within the limits"),  # the starting net is not within it
    ],
)
def test_a_best_net_that_is_all_others_too_is_not_compared(small, tmp_path, limit, same):
    spec = small if limit else parse_spec(small.dump().split("search:")[0] + "search: {width: {choices: [8]}}\n")
    pricer = Pricer(Space(spec), Limits(max_gflops=limit))
    feasible = next(one for one in map(pricer.price, pricer.space.all_points()) if one.is_feasible)
    best = largest_within(pricer, feasible.point)

    verdict = confirmed_out_of_time((Scored(0, best.point, best.hash, 0.5, best.costs),), pricer, tmp_path)

    assert verdict["text"] == f"The best net is {same}: there is no other net to compare."
    assert verdict["best"] == best.hash


def test_a_kept_verdict_is_shown_for_its_own_best_net_only():
    verdict = no_verdict("nothing else to compare", best="a")
    among = {**verdict, "best": "b", "finalists": ["a", "b"]}

    def counts(*hashes):
        costs = {"gmacs": 1.0, "params": 10}
        scored = tuple(Scored(i, (i,), hash_, 0.5 - i / 10, costs) for i, hash_ in enumerate(hashes))
        return Tally(len(scored), {}, 0, 0, 0, scored)

    assert with_verdict(verdict, counts("a"))[1] == verdict
    assert with_verdict(verdict, counts("b"))[1] is with_verdict(None, counts("a"))[1] is None
    found, kept = with_verdict(among, counts("a", "b", "c"))
    assert (found.best.hash, kept) == ("b", among)
    found, kept = with_verdict(among, counts("a", "c", "b"))  # another search found a better one since
    assert (found.best.hash, kept) == ("a", None)


def test_the_cheapest_of_the_finalists_that_are_equal_is_chosen():
    def finalist(hash_, gmacs, *val):
        return Confirmed("finalist", hash_, gmacs, 10, {}, dict(enumerate(val)))

    dear = finalist("dear", 2.0, 0.70, 0.72, 0.74)
    assert choose([dear, finalist("cheap", 1.0, 0.71, 0.73, 0.70)]).hash == "cheap"  # within the noise of a seed
    assert choose([dear, finalist("cheap", 1.0, 0.61, 0.63, 0.60)]).hash == "dear"
    assert choose([dear, finalist("cheap", 1.0, 0.73)]).hash == "cheap"  # by the first seed, which both have
    assert choose([finalist("cheap", 1.0), dear]).hash == "dear"  # all trainings of the other one failed
    assert choose([finalist("first", 2.0), finalist("cheap", 1.0)]).hash == "first"  # by the search's score


def test_a_cluster_without_ray_is_refused_in_one_line(without_ray, small, tmp_path):
    with pytest.raises(ImportError, match="--cluster needs ray, and it is not installed. pip install 'lmnet.ray.'"):
        run(small, objective=len, max_gflops=0.004, trials=1, cluster="ray", out=tmp_path)


@pytest.mark.slow
def test_a_search_ends_with_a_verdict_and_the_same_call_repeats_it(small, tmp_path):
    options = {"trials": 3, "epochs": 2, "size": 32, "max_gflops": 0.004, "workers": 1, "confirm_seeds": 2}

    verdict = run(small, out=tmp_path, **options).verdict

    assert verdict["seeds"] == 2
    assert {one["role"] for one in verdict["nets"]} >= {"best", "largest"}
    assert all(len(one["dice_by_seed"]) == 2 for one in verdict["nets"])
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "confirm" / "2-epochs-320-images").iterdir()}
    again = run(small, out=tmp_path, **options)
    assert again.verdict["text"].partition(" times its GMACs")[0] == verdict["text"].partition(" times its GMACs")[0]
    assert files == {path: path.stat().st_mtime_ns for path in (tmp_path / "confirm" / "2-epochs-320-images").iterdir()}
    captions = [caption for caption, _ in verdict["cases"]]
    assert len(captions) == 4
    assert all("the best net 0." in caption for caption in captions)
    assert (tmp_path / "report.html").read_text().count("data:image/png") == 4
    assert json.loads((tmp_path / "search.json").read_text())["verdict"]["split"] == "test"
    assert verdict["text"].partition(":")[0] in (tmp_path / "report.html").read_text()


def test_a_negative_number_of_epochs_is_refused():
    with pytest.raises(ValueError, match="confirm_epochs must be 0 or more, got confirm_epochs=-1"):
        SearchOptions(confirm_epochs=-1)
