"""What images and classes without a pixel count: nothing, and they are counted and named."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmnet.training import CaseScores, compare, summarize
from lmnet.training.metrics.conventions import CONVENTIONS
from lmnet.training.metrics.intervals import intervals
from lmnet.training.metrics.shown import remarks_on, shown_metrics, value_with_interval

CHOOSES = "dice_foreground_mean"
HIGHER = [name for name in CONVENTIONS if not name.startswith(("hd95", "false_lesion"))]
NOTHING = [[100, 0], [0, 0]]
FALSE_ALARM = [[90, 10], [0, 0]]
MISSED = [[90, 0], [10, 0]]
FOUND = [[88, 2], [3, 7]]


def scores(*matrices, classes=(), **figures):
    names = tuple(f"case_{index}" for index in range(len(matrices)))
    return CaseScores(names, np.array(matrices), {key: np.array(each) for key, each in figures.items()}, classes)


def test_nothing_there_and_nothing_found_has_no_score():
    values = scores(NOTHING, NOTHING).values()

    without = {name for name, value in values.items() if math.isnan(value)}
    assert without == set(values) - {"specificity", "accuracy", "false_lesion_share", "false_lesion_area"}
    assert (values["false_lesion_share"], values["false_lesion_area"]) == (0, 0)


@pytest.mark.parametrize(
    ("matrix", "share", "area"), [(NOTHING, 0, 0), (FALSE_ALARM, 1, 0.1)], ids=["none found", "one found"]
)
def test_an_image_without_lesion_counts_in_figures_of_its_own(matrix, share, area):
    alone, beside = scores(FOUND).values(), scores(FOUND, matrix).values()

    assert beside["dice_foreground_mean"] == alone["dice_foreground_mean"] == pytest.approx(14 / 19)
    assert beside["iou_foreground_mean"] == alone["iou_foreground_mean"]
    assert (beside["false_lesion_share"], beside["false_lesion_area"]) == (share, area)
    assert beside["dice_foreground_pooled"] == pytest.approx(14 / (19 + 100 * area))


@pytest.mark.parametrize("name", ["dice_foreground_mean", "dice_foreground_pooled", "precision", "recall"])
def test_a_missed_lesion_counts_0(name):
    assert scores(MISSED).values()[name] == 0


def test_outlines_count_in_images_with_a_lesion_even_in_scores_of_earlier_versions():
    """Those versions stored 0 and 1 for two empty masks."""
    values = scores(FOUND, MISSED, NOTHING, hd95=[4, np.nan, 0], boundary_iou=[0.6, 0, 1], diagonal=[14] * 3).values()

    assert values["hd95_mean"] == 9
    assert values["hd95_defined_mean"] == 4
    assert values["boundary_iou_mean"] == pytest.approx(0.3)


def three(first=0, second=0, found=1.0, right=1.0, background=100):
    """Counts of an image: pixels of two lesion classes, the share that is found, and the share of it in its class."""
    matrix = np.zeros((3, 3), dtype=int)
    for number, pixels in ((1, first), (2, second)):
        hits = round(pixels * found * right)
        other = round(pixels * found) - hits
        matrix[number, [number, 3 - number, 0]] = hits, other, pixels - hits - other
    matrix[0, 0] = background
    return matrix.tolist()


def test_with_several_classes_an_empty_mask_never_wins():
    """Two lesion classes, one an image. Before, nothing found had .500, and found with 55 % in the right class .467."""
    nothing = scores(*[three(20, 0, found=0), three(0, 20, found=0)] * 10)
    wrong, right = three(20, 0, found=0.8, right=0), three(0, 20, found=0.8)
    found = scores(*[right] * 11, *[wrong] * 9)

    assert nothing.value(CHOOSES) == 0
    assert found.value(CHOOSES) > 0.4
    assert compare(nothing, found).of(CHOOSES).low > 0


def test_a_class_without_pixels_has_no_score_and_is_named():
    store = scores(three(20, 0), three(30, 0, found=0.5), classes=("background", "a", "b"))
    summary = json.loads(json.dumps(summarize(store)))

    assert store.absent == ("b",)
    assert summary["absent"] == ["b"]
    assert summary["class/b/dice_mean"] is summary["class/b/dice_pooled"] is summary["class/b/iou_pooled"] is None
    assert value_with_interval(summary, "class/b/dice_pooled") == "absent"
    assert summary["dice_foreground_pooled"] == summary["class/a/dice_pooled"]
    assert summary["dice_foreground_mean"] == summary["class/a/dice_mean"]
    assert "class/b/dice_mean" in shown_metrics([summary])
    assert remarks_on(summary, "test") == ["no pixels of b in the test images: left out of all means."]


def test_a_class_predicted_where_it_is_not_counts_0_in_an_image_with_a_lesion():
    """Otherwise a net could paint the absent class over the background for nothing."""
    painted = [[0, 0, 100], [0, 20, 0], [0, 0, 0]]

    assert scores(painted).value(CHOOSES) == 0.5


def test_a_set_without_any_lesion_is_remarked_on_once():
    (remark,) = remarks_on(summarize(scores(NOTHING, FALSE_ALARM)), "test")

    assert remark == "2 of 2 test images have no lesion: they count in false_lesion_* only."


def test_images_without_lesion_are_counted_and_named():
    summary = summarize(scores(FOUND, NOTHING, FALSE_ALARM))

    assert (summary["images"], summary["images_with_lesion"]) == (3, 1)
    assert remarks_on(summary, "val") == ["2 of 3 val images have no lesion: they count in false_lesion_* only."]
    assert "false_lesion_share" in shown_metrics([summary])
    assert "false_lesion_share" not in shown_metrics([summarize(scores(FOUND))])


@pytest.mark.parametrize(
    "names",
    [("background", "foreground", "tool"), ("background", "macro", "x_interval"), ("images", "classes", "absent")],
)
def test_no_class_name_overwrites_a_metric(names):
    matrices = np.random.default_rng(0).integers(1, 50, (6, 3, 3))
    usual = summarize(scores(*matrices))
    named = summarize(scores(*matrices, classes=names))

    assert {key: named[key] for key in CONVENTIONS if key in named} == {
        key: usual[key] for key in CONVENTIONS if key in usual
    }
    assert named["classes"] == list(names)
    for number, name in enumerate(names[1:], 1):
        assert named[f"class/{name}/dice_mean"] == usual[f"class/class {number}/dice_mean"]
        assert len(named[f"class/{name}/dice_mean_interval"]) == 2
    assert len(named) == len(usual)


def test_the_worst_tenth_is_the_mean_of_the_worst_tenth():
    matrices = [[[90, 0], [10 - hits, hits]] for hits in range(11)] * 10

    store = scores(*matrices, *[NOTHING] * 40)

    assert store.value("dice_foreground_worst_tenth") == pytest.approx((10 * 0 + 1 * 2 / 11) / 11)
    assert scores(FOUND).value("dice_foreground_worst_tenth") == pytest.approx(scores(FOUND).value(CHOOSES))
    low, high = intervals(store)["dice_foreground_worst_tenth"]
    assert low <= store.value("dice_foreground_worst_tenth") <= high


sets_of_images = st.integers(2, 5).flatmap(
    lambda k: st.lists(
        st.lists(st.lists(st.sampled_from([0, 0, 1, 5, 40]), min_size=k, max_size=k), min_size=k, max_size=k),
        min_size=1,
        max_size=8,
    )
)


def close(first, second):
    return first == pytest.approx(second, abs=1e-12, nan_ok=True)


@settings(max_examples=150, deadline=None)
@given(sets_of_images, st.data())
def test_shuffled_and_renamed_classes_change_no_score(matrices, data):
    confusion = np.array(matrices)
    order = [0, *data.draw(st.permutations(range(1, confusion.shape[-1])))]
    names = tuple(data.draw(st.lists(st.text(min_size=1), min_size=len(order), max_size=len(order), unique=True)))
    before, after = scores(*confusion).values(), scores(*confusion[:, order][:, :, order], classes=names).values()

    for name in CONVENTIONS.keys() & before.keys():
        assert close(after[name], before[name]), name


@settings(max_examples=150, deadline=None)
@given(sets_of_images, st.data())
def test_images_without_lesion_and_absent_classes_never_raise_a_score(matrices, data):
    """Whatever is predicted in them; the share of right background pixels is no score that chooses."""
    confusion = np.array(matrices)
    count, classes = confusion.shape[:2]
    before = scores(*confusion).values()
    healthy = np.zeros((data.draw(st.integers(1, 4)), classes, classes), dtype=int)
    healthy[:, 0] = data.draw(st.lists(st.integers(0, 50), min_size=classes, max_size=classes))
    more = scores(*confusion, *healthy).values()
    wider = np.zeros((count, classes + 1, classes + 1), dtype=int)
    wider[:, :-1, :-1] = confusion
    moved = np.array(data.draw(st.lists(st.integers(0, 5), min_size=classes, max_size=classes)))
    taken = np.minimum(wider[:, range(classes), range(classes)], moved)  # right before, the new class now
    wider[:, range(classes), range(classes)] -= taken
    wider[:, :-1, -1] = taken
    absent = scores(*wider).values()

    for name in (name for name in before if name.startswith(("dice_foreground", "iou_foreground"))):
        assert more[name] <= before[name] + 1e-12 or (math.isnan(more[name]) and math.isnan(before[name])), name
        assert absent[name] <= before[name] + 1e-12 or (math.isnan(absent[name]) and math.isnan(before[name])), name


@settings(max_examples=100, deadline=None)
@given(sets_of_images)
def test_nothing_found_never_beats_anything(matrices):
    confusion = np.array(matrices)
    empty = np.zeros_like(confusion)
    empty[:, :, 0] = confusion.sum(axis=2)
    found, nothing = scores(*confusion).value(CHOOSES), scores(*empty).value(CHOOSES)

    assert nothing == 0 or (math.isnan(nothing) and math.isnan(found))
    assert not found < nothing


def test_scores_have_a_short_repr():
    assert repr(scores(FOUND, NOTHING)) == "CaseScores(2 images, 1 with a lesion, lesion Dice 0.737)"
    assert repr(scores(NOTHING)) == "CaseScores(1 images, 0 with a lesion)"
