import json
import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from lmnet.training import CaseScores, compare, summarize
from lmnet.training.metrics.boundary import boundary_iou, hd95
from lmnet.training.metrics.confusion import ConfusionByCase, confusion
from lmnet.training.metrics.conventions import CONVENTIONS
from lmnet.training.metrics.intervals import intervals


def scores(*matrices, **figures):
    names = tuple(f"case_{index}" for index in range(len(matrices)))
    return CaseScores(names, np.array(matrices), figures)


def random_scores(count=40, seed=0):
    rng = np.random.default_rng(seed)
    return scores(*rng.integers(1, 500, (count, 2, 2)))


def test_the_papers_figures_follow_from_its_precision_and_recall():
    """arXiv 2501.03838, Kvasir-SEG: precision 0.8964, recall 0.9038, mean Dice 0.9409, mean IoU 0.8912.

    Dice and IoU are means over background and lesion, pooled over all pixels: at the one share of lesion pixels that
    gives this Dice, IoU comes out as published, and the lesion's own Dice is 0.9001.
    """
    precision, recall, pixels = 0.8964, 0.9038, 10**9

    def at(share):
        lesion = share * pixels
        hits = recall * lesion
        false = hits * (1 / precision - 1)
        return scores([[round(pixels - lesion - false), round(false)], [round(lesion - hits), round(hits)]]).values()

    low, high = 0.01, 0.5  # the macro Dice falls as lesions fill more of the image
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle)["dice_macro_pooled"] > 0.9409 else (low, middle)
    values = at(low)

    assert low == pytest.approx(0.155, abs=0.005)  # Kvasir's polyps fill 15 % of the pixels
    assert values["dice_macro_pooled"] == pytest.approx(0.9409, abs=5e-5)
    assert values["iou_macro_pooled"] == pytest.approx(0.8912, abs=1e-4)
    assert values["dice_foreground_pooled"] == pytest.approx(0.9001, abs=5e-5)
    assert values["precision"] == pytest.approx(precision, abs=1e-6)
    assert values["recall"] == pytest.approx(recall, abs=1e-6)


def test_every_convention_by_hand():
    first, second = [[80, 5], [3, 12]], [[90, 0], [10, 0]]
    values = scores(first, second).values()

    assert values["dice_foreground_mean"] == pytest.approx((24 / 32 + 0) / 2)
    assert values["dice_foreground_pooled"] == pytest.approx(24 / 42)
    assert values["dice_macro_pooled"] == pytest.approx((24 / 42 + 340 / 358) / 2)
    assert values["iou_foreground_mean"] == pytest.approx((12 / 20) / 2)
    assert values["iou_foreground_pooled"] == pytest.approx(12 / 30)
    assert values["iou_macro_pooled"] == pytest.approx((12 / 30 + 170 / 188) / 2)
    assert values["precision"] == pytest.approx(12 / 17)
    assert values["recall"] == pytest.approx(12 / 25)
    assert values["specificity"] == pytest.approx(170 / 175)
    assert values["accuracy"] == pytest.approx(182 / 200)
    assert values["precision_macro_pooled"] == pytest.approx((12 / 17 + 170 / 183) / 2)
    assert values["recall_macro_pooled"] == pytest.approx((12 / 25 + 170 / 175) / 2)


def test_several_lesion_classes_are_averaged():
    matrix = [[50, 0, 0], [0, 20, 0], [0, 10, 20]]

    assert scores(matrix).values()["dice_foreground_pooled"] == pytest.approx((40 / 50 + 40 / 50) / 2)


def test_confusion_counts_each_image_on_its_own():
    mask = torch.tensor([[[0, 1], [1, 1]], [[0, 0], [0, 0]]])
    predicted = torch.tensor([[[0, 1], [0, 1]], [[1, 0], [0, 0]]])

    assert confusion(predicted, mask, 2).tolist() == [[[1, 0], [1, 2]], [[3, 1], [0, 0]]]


def test_cases_seen_twice_count_once():
    metric = ConfusionByCase(2)
    mask = torch.zeros(2, 2, 2, dtype=torch.long)
    metric.update(mask, mask, torch.tensor([1, 0]))
    metric.update(mask[:1], mask[:1], torch.tensor([1]))

    indices, counts = metric.compute()

    assert indices.tolist() == [0, 1]
    assert counts.shape == (2, 2, 2)


def disk(row, column, radius, side=64):
    rows, columns = np.mgrid[:side, :side]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def slow_hd95(first, second):
    ours, theirs = (np.argwhere(mask & ~ndimage.binary_erosion(mask)) for mask in (first, second))
    distances = np.linalg.norm(ours[:, None] - theirs[None], axis=-1)
    return max(np.percentile(distances.min(axis=1), 95), np.percentile(distances.min(axis=0), 95))


@pytest.mark.parametrize("seed", range(4))
def test_hd95_agrees_with_all_pairs_of_outline_pixels(seed):
    rng = np.random.default_rng(seed)
    first, second = disk(*rng.uniform(10, 54, 2), rng.uniform(3, 12)), disk(*rng.uniform(0, 64, 2), rng.uniform(3, 20))

    assert hd95(first, second) == pytest.approx(slow_hd95(first, second))


def test_hd95_of_a_shift_is_the_shift_and_of_nothing_is_undefined():
    nothing = np.zeros((64, 64), dtype=bool)

    assert hd95(disk(32, 30, 10), disk(32, 33, 10)) == pytest.approx(3, abs=0.5)
    assert hd95(disk(32, 32, 9), disk(32, 32, 9)) == 0
    assert math.isnan(hd95(nothing, disk(32, 32, 9)))
    assert math.isnan(hd95(nothing, nothing))


def test_boundary_iou_is_stricter_than_iou_and_1_for_equal_masks():
    large, shifted = disk(32, 32, 25), disk(32, 34, 25)
    iou = (large & shifted).sum() / (large | shifted).sum()

    assert boundary_iou(large, large) == 1
    assert boundary_iou(large, shifted) < iou - 0.2
    assert math.isnan(boundary_iou(np.zeros((9, 9), bool), np.zeros((9, 9), bool)))


def test_boundary_iou_by_hand():
    """A full 50 x 50 image: the diagonal is 70.7, so the band is 1 wide; the half's band is its own border."""
    full, half = np.ones((50, 50), dtype=bool), np.zeros((50, 50), dtype=bool)
    half[:25] = True
    common, union = 50 + 2 * 24, (4 * 50 - 4) + 48

    assert boundary_iou(full, half) == pytest.approx(common / union)


def test_an_undefined_hd95_counts_the_diagonal_and_is_counted():
    store = scores(
        [[9, 0], [0, 1]],
        [[9, 0], [1, 0]],
        hd95=np.array([2.0, np.nan]),
        boundary_iou=np.array([1.0, 0.0]),
        diagonal=np.array([10.0, 10.0]),
    )
    summary = summarize(store)

    assert summary["hd95_mean"] == 6
    assert summary["hd95_defined_mean"] == 2
    assert summary["hd95_undefined"] == 1


def test_intervals_hold_the_value_and_shrink_with_more_images():
    few, many = random_scores(10), random_scores(400)

    for store in (few, many):
        for name, (low, high) in intervals(store).items():
            value = store.values()[name]
            assert low <= value <= high or (math.isnan(value) and name.startswith("false_lesion"))
    assert np.ptp(intervals(many)["dice_foreground_mean"]) < 0.3 * np.ptp(intervals(few)["dice_foreground_mean"])


def test_the_bootstrap_of_a_mean_agrees_with_its_standard_error():
    store = random_scores(200)
    low, high = intervals(store)["dice_foreground_mean"]

    assert (high - low) / 2 == pytest.approx(1.96 * store.dice.std() / 200**0.5, rel=0.1)


def test_a_summary_names_every_metric_with_its_interval_and_is_json():
    count = 5
    store = scores(
        *random_scores(count).confusion,  # each image has a lesion
        hd95=np.arange(5.0),
        boundary_iou=np.linspace(0, 1, count),
        diagonal=np.full(count, 99.0),
    )
    summary = json.loads(json.dumps(summarize(store)))

    assert summary["images"] == count
    for name in (name for name in CONVENTIONS if not name.startswith("false_lesion")):
        low, high = summary[f"{name}_interval"]
        assert low <= summary[name] <= high


def test_no_image_is_refused():
    with pytest.raises(ValueError, match=r"scores: there is no image\. Choose another split"):
        summarize(CaseScores((), np.zeros((0, 2, 2), dtype=np.int64)))


def test_scores_survive_their_file():
    store = scores(
        [[9, 0], [1, 0]],
        [[9, 0], [0, 1]],
        hd95=np.array([np.nan, 1.5]),
        boundary_iou=np.array([0.5, 1.0]),
        diagonal=np.array([3.0, 4.0]),
    )
    again = CaseScores.load(json.loads(json.dumps(store.dump())))

    assert again.values() == pytest.approx(store.values(), nan_ok=True)
    assert again.names == store.names


def test_a_paired_difference_is_surer_than_two_intervals():
    first = random_scores(100)
    better = first.confusion.copy()
    better[:, 1, 1] += better[:, 1, 0] // 10
    better[:, 1, 0] -= first.confusion[:, 1, 0] // 10
    order = np.random.default_rng(0).permutation(100)
    second = CaseScores(tuple(first.names[i] for i in order), better[order])

    comparison = compare(first, second)
    difference = comparison.of("dice_foreground_mean")

    assert difference.low > 0
    assert difference.difference == pytest.approx(difference.second - difference.first)
    assert intervals(second)["dice_foreground_mean"][0] < intervals(first)["dice_foreground_mean"][1]
    assert comparison.worse == 0
    assert comparison.better > 90
    assert comparison.p_value < 1e-6


def test_a_model_does_not_differ_from_itself():
    comparison = compare(random_scores(), random_scores())

    assert {each.difference for each in comparison.differences} == {0}
    assert comparison.p_value == 1


def test_runs_on_other_images_are_not_compared():
    with pytest.raises(ValueError, match="scored on different images: 10 and 11 images, of which 1 are in one only"):
        compare(random_scores(10), random_scores(11))
