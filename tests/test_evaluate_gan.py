"""`twfer evaluate gan`: what it measures, on tables of known content, and that it prints one object or one sentence."""

import json
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from click.testing import CliRunner, Result
from synthesis_tables import faces, finished
from tiny_head import rendered

from twfer_dist.cli.main import main
from twfer_dist.core.prototypes import prototype
from twfer_dist.core.schema import FACES
from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.measurement import analyzer, checkpoint, identity
from twfer_dist.measurement.network import FaceNetwork
from twfer_dist.rendering.plan import ClayConfig
from twfer_dist.synthesis import checkpoints
from twfer_dist.synthesis.evaluation import control, evaluate
from twfer_dist.synthesis.networks import Generator, WarpingGenerator

pytestmark = pytest.mark.usefixtures("one_thread")


def test_correlation_of_asked_and_measured_change() -> None:
    random = np.random.default_rng(0)
    asked = random.normal(0, 2, (200, 17))
    asked[:, 2] = 0  # never asked for
    found = 0.5 * asked + random.normal(0, 0.001, asked.shape)
    found[:, 3] *= -1
    found[:, 4] = 0  # never seen
    found[7] = np.nan  # no face seen
    told = control.correlations(asked, found)
    by_au = told["by_au"]
    assert isinstance(by_au, dict) and list(by_au) == list(ACTION_UNITS) and told["n"] == 199
    assert by_au["AU01"] == pytest.approx(1, abs=1e-3) and by_au["AU05"] == pytest.approx(-1, abs=1e-3)
    assert by_au["AU04"] is None and by_au["AU06"] == 0
    assert told["mean"] == pytest.approx((14 - 1 + 0) / 16, abs=1e-3)


def test_strength_is_the_length_along_the_prototype() -> None:
    for label, expression in enumerate(EXPRESSIONS[:-1], start=1):
        full = prototype(expression)
        assert control.strengths(0.4 * full, label) == pytest.approx(0.4 * np.linalg.norm(full))
    across = np.zeros(17)
    across[ACTION_UNITS.index("AU12")] = 5
    assert control.strengths(across, 1) == pytest.approx(0)


def test_a_tie_does_not_rise() -> None:
    rows = np.array([[0, 1, 2], [0, 1, 1], [0, 2, 1], [0, 0, 0], [0, np.nan, 2]])
    assert control.rises(rows).tolist() == [True, False, False, False, False]


def test_how_much_the_choice_of_references_matters() -> None:
    figures = np.arange(6.0)[:, None]
    assert control.choice(figures + np.zeros(3)) == {
        "references": 3,
        "lowest": 2.5,
        "highest": 2.5,
        "share_of_variance": 0.0,
    }
    of_references = control.choice(0 * figures + np.array([1, 4]))
    assert (of_references["lowest"], of_references["highest"], of_references["share_of_variance"]) == (1, 4, 1)
    half = control.choice(np.array([[0.0, 2.0], [2.0, 4.0]]))
    assert half["share_of_variance"] == pytest.approx(0.5)


def test_feature_distance_sees_where_pictures_differ() -> None:
    torch.manual_seed(0)
    network = FaceNetwork().eval()
    a = torch.rand(2, 3, 96, 96) * 2 - 1
    b = a.clone()
    b[:, :, 20:40, 20:40] *= -1
    with torch.inference_mode():
        assert evaluate.feature_distance(network, a, a).abs().max() < 1e-5
        distance = evaluate.feature_distance(network, a, b)
    assert distance.shape == (2, 1, 96, 96)
    assert distance[:, :, 20:40, 20:40].mean() > 3 * distance[:, :, 70:, 70:].mean()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """20 figures, each in two scenes and two states."""
    return rendered(str(tmp_path_factory.mktemp("scenes")), ClayConfig(figures=20, scenes=2, states=2, size=64))


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A generator that copies (where attention is 1, the input stays), one of random weights, and judges of random
    weights.
    """
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    copies = WarpingGenerator(4)
    torch.nn.init.constant_(copies.get_parameter("attention.bias"), 1e3)
    files = {
        "ours": checkpoints.save(copies, size=64),
        "public": checkpoints.save(Generator(4), size=64),
        "reference_analyzer": analyzer.to_bytes(FaceNetwork(), np.ones(17, np.float32), recipe="none"),
        "identity": checkpoint.to_bytes(identity.IdentityNetwork(), recipe="none"),
    }
    for name, data in files.items():
        (folder / f"{name}.safetensors").write_bytes(data)
    return {name: str(folder / f"{name}.safetensors") for name in files}


def asked(networks: dict[str, str], rendered: str, *more: str, **changed: str) -> Result:
    options = [word for name, file in {**networks, **changed}.items() for word in (f"--{name}", file)]
    return CliRunner().invoke(main, ["evaluate", "gan", *options, "--rendered", rendered, *more])


def test_one_object_with_everything_for_clay_and_sculpture(
    scenes: Artifact, networks: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "STEPS", [0.8])
    monkeypatch.setattr(evaluate, "REFERENCES", 2)
    rows = faces(str(tmp_path), 21).table("faces", FACES)
    whole = rows.filter(pc.not_equal(rows["figure_id"], "drawn-figure1"))  # that one's crop is broken
    sculpture = finished(str(tmp_path), "faces", "faces", whole, FACES)
    result = asked(networks, scenes.uri, "--faces", sculpture.uri, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    for key in ("psnr", "ssim", "feature_distance"):
        assert told[key]["n"] == 40 and set(told[key]) >= {"copy", "public", "ours"}
        for region in ("changed", "rest"):
            assert told[key]["ours"][region] == pytest.approx(told[key]["copy"][region], rel=1e-3)
            assert told[key]["public"][region] != pytest.approx(told[key]["copy"][region], rel=1e-3)
    assert told["psnr"]["copy"]["changed"] < told["psnr"]["copy"]["rest"]
    assert told["feature_distance"]["copy"]["changed"] > told["feature_distance"]["copy"]["rest"]
    weights = storage.sha256(Path(networks["reference_analyzer"]).read_bytes())
    assert (
        weights[:12] in told["feature_distance"]["network"] and told["au_control_r"]["clay"]["analyzer"] == weights[:12]
    )

    clay, photographed = (told["au_control_r"][kind] for kind in ("clay", "sculpture"))
    assert clay["n"] == 40 and photographed["n"] == 20 * 6 and "truth" not in photographed
    assert clay["ours"]["mean"] == 0 and clay["ours"]["of_ceiling"] == 0 and abs(clay["truth"]["mean"]) > 0
    assert clay["public"]["of_ceiling"] == pytest.approx(clay["public"]["mean"] / clay["truth"]["mean"], abs=1e-2)
    for kind in ("clay", "sculpture"):
        rising = told["monotone_share"][kind]
        assert rising["n"] == 120 and (rising["copy"]["k"], rising["copy"]["n"], rising["copy"]["figures"]) == (
            0,
            120,
            20,
        )
        assert rising["ours"]["k"] == 0 and rising["public"]["by_expression"]["fear"]["n"] == 20
        known = told["identity_rank1"][kind]
        assert known["among"] == 20 and known["copy"]["n"] == known["n"] and known["ours"] == known["copy"]
    assert told["identity_rank1"]["clay"]["n"] == 20  # one scene is asked, the other is where figures are looked for
    assert told["identity_rank1"]["sculpture"]["copy"]["k"] == told["identity_rank1"]["sculpture"]["n"] == 120
    of_references = told["reference_choice"]
    assert of_references["n"] == 20 and of_references["by_expression"]["anger"]["references"] == 2
    assert of_references["share_of_variance"] == 0  # what copies shows no reference


def test_without_the_public_generator_and_for_people(
    scenes: Artifact, networks: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "STEPS", [1.0])
    some = {name: file for name, file in networks.items() if name != "public"}
    result = asked(some, scenes.uri)
    assert result.exit_code == 0, result.output
    assert (
        "psnr ours changed" in result.stdout
        and "identity rank1 clay among" in result.stdout
        and "public" not in result.stdout
    )


def test_wrong_input_is_one_sentence(scenes: Artifact, networks: dict[str, str], tmp_path: Path) -> None:
    few, broken_crop = faces(str(tmp_path), 1), faces(str(tmp_path), 2)
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    broken = str(tmp_path / "broken.safetensors")
    for result, words in (
        (asked(networks, str(tmp_path / "none")), "is not a finished output"),
        (asked(networks, few.uri), "holds no table"),
        (asked(networks, scenes.uri, "--faces", scenes.uri), "holds no table"),
        (asked(networks, scenes.uri, "--faces", few.uri), "faces of 1 figures, and one is looked for among 20"),
        (asked(networks, scenes.uri, "--faces", broken_crop.uri), "the image of drawn1neutral-0 cannot be decoded"),
        (asked(networks, scenes.uri, ours=networks["reference_analyzer"]), "does not hold a GANimation generator"),
        (asked(networks, scenes.uri, public=str(tmp_path / "none.pth")), "is not there"),
        (asked(networks, scenes.uri, reference_analyzer=networks["identity"]), "weights of another model"),
        (asked(networks, scenes.uri, identity=networks["reference_analyzer"]), "weights of another model"),
        (asked(networks, scenes.uri, reference_analyzer=broken), "is not a safetensors file"),
    ):
        assert result.exit_code == 2, result.output
        sentence = result.stderr.strip()
        assert words in sentence and sentence.startswith("twfer: ") and "\n" not in sentence, sentence


def test_too_few_figures_and_another_framing_are_refused(networks: dict[str, str], tmp_path: Path) -> None:
    for config, words in (
        (ClayConfig(figures=2, scenes=1, states=2, size=64), "scenes of 2 figures, and one is looked for among 20"),
        (ClayConfig(figures=2, scenes=1, states=2, size=64, framing="portrait"), "in the framing 'portrait'"),
    ):
        result = asked(networks, rendered(str(tmp_path), config).uri)
        assert result.exit_code == 2 and words in result.stderr, result.output
