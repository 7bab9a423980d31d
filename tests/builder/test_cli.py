import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import lmnet
from lmnet.builder.zoo import zoo_path
from lmnet.commands.build import main
from tests.warm import Program

TINY = Path(__file__).parents[1] / "training" / "tiny.yaml"


def test_without_a_spec_it_shows_the_papers_net(capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    for text in ("lmnet_paper", "enc0", "multi_branch_stage", "4.665 G", "5.403 M", "met", "arXiv 2501.03838"):
        assert text in printed


def test_json_has_the_stable_keys(capsys):
    assert main(["lmnet_xxs", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["name"] == "lmnet_xxs"
    assert data["input"] == [3, 256, 256]
    assert data["macs"] == sum(node["macs"] for node in data["nodes"])
    assert data["deploy"]["params"] == sum(node["deploy"]["params"] for node in data["nodes"])
    assert {"name", "hash", "input", "params", "macs", "deploy", "nodes"} <= data.keys()
    assert {"name", "block", "out_shape", "params", "macs"} <= data["nodes"][0].keys()


def test_overrides_and_input_size_change_the_figures(capsys):
    main(["lmnet_xxs", "--json"])
    base = json.loads(capsys.readouterr().out)
    arguments = ["--set", "width=8", "--set", "depth[0]=2", "--set", "num_classes=3", "--input-size", "64", "96"]
    assert main(["lmnet_xxs", "--json", *arguments]) == 0
    changed = json.loads(capsys.readouterr().out)
    assert changed["hash"] != base["hash"]
    assert changed["nodes"][-1]["out_shape"] == [3, 64, 96]
    assert changed["expect"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "widht=8"], "a key must be a variable or a place in the spec, got widht. Did you mean width?"),
        (["--set", "width"], "an override must look like key=value, got 'width'"),
        (["--set", "width=wide"], "a value must be of the old one's kind, got 'wide' for 6"),
        (["--set", "depth[7]=1"], "a key must be in the spec, got depth[7]"),
        (["--set", "nodes.hed.num_classes=3"], "Did you mean head?"),
        (["--set", "input.size=[8, 8]"], "size must be two sides from 32 to 16384, got [8, 8]"),
        (["--set", "=3"], "must look like key=value"),
        (["--graph", "net.png"], "graph: the file must end in .svg, .mmd, got net.png"),
        (["--export", "net.tflite"], "export: the file must end in .onnx, .pt2, .safetensors, got net.tflite. Write"),
        (["--export", "net.onnx", "--opset", "9"], "--opset: it must be from 18 to 22, got 9. Leave it out for 18."),
        (["--export", "net.pt2", "--opset", "18"], "--opset: it goes with a .onnx file, got net.pt2. Leave it out."),
        (["--export", "n.safetensors", "--static"], "--static: weights have no image size, got n.safetensors."),
        (["--export", "n.onnx", "--random-weights", "--weights", "lmnet_xxs"], "exclude each other. Leave one of"),
        (["--diff", "unet", "--export", "net.onnx"], "--diff and --export are two commands. Give one of them."),
        (["--validate", "--benchmark"], "--validate and --benchmark are two commands. Give one of them."),
        (["--list-models"], "--list-models does not use lmnet_xxs. Leave one of them out."),
        (["--diff", "unet", "--weights", "lmnet_xxs"], "--diff does not use --weights. Leave one of them out."),
        (["--cross-check", "--graph", "net.svg"], "--cross-check does not use --graph. Leave one of them out."),
        (["--against", "unet"], "--against goes with --benchmark. Add it, or leave --against out."),
        (["--max-ms", "3"], "--max-ms goes with --list-models. Add it, or leave --max-ms out."),
        (["--opset", "18"], "--opset goes with --export. Add it, or leave --opset out."),
        (["--export", "net.onnx", "--mask-values", "0,1"], "--mask-values goes with --quantize. Add it, or leave"),
        (["--weights", "missing.pth"], "there is no such file"),
        (["--diff", "unett"], "Did you mean unet?"),
        (["--import", "no_such_package"], "--import no_such_package: it cannot be imported"),
    ],
)
def test_a_wrong_use_gives_one_line_and_exit_code_2(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["lmnet_xxs", *arguments]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
    assert list(tmp_path.iterdir()) == []


def test_a_missed_expectation_exits_1(capsys, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(zoo_path("lmnet_xxs").read_text().replace("gmacs: 0.059976912", "gmacs: 0.05"))
    assert main([str(path)]) == 1
    printed = capsys.readouterr()
    assert "missed" in printed.out
    assert "expect is missed by GMACs (deploy form, 3x256x256)" in printed.err


def test_lists_and_schema(capsys):
    assert main(["--list-models"]) == 0
    assert "lmnet_january" in capsys.readouterr().out
    assert main(["--list-blocks"]) == 0
    assert "cross_scale_fusion" in capsys.readouterr().out
    assert main(["--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "lmnet spec"


def test_cat_and_cp_give_the_file_as_it_is(capsys, tmp_path):
    text = zoo_path("unet").read_text()
    assert main(["cat", "unet"]) == 0
    assert capsys.readouterr().out == text
    target = tmp_path / "mine.yaml"
    assert main(["cp", "unet", str(target)]) == 0
    assert target.read_text() == text
    assert main(["cp", "unet", str(target)]) == 2
    assert "is there already. Name another file." in capsys.readouterr().err


def test_diff_compares_at_one_size(capsys):
    assert main(["unet", "--diff", "lmnet_paper", "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["input"][0] == found["input"][1]
    assert "both at 256x256, the size of unet; lmnet_paper says 224x224" in printed.err


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["lmnet_xxs", "--validate"], "valid"),
        (["lmnet_xxs", "--diff", "unet"], "macs"),
        (["lmnet_xxs", "--input-size", "32", "--cross-check"], "counts"),
        ([str(TINY), "--input-size", "32", "--benchmark", "--threads", "1"], "timings"),
        ([str(TINY), "--export", "net.safetensors", "--random-weights"], "export"),
        (["--list-blocks"], "options"),
        (["--list-models"], "licence"),
        (["--schema"], "title"),
        (["check-block", "segmentation_head"], "result"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_json_works_with_every_verb_that_prints(capsys, tmp_path, monkeypatch, arguments, key):
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert key in (data[0] if isinstance(data, list) else data)


def test_diff_names_knobs_and_figures(capsys):
    assert main(["unet", "--diff", "unet_lft"]) == 0
    printed = capsys.readouterr().out
    assert "vars.window" in printed
    assert "nodes.lft0" in printed
    assert "+13.7%" in printed


@pytest.mark.parametrize("ending", ["svg", "mmd"])
def test_graph_draws_every_node(tmp_path, ending):
    path = tmp_path / f"net.{ending}"
    assert main(["lmnet_xxs", "--graph", str(path), "--validate"]) == 0
    text = path.read_text()
    for node in ("enc0", "gft", "fuse1", "head"):
        assert node in text
    if ending == "svg":
        import xml.etree.ElementTree as ElementTree

        assert ElementTree.fromstring(text).tag.endswith("svg")


def test_forward_is_refused_and_names_what_replaced_it(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["lmnet_xxs", "--forward", "photo.png"])
    printed = capsys.readouterr().err
    assert "--forward is no longer an option. Use lmnet-predict NAME IMAGE; it takes --random-weights too." in printed


def test_safetensors_export_is_loaded_by_weights(tmp_path, capsys):
    weights = tmp_path / "net.safetensors"
    assert main(["lmnet_xxs", "--export", str(weights), "--json", "--random-weights"]) == 0
    assert main(["lmnet_xxs", "--weights", str(weights), "--json"]) == 0
    assert main(["unet", "--weights", str(weights), "--json"]) == 2
    printed = capsys.readouterr().err
    assert "the weights do not fit the model" in printed
    assert "missing" in printed


def test_onnx_export_runs_at_free_sizes(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "net.onnx"
    assert main([str(TINY), "--export", str(path), "--input-size", "64", "--json", "--random-weights"]) == 0
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [item.name for item in session.get_inputs()] == ["image"]
    assert [item.name for item in session.get_outputs()] == ["logits"]
    for shape in ((1, 3, 64, 64), (2, 3, 96, 160)):
        (logits,) = session.run(None, {"image": np.zeros(shape, dtype=np.float32)})
        assert logits.shape == (shape[0], 2, *shape[2:])


def test_cross_check_agrees_with_torch(capsys):
    assert main(["lmnet_xxs", "--cross-check"]) == 0
    printed = capsys.readouterr().out
    torchs = next(line for line in printed.splitlines() if "torch FlopCounterMode" in line)
    assert torchs.split("│")[-2].strip() == "-"  # no block differs
    assert "ptflops" in printed


def test_check_block_runs_the_contract(capsys):
    assert main(["check-block", "segmentation_head"]) == 0
    assert "passed" in capsys.readouterr().out
    assert main(["check-block", "segmentation_hed"]) == 2
    assert "Did you mean segmentation_head" in capsys.readouterr().err


OWN_BLOCK = '''
from torch import nn
from lmnet.blocks import Example, register


@register("blur", example=Example({"kernel_size": 3}, ((4, 16, 16),), ((4, 16, 16),)))
class Blur(nn.Module):
    """Blur a feature map."""

    def __init__(self, in_channels: int, *, kernel_size: int = 3) -> None:
        super().__init__()
        self.out_channels = in_channels
        self.pool = nn.AvgPool2d(kernel_size, 1, kernel_size // 2)

    def forward(self, x):
        return self.pool(x)
'''


def test_an_own_block_from_outside_the_package(tmp_path):
    (tmp_path / "my_blocks.py").write_text(OWN_BLOCK)
    (tmp_path / "net.yaml").write_text(
        "schema: lmnet/1\nname: blurred\nnodes:\n  soft: {block: blur, from: input}\n"
        "  head: {block: segmentation_head, from: soft}\noutputs: {logits: head}\n"
    )
    program = Program(_main_in, tmp_path, ["net.yaml", "--import", "my_blocks", "--json"])
    assert program.wait() == 0, program.err
    assert json.loads(program.out)["nodes"][0]["block"] == "blur"


def _main_in(folder, arguments):
    os.chdir(folder)
    return main(arguments)


def test_help_does_not_import_torch():
    start = time.perf_counter()
    code = (
        "import sys; from lmnet.commands.build import main\n"
        "try: main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")
    assert time.perf_counter() - start < 10  # 0.1 s on a quiet machine, the interpreter included


def test_debug_lets_the_exception_through():
    with pytest.raises(ValueError, match="graph: the file must end in"):
        main(["lmnet_xxs", "--graph", "net.png", "--debug"])


def test_create_model_takes_channels_classes_and_variables():
    model = lmnet.create_model("lmnet_paper", in_channels=1, num_classes=4, width=6).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 1, 32, 32)).shape == (1, 4, 32, 32)
    with pytest.raises(lmnet.SpecError, match="Did you mean width?"):
        lmnet.create_model("lmnet_paper", widht=3)
    with pytest.raises(ValueError, match="unet: the zoo has no weights of it trained on kvasir"):
        lmnet.create_model("unet", pretrained=True)
