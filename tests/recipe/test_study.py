"""The recipe behind `twfer study`."""

from pathlib import Path

from study_tables import make_training, make_world

from twfer_dist.recipe.study import study_recipe
from twfer_dist.recognition.training import TrainConfig


def test_a_study_of_a_bucket_prints_no_key(tmp_path: Path) -> None:
    world = make_world(str(tmp_path))
    training = make_training(str(tmp_path), world.dataset, TrainConfig(network="arm", size=96), 20)
    text = study_recipe("s3://key:secret@bucket/heads", {}, (), None, None, model=training.uri).text
    assert "s3://bucket/heads" in text and "secret" not in text
