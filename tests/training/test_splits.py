import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmnet.training import DataError
from lmnet.training.data.splits import SIDES, check_split, make_split, read_split

NAMES = [f"case_{index:03d}" for index in range(900)]


def test_900_images_are_split_720_90_90_and_the_same_by_seed():
    split = make_split(NAMES, NAMES, seed=0)

    assert [len(getattr(split, side)) for side in SIDES] == [720, 90, 90]
    assert split == make_split(NAMES, NAMES, seed=0)
    assert split != make_split(NAMES, NAMES, seed=1)


@given(
    st.lists(st.integers(0, 20), min_size=3, max_size=60), st.integers(0, 5), st.sampled_from(["holdout", "authors"])
)
def test_every_case_is_on_one_side_and_no_patient_on_two(patients, seed, scheme):
    names = [f"{patient}_{index}" for index, patient in enumerate(patients)]
    groups = [str(patient) for patient in patients]
    if len(set(groups)) < 3:
        with pytest.raises(DataError, match="at least 3 images or patients"):
            make_split(names, groups, scheme=scheme, seed=seed)
        return

    split = make_split(names, groups, scheme=scheme, seed=seed)

    assert sorted(split.train + split.val + split.test) == sorted(names)
    sides = [{name.split("_")[0] for name in getattr(split, side)} for side in SIDES]
    assert all(sides)
    assert sum(map(len, sides)) == len(set(groups))


def test_the_authors_folds_share_a_test_set_and_cover_the_rest():
    splits = [make_split(NAMES[:100], NAMES[:100], scheme="authors", fold=fold) for fold in range(5)]

    assert len({split.test for split in splits}) == 1
    assert len(splits[0].test) == 10
    assert sorted(name for split in splits for name in split.val) == sorted(set(NAMES[:100]) - set(splits[0].test))


def test_kinds_are_spread_evenly():
    kinds = ["benign"] * 60 + ["malignant"] * 40
    split = make_split(NAMES[:100], NAMES[:100], kinds)

    assert sum(name < "case_060" for name in split.test) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [({"scheme": "holdut"}, "scheme must be one of holdout, authors"), ({"fold": 5}, "fold must be 0 to 4")],
)
def test_unknown_schemes_and_folds_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_split(NAMES, NAMES, **options)


def test_a_split_survives_its_file(tmp_path):
    split = make_split(NAMES, NAMES)
    (tmp_path / "split.json").write_text(split.dump())

    assert read_split(tmp_path / "split.json", NAMES, NAMES) == (split, ())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"train": ["a"], "val": ["b"], "test": ["a"]}, r"test: 'a' is in train too"),
        ({"train": ["a"], "val": ["x"], "test": ["c"]}, r"val: the data set has no case 'x'"),
        ({"train": ["a"], "val": [], "test": ["c"]}, r"val: it has no case"),
        ({"train": ["a"], "val": ["b"]}, r"must have the keys train, val and test, got train, val"),
        ({"train": "a", "val": ["b"], "test": ["c"]}, r"train must be a list of names"),
        ([], r"must have the keys train, val and test, got list"),
    ],
    ids=["overlap", "unknown", "empty", "keys", "type", "list"],
)
def test_a_bad_split_file_is_refused(tmp_path, content, message):
    (tmp_path / "split.json").write_text(json.dumps(content))

    with pytest.raises(DataError, match=message):
        read_split(tmp_path / "split.json", ["a", "b", "c"], ["a", "b", "c"])


def test_a_split_file_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "split.json").write_text("{")

    with pytest.raises(DataError, match="it is no readable JSON"):
        read_split(tmp_path / "split.json", ["a"], ["a"])


def test_a_patient_on_two_sides_is_said():
    content = {"train": ["a1"], "val": ["a2"], "test": ["b1"]}

    _, notes = check_split(content, ["a1", "a2", "b1"], ["a", "a", "b"], where="here")

    assert notes == ("1 patients are on two sides of the split: scores come out too high.",)
