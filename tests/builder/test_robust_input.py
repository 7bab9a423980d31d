"""Odd input of every kind ends in one clear line, quickly."""

import json
import os
import subprocess
import sys
import time

import pytest

from lmnet.builder.cost_store import CostStore
from lmnet.builder.planner import plan_spec
from lmnet.builder.problems import SpecError
from lmnet.builder.spec import load_spec, parse_spec
from lmnet.commands.build import main

SPEC = """\
schema: lmnet/1
name: small
input: {channels: 3, size: [64, 64]}
vars: {width: 8}
nodes:
  stem: {block: downsample, from: input, out_channels: "${width}", stride: 4}
  mix: {block: multi_branch_stage, from: stem, out_channels: "${2 * width}", depth: 1}
  head: {block: segmentation_head, from: mix, scale: 4}
outputs: {logits: head}
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SPEC.replace("from: stem", "from: stem.²"), r"6?.*nodes.mix.from.*stem.²"),
        (SPEC.replace("logits: head", "logits: head.¹"), "head.¹"),
        (SPEC.replace("from: stem", "from: stem.99999999999999999999"), "stem.9999"),
        (SPEC.replace("small", "sm\ud800all"), r"2:\d+: the text has an unpaired surrogate, U\+D800"),
        (SPEC.replace("name: small", 'name: "\\ud800"'), "(an unpaired surrogate|invalid Unicode character)"),
        (SPEC.replace("{width: 8}", "{width: '8'}"), r"vars.width: width is the text '8'. Write the number 8 without"),
    ],
)
def test_any_text_gives_a_spec_error(text, message):
    with pytest.raises(SpecError, match=message) as caught:
        plan_spec(parse_spec(text))
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("value", ["16.0", "8.5"])
def test_a_fraction_for_a_whole_variable_is_one_error(value, capsys):
    assert main(["lmnet_xs", "--set", f"width={value}"]) == 2

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert f"width is a whole number, 12, and the new value is {value}. Write " in lines[0]


@pytest.mark.parametrize("value", ["a\udcffb", "²", "[[[[", "{", "\x00"])
def test_any_override_ends_in_lines(value, capsys):
    assert main(["lmnet_xs", "--set", f"width={value}"]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("command", [["PIPE"], ["lmnet_xs", "--weights", "PIPE"]])
def test_a_pipe_is_refused_and_does_not_hang(tmp_path, command, capsys):
    pipe = tmp_path / "pipe.safetensors"
    os.mkfifo(pipe)

    assert main([str(pipe) if part == "PIPE" else part for part in command]) == 2
    assert "pipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("depth: 64, kernels: [3, 3, 3, 3, 3, 3, 3, 3]", "depth must be at most 26 with 8 kernels, got depth=64"),
        (f"depth: 1, kernels: [{', '.join(['3'] * 17)}]", "there must be at most 16 kernels, got 17"),
    ],
)
def test_the_work_of_a_node_is_bounded(options, message):
    with pytest.raises(SpecError, match=message):
        plan_spec(parse_spec(SPEC.replace("depth: 1", options)))


def test_the_largest_stage_is_planned_within_seconds(monkeypatch):
    start = time.process_time()
    plan_spec(parse_spec(SPEC.replace("depth: 1", "depth: 26, kernels: [3, 3, 5, 5, 7, 7, 9, 9]")))
    assert time.process_time() - start < 5  # a second on a quiet machine


@pytest.mark.parametrize("line", ["5", "null", "[1]", '["a", 3]', "{}", '["key", [[], 1]]', "\x00", '"x"'])
def test_a_damaged_line_of_the_cost_cache_is_dropped(tmp_path, line):
    file = tmp_path / "costs.jsonl"
    store = CostStore(file)
    store.get("x")
    store.put("key", [1, 2])
    with file.open("a") as stream:
        stream.write("\n" + line)

    again = CostStore(file)

    assert again.get("key") in ([1, 2], [[], 1])


def test_a_damaged_cost_is_measured_again(monkeypatch):
    from lmnet.builder import cost

    options, shapes = {"out_channels": 7}, [(3, 40, 40)]
    right = cost.node_cost("conv_norm_act", options, shapes)
    cost._look_up.cache_clear()
    store = cost.default_store()
    key = f"conv_norm_act {json.dumps(options)} {tuple(shapes)}"
    for junk in (5, [], [[1], 2], [[[1, 2, 3]], "a", 1, 1, 1, 1], None):
        store._known[key] = junk
        cost._look_up.cache_clear()
        assert cost.node_cost("conv_norm_act", options, shapes) == right


@pytest.mark.parametrize("scale", [1, 2, 8])
def test_the_advice_for_a_head_is_right(scale):
    with pytest.raises(SpecError) as caught:
        plan_spec(parse_spec(SPEC.replace("scale: 4", f"scale: {scale}")))
    advised = str(caught.value).rpartition("Give the segmentation_head scale: ")[2].rstrip(".")

    assert plan_spec(parse_spec(SPEC.replace("scale: 4", f"scale: {advised}")))


def test_validate_refuses_what_a_search_would_refuse(tmp_path, capsys):
    path = tmp_path / "a.yaml"
    path.write_text(SPEC + "search: {width: {low: 9, high: 4}}\n")

    assert main([str(path), "--validate"]) == 2
    assert "low must be at most high" in capsys.readouterr().err


def test_one_number_is_a_square(capsys):
    assert main(["lmnet_xs", "--input-size", "64", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["input"] == [3, 64, 64]
    assert main(["lmnet_xs", "--input-size", "64", "64", "64"]) == 2


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("", None),
        (
            "raise RuntimeError('no luck')",
            r"--import MODULE: it cannot be imported (RuntimeError: no luck). Correct it.",
        ),
        ("import not_there_at_all", "(ModuleNotFoundError: No module named 'not_there_at_all'). Install it"),
    ],
)
def test_own_modules_are_imported_or_named(tmp_path, monkeypatch, capsys, code, error):
    name = f"own_{abs(hash(code))}"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)

    assert main(["lmnet_xxs", "--validate", "--import", name]) == (0 if error is None else 2)
    if error is not None:
        assert error.replace("MODULE", name) in capsys.readouterr().err


def test_commands_that_need_no_torch_do_not_import_it_and_mistakes_are_found_before():
    code = """
import sys
from lmnet.commands.build import main as build
from lmnet.training.cli_train import main as train
from lmnet.training.cli_eval import main as evaluate
from lmnet.training.cli_predict import main as predict
from lmnet.search.cli import main as search
assert build(["--list-models"]) == 0
assert build(["cat", "lmnet_xs"]) == 0
for main, arguments in (
    (build, ["lmnet_xz"]), (build, ["a.yaml"]), (build, ["lmnet_xs", "--weights", "nowhere.pt"]),
    (train, ["lmnet_xz"]), (train, ["lmnet_xs", "--data", "nowhere"]), (train, ["lmnet_xs", "--recipe", "papr"]),
    (train, ["lmnet_xs", "--set", "epoch=3"]), (train, ["lmnet_xs", "--import", "nowhere"]),
    (evaluate, ["lmnet_xz"]), (predict, ["lmnet_xz", "."]), (predict, ["lmnet_xs", "nowhere.png"]),
    (search, ["--spec", "lmnet_xz"]), (search, ["--data", "nowhere"]),
):
    assert main(arguments) == 2, arguments
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Did you mean lmnet_xs" in done.stderr
    assert "neither the recipe nor the spec has 'epoch'. Did you mean epochs?" in done.stderr


def test_every_entry_of_the_zoo_has_figures_for_the_listing():
    from lmnet.builder.zoo import list_models

    assert [name for name in list_models() if load_spec(name).layout.expect is None] == []


def test_an_image_is_normalised_as_the_weights_say():
    import torch

    from lmnet.training.data.normalization import normalized

    image, grey, stains = (torch.full((1, count, 2, 2), 51, dtype=torch.uint8) for count in (3, 1, 5))

    assert normalized(image, (0.1, 0.2, 0.3), (0.1, 0.1, 0.1))[0, :, 0, 0].tolist() == pytest.approx(
        [1, 0, -1], abs=1e-5
    )
    assert normalized(image)[0, 0, 0, 0] == pytest.approx((0.2 - 0.485) / 0.229)
    for other in (grey, stains):
        assert normalized(other, (0.1, 0.2, 0.3), (0.1, 0.1, 0.1)).unique().tolist() == pytest.approx([0], abs=1e-6)
