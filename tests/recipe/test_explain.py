"""Explanations of kinds of stages, and the JSON Schema of recipes."""

import dataclasses
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from twfer_dist.cli.main import main
from twfer_dist.engine.config import read_yaml
from twfer_dist.recipe.explain import explain_kind, recipe_schema
from twfer_dist.recipe.kinds import KINDS, kind_of

ROOT = Path(__file__).resolve().parents[2]
RECIPES = [*(ROOT / "twfer_dist" / "recipes").glob("*.yaml"), *(ROOT / "jobs").glob("*.yaml")]


@pytest.mark.parametrize("path", [p for p in RECIPES if "stages:" in p.read_text()], ids=lambda path: path.name)
def test_recipes_that_ship_fit_the_schema(path: Path) -> None:
    faults = jsonschema.Draft202012Validator(recipe_schema()).iter_errors(read_yaml(str(path))[0])
    assert [fault.message for fault in faults] == []


@pytest.mark.parametrize(
    "change",
    [{"kind": "tarin"}, {"epoch": 3}, {"batch": 0}, {"batch": "many"}, {"loss": "focal"}, {"dataset": ["a", "b"]}],
)
def test_the_schema_refuses_what_a_recipe_cannot_hold(change: dict[str, Any]) -> None:
    stage = {"kind": "train", "dataset": "set", "epochs": 3, "trunk": "other"}
    jsonschema.validate({"stages": {"learn": stage}}, recipe_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"stages": {"learn": stage | change}}, recipe_schema())


@pytest.mark.parametrize("name", KINDS)
def test_every_setting_of_a_kind_is_explained(name: str) -> None:
    explained = explain_kind(name)
    kind = kind_of(name)
    assert [one["name"] for one in explained["settings"]] == [one.name for one in dataclasses.fields(kind.config)]
    keys = [one["key"] for one in (*explained["inputs"], *explained["files"], *explained["options"])]
    assert tuple(keys) == kind.keys and explained["makes"]
    assert all(one["meaning"] for one in (*explained["files"], *explained["options"], *explained["settings"]))
    assert not set(keys) & {one["name"] for one in explained["settings"]}  # a recipe could not set these


def test_a_comment_explains_its_own_setting() -> None:
    settings = {one["name"]: one for one in explain_kind("train")["settings"]}
    assert settings["batch"] == {
        "name": "batch",
        "accepts": "a whole number, 2 to 65,536",
        "default": "32",
        "meaning": "images of an update of the weights, over all workers",
    }
    assert settings["gamma"]["meaning"].startswith("of the focal loss")
    assert settings["alpha"]["meaning"].startswith("of the sigmoid loss")


def test_the_command_suggests_the_kind_that_was_meant() -> None:
    result = CliRunner().invoke(main, ["explain", "fases"])
    assert result.exit_code == 2 and "did you mean 'faces'?" in result.stderr
    shown = CliRunner().invoke(main, ["explain", "sweep"]).output
    assert "a number, more than 0, up to 1; default [3e-05, 0.001]" in shown
