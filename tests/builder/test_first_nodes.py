"""ImageNet weights of torchvision in LV-UNet's encoder."""

import pytest
import torch
from torchvision.models import mobilenet_v3_large

import lmnet
from lmnet.blocks.testing import make_trained_looking
from lmnet.builder.models import load_encoder


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    return make_trained_looking(mobilenet_v3_large(weights=None)).eval()


def test_lvunets_encoder_with_torchvisions_weights_computes_what_torchvision_computes(theirs, tmp_path):
    torch.save(theirs.state_dict(), tmp_path / "mobilenet_v3_large.pth")
    model = lmnet.create_model("lvunet").eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}

    found = load_encoder(model, tmp_path / "mobilenet_v3_large.pth")

    after = model.state_dict()
    untouched = after.keys() - found.tensors
    assert {key.partition(".")[0] for key in found.tensors} == {"stem", *(f"enc{i}" for i in range(1, 10))}
    assert all(torch.equal(before[key], after[key]) for key in untouched)
    assert model.normalization == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    expected = image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        for index in range(10):
            expected = theirs.features[index](expected)
            image = getattr(model, "stem" if index == 0 else f"enc{index}")(image)
            torch.testing.assert_close(image, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_another_net_has_no_such_encoder(theirs, tmp_path):
    torch.save(theirs.state_dict(), tmp_path / "mobilenet_v3_large.pth")
    with pytest.raises(ValueError, match=r"its tensors are not those of an encoder in lmnet_xxs \(enc1\.depthwise\."):
        load_encoder(lmnet.create_model("lmnet_xxs"), tmp_path / "mobilenet_v3_large.pth")
    with pytest.raises(ValueError, match="it has 0 timm_encoder nodes"):
        load_encoder(lmnet.create_model("lvunet"), "auto")
