"""The report: one page that holds everything, and the same numbers as JSON, as tables and as diagrams."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import resources
from typing import Annotated

import jinja2

import twfer_dist
from twfer_dist.core.language import Language, _, mark, speak, use_language
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Range, Settings
from twfer_dist.engine.kind import Input, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.table_files import write_tables
from twfer_dist.recognition.calibration import NOVELTY_PERCENTILE
from twfer_dist.study import page_words, words
from twfer_dist.study.correction import why
from twfer_dist.study.credits import REFERENCES, bibliography, credits_table
from twfer_dist.study.diagrams import diagram_files
from twfer_dist.study.faces_table import faces_described
from twfer_dist.study.figures import PRESENT
from twfer_dist.study.groups import LEAST_FIGURES, MOST_NAMED, MOST_VALUES, SMALL
from twfer_dist.study.inputs import ReportInputs, photograph_splits
from twfer_dist.study.measured import read_measured
from twfer_dist.study.models import model_rule, start_words
from twfer_dist.study.permutation import REGROUPINGS
from twfer_dist.study.plates import OPEN
from twfer_dist.study.profile import standing_out
from twfer_dist.study.report_data import Study, collect
from twfer_dist.study.retold import retold
from twfer_dist.study.road_summary import road_summary
from twfer_dist.study.roads import is_road
from twfer_dist.study.sections import SECTIONS, parts
from twfer_dist.study.shown import Shown, pictures
from twfer_dist.study.similarity import PAPER
from twfer_dist.study.summary import significance_level, summary
from twfer_dist.study.tables import about, study_tables
from twfer_dist.study.trust_tables import trust_tables
from twfer_dist.study.units import HIGH

VERSION = 6
UNCERTAIN = {
    "low_confidence": mark("{n:,} below the confidence threshold"),
    "out_of_distribution": mark(
        "{n:,} out of distribution (less like the training images than {percentile:g} in 100 held-out images)"
    ),
    "unreadable": mark("{n:,} with a crop that cannot be decoded"),
    "low_quality": mark("{n:,} too small, too blurred, cut off or turned too far for their landmarks to be trusted"),
    "rejected": mark("{n:,} marked as wrong by a person"),
    "killed": mark("{n:,} that crashed the program"),
}
"""How the page counts faces without an accepted answer, by their status in PREDICTIONS."""

FACELESS = {
    "no_face": mark("{n:,} without a detectable face"),
    "missing": mark("{n:,} listed but not found"),
    "outside_corpus": mark("{n:,} listed but outside the folder"),
    "unreadable": mark("{n:,} damaged or not an image"),
    "unreachable": mark("{n:,} unreachable in storage"),
    "too_large": mark("{n:,} with more pixels than the settings allow"),
    "too_small": mark("{n:,} smaller than the smallest face that is searched for"),
    "killed": mark("{n:,} that crashed the program"),
}
"""How the page counts photographs without a face, by their status in PHOTOGRAPHS."""

STATUS_WORDS = {
    "ok": mark("accepted"),
    "low_confidence": mark("unsure"),
    "out_of_distribution": mark("out of distribution"),
    "unreadable": mark("unreadable"),
    "low_quality": mark("low quality"),
    "rejected": mark("rejected"),
    "killed": mark("crashed"),
    "no_face": mark("no face"),
    "missing": mark("missing"),
    "outside_corpus": mark("outside the folder"),
    "unreachable": mark("unreachable"),
    "too_large": mark("too large"),
    "too_small": mark("too small"),
}
"""What the page calls each status."""

FRAME = ("report.html.j2", "macros.html.j2", "effect_macros.html.j2", "notes.html.j2", "report.css.j2",
    "tables.css.j2", "pictures.css.j2", "trust.css.j2", "media.css.j2")  # fmt: skip
_TEMPLATES = (*FRAME, *(section.template for section in SECTIONS))


@dataclass(frozen=True)
class ReportConfig(Settings):
    """What the page says and how much it shows; its tables always cover everything."""

    title: str = mark("Expressions in sculpted faces")  # of the page
    # what the page answers, below its title
    question: str = mark(
        "Which expressions do these faces show, how do they differ between groups, and how far can the "
        "answer be believed?"
    )
    pictures: Annotated[int, Range(0, 10_000)] = 48  # of faces, at most
    strips: Annotated[int, Range(0, 10_000)] = 4  # animated faces, at most
    examples: Annotated[int, Range(0, 10_000)] = 12  # photographs without a face, about
    groups: tuple[str, ...] = ()  # the columns that faces are compared by; if empty, every column that groups them
    language: Language = "en"  # of the page; the tables and report.json are English
    recipe: str = ""  # the text of the recipe, printed under "How to reproduce this report"


def report_spec(
    predictions: Sequence[Artifact],
    *,
    faces: Sequence[Artifact] = (),
    animated: Sequence[Artifact] = (),
    datasets: Sequence[Artifact] = (),
    models: Sequence[Artifact] = (),
    validity: Sequence[Artifact] = (),
    explanations: Sequence[Artifact] = (),
    similarity: Sequence[Artifact] = (),
    config: ReportConfig,
) -> StageSpec:
    """The stage that writes `index.html` (self-contained), `report.json`, and in `tables/` every table of the report
    (`tables.study_tables` and `faces_table.faces_described`) in each format of `table_files.write_tables`, and in
    `figures/` its diagrams (`diagrams.diagram_files`), and `references.bib`.

    predictions: outputs of `predict` and `read`. Answers to images of `datasets` give the accuracy on each split;
    answers to faces of `faces` are the study. animated: for the strips. models: finished trainings and sweeps, with the
    trainings behind cross-fitted answers. validity: finished validity tests. explanations: outputs of
    `explain-answers`. similarity: finished comparisons of faces. Any of them may be absent: the page says what is
    missing. Without `faces`, all images that are in none of `datasets` are taken for photographs.
    """
    inputs = ReportInputs(predictions, faces, animated, datasets, models, validity, explanations, similarity)
    named = {f"{kind}-{number}": output for kind, outputs in inputs for number, output in enumerate(outputs)}
    page = storage.sha256("".join(map(read_template, _TEMPLATES)).encode())
    return StageSpec(
        "report", VERSION, named, config, {"page": page}, {}, partial(_write, inputs=inputs, config=config)
    )


def read_template(name: str) -> str:
    return resources.files("twfer_dist.study").joinpath(name).read_text(encoding="utf-8")


def _write(output: StageOutput, *, inputs: ReportInputs, config: ReportConfig) -> None:
    images = photograph_splits(inputs)
    measured = read_measured(inputs.faces)
    study = collect(inputs, images, measured, columns=config.groups, examples=config.examples)
    shown = pictures(study, inputs, images, measured, faces=config.pictures, strips=config.strips)
    with use_language(config.language):
        output.write_file("index.html", render(study, shown, config, output.name).encode())
    output.write_file("report.json", _json(study, shown, config))
    shown_models = [name for name in (study.model, study.second and study.second.model) if name]
    tables = [
        *study_tables(study),
        *trust_tables(study),
        credits_table(inputs.faces),
        faces_described(inputs, shown_models),
    ]
    write_tables(storage.join(output.directory, "tables"), tables, about(study, config.title, output.name))
    output.write_file(REFERENCES, bibliography(study.credits))
    for name, data in diagram_files(study):
        output.write_file(f"figures/{name}", data)
    output.results = {"answer": answer(study), "model": study.model}


def answer(study: Study) -> list[str]:
    """The paragraphs at the head of the page, in the current language."""
    return road_summary(study) if study.overall and is_road(study.model) else summary(study)


def _json(study: Study, shown: Shown, config: ReportConfig) -> bytes:
    """The numbers of a report, with its answer in English whatever the language of the page: programs read it."""
    sample = [{key: value for key, value in asdict(card).items() if key != "image"} for card in shown.cards]
    report = {"title": config.title, "question": config.question, **study.as_json(), "answer": answer(study)}
    report["explained_faces"] = [face.as_json() for face in shown.explained_faces]
    report |= {"sample": sample, "plates": [plate.as_json() for plate in shown.plates]}
    return json.dumps(report, indent=1, ensure_ascii=False).encode() + b"\n"


def render(study: Study, shown: Shown, config: ReportConfig, output: str) -> str:
    """The page as HTML, in the current language. output: the name of the report's directory.

    Every string is escaped: names of files and groups come from strangers.
    """
    second = study.second.model if study.second else None
    return (
        page_environment()
        .get_template(_TEMPLATES[0])
        .render(
            **vars(study),
            **vars(shown),
            title=_(config.title),
            question=_(config.question),
            recipe=config.recipe,
            output=output,
            answer=answer(study),
            first=study.first,
            parts=list(parts(study, shown)),
            model_rule=model_rule(study.model, second, study.chosen_by),
            level=significance_level(study.groups),
            standing=standing_out(study.profile),
        )
    )


def page_environment() -> jinja2.Environment:
    """The templates with what they may use besides the study: words, limits and names."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(read_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    speak(environment)
    environment.filters |= {"called": words.called, "at_start": words.at_start, "is_road": is_road}
    environment.filters |= {"why": why, "retold": retold}
    environment.filters["tight"] = lambda text: text.replace(" %", "\u00a0%")  # never parted at the end of a line
    environment.filters["json"] = partial(json.dumps, indent=1, ensure_ascii=False)
    environment.globals.update(
        EXPRESSIONS=EXPRESSIONS,
        UNCERTAIN=UNCERTAIN,
        FACELESS=FACELESS,
        STATUS_WORDS=STATUS_WORDS,
        NOVELTY_PERCENTILE=NOVELTY_PERCENTILE,
        SMALL=SMALL,
        MOST_VALUES=MOST_VALUES,
        LEAST_FIGURES=LEAST_FIGURES,
        MOST_NAMED=MOST_NAMED,
        HIGH=HIGH,
        PRESENT=PRESENT,
        REGROUPINGS=REGROUPINGS,
        OPEN_PLATES=OPEN,
        PAPER_SIMILARITY=PAPER,
        words=words,
        page_words=page_words,
        start_words=start_words,
        next_table=partial(next, itertools.count(1)),
        version=twfer_dist.__version__,
    )
    return environment


def _build(request: Request) -> StageSpec:
    config = replace(request.config, recipe=request.config.recipe or request.recipe)
    return report_spec(**{i.name: request.all(i.name) for i in KIND.inputs}, config=config)


KIND = StageKind(
    "report",
    makes="the report as a page, JSON, tables and diagrams; from `faces` alone, the Action Units of every group",
    config=ReportConfig,
    inputs=(
        Input("predictions", ("predict", "read"), several=True, optional=True),
        Input("faces", ("faces", "corrected"), several=True, optional=True),
        Input("animated", ("animate",), several=True, optional=True),
        Input("datasets", ("dataset",), several=True, optional=True),
        Input("models", ("train", "sweep"), several=True, optional=True),
        Input("validity", ("validity",), several=True, optional=True),
        Input("explanations", ("explain-answers",), several=True, optional=True),
        Input("similarity", ("similarity",), several=True, optional=True),
    ),
    build=_build,
    shown=("index.html", "tables/faces.csv", "tables/tables.xlsx", "references.bib"),
)
