"""The report: one page that holds everything, and the same numbers as JSON and CSV."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import resources
from typing import Annotated

import jinja2

import twfer_dist
from twfer_dist.core.language import Language, speak, use_language
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Range, Settings
from twfer_dist.engine.kind import Input, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.recognition.calibration import NOVELTY_PERCENTILE
from twfer_dist.study.faces_table import write_faces
from twfer_dist.study.figures import (
    LARGE_PIXELS,
    PRESENT,
    AnimatedFace,
    Card,
    Sheet,
    animated_strips,
    cards_of,
    contact_sheets,
    sample_cards,
)
from twfer_dist.study.groups import LEAST_FIGURES, MOST_NAMED, MOST_VALUES, SMALL
from twfer_dist.study.inputs import ReportInputs, photograph_splits
from twfer_dist.study.measured import read_measured
from twfer_dist.study.permutation import REGROUPINGS
from twfer_dist.study.plates import OPEN, Plate, plates
from twfer_dist.study.profile import standing_out
from twfer_dist.study.report_data import Study, collect
from twfer_dist.study.road_summary import road_summary
from twfer_dist.study.roads import at_start, called, is_road
from twfer_dist.study.summary import significance_level, summary
from twfer_dist.study.tables import csv_files
from twfer_dist.study.units import HIGH

VERSION = 4
UNCERTAIN = {
    "low_confidence": "below the confidence threshold",
    "out_of_distribution": (
        f"out of distribution (less like the training images than {NOVELTY_PERCENTILE:g} in 100 held-out images)"
    ),
    "unreadable": "with a crop that cannot be decoded",
    "low_quality": "too small, too blurred, cut off or turned too far for their landmarks to be trusted",
    "rejected": "marked as wrong by a person",
    "killed": "that crashed the program",
}
"""How the page describes faces without an accepted answer, by their status in PREDICTIONS."""

FACELESS = {
    "no_face": "without a detectable face",
    "missing": "listed but not found",
    "outside_corpus": "listed but outside the folder",
    "unreadable": "damaged or not an image",
    "unreachable": "unreachable in storage",
    "too_large": "with more pixels than the settings allow",
    "too_small": "smaller than the smallest face that is searched for",
    "killed": "that crashed the program",
}
"""How the page describes photographs without a face, by their status in PHOTOGRAPHS."""

_TEMPLATES = ("report.html.j2", "report.css.j2", "macros.html.j2", "unknown.html.j2", "notes.html.j2", "faces.html.j2",
    "clearest.html.j2", "roads.html.j2", "accuracy.html.j2", "validity.html.j2", "groups.html.j2", "units.html.j2",
    "models.html.j2", "units.css.j2")  # fmt: skip


@dataclass(frozen=True)
class ReportConfig(Settings):
    """What the page says and how much it shows; its tables always cover everything."""

    title: str = "Expressions in sculpted faces"
    question: str = (
        "Which expressions do these faces show, how do they differ between groups, and how far can the "
        "answer be believed?"
    )
    faces: Annotated[int, Range(0, 10_000)] = 48  # pictures of faces, at most
    strips: Annotated[int, Range(0, 10_000)] = 4  # animated faces, at most
    examples: Annotated[int, Range(0, 10_000)] = 12  # photographs without a face, about
    groups: tuple[str, ...] = ()  # the columns that faces are compared by; if empty, every column that groups them
    language: Language = "en"  # of the page; the tables and report.json are English
    recipe: str = ""  # the text of the recipe, printed under "How to reproduce this report"


@dataclass(frozen=True)
class Shown:
    """The pictures on the page."""

    cards: list[Card]
    clearest_cards: list[Card]  # of `Study.clearest`, large
    differing_cards: list[Card]  # of `Comparison.differing`, large
    sheets: list[Sheet]
    strips: list[AnimatedFace]
    plates: list[Plate]


def report_spec(
    predictions: Sequence[Artifact],
    *,
    faces: Sequence[Artifact] = (),
    animated: Sequence[Artifact] = (),
    datasets: Sequence[Artifact] = (),
    models: Sequence[Artifact] = (),
    validity: Sequence[Artifact] = (),
    config: ReportConfig,
) -> StageSpec:
    """The stage that writes `index.html` (self-contained), `report.json`, `accuracy.csv`, `validity.csv`,
    `confusion.csv`, `groups.csv`, `units_by_group.csv` and `faces.csv` (see faces_table.write_faces).

    predictions: outputs of `predict` and `read`. Answers to images of `datasets` give the accuracy on each split;
    answers to faces of `faces` are the study. animated: for the strips. models: finished trainings and sweeps, with the
    trainings behind cross-fitted answers. validity: finished validity tests. Any of them may be absent: the page says
    what is missing. Without `faces`, all images that are in none of `datasets` are taken for photographs.
    """
    inputs = ReportInputs(predictions, faces, animated, datasets, models, validity)
    named = {f"{kind}-{number}": output for kind, outputs in inputs for number, output in enumerate(outputs)}
    page = storage.sha256("".join(map(_template, _TEMPLATES)).encode())
    return StageSpec(
        "report", VERSION, named, config, {"page": page}, {}, partial(_write, inputs=inputs, config=config)
    )


def _template(name: str) -> str:
    return resources.files("twfer_dist.study").joinpath(name).read_text(encoding="utf-8")


def _write(output: StageOutput, *, inputs: ReportInputs, config: ReportConfig) -> None:
    images = photograph_splits(inputs)
    measured = read_measured(inputs.faces)
    study = collect(inputs, images, measured, columns=config.groups, examples=config.examples)
    large = partial(cards_of, predictions=inputs.predictions, faces=inputs.faces, pixels=LARGE_PIXELS)
    differing = study.comparison.differing if study.comparison else []
    shown = Shown(
        clearest_cards=large([(face["face_id"], face["model"]) for face in study.clearest]),
        differing_cards=large([(face_id, study.model) for face_id in differing]),
        cards=sample_cards(inputs.predictions, inputs.faces, images, study.model, config.faces),
        sheets=contact_sheets(inputs.faces),
        strips=animated_strips(inputs.animated, inputs.faces, config.strips),
        plates=plates(measured, inputs.faces),
    )
    answer = road_summary(study) if study.overall and is_road(study.model) else summary(study)
    with use_language(config.language):
        output.write_file("index.html", render(study, answer, shown, config, output.name).encode())
    sample = [{key: value for key, value in asdict(card).items() if key != "image"} for card in shown.cards]
    report = {"title": config.title, "question": config.question, **asdict(study), "answer": answer, "sample": sample}
    report["plates"] = [plate.as_json() for plate in shown.plates]
    output.write_file("report.json", json.dumps(report, indent=1, ensure_ascii=False).encode() + b"\n")
    for file, data in csv_files(study).items():
        output.write_file(file, data)
    shown_models = [name for name in (study.model, study.second and study.second.model) if name]
    write_faces(storage.join(output.directory, "faces.csv"), inputs, shown_models)
    output.results = {"answer": answer, "model": study.model}


def render(study: Study, answer: Sequence[str], shown: Shown, config: ReportConfig, output: str) -> str:
    """The page as HTML. answer: the paragraphs at its head. output: the name of the report's directory.

    Every string is escaped: names of files and groups come from strangers.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    speak(environment)
    environment.filters |= {"called": called, "at_start": at_start, "is_road": is_road}
    environment.filters["json"] = partial(json.dumps, indent=1, ensure_ascii=False)
    environment.globals.update(
        EXPRESSIONS=EXPRESSIONS,
        UNCERTAIN=UNCERTAIN,
        FACELESS=FACELESS,
        SMALL=SMALL,
        MOST_VALUES=MOST_VALUES,
        LEAST_FIGURES=LEAST_FIGURES,
        MOST_NAMED=MOST_NAMED,
        HIGH=HIGH,
        PRESENT=PRESENT,
        REGROUPINGS=REGROUPINGS,
        OPEN_PLATES=OPEN,
        version=twfer_dist.__version__,
    )
    page = {"title": config.title, "question": config.question, "recipe": config.recipe, "output": output}
    level = significance_level(study.groups)
    return environment.get_template(_TEMPLATES[0]).render(
        **vars(study), **vars(shown), **page, answer=answer, level=level, standing=standing_out(study.profile)
    )


def _build(request: Request) -> StageSpec:
    config = replace(request.config, recipe=request.config.recipe or request.recipe)
    return report_spec(**{i.name: request.all(i.name) for i in KIND.inputs}, config=config)


KIND = StageKind(
    "report",
    config=ReportConfig,
    inputs=(
        Input("predictions", ("predict", "read"), several=True, optional=True),
        Input("faces", ("faces", "corrected"), several=True, optional=True),
        Input("animated", ("animate",), several=True, optional=True),
        Input("datasets", ("dataset",), several=True, optional=True),
        Input("models", ("train", "sweep"), several=True, optional=True),
        Input("validity", ("validity",), several=True, optional=True),
    ),
    build=_build,
    shown=("index.html", "faces.csv"),
)
