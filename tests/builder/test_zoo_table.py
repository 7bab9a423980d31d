"""One table of the zoo for README, docs, --list-models and list_models; its figures are those of the nets and cards."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

import lmnet
from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import load_spec
from lmnet.builder.weights_on_demand import pins
from lmnet.builder.zoo_table import (
    ZooDice,
    ZooRow,
    dominated,
    notes_of,
    other_rows,
    own_rows,
    read_table,
    recommended,
    select,
)
from lmnet.commands.build import main

ROOT = Path(lmnet.__file__).parents[1]


def row(name, dice=None, ms=None, mb=None, gmacs=1.0, params=1000):
    score = None if dice is None else ZooDice(dice, dice - 0.05, dice + 0.05, 1, dice)
    return ZooRow(
        name,
        (64, 64),
        params,
        gmacs,
        score,
        ms={} if ms is None else {"onnxruntime": ms},
        mb={} if mb is None else {"float32": mb},
    )


ROWS = [
    row("best", 0.9, ms=30, mb=9, gmacs=3),
    row("near", 0.895, ms=10, mb=5, gmacs=2),
    row("small", 0.7, ms=20, mb=1),
    row("slow", 0.6, ms=40, mb=2),
    row("raw", gmacs=0.5),
]


MEASURED = json.loads((ROOT / "zoo" / "table.json").read_text())["rows"]


@pytest.mark.parametrize("name", sorted(MEASURED))
def test_costs_of_a_row_are_those_of_the_net(name):
    found = read_table().rows[name]
    plan = plan_spec(load_spec(found.net), input_size=found.size)
    assert found.params == plan.deploy_params
    assert found.gmacs == pytest.approx(plan.deploy_macs / 1e9, rel=1e-5)
    assert found.peak_mib == pytest.approx(plan.peak_bytes / 2**20, abs=1e-3), "benchmarks/zoo_table.py --scores"


def test_every_net_and_all_weights_have_a_row():
    assert {path.stem for path in (ROOT / "zoo").glob("*.yaml")} == set(lmnet.list_models())
    assert pins().keys() <= MEASURED.keys(), "python benchmarks/zoo_table.py --scores"


def test_a_net_that_nobody_measured_has_its_expected_costs(tmp_path, monkeypatch):
    for name in ("weights.json", "lmnet_xs.yaml"):
        shutil.copy(ROOT / "zoo" / name, tmp_path)
    monkeypatch.setattr("importlib.resources.files", lambda name: tmp_path)
    found = read_table.__wrapped__().rows
    assert found.keys() == {"lmnet_xs"}
    assert found["lmnet_xs"].gmacs == pytest.approx(0.252, rel=0.01)
    assert found["lmnet_xs"].dice is None


def test_scores_of_the_table_are_those_of_cards_and_seeds():
    spec = importlib.util.spec_from_file_location("zoo_table", ROOT / "benchmarks" / "zoo_table.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for name in MEASURED:
        found = read_table().rows[name]
        assert (None if found.dice is None else vars(found.dice)) == script.dice_of(name), name
        assert found.size == script.size_of(name), name


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["best", "near", "small", "slow", "raw"]),
        ({"max_ms": 20}, ["near", "small"]),
        ({"max_mb": 1}, ["small"]),
        ({"max_gmacs": 0.5}, ["raw"]),
        ({"max_params": 10}, []),
        ({"sort": "ms"}, ["near", "small", "best", "slow", "raw"]),
        ({"sort": "mb"}, ["small", "slow", "near", "best", "raw"]),
        ({"sort": "gmacs"}, ["raw", "slow", "small", "near", "best"]),
        ({"sort": "name", "pattern": "s*"}, ["slow", "small"]),
        ({"pretrained": True}, []),
    ],
    ids=str,
)
def test_limits_choose_and_sort_rows(options, names):
    assert [each.name for each in select(ROWS, **options)] == names


def test_limits_and_orders_are_checked():
    with pytest.raises(ValueError, match=r"max_ms: a limit must be above 0, got 0\. Leave it out"):
        select(ROWS, max_ms=0)
    with pytest.raises(ValueError, match=r"there is no order 'speed'\. Use one of dice, ms"):
        lmnet.list_models(sort="speed")


def test_the_net_to_take_is_the_fastest_of_the_best():
    assert recommended(ROWS) == "near"
    assert recommended([row("raw")]) is None
    assert "take this one" not in notes_of(other_rows()).values()


def test_a_row_is_beaten_by_one_that_is_nowhere_worse():
    assert dominated(ROWS) == {"slow"}
    assert dominated([row("a", 0.5, ms=1, mb=1), row("b", 0.5, ms=1, mb=1)]) == set()


def test_names_are_chosen_in_python():
    assert lmnet.list_models() == sorted(each.name for each in own_rows())
    assert "unet" not in lmnet.list_models("lmnet*")
    assert set(lmnet.list_models("lmnet*", max_gmacs=0.3, pretrained=True)) >= {"lmnet_xs", "lmnet_xxs"}
    assert lmnet.list_models(pretrained=True, sort="dice", max_gmacs=0.3)[0] == "efficientnet_lite0_lm_s"


@pytest.mark.parametrize("width", [80, 120, 160])
def test_the_listing_fits_the_terminal(width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["--list-models", "--max-gmacs", "0.3", "--pretrained"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= width
    assert "0.880" in printed
    assert "lmnet_s " not in printed
    assert "lmnet_xs@busi" in printed
    assert "No net here is a medical device." in " ".join(printed.split())


def test_the_listing_as_json_and_without_a_row(capsys):
    assert main(["--list-models", "--max-gflops", "0.3", "--sort", "gmacs", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["gmacs"] == min(each["gmacs"] for each in rows)
    assert {each["name"]: each["licence"] for each in rows}["lmnet_xxs"] == "research and education only"
    assert main(["--list-models", "--max-gmacs", "1e-9"]) == 0
    assert capsys.readouterr().out == "No net of the zoo meets --max-gmacs 1e-09.\n"
    assert main(["--list-models", "--max-ms", "-1"]) == 2
    assert "max_ms: a limit must be above 0" in capsys.readouterr().err


def test_nets_are_listed_by_family(capsys):
    assert "lraspp_mobilenetv3_small" in lmnet.list_models(family="lraspp")
    assert "lmnet_xs" not in lmnet.list_models(family="lraspp")
    assert set(lmnet.list_models(family="lraspp")) < set(lmnet.list_models())
    with pytest.raises(ValueError, match="family: there is no family 'unxt'. Use all, or one of .*lmnet, lraspp"):
        lmnet.list_models(family="unxt")

    assert main(["--list-models", "--json"]) == 0
    assert {row["family"] for row in json.loads(capsys.readouterr().out)} == {"lmnet"}
    assert main(["--list-models", "--family", "all", "--json"]) == 0
    assert {"lmnet", "lraspp"} < {row["family"] for row in json.loads(capsys.readouterr().out)}
