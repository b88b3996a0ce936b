"""ARM against the public code's outputs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from twfer_dist.core.errors import UserError
from twfer_dist.recognition.arm import ARM, Amend, side

GOLDEN = Path(__file__).parents[1] / "data" / "arm_official_amend.npz"


@pytest.fixture
def golden() -> dict[str, torch.Tensor]:
    """The public module's weights, with its inputs and outputs in training and in inference."""
    return {name: torch.from_numpy(np.asarray(value)) for name, value in np.load(GOLDEN).items()}


def public(golden: dict[str, torch.Tensor], *, batch_mean: bool) -> Amend:
    amend = Amend(side(224), batch_mean=batch_mean)
    state = {name.removeprefix("state/"): value for name, value in golden.items() if name.startswith("state/")}
    missing, unexpected = amend.load_state_dict(state, strict=False)
    assert missing == ["shared"] and not unexpected
    return amend


def test_arm_equals_the_public_code_in_inference(golden: dict[str, torch.Tensor]) -> None:
    amend = public(golden, batch_mean=True).eval()
    with torch.no_grad():
        assert torch.allclose(amend.arrangement(golden["features"]), golden["shuffled"], atol=0)
        torch.testing.assert_close(amend(golden["features"]), golden["eval_output"], rtol=0, atol=1e-5)
        torch.testing.assert_close(amend(golden["features"][:1]), golden["eval_output_first_alone"], rtol=0, atol=1e-5)


def test_arm_equals_the_public_code_in_training(golden: dict[str, torch.Tensor]) -> None:
    amend = public(golden, batch_mean=False).train()
    torch.testing.assert_close(amend(golden["features"]), golden["train_output"], rtol=0, atol=1e-5)


def test_inference_uses_the_running_mean(golden: dict[str, torch.Tensor]) -> None:
    amend = public(golden, batch_mean=False)
    with torch.no_grad():
        for _ in range(200):
            amend.train()(golden["features"])
        # With the running statistics converged to this batch, training and inference agree.
        together = amend.eval()(golden["features"])
        settled = amend.bn.eval()  # the training output with the same (biased) variance is the reference
        x = settled(amend.de_albino(golden["shuffled"].flatten(0, 1)[:, None]).view(4, 2, 11, 11))
        assert (amend.shared - x.mean((0, 1))).abs().max() < 0.02
        alone = torch.cat([amend(face[None]) for face in golden["features"]])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-5)
    assert (
        golden["eval_output"][0] - golden["eval_output_first_alone"][0]
    ).abs().max() > 0.5  # the public code is not blind to neighbours


@pytest.mark.parametrize(("size", "values"), [(224, 121), (112, 25), (96, 9)])
def test_the_linear_layer_follows_the_size(size: int, values: int) -> None:
    model = ARM(size).eval()
    assert model.fc.in_features == values
    with torch.no_grad():
        assert model(torch.zeros(2, 3, size, size)).shape == (2, 7)


def test_too_small_images_are_refused() -> None:
    with pytest.raises(UserError, match="64 pixels: set size to 96"):
        ARM(64)
