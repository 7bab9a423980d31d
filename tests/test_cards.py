"""The cards of shipped weights: their tables, what they say of images without a lesion, and no path of a machine."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lmnet.builder.zoo import zoo_folder
from lmnet.training import CaseScores
from lmnet.training.metrics.conventions import CONVENTIONS

ROOT = Path(__file__).parents[1]
CARDS = sorted(zoo_folder().glob("*.md"))
FOUND, NOTHING, ALARM = [[88, 2], [3, 7]], [[100, 0], [0, 0]], [[90, 10], [0, 0]]


@pytest.fixture
def cards(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import rescore_cards

    return rescore_cards


def scores(*matrices):
    count = len(matrices)
    return CaseScores(
        tuple(map(str, range(count))),
        np.array(matrices),
        {
            "hd95": np.array([2.0 if matrix is FOUND else np.nan for matrix in matrices]),
            "boundary_iou": np.array([0.5] * count),
            "diagonal": np.array([10.0] * count),
        },
    )


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.stem)
def test_a_card_has_every_metric_with_its_meaning(card):
    table = card.read_text(encoding="utf-8").partition("\nIn brackets")[0]
    rows = dict(re.findall(r"^\| (\w+) \| [\d.]+ .*\| ([^|]+) \|$", table, re.M))

    assert CONVENTIONS.keys() - rows.keys() <= {"false_lesion_share", "false_lesion_area"}
    assert {name: CONVENTIONS[name] for name in rows} == rows


def test_no_file_of_the_project_names_a_path_of_the_machine_that_made_it():
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if files.returncode:
        pytest.skip("the project is no git checkout here")
    found = [
        name
        for name in files.stdout.split("\0")
        if name.endswith((".md", ".yaml", ".json", ".ipynb", ".csv", ".svg"))
        and re.search(r"/work/|/root/|/home/\w", (ROOT / name).read_text(encoding="utf-8"))
    ]

    assert found == []


def test_a_card_says_how_images_without_lesion_were_counted_before(cards):
    text = cards.score_table({"test": scores(FOUND, NOTHING, ALARM, NOTHING), "val": scores(FOUND)})

    assert "3 of the 4 test and 0 of the 1 val images have no lesion. Up to version 0.1.0" in text
    before = text.partition("as counted up to 0.1.0")[2]
    assert f"| dice_foreground_mean | {(14 / 19 + 1 + 0 + 1) / 4:.3f} | {14 / 19:.3f} |" in before
    assert f"| hd95_mean | {(2 + 0 + 10 + 0) / 4:.1f} | 2.0 |" in before
    assert f"| hd95_defined_mean | {(2 + 0 + 0) / 3:.1f} | 2.0 |" in before
    assert "0.1.0" not in cards.score_table({"test": scores(FOUND), "val": scores(FOUND)})


def test_scores_that_are_not_those_of_the_card_are_listed(cards):
    measured = {"test": scores(FOUND, FOUND), "val": scores(FOUND)}
    card = "# net\n\n" + cards.score_table(measured)

    assert cards.differences(card, measured) == []
    changed = card.replace("| recall | 0.700", "| recall | 0.701")
    assert cards.differences(changed, measured) == ["recall test: card 0.701, now 0.7"]
