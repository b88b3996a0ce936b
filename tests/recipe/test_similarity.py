"""The recipe behind `twfer similarity`."""

from pathlib import Path

import numpy as np
import pytest

from twfer_dist.core import images
from twfer_dist.core.errors import UserError
from twfer_dist.recipe.similarity import similarity_recipe

COMPARISON = {"by": "corpus", "sample": 60, "language": "en"}


def folder(path: Path) -> str:
    path.mkdir(parents=True)
    (path / "1.jpg").write_bytes(images.encode_jpeg(np.zeros((32, 32, 3), np.uint8)))
    return str(path)


def test_each_folder_has_its_faces_and_all_are_compared(tmp_path: Path) -> None:
    corpora = [folder(tmp_path / "statues"), folder(tmp_path / "people")]
    recipe = similarity_recipe(corpora, {"keep": "largest"}, str(tmp_path / "out"), {"network": None}, COMPARISON)
    stages = {stage.name: stage for stage in recipe.stages}
    assert [stage.kind for stage in recipe.stages] == ["faces", "faces", "embed", "similarity"]
    assert stages["embed"].inputs["inputs"] == ["faces of statues", "faces of people"]
    assert stages["similarity"].settings["sample"] == 60 and "network" not in stages["embed"].settings
    assert recipe.name == "similarity-statues-people"


def test_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    corpora = [folder(tmp_path / "a" / "faces"), folder(tmp_path / "b" / "faces")]
    with pytest.raises(UserError, match="two are called 'faces': rename a folder"):
        similarity_recipe(corpora, {}, None, {}, COMPARISON)
