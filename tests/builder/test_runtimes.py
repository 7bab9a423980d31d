"""Nets in other runtimes give the net's own logits, at any size."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lmnet
from lmnet.commands.build import main
from lmnet.training.export.formats import export_model
from lmnet.training.export.runtimes import runtime_net

TINY = Path(__file__).parents[1] / "training" / "tiny.yaml"


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime", pytest.param("openvino", marks=pytest.mark.slow)])
def test_a_runtime_gives_the_nets_logits_at_any_size(runtime):
    if runtime != "torch":
        pytest.importorskip(runtime, reason=f"needs {runtime}")
    torch.manual_seed(0)
    net = lmnet.create_model(str(TINY)).eval()
    other = runtime_net(net, runtime)
    image = torch.randn(2, 3, 50, 71)
    with torch.no_grad():
        expected, got = net(image), other(image)
    assert got.shape == expected.shape
    assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize(("runtime", "extra"), [("onnxruntime", "export"), ("openvino", "openvino")])
def test_a_missing_package_is_said_with_the_extra_that_has_it(runtime, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, runtime, None)
    with pytest.raises(ImportError, match=rf"runtime: {runtime} is not installed.* pip install 'lmnet\[{extra}\]'"):
        runtime_net(lmnet.create_model("lmnet_xxs").eval(), runtime)


def test_an_unknown_runtime_is_refused():
    with pytest.raises(ValueError, match=r"runtime: runtime must be one of torch, onnxruntime, openvino, got"):
        runtime_net(lmnet.create_model("lmnet_xxs").eval(), "tflite")


def test_the_runtimes_are_measured_side_by_side(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)

    assert main([str(TINY), "--benchmark", "--runtimes", "--input-size", "64", "--threads", "1"]) == 0

    shown = capsys.readouterr().out
    rows = {line.split("│")[1].strip(): line for line in shown.splitlines() if line.startswith("│")}
    assert list(rows) == ["PyTorch, training form", "PyTorch, optimised", "onnxruntime"]
    assert all(float(line.split("│")[-2]) < 1e-5 for line in rows.values())
    assert "OpenVINO, float32: not measured (runtime: openvino is not installed" in shown


def test_an_encoder_with_same_padding_is_exported_at_free_sizes(tmp_path):
    """Its padding depends on the image's size; with that in the graph, torch does not come to an end."""
    pytest.importorskip("onnxruntime", reason="needs the extra export")
    spec = tmp_path / "net.yaml"
    spec.write_text(
        """
        schema: lmnet/1
        name: same
        input: {channels: 3, size: [64, 64]}
        nodes:
          encoder: {block: timm_encoder, from: input, model: tf_efficientnet_lite0, out_indices: [0, 1, 2]}
          head: {block: segmentation_head, from: encoder.2, num_classes: 2, scale: 8}
        outputs: {logits: head}
        """
    )
    checks = export_model(lmnet.create_model(str(spec)).eval(), tmp_path / "net.onnx", (64, 64))
    assert len({check.shape[2:] for check in checks}) == 2
    assert max(check.error for check in checks) < 1e-5


@pytest.mark.integration
def test_the_file_for_phones_computes_what_the_onnx_file_does(tmp_path):
    """As docs/howto/export.md converts it; the file itself also runs on this processor."""
    onnxruntime = pytest.importorskip("onnxruntime")
    net = lmnet.create_model(str(TINY)).eval()
    export_model(net, tmp_path / "net.onnx", (64, 64))
    command = [sys.executable, "-m", "onnxruntime.tools.convert_onnx_models_to_ort", str(tmp_path / "net.onnx")]
    subprocess.run([*command, "--target_platform", "arm"], check=True, capture_output=True)

    image = {"image": torch.randn(2, 3, 64, 96).numpy()}
    found = [
        onnxruntime.InferenceSession(tmp_path / f"net.{kind}", providers=["CPUExecutionProvider"]).run(None, image)[0]
        for kind in ("onnx", "ort")
    ]
    assert abs(found[0] - found[1]).max() < 1e-5
