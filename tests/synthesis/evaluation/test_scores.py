"""Similarity of generated images to the true ones."""

from pathlib import Path

import pytest
import torch
from synthesis_tables import rendered

from twfer_dist.synthesis.evaluation.scores import prototype_sheet, sample_sheet, score, ssim
from twfer_dist.synthesis.networks import Generator
from twfer_dist.synthesis.pairs import Pairs, load_pairs


class Copies(Generator):
    """Returns its input."""

    def forward(self, image: torch.Tensor, units: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.zeros_like(image), torch.ones_like(image[:, :1])


@pytest.fixture
def held_out(tmp_path: Path) -> Pairs:
    return load_pairs([rendered(str(tmp_path))], 64, 0.25)[1]


def test_ssim_is_one_for_equal_images() -> None:
    image = torch.rand(1, 3, 16, 16) * 2 - 1
    torch.testing.assert_close(ssim(image, image), torch.ones(1, 1, 16, 16))


def test_ssim_of_constants_has_its_known_value() -> None:
    a, b = torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.25)
    expected = (2 * 0.5 * 0.25 + 4e-4) / (0.5**2 + 0.25**2 + 4e-4)
    torch.testing.assert_close(ssim(a, b), torch.full((1, 1, 16, 16), expected), atol=1e-4, rtol=1e-3)


def test_a_generator_that_copies_scores_as_copying(held_out: Pairs) -> None:
    scores = score(Copies(4), held_out, 5)
    for measure in ("psnr", "ssim", "l1"):
        for region in ("all", "changed", "rest"):
            assert scores[f"output_{measure}_{region}"] == pytest.approx(scores[f"copy_{measure}_{region}"])
    assert 0 < scores["changed_share"] < 0.6
    assert scores["copy_l1_changed"] > 10 > scores["copy_l1_rest"]


def test_sheets_show_the_input_and_seven_expressions(held_out: Pairs) -> None:
    sheet = sample_sheet(Copies(4), held_out, 6)
    assert sheet.shape == (2 * 64, 8 * 64, 3)
    assert (sheet[:64, :64] == sheet[64:, :64]).all() and (sheet[:64, 64:] != sheet[64:, 64:]).any()
    assert prototype_sheet(Copies(4), held_out, 3).shape == (3 * 64, 8 * 64, 3)
