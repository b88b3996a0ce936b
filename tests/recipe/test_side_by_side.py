"""Stages at once: who waits for whom, and processes of their own on a real cluster."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import INDEX
from twfer_dist.engine.spec import StageSpec
from twfer_dist.recipe.load import load_recipe
from twfer_dist.recipe.recipe import Recipe
from twfer_dist.recipe.run import run_recipe
from twfer_dist.recipe.side_by_side import needed_stages
from twfer_dist.recipe.walk import walk

ALIGNED = {"kind": "faces", "aligned": True, "keep": "all"}


def recipe_of(folder: Path, stages: dict[str, dict]) -> Recipe:
    """A recipe over two corpora of forty photographs each."""
    rng = np.random.default_rng(0)
    for name in ("qin", "han"):
        (folder / name).mkdir(exist_ok=True)
        for k in range(40):
            assert cv2.imwrite(str(folder / name / f"{k:02}.png"), rng.integers(0, 255, (96, 96, 3), np.uint8))
    path = folder / "recipe.yaml"
    corpora = {name: str(folder / name) for name in ("qin", "han")}
    path.write_text(yaml.safe_dump({"out": str(folder / "out"), "corpora": corpora, "stages": stages}, sort_keys=False))
    return load_recipe(str(path))


def two_corpora(folder: Path) -> Recipe:
    """Two stages, and one that needs both of them."""
    return recipe_of(folder, {
        "qin": ALIGNED | {"corpora": ["qin"]},
        "han": ALIGNED | {"corpora": ["han"]},
        "both": {"kind": "embed", "inputs": ["qin", "han"]},
    })  # fmt: skip


@pytest.fixture
def joined(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Processes that the test starts join the shared cluster."""
    import ray

    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    yield


class MostAtOnce:
    """The largest number of leases seen together: each is of a stage that runs."""

    def __init__(self, out: str) -> None:
        self._out, self._ended, self.most = Path(out), threading.Event(), 0
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._ended.wait(0.02):
            self.most = max(self.most, len(list(self._out.glob("*.lease"))))

    def __enter__(self) -> "MostAtOnce":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def test_a_stage_waits_for_what_it_needs(tmp_path: Path) -> None:
    """A corpus may have the name of a stage, as here."""
    recipe = two_corpora(tmp_path)
    assert [needed_stages(recipe, stage) for stage in recipe.stages] == [[], [], ["qin", "han"]]


def test_a_file_among_the_outputs_waits_for_all_above(tmp_path: Path) -> None:
    """It may be the work of any of them."""
    network = str(tmp_path / "out" / "network.safetensors")
    faces = ALIGNED | {"corpora": ["qin"]}
    stages: dict[str, dict] = {
        "qin": faces,
        "again": faces,
        "named": {"kind": "embed", "inputs": ["again"], "network": network},
    }
    recipe = recipe_of(tmp_path, stages)
    assert needed_stages(recipe, recipe.stages[2]) == ["qin", "again"]
    stages["named"]["network"] = str(tmp_path / "network.safetensors")
    elsewhere = recipe_of(tmp_path, stages)
    assert needed_stages(elsewhere, elsewhere.stages[2]) == ["again"]


def test_without_a_cluster_jobs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match="leave --jobs out"):
        list(run_recipe(two_corpora(tmp_path), jobs=2))


@pytest.mark.long
def test_stages_at_once_give_what_they_give_in_order(joined: None, tmp_path: Path) -> None:
    recipe = two_corpora(tmp_path)
    with MostAtOnce(recipe.out) as leases:
        made = list(run_recipe(recipe, jobs=2, quiet=True))
    assert leases.most == 2
    assert {outcome.stage.name for outcome in made[:2]} == {"qin", "han"} and made[2].stage.name == "both"
    assert {outcome.state for outcome in made} == {"made"}
    again = list(run_recipe(recipe, jobs=2, quiet=True))
    assert [outcome.state for outcome in again] == ["finished"] * 3
    in_order = list(run_recipe(replace(recipe, out=str(tmp_path / "in-order")), quiet=True))
    digests = {outcome.stage.name: outcome.artifact.digest for outcome in in_order if outcome.artifact}
    assert digests == {outcome.stage.name: outcome.artifact.digest for outcome in made if outcome.artifact}
    index = storage.read_bytes(storage.join(recipe.out, INDEX))
    assert index == storage.read_bytes(str(tmp_path / "in-order" / INDEX))


@pytest.mark.long
def test_a_failure_waits_for_the_stage_beside_it(joined: None, tmp_path: Path) -> None:
    """That stage is finished, the one that needs both is not begun, and the sentence is the first fault's."""
    recipe, specs = two_corpora(tmp_path), list[StageSpec]()
    list(walk(recipe, lambda _, spec: specs.append(spec)))
    in_the_way = Path(recipe.out) / specs[1].name
    in_the_way.parent.mkdir()
    in_the_way.write_text("a file where a folder should be")
    found = []
    with pytest.raises(UserError, match=in_the_way.name):
        for outcome in run_recipe(recipe, jobs=2, quiet=True):
            found.append(outcome.stage.name)
    assert found == ["qin"]
