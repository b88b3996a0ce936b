"""Settings of a recipe: what is refused, in which words, before any stage is done."""

import dataclasses
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from twfer_dist.cli.main import main
from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.engine.config import Range, fill, read_yaml
from twfer_dist.engine.kind import Compute
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.recipe.kinds import KINDS, kind_of
from twfer_dist.recipe.load import load_recipe

GENERATOR = "package:weights/generator.safetensors"
STAGES: dict[str, dict[str, Any]] = {
    "heads": {"kind": "render", "head": "head.npz"},
    "gan": {"kind": "generator", "rendered": "heads"},
    "points": {"kind": "face-network", "rendered": "heads"},
    "who": {"kind": "identity-network", "rendered": "heads"},
    "found": {"kind": "faces", "corpora": ["warriors"]},
    "better": {"kind": "corrected", "faces": "found", "corrections": "table.csv"},
    "moved": {"kind": "animate", "faces": ["found"], "generator": GENERATOR},
    "shown": {"kind": "strips", "animated": ["moved"], "faces": ["found"]},
    "set": {"kind": "dataset", "animated": ["moved"], "ratios": [7, 1, 2]},
    "learn": {"kind": "train", "dataset": "set"},
    "search": {"kind": "sweep", "dataset": "set"},
    "read": {"kind": "predict", "inputs": ["found"], "model": "learn"},
    "valid": {"kind": "validity", "real": "set", "animated": "set", "models": ["learn"], "predictions": ["read"]},
    "looks": {"kind": "embed", "inputs": ["found", "moved"], "model": "learn"},
    "alike": {"kind": "similarity", "embeddings": ["looks"], "sample": 60},
    "page": {"kind": "report", "predictions": ["read"]},
    "tables": {"kind": "paper-tables", "arm_1": "learn", "datasets": ["set"], "predictions": ["read"]},
}


def needed(stage: str) -> list[str]:
    """The stage, after all those that it needs."""
    named = [
        one
        for value in STAGES[stage].values()
        for one in (value if isinstance(value, list) else [value])
        if one in STAGES
    ]
    return [*dict.fromkeys(name for one in named for name in needed(one)), stage]


def written(folder: Path, given: dict[str, Any], **parts: Any) -> Path:
    """A recipe of these stages."""
    place = folder / "x.yaml"
    whole = {
        "name": "x",
        "out": str(folder / "out"),
        "corpora": {"warriors": "package:demo/tw58"},
        "stages": given,
        **parts,
    }
    place.write_text(yaml.safe_dump(whole, sort_keys=False))
    return place


def refused(folder: Path, stage: str, change: dict[str, Any], **parts: Any) -> str:
    """What `twfer run RECIPE --plan` says of the recipe with a changed stage; a setting of None is left out."""
    given = {name: STAGES[name] for name in needed(stage)}
    given[stage] = {key: value for key, value in (STAGES[stage] | change).items() if value is not None}
    result = CliRunner().invoke(main, ["run", str(written(folder, given, **parts)), "--plan"])
    assert result.exit_code == 2, result.output
    sentence = result.stderr.strip()
    assert sentence.startswith("twfer: ") and "\n" not in sentence and not (folder / "out").exists()
    return sentence


NUMBERS = [
    ("heads", {"figures": 0}, "figures is 0; use 1 to 100,000"),
    ("heads", {"states": 2.5}, "states is 2.5; use a whole number, 1 to 100"),
    ("heads", {"yaw": -1}, "yaw is -1; use 0 to 60"),
    ("heads", {"materials": ["jade"]}, 'materials is ["jade"]; use some of terracotta'),
    ("heads", {"seed": -1}, "seed is -1; use 0 to 4,294,967,295"),
    ("gan", {"size": 100}, "size is 100; use a multiple of 64 from 64 to 1024"),
    ("gan", {"supervised_steps": 0}, "a generator is trained for 0 steps; set supervised_steps or adversarial_steps"),
    ("gan", {"keep_at": [0]}, "keep_at: one of [0] is 0; use 1 to 1,000,000,000"),
    (
        "gan",
        {"supervised_steps": 5, "keep_at": [6]},
        "keep_at names step 6, and the supervised phase has 5; use 1 to 5",
    ),
    ("gan", {"supervised_rate": 0}, "supervised_rate is 0; use more than 0, up to 1"),
    ("points", {"batch": 1}, "batch is 1; use 2 to 4096"),
    ("points", {"minutes": -3}, "minutes is -3; use more than 0, up to 1,000,000"),
    ("points", {"held_out": 1}, "held_out is 1; use more than 0, up to 0.9"),
    ("who", {"batch": 7}, "A batch of 7 cannot show each of its figures twice"),
    ("found", {"side": 100}, "side is 100; use a multiple of 32 from 64 to 4096"),
    ("found", {"gate": {"eyes": -1}}, "gate: eyes is -1; use 0 to 10,000"),
    ("found", {"gate": 5}, "gate is 5; use names and what belongs to them"),
    ("found", {"keep": "larges"}, "keep is \"larges\"; did you mean 'largest'? Use largest or all"),
    ("found", {"detector": "eyes"}, "'eyes' is not a face detector: use auto, yunet, centerface or haar"),
    ("moved", {"levels": 1}, "levels is 1 and drop_last leaves the strongest out"),
    ("moved", {"quality": 0}, "quality is 0; use 1 to 100"),
    ("moved", {"batch": True}, "batch is true; use a whole number, 1 to 4096"),
    ("shown", {"side": 0}, "side is 0; use 16 to 2048"),
    ("set", {"ratios": [7, 0]}, "ratios: one of [7, 0] is 0; use more than 0"),
    ("set", {"ratios": "7:1:2"}, 'ratios is "7:1:2"; use a list, such as [7:1:2]'),
    ("set", {"ratios": [7, 1, 1, 1]}, "ratios is [7.0, 1.0, 1.0, 1.0]; use 2 numbers (train, test) or 3"),
    ("set", {"ratios": None}, "the split 'by_figure' needs ratios, such as [7, 1, 2], or counts"),
    ("set", {"counts": [7, 3]}, "a split has both ratios and counts; use one of them"),
    ("set", {"split": "by_figures"}, "split is \"by_figures\"; did you mean 'by_figure'?"),
    (
        "set",
        {"split": "given", "faces": ["found"]},
        "the split 'given' is the corpus's own; leave out ratios and counts",
    ),
    (
        "set",
        {"ratios": [99, 1], "per_expression": 1},
        "per_expression gives 7 images, which do not fill 2 parts by [99.0, 1.0]",
    ),
    ("set", {"per_expression": 0}, "per_expression is 0; use 1 to 10,000,000"),
    (
        "set",
        {"ratios": None, "counts": [100, 50], "per_expression": 20},
        "counts add up to 150, but per_expression gives 140 images",
    ),
    ("learn", {"batch": 1}, "batch is 1; use 2 to 65,536"),
    ("learn", {"learning_rate": 100}, "learning_rate is 100; use more than 0, up to 1"),
    ("learn", {"learning_rate": float("nan")}, "learning_rate is NaN; use a number, more than 0, up to 1"),
    ("learn", {"learning_rate": float("inf")}, "learning_rate is Infinity; use a number, more than 0, up to 1"),
    ("learn", {"learning_rate": 10**400}, "use a number, more than 0, up to 1"),
    ("learn", {"gamma": -2}, "gamma is -2; use 0 to 20"),
    ("learn", {"decay": -1}, "decay is -1; use more than 0, up to 1"),
    ("learn", {"accuracy_target": 5}, "accuracy_target is 5; use 0 to 1"),
    ("learn", {"class_alphas": [0] * 7}, "class_alphas are all 0"),
    ("learn", {"class_alphas": [1, 2]}, "class_alphas has 2 numbers and there are 7 expressions"),
    ("learn", {"network": "arm", "size": 64}, "size is 64, and ARM needs 96 or more; use that, or network: resnet18"),
    (
        "learn",
        {"precision": "bfloat"},
        "precision is \"bfloat\"; did you mean 'bfloat16'? Use auto, float32 or bfloat16",
    ),
    ("search", {"trials": 0}, "trials is 0; use 1 to 10,000"),
    ("search", {"gamma": [4, 0]}, "gamma is [4.0, 0.0]; use two numbers, the lowest and the highest"),
    ("search", {"alpha": [0.5]}, "alpha is [0.5]; use two numbers"),
    ("search", {"learning_rate": [0, 0.1]}, "learning_rate: one of [0, 0.1] is 0; use more than 0"),
    ("search", {"train": {"loss": "softmax"}}, "a sweep needs the sigmoid loss"),
    ("search", {"train": {"epochs": 0}}, "train: epochs is 0; use 1 to 100,000"),
    ("read", {"batch": -1}, "batch is -1; use 1 to 4096"),
    ("page", {"strips": -1}, "strips is -1; use 0 to 10,000"),
]

TOGETHER = [
    (
        "read",
        {"imputs": ["found"]},
        "'imputs' is not a setting here; did you mean 'inputs'? Use inputs, model, datasets, compute, batch",
    ),
    ("learn", {"epoch": 8}, "'epoch' is not a setting here; did you mean 'epochs'?"),
    ("found", {"kind": "face"}, "did you mean 'faces'?"),
    (
        "learn",
        {"dataset": "sett"},
        "'dataset' names 'sett', which is not defined above: there is found, moved, set, or",
    ),
    ("read", {"model": None}, "'model' is missing: name a stage of kind train, or its output directory"),
    ("read", {"inputs": []}, "'inputs' is missing: name a stage of kind faces, corrected, animate or dataset"),
    ("found", {"corpora": None}, "'corpora' is missing: name a corpus"),
    ("heads", {"head": None}, "'head' is missing: name a head model, such as package:demo/head.npz"),
    ("moved", {"generator": None}, "'generator' is missing: name a checkpoint"),
    ("better", {"corrections": None}, "'corrections' is missing: name the table"),
    ("moved", {"faces": None}, "'faces' is missing: name a stage of kind faces or corrected"),
    ("read", {"model": "found"}, "'model' names stage 'found', which is of kind faces: name one of kind train"),
    (
        "page",
        {"predictions": ["found"]},
        "'predictions' names stage 'found', which is of kind faces: name one of kind predict",
    ),
    ("gan", {"rendered": None}, "A generator has no training images"),
    ("set", {"animated": None}, "The data set includes animated, but 'animated' is missing"),
    ("set", {"ratios": None, "split": "given"}, "The split 'given' is that of the photographs, but 'faces' is missing"),
    ("learn", {"trunk": "learn2"}, "'trunk' names 'learn2', which is not defined above"),
    ("gan", {"bfloat16": True}, "'bfloat16' is now 'precision': write precision: auto, float32 or bfloat16"),
    ("moved", {"bfloat16": False}, "'bfloat16' is now 'precision'"),
    ("better", {"corrections": "nowhere.csv"}, "the 'corrections' of stage 'better' "),
]


@pytest.mark.parametrize(("stage", "change", "sentence"), NUMBERS + TOGETHER)
def test_a_wrong_setting_is_one_sentence_of_the_plan(tmp_path: Path, stage: str, change: dict, sentence: str) -> None:
    said = refused(tmp_path, stage, change)
    assert sentence in said
    assert "nowhere.csv" in said or re.search(rf"x\.yaml, stage '{stage}'(, line \d+)?: ", said)


def test_a_wrong_setting_is_told_with_its_line(tmp_path: Path) -> None:
    for stage, key, value in (("moved", "batch", 0), ("learn", "epoch", 8), ("learn", "dataset", "sett")):
        said = refused(tmp_path, stage, {key: value})
        lines = (tmp_path / "x.yaml").read_text().splitlines()
        (number,) = (k for k, line in enumerate(lines, 1) if line.strip() == f"{key}: {value}")
        assert f"x.yaml, stage '{stage}', line {number}: " in said
    said = refused(tmp_path, "search", {"train": {"batch": 0}})
    (number,) = (k for k, line in enumerate((tmp_path / "x.yaml").read_text().splitlines(), 1) if "batch: 0" in line)
    assert f"stage 'search', line {number}: train: batch is 0" in said


@pytest.mark.parametrize(
    ("stage", "change", "compute", "sentence"),
    [
        ("gan", {"batch": 16}, {"workers": 3}, "A batch of 16 images cannot be split among 3 workers"),
        ("who", {"batch": 6}, {"workers": 2}, "A batch of 3 pairs of images cannot be split among 2 workers"),
        ("learn", {}, {"workers": -1}, "workers is -1; use 0 to 4096"),
        ("learn", {}, {"gpus": "many"}, 'gpus is "many"; use a number, 0 to 64'),
        ("learn", {}, {"worker": 2}, "'worker' is not a setting here; did you mean 'workers'?"),
    ],
)
def test_what_is_computed_with_goes_with_the_stages(
    tmp_path: Path, stage: str, change: dict, compute: dict, sentence: str
) -> None:
    assert sentence in refused(tmp_path, stage, change, compute=compute)


def test_numbers_are_read_as_people_write_them(tmp_path: Path) -> None:
    text = "a: {rate: 3e-4, other: 1e-4, count: 1_000, far: 1e3, quoted: '32', time: 7:1:2, clock: 10}"
    (tmp_path / "x.yaml").write_text(text)
    given, _ = read_yaml(str(tmp_path / "x.yaml"))
    assert given["a"]["time"] == "7:1:2" and given["a"]["clock"] == 10
    changes = {
        "learning_rate": given["a"]["rate"],
        "epochs": given["a"]["count"],
        "batch": given["a"]["quoted"],
        "seed": given["a"]["far"],
    }
    place = written(tmp_path, {name: STAGES[name] for name in needed("set")} | {"learn": STAGES["learn"] | changes})
    learn = load_recipe(str(place)).stages[-1]
    config = fill(kind_of(learn.kind).config, learn.settings, "here")
    assert (config.learning_rate, config.epochs, config.batch, config.seed) == (3e-4, 1000, 32, 1000)
    assert isinstance(config.batch, int) and isinstance(config.seed, int)


def test_every_number_of_every_stage_has_limits() -> None:
    """So that no setting is added without: each number of each kind is refused beyond them, in a recipe and in code."""
    counted = 0
    for kind in [Compute, *(kind_of(name).config for name in KINDS)]:
        for name, hint in typing.get_type_hints(kind, include_extras=True).items():
            for bare, limits in numbers(hint):
                assert limits, f"{kind.__name__}.{name} is a number without limits"
                counted += bare in (int, float)
    assert counted > 50


def numbers(hint: Any, limits: bool = False) -> Iterator[tuple[Any, bool]]:
    """The numbers within a type hint, and whether each is limited."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        yield from numbers(arguments[0], isinstance(arguments[1], Range))
    elif origin in (typing.Union, types.UnionType, tuple):
        for one in arguments:
            yield from numbers(one)
    elif dataclasses.is_dataclass(hint):
        for inner in typing.get_type_hints(hint, include_extras=True).values():
            yield from numbers(inner)
    elif hint in (int, float):
        yield hint, limits


def test_what_is_made_in_code_is_checked_too() -> None:
    with pytest.raises(ValueError, match="actors is 0; use 1 to 100,000"):
        Compute(actors=0)
    with pytest.raises(ValueError, match="gpus is 1.5; use a share below 1, or a whole number"):
        Compute(gpus=1.5)


def test_a_directory_of_another_kind_is_refused_by_the_plan(tmp_path: Path) -> None:
    def do(work: StageOutput) -> None:
        work.write_table(".", schema.ANIMATED.empty_table())

    finished = run_stage(
        StageSpec("animate", 1, {}, {}, {}, {".": schema.ANIMATED}, do), str(tmp_path / "other"), quiet=True
    )
    said = refused(tmp_path, "read", {"model": finished.uri})
    assert f"x, stage 'read': 'model' names {finished.uri}, which is of kind animate: name one of kind train" in said


@pytest.mark.parametrize("text", ["stages: {{name}}", "[a]: b", "? {a: 1}\n: 2"])
def test_a_name_that_is_no_word_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError, match="line 1: a name is a word"):
        read_yaml(str(tmp_path / "x.yaml"))
