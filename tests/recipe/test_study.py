"""The recipe behind `twfer study`."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from study_tables import make_training, make_world

import twfer_dist
from twfer_dist.cli.main import main
from twfer_dist.core.errors import UserError
from twfer_dist.engine import artifact
from twfer_dist.recipe.status import find_faces
from twfer_dist.recipe.study import study_recipe
from twfer_dist.recognition.train_config import TrainConfig

DEMO = Path(twfer_dist.__file__).parent / "demo"


def test_a_study_of_a_bucket_prints_no_key(tmp_path: Path) -> None:
    world = make_world(str(tmp_path))
    training = make_training(str(tmp_path), world.dataset, TrainConfig(network="arm", size=96), 20)
    text = study_recipe(["s3://key:secret@bucket/heads"], {}, (), None, None, model=training.uri).text
    assert "s3://bucket/heads" in text and "secret" not in text


def test_several_folders_are_corpora_of_one_study(tmp_path: Path) -> None:
    """Folders that are called alike take the name of the folder around them."""
    folders = [str(tmp_path / name) for name in ("qin/photographs", "han/photographs", "maya")]
    recipe = study_recipe(folders, {}, (), None, None)
    assert list(recipe.corpora) == ["qin-photographs", "han-photographs", "maya"]
    assert recipe.out.endswith("runs/study-qin-photographs-han-photographs-maya")
    faces, report = recipe.stages[0], recipe.stages[-1]
    assert list(faces.inputs["corpora"]) == list(recipe.corpora)
    assert report.settings["title"] == "Expressions in qin-photographs, han-photographs and maya"


def test_a_folder_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is named twice"):
        study_recipe([str(tmp_path), f"{tmp_path}/"], {}, (), None, None)


def test_any_of_the_folders_may_have_the_column(tmp_path: Path) -> None:
    for name, table in (("qin", "path,pit\na.jpg,1\n"), ("han", "path\nb.jpg\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.csv").write_text(table)
    folders = [str(tmp_path / name) for name in ("qin", "han")]
    assert study_recipe(folders, {}, ("pit",), None, None).stages[-1].settings["groups"] == ["pit"]
    with pytest.raises(UserError, match="have no column 'posture' to group by: they have pit"):
        study_recipe(folders, {}, ("posture",), None, None)


@pytest.mark.parametrize(
    "command", ["annotate", *(pytest.param(name, marks=pytest.mark.long) for name in ("study", "similarity"))]
)
def test_what_could_not_be_read_is_retried(ray_cluster: None, tmp_path: Path, command: str) -> None:
    """Its size and time are those that it had then, so that only a retry reads it again."""
    whole, folder, out = (
        sorted((DEMO / "tw58" / "photographs").iterdir())[:3],
        tmp_path / "photographs",
        tmp_path / "out",
    )
    folder.mkdir()
    for number, path in enumerate(whole):
        (folder / f"{number}.jpg").write_bytes(path.read_bytes() if number else bytes(path.stat().st_size))
    os.utime(folder / "0.jpg", (1, 1))
    words = [command, str(folder), "--out", str(out), "--detector", "haar"]
    words += ["--html", str(tmp_path / "page.html")] if command == "annotate" else []

    def statuses() -> dict[str, int]:
        found = CliRunner().invoke(main, words)
        assert found.exit_code == 0, found.output
        return dict(artifact.open_artifact(find_faces(str(out))).manifest.counts["photographs"])

    assert statuses()["unreadable"] == 1
    (folder / "0.jpg").write_bytes(whole[0].read_bytes())
    os.utime(folder / "0.jpg", (1, 1))
    assert statuses()["unreadable"] == 1
    words += ["--retry", "failed"]
    assert "unreadable" not in statuses()
