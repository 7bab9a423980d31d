"""Weights: what is read, what is adapted, what is refused; and files that are written whole or not at all."""

import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import lmnet
from lmnet.builder.files import SaveError, clear_leftovers, write_durably, write_together, written_aside
from lmnet.builder.find_model import weights_file
from lmnet.builder.models import build_model, from_pretrained, is_deployed, load_weights, save_pretrained
from lmnet.builder.spec import load_spec
from lmnet.builder.weights import read_weights, save_weights
from lmnet.commands.build import main

TINY = Path(__file__).parents[1] / "training" / "tiny.yaml"
WIDTH = {"width": 6}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return lmnet.create_model("lmnet_xxs", **WIDTH).eval()


def wrapped(net, kind):
    state = dict(net.state_dict())
    under = {f"{prefix}{key}": value for prefix in _PREFIXES[kind] for key, value in state.items()}
    return under | {"n_averaged": torch.tensor(3)} if kind == "averaged" else under


_PREFIXES = {
    "plain": [""],
    "DataParallel": ["module."],
    "torch.compile": ["_orig_mod."],
    "Lightning": ["model."],
    "both": ["model._orig_mod."],
    "averaged": ["module."],
    "a second copy": ["model.", "average.module."],
}


@pytest.mark.parametrize("kind", _PREFIXES)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_common_prefix_is_taken_off_and_said(tmp_path, net, kind, suffix):
    path = tmp_path / f"w{suffix}"
    state = {key: value.clone() for key, value in wrapped(net, kind).items()}
    torch.save({"state_dict": state, "epoch": 3}, path) if suffix == ".pth" else save_file(state, path)
    other = lmnet.create_model("lmnet_xxs", **WIDTH)

    notes = load_weights(other, path).notes

    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))
    prefix = _PREFIXES[kind][0]
    plain = kind in ("plain", "DataParallel", "averaged")  # the authors' prefix is known
    assert plain or f"the prefix {prefix!r} of the names was taken off" in notes
    assert ("left out" in " ".join(notes)) == (kind in ("averaged", "a second copy"))


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"num_classes": 4}, "head was left out: the weights have 2 classes and the net 4"),
        ({"in_channels": 1}, "1 convolution of the image was summed: the weights have 3 channels and the net 1"),
        ({"in_channels": 5}, "1 convolution of the image was repeated: the weights have 3 channels and the net 5"),
    ],
)
def test_shipped_weights_fit_other_classes_and_channels(change, note, caplog):
    with caplog.at_level("INFO", logger="lmnet"):
        model = lmnet.create_model("lmnet_xs", pretrained=True, **change).eval()

    assert note in caplog.text
    plain = lmnet.create_model("lmnet_xs", pretrained=True).eval()
    own, theirs = model.state_dict(), plain.state_dict()
    assert all(torch.equal(own[key], value) for key, value in theirs.items() if own[key].shape == value.shape)
    if change.get("in_channels") == 1:
        grey = torch.rand(1, 1, 64, 64)
        expected = plain(grey.expand(-1, 3, -1, -1).contiguous())
        torch.testing.assert_close(model(grey), expected, atol=1e-3, rtol=1e-3)


def test_what_does_not_fit_is_refused_without_being_asked_to_adapt(tmp_path, net):
    save_weights(tmp_path / "w.safetensors", net.state_dict())
    with pytest.raises(ValueError, match=r"w.safetensors: the weights do not fit the model: .* of another shape"):
        load_weights(lmnet.create_model("lmnet_xxs", num_classes=3, **WIDTH), tmp_path / "w.safetensors")


@pytest.mark.parametrize("deployed", [False, True])
def test_the_form_is_known_by_the_tensors_not_by_attributes(tmp_path, net, deployed):
    model = lmnet.builder.models.deploy(net) if deployed else net

    save_pretrained(model, tmp_path)

    assert is_deployed(model) == deployed
    again = from_pretrained(tmp_path)
    image = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(again(image), net(image), atol=1e-4, rtol=1e-4)


def test_mean_and_deviation_are_saved_with_a_net(tmp_path, net):
    net.normalization = ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
    save_pretrained(net, tmp_path)
    assert from_pretrained(tmp_path).normalization == net.normalization


def test_a_block_with_a_part_named_depthwise_is_no_deployed_net(tmp_path):
    from lmnet.blocks import REGISTRY, Example

    if "has_depthwise" not in REGISTRY.names():

        @REGISTRY.register("has_depthwise", example=Example({}, ((4, 8, 8),), ((4, 8, 8),)))
        class HasDepthwise(nn.Module):
            """A depthwise convolution."""

            def __init__(self, in_channels: int) -> None:
                super().__init__()
                self.out_channels = in_channels
                self.depthwise = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels)

            def forward(self, x):
                return self.depthwise(x)

    path = tmp_path / "own.yaml"
    path.write_text(
        "schema: lmnet/1\nname: own\ninput: {channels: 3, size: [32, 32]}\nnodes:\n"
        "  mine: {block: has_depthwise, from: input}\n  head: {block: segmentation_head, from: mine}\n"
        "outputs: {logits: head}\n"
    )
    try:
        save_pretrained(build_model(load_spec(path)), tmp_path / "saved")
        assert from_pretrained(tmp_path / "saved")
    finally:
        REGISTRY._classes.pop("has_depthwise")
        REGISTRY._examples.pop("has_depthwise")


def test_a_changed_file_is_refused_by_its_checksum(tmp_path, net):
    path = tmp_path / "w.safetensors"
    save_weights(path, net.state_dict(), {"size": "64"})
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)

    with pytest.raises(ValueError, match="w.safetensors: its checksum does not fit its content"):
        read_weights(path)


def junk(path, kind, content):
    rng = np.random.default_rng(0)
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "bytes":
        path.write_bytes(rng.bytes(3000))
    elif kind.startswith("flipped"):
        changed = bytearray(content)
        for place in np.random.default_rng(int(kind[7:])).integers(0, min(len(changed), 4000), 8):
            changed[place] ^= 255
        path.write_bytes(changed)
    elif kind == "a long header":
        path.write_bytes((2**62).to_bytes(8, "little") + content[8:])
    elif kind == "a huge shape":
        header = json.dumps({"w": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 16]}}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + b"0" * 16)
    elif kind == "deep json":
        header = b"[" * 100_000
        path.write_bytes(len(header).to_bytes(8, "little") + header)
    elif kind == "a zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("a", "b" * 1000)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(
    "kind",
    ["empty", "bytes", "a long header", "a huge shape", "deep json", "a zip", *(f"flipped{i}" for i in range(12))],
)
def test_junk_ends_in_one_value_error_with_the_files_name(tmp_path, net, kind, suffix):
    whole = tmp_path / f"whole{suffix}"
    torch.save(net.state_dict(), whole) if suffix == ".pth" else save_weights(whole, net.state_dict())
    path = tmp_path / f"junk{suffix}"
    junk(path, kind, whole.read_bytes())

    if suffix == ".pth" and kind.startswith("flipped"):  # torch files have no checksum: flipped numbers are numbers
        with contextlib.suppress(ValueError):
            load_weights(lmnet.create_model("lmnet_xxs", **WIDTH), path)
        return
    with pytest.raises(ValueError, match=re.escape(str(path))):
        load_weights(lmnet.create_model("lmnet_xxs", **WIDTH), path)


def test_folders_and_pipes_are_no_weights(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    for path in (tmp_path, tmp_path / "pipe.pth"):
        with pytest.raises(ValueError, match="is not a regular file"):
            read_weights(path)


def test_from_pretrained_looks_at_the_weights_before_it_builds(tmp_path, net):
    save_pretrained(net, tmp_path)
    spec = tmp_path / "spec.yaml"
    spec.write_text(spec.read_text().replace("width: 6", "width: 2048"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(ValueError, match="the weights do not fit the model"):
        from_pretrained(tmp_path)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * 1024


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one MiB, where this user may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("no right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def saved(tmp_path):
    """The arguments that name a net of three nodes and its weights, which are exported in a second."""
    net = build_model(load_spec(TINY).override({"width": 64}))
    net.normalization = ((0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
    save_pretrained(net, tmp_path / "saved")
    return [str(tmp_path / "saved" / "spec.yaml"), "--weights", str(tmp_path / "saved")]


@pytest.mark.parametrize("name", ["net.safetensors", "net.pt2", "net.onnx"])
def test_a_full_disk_is_one_line_and_the_old_file_is_kept(small_disk, saved, capsys, name):
    (small_disk / name).write_bytes(b"old")
    (small_disk / "fill").write_bytes(b"0" * 1016 * 1024)

    assert main([*saved, "--export", str(small_disk / name), "--input-size", "64"]) == 1

    assert f"{small_disk / name}: it cannot be written" in capsys.readouterr().err
    assert (small_disk / name).read_bytes() == b"old"
    assert sorted(path.name for path in small_disk.iterdir()) == ["fill", name] or name < "fill"
    assert len(list(small_disk.iterdir())) == 2


def test_a_folder_with_two_files_of_weights_is_refused(net, tmp_path):
    save_pretrained(net, tmp_path)
    assert weights_file(tmp_path) == tmp_path / "model.safetensors"
    save_weights(tmp_path / "best.safetensors", net.state_dict())
    with pytest.raises(ValueError, match=r"one file of weights, got best.safetensors and model.safetensors. Name one"):
        weights_file(tmp_path)


def test_two_files_are_saved_or_neither(small_disk, net):
    save_pretrained(lmnet.create_model("lmnet_xxs", width=4), small_disk)
    before = {path.name: path.read_bytes() for path in small_disk.iterdir()}
    (small_disk / "fill").write_bytes(b"0" * (1020 * 1024 - sum(map(len, before.values()))))

    with pytest.raises(SaveError, match="it cannot be written"):
        save_pretrained(net, small_disk)

    assert {p.name: p.read_bytes() for p in small_disk.iterdir() if p.name != "fill"} == before


def test_a_missing_folder_is_named(tmp_path, net):
    with pytest.raises(
        SaveError, match=f"nothing was written. Make the folder {re.escape(str(tmp_path / 'new'))} first."
    ):
        save_weights(tmp_path / "new" / "net.safetensors", net.state_dict())


@pytest.mark.parametrize("place", ["/proc/x.safetensors", "/proc/x.onnx", "/dev/null/x.pt2", "/nowhere/x.onnx"])
def test_a_place_that_cannot_be_written_is_one_line(place, capsys):
    assert main(["lmnet_xs", "--export", place, "--input-size", "64"]) in (1, 2)

    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith(("weights:", "exporting "))]
    assert len(lines) == 1
    assert "x." in lines[0] or "/nowhere" in lines[0] or "/dev/null" in lines[0]


def test_an_export_says_whose_weights_it_holds(tmp_path, capsys):
    path = tmp_path / "net.safetensors"
    assert main(["lmnet_xxs", "--export", str(path)]) == (0 if (lmnet_zoo() / "lmnet_xxs.safetensors").exists() else 2)
    assert main(["lmnet_xs", "--set", "width=8", "--export", str(path)]) == 2
    assert "lmnet_xs has no shipped weights. Give --weights FILE, or --random-weights" in capsys.readouterr().err
    assert main(["lmnet_xs", "--set", "width=8", "--export", str(path), "--random-weights"]) == 0
    assert read_weights(path).facts["weights"] == "random"
    assert main(["lmnet_xs", "--export", str(path)]) == 0
    assert "weights: " in capsys.readouterr().err
    facts = read_weights(path).facts
    assert facts["weights"] == "lmnet_xs.safetensors"
    assert {"mean", "std", "size", "spec", "spec_hash", "weights_hash"} <= facts.keys()


def lmnet_zoo():
    from lmnet.builder.zoo import zoo_folder

    return zoo_folder()


def test_exported_files_hold_their_facts(saved, tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs the extra export")
    for name in ("net.onnx", "net.pt2"):
        assert main([*saved, "--export", str(tmp_path / name), "--input-size", "64"]) == 0

    properties = {entry.key: entry.value for entry in onnx.load(tmp_path / "net.onnx").metadata_props}
    extra = {"lmnet.json": ""}
    torch.export.load(tmp_path / "net.pt2", extra_files=extra)
    assert properties["spec_hash"] == json.loads(extra["lmnet.json"])["spec_hash"]
    assert json.loads(properties["mean"]) == [0.4, 0.5, 0.6]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_net_traces(net):
    image = torch.randn(1, 3, 64, 64)
    traced = torch.jit.trace(net, image)
    torch.testing.assert_close(traced(image), net(image))


def test_writers_leave_nothing_behind(tmp_path):
    write_durably(tmp_path / "a", b"1")
    write_together({tmp_path / "a": b"2", tmp_path / "b": b"3"})
    with pytest.raises(SaveError, match="nothing was written"):
        write_durably(tmp_path / "no" / "a", b"1")

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"2", "b": b"3"}


def test_what_a_killed_writer_left_is_cleared_and_what_a_living_one_writes_is_not(tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from lmnet.builder.files import written_aside
with written_aside(Path(sys.argv[1]) / "a") as temporary:
    temporary.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    with written_aside(tmp_path / "b") as temporary:
        clear_leftovers(tmp_path)
        assert temporary.exists()
    assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"mean": "[1, 2"}, r"w\.safetensors: its mean is \[1, 2, no list of finite numbers"),
        ({"mean": "[0.5, NaN]", "std": "[1, 1]"}, "its mean is .*, no list of finite numbers"),
        ({"mean": "[0.5]"}, "its std is absent, no list of finite numbers"),
        ({"mean": "7", "std": "[1]"}, "its mean is 7, no list of finite numbers"),
        (
            {"mean": "[0.5]", "std": "[0]"},
            r"its mean is \[0.5\] and its std \[0\]; as many of both are needed, and std above 0",
        ),
        ({"mean": "[0.5, 0.5]", "std": "[1]"}, "as many of both are needed"),
    ],
)
def test_a_mean_or_deviation_that_is_none_is_named(tmp_path, facts, message):
    net = lmnet.create_model("lmnet_xxs", **WIDTH)
    save_weights(tmp_path / "w.safetensors", net.state_dict(), facts)

    with pytest.raises(ValueError, match=message):
        load_weights(net, tmp_path / "w.safetensors")


def test_mean_and_deviation_follow_the_weights(tmp_path):
    net = lmnet.create_model("lmnet_xxs", **WIDTH)
    save_weights(tmp_path / "w.safetensors", net.state_dict(), {"mean": "[0.1, 0.2, 0.3]", "std": "[1, 2, 3]"})

    load_weights(net, tmp_path / "w.safetensors")

    assert net.normalization == ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
