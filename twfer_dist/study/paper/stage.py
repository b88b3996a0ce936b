"""The page "The paper's tables": each table of the paper with its figures beside ours, from a recipe's outputs."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib import resources

import jinja2

import twfer_dist
from twfer_dist.core.language import _, speak
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Settings
from twfer_dist.engine.kind import Input, InputFile, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.study.paper import words
from twfer_dist.study.paper.columns import Paper, collect, csv_files
from twfer_dist.study.paper.entries import entries
from twfer_dist.study.paper.figures import SHIPPED, PaperFigures, read_figures
from twfer_dist.study.paper.numbers import TABLES, PaperInputs

VERSION = 1
PAGE = "paper.html"
_TEMPLATES = ("paper/page.html.j2", "paper/scores.html.j2", "paper/groups.html.j2", "paper/notes.html.j2",
    "macros.html.j2", "report.css.j2")  # fmt: skip
_ROLES = (*TABLES, "finetuned")
_FACES = ("warriors", "postures", "han", "american")


@dataclass(frozen=True)
class PaperConfig(Settings):
    """What the page calls itself, and what stands in the place of the paper's data; empty: the paper's own data."""

    title: str = "The paper's tables"
    people_are: str = ""
    warriors_are: str = ""
    postures_are: str = ""
    han_are: str = ""
    american_are: str = ""


def paper_spec(inputs: PaperInputs, config: PaperConfig, figures: str = SHIPPED) -> StageSpec:
    """The stage that writes `paper.html` (self-contained), `paper.json`, `tables.csv`, `confusion.csv` and
    `shares.csv`.

    inputs: whatever there is of trainings, their data sets and predictions, faces and the validity test. A table whose
    inputs are absent is missing, and the page says so. figures: a file like `figures.yaml`. UserError where a
    training's data set or its predictions are absent.
    """
    read = read_figures(figures)
    faces = inputs.faces or {}
    named = {**inputs.models, **faces, **({"validity": inputs.validity} if inputs.validity else {})}
    named |= {f"dataset-{number}": output for number, output in enumerate(inputs.datasets)}
    named |= {f"predictions-{number}": output for number, output in enumerate(inputs.predictions)}
    models = {
        "page": storage.sha256("".join(map(_template, _TEMPLATES)).encode()),
        "figures": storage.digest(asdict(read)),
    }
    do = partial(_write, inputs=inputs, named=named, config=config, figures=read)
    return StageSpec("paper-tables", VERSION, named, config, models, {}, do)


def _write(
    output: StageOutput,
    *,
    inputs: PaperInputs,
    named: Mapping[str, Artifact],
    config: PaperConfig,
    figures: PaperFigures,
) -> None:
    paper = collect(inputs, named, figures)
    answer = words.answer(paper.tables, paper.warriors, paper.validity)
    output.write_file(PAGE, render(paper, answer, config).encode())
    content = {"title": config.title, "answer": answer, **asdict(paper)}
    output.write_file("paper.json", json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
    for file, data in csv_files(paper).items():
        output.write_file(file, data)
    output.results = {"answer": answer, "summary": answer}


def render(paper: Paper, answer: list[str], config: PaperConfig) -> str:
    """The page as HTML. answer: the paragraphs at its head. Every string is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    speak(environment)
    environment.filters["json"] = partial(json.dumps, indent=1, ensure_ascii=False)
    environment.globals.update(EXPRESSIONS=EXPRESSIONS, words=words, version=twfer_dist.__version__)
    contents = [
        ("tables", True, _("The seven tables")),
        ("groups", paper.shares, _("Which expressions the figures show")),
        ("agreement", paper.agreement, _("How far annotators agree")),
        ("notes", True, _("Where the paper contradicts itself")),
        ("made", True, _("Where this comes from")),
    ]
    return environment.get_template(_TEMPLATES[0]).render(
        **vars(paper),
        title=config.title,
        stand_ins=words.stand_ins(vars(config)),
        answer=answer,
        contents=contents,
        entries=entries(paper, config.people_are, config.warriors_are),
    )


def _template(name: str) -> str:
    return resources.files("twfer_dist.study").joinpath(name).read_text(encoding="utf-8")


def _build(request: Request) -> StageSpec:
    inputs = PaperInputs(
        models={role: request.one(role) for role in _ROLES if request.all(role)},
        datasets=request.all("datasets"),
        predictions=request.all("predictions"),
        faces={name: request.one(name) for name in _FACES if request.all(name)},
        validity=request.one("validity"),
    )
    return paper_spec(inputs, request.config, request.files.get("figures", SHIPPED))


KIND = StageKind(
    "paper-tables",
    config=PaperConfig,
    inputs=(
        *(Input(role, ("train",), optional=True) for role in _ROLES),
        Input("datasets", ("dataset",), several=True, optional=True),
        Input("predictions", ("predict",), several=True, optional=True),
        *(Input(name, ("faces", "corrected"), optional=True) for name in _FACES),
        Input("validity", ("validity",), optional=True),
    ),
    files=(InputFile("figures"),),
    build=_build,
    shown=(PAGE, "tables.csv"),
)
