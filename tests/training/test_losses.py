import pytest
import torch
from torch.nn import functional as F

from lmnet.training import CrossEntropyDice
from lmnet.training.fitting.losses import soft_dice_loss


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 2, 6, 5, generator=generator), torch.randint(0, 2, (3, 6, 5), generator=generator)


def test_equal_weights_of_two_classes_are_dice_plus_bce(batch):
    logits, mask = batch
    share = torch.sigmoid(logits[:, 1] - logits[:, 0])
    bce = F.binary_cross_entropy(share, mask.float())
    dice = 1 - (2 * (share * mask).sum() + 1) / (share.sum() + mask.sum() + 1)

    assert CrossEntropyDice()(logits, mask).item() == pytest.approx((bce + dice).item(), rel=1e-5)


def test_the_papers_loss_weighs_and_smooths(batch):
    logits, mask = batch
    weights = torch.tensor([1.0, 4.0])
    expected = F.cross_entropy(logits, mask, weight=weights, label_smoothing=0.001) + soft_dice_loss(
        logits, mask, use_background=True
    )

    loss = CrossEntropyDice(class_weights=(1, 4), label_smoothing=0.001, use_background=True)

    assert loss(logits, mask).equal(expected)


@pytest.mark.parametrize("use_background", [False, True])
def test_dice_is_0_where_right_and_1_where_wrong(batch, use_background):
    _, mask = batch
    right = F.one_hot(mask, 2).movedim(-1, 1) * 80.0

    assert soft_dice_loss(right, mask, use_background=use_background) < 1e-4
    assert soft_dice_loss(-right, mask, use_background=use_background) > 0.9


def test_an_empty_mask_gives_a_finite_loss_and_gradient():
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    loss = CrossEntropyDice()(logits, torch.zeros(1, 4, 4, dtype=torch.long))
    loss.backward()

    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
