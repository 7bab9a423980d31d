"""ONNX files: what is in them, what is not, and that they run without lmnet."""

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lmnet
from lmnet.builder.models import write_state
from lmnet.commands.build import main
from lmnet.training.cli_predict import main as predict
from lmnet.training.export import export_cache
from lmnet.training.export.runtimes import exported_net

onnx = pytest.importorskip("onnx", reason="needs the extra export")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra export")

TINY = str(Path(__file__).with_name("tiny.yaml"))
EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx_without_lmnet.py"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A small net with facts beside its weights, exported."""
    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    net = lmnet.create_model(TINY, num_classes=3)
    facts = {"size": "48", "mean": "[0.4, 0.5, 0.6]", "std": "[0.2, 0.3, 0.2]"}
    write_state(net, folder / "net.safetensors", facts=facts)
    path = folder / "net.onnx"
    start = [TINY, "--set", "num_classes=3", "--weights", str(folder / "net.safetensors")]
    assert main([*start, "--export", str(path)]) == 0
    return path


def test_a_file_holds_the_weights_and_no_trace_of_the_exporter(exported):
    check_content(exported)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lmnet_xxs", "lmnet_xs", "lmnet_s", "lmnet_fast"])
def test_files_of_the_zoo_hold_the_weights_and_no_trace_of_the_exporter(name, tmp_path):
    assert main([name, "--export", str(tmp_path / "net.onnx")]) == 0
    check_content(tmp_path / "net.onnx")


def check_content(path):
    """Check the size of an exported file, and that nothing of the machine that wrote it is in it."""
    file = onnx.load(path)
    weights = sum(len(each.raw_data) for each in file.graph.initializer)
    assert path.stat().st_size <= 1.02 * weights + 200_000
    content = path.read_bytes()
    for trace in (b"site-packages", b".py", str(Path(lmnet.__file__).parents[1]).encode(), b"stack_trace"):
        assert trace not in content
    assert not file.graph.value_info
    assert not any(node.metadata_props or node.doc_string for node in file.graph.node)


def test_a_file_says_how_it_is_fed_and_reads_in_old_runtimes(exported):
    file = onnx.load(exported)
    facts = {prop.key: prop.value for prop in file.metadata_props}
    assert (facts["size"], facts["in_channels"], facts["num_classes"], facts["stride"]) == ("48", "3", "3", "2")
    assert json.loads(facts["mean"]) == [0.4, 0.5, 0.6]
    assert json.loads(facts["std"]) == [0.2, 0.3, 0.2]
    assert json.loads(facts["class_names"]) == ["background", "class 1", "class 2"]
    assert (facts["lmnet"], facts["lmnet_version"]) == ("tiny", lmnet.__version__)
    assert (file.ir_version, file.opset_import[0].version) == (8, 18)  # onnxruntime 1.14 and later


def test_the_example_without_lmnet_gives_the_mask_of_predict(exported, tmp_path):
    rng = np.random.default_rng(0)
    for index, (mode, size) in enumerate((("RGB", (70, 45)), ("L", (48, 48)), ("RGB", (130, 201)))):
        noise = Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)).convert(mode)
        photo = tmp_path / f"{index}.png"
        noise.resize(size, Image.Resampling.BICUBIC).save(photo)
        mask = runpy.run_path(str(EXAMPLE))["segment"](str(exported), str(photo))
        expected = lmnet.open_model(exported).predict(photo, device="cpu").mask
        assert len(np.unique(expected)) > 1
        assert (mask != expected).mean() <= 0.001


def test_commands_take_a_file_as_a_model(exported, tmp_path, capsys):
    Image.effect_noise((70, 45), 50).save(tmp_path / "photo.png")
    assert predict([str(exported), str(tmp_path / "photo.png"), "--out", str(tmp_path / "masks")]) == 0
    assert (tmp_path / "masks" / "photo_mask.png").exists()


@pytest.mark.parametrize("ending", ["onnx", "pt2"])
def test_a_net_of_several_outputs_gives_all_of_them(tmp_path, ending):
    spec = tmp_path / "two.yaml"
    spec.write_text(
        "schema: lmnet/1\nname: two\ninput: {channels: 3, size: [32, 32]}\nnodes:\n"
        "  stem: {block: downsample, from: input, out_channels: 8, stride: 2}\n"
        "  head: {block: segmentation_head, from: stem, num_classes: 2, scale: 2}\n"
        "  small: {block: segmentation_head, from: stem, num_classes: 3}\n"
        "outputs: {logits: head, coarse: small}\n"
    )
    path = tmp_path / f"two.{ending}"
    assert main([str(spec), "--export", str(path), "--random-weights"]) == 0
    if ending == "onnx":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        assert [output.name for output in session.get_outputs()] == ["logits", "coarse"]
        assert session.run(["coarse"], {"image": np.zeros((1, 3, 32, 64), np.float32)})[0].shape == (1, 3, 16, 32)


def test_a_static_file_takes_one_size(tmp_path, capsys):
    path = tmp_path / "net.onnx"
    options = ["--export", str(path), "--static", "--input-size", "40", "64", "--opset", "20", "--json"]
    assert main([TINY, "--random-weights", *options]) == 0
    written = json.loads(capsys.readouterr().out)["export"]
    assert [check["shape"] for check in written["checks"]] == [[1, 3, 40, 64]]
    file = onnx.load(path)
    assert [side.dim_value for side in file.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 40, 64]
    assert (file.ir_version, file.opset_import[0].version) == (9, 20)


def test_an_export_is_kept_and_a_damaged_one_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("LMNET_CACHE", str(tmp_path))
    torch.manual_seed(0)
    net = lmnet.create_model(TINY).eval()
    lines, image = [], torch.randn(1, 3, 50, 70)
    first = exported_net(net, "onnxruntime", say=lines.append)(image)
    assert lines == ["exporting tiny to onnx"]
    made = []
    real = export_cache.export_model
    monkeypatch.setattr(export_cache, "export_model", lambda *args, **options: made.append(real(*args, **options)))
    assert torch.equal(exported_net(net, "onnxruntime")(image), first)
    assert made == []
    (kept,) = (tmp_path / "exports").glob("*.onnx")
    kept.write_bytes(kept.read_bytes()[:1000])
    assert torch.equal(exported_net(net, "onnxruntime")(image), first)
    assert len(made) == 1


def test_without_a_cache_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("LMNET_CACHE", "off")
    monkeypatch.setattr(export_cache, "export_model", lambda model, path, size, **options: shutil.copy(TINY, path))
    with export_cache.exported_file(lmnet.create_model(TINY)) as path:
        assert path.exists()
    assert not path.exists()
