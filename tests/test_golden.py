"""The authors' outputs are met, and their checkpoints can be imported.

Golden values: outputs of the authors' release code (arXiv 2501.03838) for weights and inputs that anyone can make
again, as ../shared/reference/README.md describes; tests/data holds a small copy.
"""

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import lmnet
from lmnet.blocks import (
    CrossScaleFusion,
    GlobalFeatureTransformer,
    LocalFeatureTransformer,
    MultiBranchConv,
    PyramidPool,
)
from lmnet.builder.importers import family_of
from lmnet.builder.importers.family import by_rules
from lmnet.builder.importers.lm_net import BLOCK, FAMILY, FUSION_OF_THREE, FUSION_OF_TWO, GFT, LFT
from lmnet.builder.models import load_weights
from lmnet.builder.weights import read_weights

OWN = Path(__file__).parent / "data"
REFERENCE = Path(__file__).parents[2] / "shared" / "reference"
CASES = json.loads((OWN / "golden.json").read_text())
TOLERANCE = 1e-4


# How to build our module of each case, and how to bring the authors' state_dict to our keys.
MODULES = {
    "multi_branch": (lambda: MultiBranchConv(6, out_channels=8, expand_ratio=1.5), by_rules(BLOCK)),
    "lft_k3": (lambda: LocalFeatureTransformer(12, window=3, num_heads=12), by_rules(LFT)),
    "lft_k7": (lambda: LocalFeatureTransformer(16, window=7, num_heads=4), by_rules(LFT)),
    "gft": (lambda: GlobalFeatureTransformer(24, out_channels=10, num_heads=4), by_rules(GFT)),
    "fusion3": (lambda: CrossScaleFusion([6, 12, 24], out_channels=12, scales=[2, 1, 0.5]), by_rules(FUSION_OF_THREE)),
    "fusion2_bottom": (lambda: CrossScaleFusion([12, 24], out_channels=24, scales=[2, 1]), by_rules(FUSION_OF_TWO)),
    "fusion2_top": (lambda: CrossScaleFusion([6, 12], out_channels=6, scales=[1, 0.5]), by_rules(FUSION_OF_TWO)),
    "pyramid_pool": (lambda: PyramidPool([4, 8, 16, 32, 64]), dict),
    "lmnet_release": (lambda: lmnet.create_model("lmnet_release"), FAMILY.translate),
}


def golden_weights(shapes):
    """Return the golden weights for the authors' keys; the i-th key in sorted order is drawn with seed i."""
    state = {}
    for index, key in enumerate(sorted(shapes)):
        shape = tuple(shapes[key])
        base = np.random.RandomState(index).standard_normal(int(np.prod(shape))).reshape(shape)
        if key.endswith("num_batches_tracked"):
            state[key] = torch.zeros(shape, dtype=torch.int64)
            continue
        if key.endswith("running_var"):
            value = 1 + 0.5 * base**2
        elif key.endswith("running_mean"):
            value = 0.1 * base
        elif len(shape) == 1:
            value = 1 + 0.1 * base if key.endswith(".weight") else 0.1 * base
        else:
            value = base / np.sqrt(np.prod(shape[1:]))
        state[key] = torch.from_numpy(value.astype(np.float32))
    return state


def output_of(name, case):
    """Return our output for a golden case; the inputs' seed is 1000 plus the channels."""
    build, translate_state = MODULES[name]
    module = build().eval()
    module.load_state_dict(translate_state(golden_weights(case.get("state", {}))))
    inputs = [
        torch.from_numpy(np.random.RandomState(1000 + shape[1]).standard_normal(shape).astype(np.float32))
        for shape in case["input_shapes"]
    ]
    with torch.no_grad():
        return module(*inputs).numpy()


@pytest.mark.parametrize("name", CASES)
def test_authors_outputs_are_met_in_our_copy(name):
    output = output_of(name, CASES[name])
    golden = np.load(OWN / "golden.npz")[name]
    assert list(output.shape) == CASES[name]["output_shape"]
    step = 1 if golden.size == output.size else output.size // 256
    np.testing.assert_allclose(output.ravel()[::step], golden, rtol=0, atol=TOLERANCE)


@pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"the whole golden values are not here: {REFERENCE}")
@pytest.mark.parametrize("name", CASES)
def test_authors_outputs_are_met(name):
    case = json.loads((REFERENCE / "golden.json").read_text())[name]
    golden = np.load(REFERENCE / "golden.npz")[name]
    np.testing.assert_allclose(output_of(name, case), golden, rtol=0, atol=TOLERANCE)


@pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"the whole golden values are not here: {REFERENCE}")
def test_every_case_of_the_reference_is_tested():
    assert json.loads((REFERENCE / "golden.json").read_text()) == CASES
    assert set(np.load(REFERENCE / "golden.npz")) == set(MODULES) == set(CASES)


def test_release_has_the_authors_parameters_under_our_keys():
    shapes = CASES["lmnet_release"]["state"]
    ours = {key: list(value.shape) for key, value in lmnet.create_model("lmnet_release").state_dict().items()}
    translated = FAMILY.translate({key: torch.empty(shape, device="meta") for key, shape in shapes.items()})
    assert {key: list(value.shape) for key, value in translated.items()} == ours


@pytest.fixture(scope="module")
def authors_state():
    return golden_weights(CASES["lmnet_release"]["state"])


@pytest.fixture(scope="module")
def release():
    return lmnet.create_model("lmnet_release").eval()


@pytest.mark.parametrize(
    "wrap", [dict, lambda state: {"state_dict": state}, lambda state: {"model": state, "epoch": 3}]
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_authors_checkpoint_is_recognised_and_loaded(tmp_path, release, authors_state, wrap, prefix):
    path = tmp_path / "theirs.pth"
    torch.save(wrap({prefix + key: value for key, value in authors_state.items()}), path)
    assert "taken for a checkpoint of the authors of LM-Net" in load_weights(release, path).notes[0]
    assert family_of(authors_state) is FAMILY
    translated = FAMILY.translate(authors_state)
    assert all(torch.equal(value, translated[key]) for key, value in release.state_dict().items())


def refusal_of(release, state, path):
    torch.save(state, path)
    before = {key: value.clone() for key, value in release.state_dict().items()}
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: the weights do not fit the model: ") as info:
        load_weights(release, path)
    assert all(torch.equal(value, before[key]) for key, value in release.state_dict().items())
    return str(info.value)


def test_missing_unexpected_and_mismatched_keys_are_listed_at_once(tmp_path, release, authors_state):
    state = dict(authors_state)
    del state["output_layer.bias"]
    state["aux_head.weight"] = torch.zeros(2)
    state["up1.conv.weight" if "up1.conv.weight" in state else "output_layer.weight"] = torch.zeros(7, 5)
    message = refusal_of(release, state, tmp_path / "changed.pth")
    assert "1 missing (head.conv.bias)" in message
    assert "1 unexpected (aux_head.weight)" in message
    assert re.search(r"1 of another shape \([\w.]+ \[7, 5\] for \[", message)
    assert message.endswith("Build the spec that they were saved with.")


def test_long_lists_are_cut(tmp_path, release, authors_state):
    state = {key: value for key, value in authors_state.items() if not key.startswith("conv1.")}
    message = refusal_of(release, state, tmp_path / "less.pth")
    assert re.search(r"\d\d+ missing \((enc0\.[\w.]+, ){8}\.\.\.\)", message)


class RunsCode:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_checkpoint_with_code_is_refused_and_does_not_run(tmp_path):
    trap = tmp_path / "it_ran"
    for name, save in (("a.pth", torch.save), ("b.pth", lambda value, path: path.write_bytes(pickle.dumps(value)))):
        save({"weight": torch.zeros(2), "code": RunsCode(trap)}, tmp_path / name)
        with pytest.raises(ValueError, match="it is no whole file of weights, or holds more than tensors"):
            read_weights(tmp_path / name)
    assert not trap.exists()


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_file_is_refused(tmp_path, keep, suffix):
    from safetensors.torch import save_file

    path = tmp_path / f"cut{suffix}"
    state = {"weight": torch.randn(64, 64)}
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match=rf"cut{suffix}: it is no whole file of weights"):
        read_weights(path)


@pytest.mark.parametrize("value", [torch.zeros(2), [torch.zeros(2)], {"weight": 3}])
def test_torch_file_that_is_no_state_dict_is_refused(tmp_path, value):
    torch.save(value, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth: it holds .*, no state_dict\. Save model\.state_dict"):
        read_weights(tmp_path / "other.pth")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"none\.pth: the file of weights is not there\. Check the path\."):
        read_weights(tmp_path / "none.pth")
