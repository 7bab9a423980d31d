"""int8 files: scored beside the float32 file, refused where they lose too much."""

import json
from pathlib import Path

import numpy as np
import pytest

from lmnet.commands.build import main
from lmnet.training import CaseScores
from lmnet.training.cli_train import main as train

onnx = pytest.importorskip("onnx", reason="needs the extra export")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra export")

TINY = str(Path(__file__).with_name("tiny.yaml"))


@pytest.fixture
def quantize(tmp_path, write_folder):
    data = write_folder(tmp_path / "data", 20)

    def run(*options, name="net.onnx", size=("64",)):
        start = [TINY, "--random-weights", "--export", str(tmp_path / name), "--quantize", str(data)]
        return main([*start, "--input-size", *size, *options])

    return run


def test_an_int8_file_is_scored_beside_its_float32_file(quantize, tmp_path, capsys):
    assert quantize("--max-loss", "1") == 0
    said = capsys.readouterr().err
    assert "(2 test images of folders; calibrated on 16 training images)" in said
    assert "int8: Dice 0." in said
    assert "note: it is not known which of these images the weights were trained on" in said
    assert " ms an image, float32 " in said
    file = onnx.load(tmp_path / "net.onnx")
    kinds = [array.data_type for array in file.graph.initializer if len(array.dims) == 4]
    assert kinds.count(onnx.TensorProto.FLOAT) == 1  # the first convolution's
    assert kinds.count(onnx.TensorProto.INT8) > 1
    facts = {prop.key: prop.value for prop in file.metadata_props}
    assert facts["quantized"] == "int8 convolutions"
    assert facts["lmnet"] == "tiny"
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": np.zeros((3, 3, 96, 64), dtype=np.float32)})
    assert logits.shape == (3, 2, 96, 64)


def test_the_maps_of_one_image_at_a_time_are_kept(quantize, monkeypatch):
    from onnxruntime.quantization import calibrate

    counts, collect = [], calibrate.HistogramCollector.collect

    def counted(self, maps):
        counts.append({len(each) for each in maps.values()})
        return collect(self, maps)

    monkeypatch.setattr(calibrate.HistogramCollector, "collect", counted)
    assert quantize("--max-loss", "1") == 0
    assert counts == [{1}] * 16


def test_the_images_are_those_of_the_run_that_the_weights_are_from(tmp_path, write_folder, capsys):
    data, run, split = write_folder(tmp_path / "data", 20), tmp_path / "run", tmp_path / "split.json"
    names = [f"case_{index:02d}" for index in range(20)]
    split.write_text(json.dumps({"train": names[:7], "val": names[7:9], "test": names[9:]}))
    quick = ["--size", "32", "--epochs", "1", "--workers", "0", "--device", "cpu"]
    assert train([TINY, "--data", str(data), "--split-file", str(split), "--out", str(run), *quick]) == 0
    capsys.readouterr()
    start = [TINY, "--weights", str(run), "--export", str(tmp_path / "net.onnx"), "--max-loss", "1"]
    assert main([*start, "--quantize", str(data)]) == 0
    said = capsys.readouterr().err
    assert "(11 test images of folders; calibrated on 7 training images)" in said
    assert "not known which of these images" not in said


def test_a_file_that_loses_too_much_is_not_written(quantize, tmp_path, capsys):
    assert quantize("--max-loss", "-1") == 2
    assert "quantize: at most -1.0 Dice may be lost, got " in capsys.readouterr().err
    assert not list(tmp_path.glob("*.onnx"))


def test_without_a_lesion_to_score_by_no_file_is_written(quantize, tmp_path, monkeypatch, capsys):
    healthy = CaseScores(("a",), np.array([[[9, 0], [0, 0]]]))
    monkeypatch.setattr("lmnet.training.runs.int8.score_model", lambda *words, **options: (healthy, {}))

    assert quantize() == 2
    assert "quantize: none of the 1 test images has a lesion to score by. Use other data." in capsys.readouterr().err
    assert not list(tmp_path.glob("*.onnx"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "net.pt2"}, "quantize: the file must end in .onnx, got net.pt2. Name it so."),
        ({"size": ("64", "96")}, "--quantize: images must be square, got --input-size 64 96. Give one side."),
    ],
)
def test_what_cannot_be_quantized_is_refused(quantize, tmp_path, capsys, change, message):
    assert quantize(**change) == 2
    assert message in capsys.readouterr().err


def test_quantize_needs_a_file_to_write(capsys):
    assert main([TINY, "--quantize", "synthetic"]) == 2
    assert "--quantize goes with --export. Add it, or leave --quantize out." in capsys.readouterr().err
