"""`twfer evaluate gan` prints one object, or one sentence about wrong input."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
import torch
from click.testing import CliRunner, Result
from synthesis_tables import artifact, faces
from tiny_head import rendered

from twfer_dist.cli.main import main
from twfer_dist.core.schema import FACES
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.progress import Progress
from twfer_dist.measurement import analyzer, checkpoint, identity
from twfer_dist.measurement.network import FaceNetwork
from twfer_dist.rendering.plan import ClayConfig
from twfer_dist.synthesis import checkpoints
from twfer_dist.synthesis.evaluation import answer, evaluate, evaluator
from twfer_dist.synthesis.networks import Generator, WarpingGenerator

FIGURES = 3


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Few figures, one step, two references and one thread, to be quick."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluator, "MIN_GALLERY", FIGURES)
        for module in (evaluator, evaluate):
            patch.setattr(module, "INTENSITIES", [0.8])
        patch.setattr(evaluate, "REFERENCES", 2)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Three figures, each in two scenes and two states, of a seed that moves the mouth; the tiny head has no more."""
    config = ClayConfig(figures=FIGURES, scenes=2, states=2, size=64, seed=3)
    return rendered(str(tmp_path_factory.mktemp("scenes")), config)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A generator that copies (where attention is 1, the input stays), and others with random weights."""
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    copies = WarpingGenerator(4)
    torch.nn.init.constant_(copies.get_parameter("attention.bias"), 1e3)
    files = {
        "ours": checkpoints.save(copies, size=64),
        "public": checkpoints.save(Generator(4), size=64),
        "reference-analyzer": analyzer.to_bytes(FaceNetwork(), torch.ones(17).numpy(), recipe="none"),
        "identity": checkpoint.to_bytes(identity.IdentityNetwork(), recipe="none"),
    }
    for name, data in files.items():
        (folder / f"{name}.safetensors").write_bytes(data)
    return {name: str(folder / f"{name}.safetensors") for name in files}


def evaluate_gan(networks: dict[str, str], *more: str) -> Result:
    options = [word for name, file in networks.items() for word in (f"--{name}", file)]
    return CliRunner().invoke(main, ["evaluate", "gan", *options, *more])


@pytest.fixture(scope="module")
def scores(scenes: Artifact, networks: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The object that the command prints for clay and sculpture."""
    out = str(tmp_path_factory.mktemp("sculpture"))
    rows = faces(out, FIGURES + 1).table("faces", FACES)
    readable = rows.filter(pc.not_equal(rows["figure_id"], "drawn-figure1"))  # that one's crop is broken
    sculpture = artifact(out, "faces", "faces", readable, FACES)
    result = evaluate_gan(networks, "--rendered", scenes.uri, "--faces", sculpture.uri, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("key", ["psnr", "ssim", "feature_distance"])
def test_what_copies_is_as_similar_as_a_copy(scores: dict[str, Any], key: str) -> None:
    assert scores[key]["n"] == 2 * FIGURES and set(scores[key]) >= {"copy", "public", "ours"}
    for region in ("changed", "rest"):
        assert scores[key]["ours"][region] == pytest.approx(scores[key]["copy"][region], rel=1e-3)
        assert scores[key]["public"][region] != pytest.approx(scores[key]["copy"][region], rel=1e-3)


def test_a_copy_is_worse_where_the_truth_changes(scores: dict[str, Any], networks: dict[str, str]) -> None:
    assert scores["psnr"]["copy"]["changed"] < scores["psnr"]["copy"]["rest"]
    distance = scores["feature_distance"]
    assert distance["copy"]["changed"] > distance["copy"]["rest"]
    assert storage.sha256(Path(networks["reference-analyzer"]).read_bytes())[:12] in distance["network"]


def test_control_is_a_share_of_the_truths_own(scores: dict[str, Any], networks: dict[str, str]) -> None:
    clay, sculpture = (scores["au_control_r"][kind] for kind in ("clay", "sculpture"))
    assert clay["analyzer"] == storage.sha256(Path(networks["reference-analyzer"]).read_bytes())[:12]
    assert clay["n"] == 2 * FIGURES and sculpture["n"] == FIGURES * 6 and "truth" not in sculpture
    assert clay["ours"]["mean"] == 0 and clay["ours"]["of_ceiling"] == 0 and abs(clay["truth"]["mean"]) > 0
    assert clay["public"]["of_ceiling"] == pytest.approx(clay["public"]["mean"] / clay["truth"]["mean"], abs=1e-2)


@pytest.mark.parametrize("kind", ["clay", "sculpture"])
def test_what_copies_never_rises(scores: dict[str, Any], kind: str) -> None:
    rising = scores["monotone_share"][kind]
    assert rising["n"] == 6 * FIGURES and rising["ours"]["k"] == 0
    assert (rising["copy"]["k"], rising["copy"]["n"], rising["copy"]["figures"]) == (0, 6 * FIGURES, FIGURES)
    assert rising["public"]["by_expression"]["fear"]["n"] == FIGURES


def test_what_copies_is_identified_as_a_copy(scores: dict[str, Any]) -> None:
    clay, sculpture = (scores["identity_rank1"][kind] for kind in ("clay", "sculpture"))
    for identified in (clay, sculpture):
        assert identified["among"] == FIGURES and identified["copy"]["n"] == identified["n"]
        assert identified["ours"] == identified["copy"]
    assert clay["n"] == FIGURES  # one scene is looked up, the other is in the gallery
    assert sculpture["copy"]["k"] == sculpture["n"] == 6 * FIGURES


def test_what_copies_shows_no_reference(scores: dict[str, Any]) -> None:
    effect = scores["reference_choice"]
    assert effect["n"] == FIGURES and effect["by_expression"]["anger"]["references"] == 2
    assert effect["share_of_variance"] == 0


@pytest.mark.long
def test_without_arguments_on_what_ships(monkeypatch: pytest.MonkeyPatch) -> None:
    """The generator, the rendered figures and the terracottas of the package; every picture is counted."""
    counted: list[tuple[float, float]] = []

    class Counted(Progress):
        def close(self) -> None:
            counted.append((self._done, self._total))

    monkeypatch.setattr(evaluate, "Progress", Counted)
    result = evaluate_gan({}, "--figures", "3")
    assert result.exit_code == 0, result.output
    assert "faces of real sculpture" in result.stdout and "Anger rises on" in result.stdout
    assert answer.WITHOUT_IDENTITY in result.stdout and "public" not in result.stdout
    assert result.stdout.splitlines()[-1].startswith("Next: ")
    ((done, total),) = counted
    assert done == total > 0
    assert torch.get_num_threads() == 1


def test_few_figures_have_no_identity_score(networks: dict[str, str], tmp_path: Path) -> None:
    few = rendered(str(tmp_path / "few"), ClayConfig(figures=2, scenes=1, states=2, size=64))
    sculpture = faces(str(tmp_path), 1)
    result = evaluate_gan(networks, "--rendered", few.uri, "--faces", sculpture.uri, "--json")
    scores = json.loads(result.stdout)
    assert "identity_rank1" not in scores and scores["reference_choice"] is None
    control = scores["au_control_r"]["sculpture"]["public"]
    assert control["figures"] == 1 and control["low"] is None and control["mean"] is not None


def assert_one_sentence(result: Result, words: str) -> None:
    assert result.exit_code == 2, result.output
    sentence = result.stderr.strip()
    assert words in sentence and sentence.startswith("twfer: ") and "\n" not in sentence, sentence


@pytest.mark.parametrize(
    ("option", "other", "words"),
    [
        ("ours", "reference-analyzer", "does not hold a GANimation generator"),
        ("public", None, "none.pth"),
        ("reference-analyzer", "identity", "weights of another model"),
        ("identity", "reference-analyzer", "weights of another model"),
        ("reference-analyzer", "broken", "is not a weight file"),
    ],
)
def test_weights_of_another_kind_are_one_sentence(
    scenes: Artifact, networks: dict[str, str], tmp_path: Path, option: str, other: str | None, words: str
) -> None:
    (tmp_path / "broken").write_bytes(b"nothing")
    files = {**networks, "broken": str(tmp_path / "broken")}
    file = files[other] if other else str(tmp_path / "none.pth")
    assert_one_sentence(evaluate_gan({**networks, option: file}, "--rendered", scenes.uri), words)


def test_wrong_faces_are_one_sentence(scenes: Artifact, networks: dict[str, str], tmp_path: Path) -> None:
    few, broken_crop = faces(str(tmp_path), 1), faces(str(tmp_path), 2)
    none = artifact(str(tmp_path / "none"), "faces", "faces", few.table("faces", FACES)[:0], FACES)
    for rendered_uri, sculpture_uri, words in (
        (str(tmp_path / "missing"), few.uri, "is not a finished output"),
        (few.uri, few.uri, "holds no table"),
        (scenes.uri, scenes.uri, "holds no table"),
        (scenes.uri, none.uri, "has no neutral or unlabelled face"),
        (scenes.uri, broken_crop.uri, "the image of drawn1neutral-0 cannot be"),
    ):
        assert_one_sentence(evaluate_gan(networks, "--rendered", rendered_uri, "--faces", sculpture_uri), words)


@pytest.mark.parametrize(
    ("states", "framing", "words"), [(1, "crop", "no scene with two images"), (2, "portrait", "framing 'portrait'")]
)
def test_scenes_without_changes_or_as_portraits_are_refused(
    networks: dict[str, str], tmp_path: Path, states: int, framing: Any, words: str
) -> None:
    config = ClayConfig(figures=2, scenes=1, states=states, size=64, framing=framing)
    assert_one_sentence(evaluate_gan(networks, "--rendered", rendered(str(tmp_path), config).uri), words)
