"""Mixup and CutMix, the same on any number of workers."""

from typing import Literal

import pytest
import torch

from twfer_dist.recognition.mixing import mixed


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_images_of_a_lane_are_blended_with_each_other(kind: Literal["mixup", "cutmix"]) -> None:
    """Constant images: their mean says how much of each neighbour an image has, and so do its shares."""
    lanes = torch.tensor([0, 1, 0, 1, 2, 0])
    labels = torch.tensor([0, 1, 2, 3, 4, 5])
    images = labels[:, None, None, None].float().expand(-1, 3, 16, 16)
    blended, shares = mixed(images, labels, lanes, kind, 1.0, (0, 1, 2))
    torch.testing.assert_close(shares.sum(1), torch.ones(6))
    torch.testing.assert_close(blended.mean((1, 2, 3)), (shares * torch.arange(7)).sum(1))
    assert shares[4].argmax() == 4 and shares[4].max() == 1  # nobody else is in its lane
    assert set(torch.nonzero(shares[0]).flatten().tolist()) <= {0, 5}
    one = lanes == 0
    alone = mixed(images[one], labels[one], lanes[one], kind, 1.0, (0, 1, 2))
    torch.testing.assert_close(alone, (blended[one], shares[one]), atol=0, rtol=0)
    assert not torch.equal(shares, mixed(images, labels, lanes, kind, 1.0, (0, 1, 3))[1])
