"""The report: one page that holds everything, and the same numbers as JSON and CSV."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Annotated, Any

import jinja2

import twfer_dist
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Range, Settings
from twfer_dist.engine.kind import Input, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.spreadsheet import rows_to_csv
from twfer_dist.study import figures
from twfer_dist.study.groups import LEAST_FIGURES, MOST_NAMED, MOST_VALUES, SMALL
from twfer_dist.study.notes import notes
from twfer_dist.study.report_data import Given, collect, photographs
from twfer_dist.study.summary import answer, level
from twfer_dist.study.units import HIGH, action_units

VERSION = 3
NOT_READ = {
    "low_confidence": "where the model is not sure enough",
    "out_of_distribution": "unlike all training images",
    "unreadable": "whose crop cannot be decoded",
    "low_quality": "too small, too blurred, cut off or turned too far for their points to be trusted",
    "rejected": "that a person marked as wrong",
}
"""The words for a status of PREDICTIONS."""

NO_FACE_FOR = {
    "no_face": "in which no face was found",
    "unreadable": "damaged or not a picture",
    "unreachable": "that storage did not give",
}
"""The words for a status of PHOTOGRAPHS, where its own are not plain enough."""

_PAGE = ("report.html.j2", "report.css.j2", "notes.html.j2", "groups.html.j2", "models.html.j2", "validity.html.j2")


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
    examples: Annotated[int, Range(0, 10_000)] = 12  # photographs that were not read, at most
    groups: tuple[str, ...] = ()  # the columns that faces are compared by; where empty, every column that groups them
    recipe: str = ""  # the text of the recipe, printed under "How to make this again"


def report_job(
    predictions: Sequence[Artifact],
    *,
    faces: Sequence[Artifact] = (),
    animated: Sequence[Artifact] = (),
    datasets: Sequence[Artifact] = (),
    models: Sequence[Artifact] = (),
    validity: Sequence[Artifact] = (),
    config: ReportConfig,
) -> StageSpec:
    """The job that writes `index.html` (self-contained), `report.json`, `accuracy.csv`, `validity.csv`, `confusion.csv`
    and `groups.csv`.

    predictions: outputs of `predict`. Answers to images of `datasets` give the accuracy of each split; answers to faces
    of `faces` are the study. animated: for the strips. models: finished trainings and sweeps. validity: finished
    validity tests. Any of them may be absent: the page says what is missing. Without `faces`, all images that are in
    none of `datasets` are taken for photographs.
    """
    given = {"predictions": predictions, "faces": faces, "animated": animated, "datasets": datasets,
        "models": models, "validity": validity, }  # fmt: skip
    inputs = {
        f"{name}-{number}": finished for name, several in given.items() for number, finished in enumerate(several)
    }
    page = storage.sha256("".join(map(_text, _PAGE)).encode())
    return StageSpec("report", VERSION, inputs, config, {"page": page}, {}, partial(_write, given=given, config=config))


def _text(name: str) -> str:
    return resources.files("twfer_dist.study").joinpath(name).read_text(encoding="utf-8")


def _write(work: StageOutput, *, given: Given, config: ReportConfig) -> None:
    images = photographs(given)
    study = {
        "title": config.title,
        "question": config.question,
        **collect(given, images, columns=config.groups, examples=config.examples),
    }
    study |= {"notes": notes(given["faces"]), "units": action_units(given["faces"])}
    study["answer"] = answer(study)
    shown = {
        "cards": figures.sample(given["predictions"], given["faces"], images, study["model"], config.faces),
        "sheets": figures.sheets(given["faces"]),
        "strips": figures.strips(given["animated"], given["faces"], config.strips),
    }
    output = f"{work.job.stage}-{work.job.fingerprint}"
    work.write_file("index.html", render(study, shown, recipe=config.recipe, output=output).encode())
    study["sample"] = [{key: value for key, value in card.items() if key != "image"} for card in shown["cards"]]
    work.write_file("report.json", json.dumps(study, indent=1, ensure_ascii=False).encode() + b"\n")
    scored = ("images", "model", "split", "of", *_NUMBERS)
    work.write_file("accuracy.csv", rows_to_csv(scored, _accuracy_rows(study["accuracy"])))
    work.write_file("validity.csv", rows_to_csv(scored, _accuracy_rows(_validity_entries(study["validity"]))))
    work.write_file(
        "confusion.csv",
        rows_to_csv(("images", "model", "split", "truth", *EXPRESSIONS), _confusion_rows(study["accuracy"])),
    )
    grouped = (
        "column",
        "group",
        "faces",
        "figures",
        "expression",
        "answered",
        "of",
        "share",
        "low",
        "high",
        "labelled",
        "labels",
    )
    work.write_file("groups.csv", rows_to_csv(grouped, _group_rows(study["groups"])))
    work.results = {"answer": study["answer"], "model": study["model"]}


def render(study: Mapping[str, Any], shown: Mapping[str, Sequence[Mapping]], *, recipe: str, output: str) -> str:
    """The page as HTML. shown: cards, sheets and strips of `pictures`.

    Every string is escaped: names of files and groups come from strangers.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json"] = partial(json.dumps, indent=1, ensure_ascii=False)
    words = {"EXPRESSIONS": EXPRESSIONS, "NOT_READ": NOT_READ, "NO_FACE_FOR": NO_FACE_FOR, "SMALL":
        SMALL, "MOST_VALUES": MOST_VALUES, "LEAST_FIGURES": LEAST_FIGURES, "MOST_NAMED": MOST_NAMED,
        "HIGH": HIGH, "PRESENT": figures.PRESENT, "level": level(study), "version":
        twfer_dist.__version__, "recipe": recipe, "output": output, }  # fmt: skip
    return environment.get_template(_PAGE[0]).render(**study, **words, **shown)


# The same numbers for other programs

_NUMBERS = ("k", "n", "value", "low", "high")


def _accuracy_rows(accuracy: Iterable[Mapping]) -> Iterable[dict]:
    """One row for each expression and for both averages."""
    for entry in accuracy:
        for s in entry["scores"]:
            base = {"images": entry["images"], "model": s["model"], "split": s["split"]}
            for e in s["expressions"]:
                yield {**base, "of": e["expression"], **_numbers(e, "share")}
            yield {**base, "of": "share of images", **_numbers(s["images"], "share")}
            yield {**base, "of": "mean of classes", **_numbers(s["mean"], "value")}


def _validity_entries(validity: Iterable[Mapping]) -> Iterable[dict]:
    for test in validity:
        for s in test["scores"]:
            yield {"images": f"{s['asked_about']} faces, learned from {s['trained_on']} faces", "scores": [s]}


def _confusion_rows(accuracy: Iterable[Mapping]) -> Iterable[dict]:
    for entry in accuracy:
        for c in entry["confusion"]:
            for truth, row in zip(EXPRESSIONS, c["matrix"], strict=True):
                base = {"images": entry["images"], "model": c["model"], "split": c["split"], "truth": truth}
                yield {**base, **dict(zip(EXPRESSIONS, row, strict=True))}


def _group_rows(groups: Iterable[Mapping]) -> Iterable[dict]:
    for group in groups:
        for value in group["values"]:
            base = {
                "column": group["column"],
                "group": value["value"],
                "faces": value["faces"],
                "figures": value["figures"],
            }
            for e in value["expressions"]:
                answers = {
                    "answered": e["k"],
                    "of": e["n"],
                    "share": e["corrected"],
                    "low": e["low"],
                    "high": e["high"],
                }
                yield {
                    **base,
                    "expression": e["expression"],
                    **answers,
                    "labelled": e["labelled"].get("k"),
                    "labels": e["labelled"].get("n"),
                }


def _numbers(share: Mapping, value: str) -> dict:
    return {
        "k": share.get("k"),
        "n": share.get("n"),
        "value": share.get(value),
        "low": share.get("low"),
        "high": share.get("high"),
    }


def _build(request: Request) -> StageSpec:
    config = dataclasses.replace(request.config, recipe=request.config.recipe or request.recipe)
    return report_job(**{i.name: request.all(i.name) for i in KIND.inputs}, config=config)


KIND = StageKind(
    "report",
    config=ReportConfig,
    inputs=(
        Input("predictions", ("predict",), several=True, optional=True),
        Input("faces", ("faces", "corrected"), several=True, optional=True),
        Input("animated", ("animate",), several=True, optional=True),
        Input("datasets", ("dataset",), several=True, optional=True),
        Input("models", ("train", "sweep"), several=True, optional=True),
        Input("validity", ("validity",), several=True, optional=True),
    ),
    build=_build,
)
