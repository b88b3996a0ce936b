"""The page "The paper's tables": each table of the paper with its figures beside ours, from a recipe's outputs."""

import json
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

from twfer_dist.core.language import Language, _, mark, use_language
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Settings
from twfer_dist.engine.kind import Input, InputFile, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.table_files import write_tables
from twfer_dist.study.credits import credits_table
from twfer_dist.study.paper import words
from twfer_dist.study.paper.columns import Paper, collect
from twfer_dist.study.paper.entries import ByIntensity, Entry, by_intensity, entries
from twfer_dist.study.paper.figures import SHIPPED, PaperFigures, read_figures
from twfer_dist.study.paper.numbers import TABLES, PaperInputs
from twfer_dist.study.paper.tables import about, paper_tables
from twfer_dist.study.report import FRAME, page_environment, read_template
from twfer_dist.study.similarity import SimilarityPictures, similarity_pictures

VERSION = 4
PAGE = "paper.html"
_OWN = ("scores", "intensity", "groups", "agreement", "contradictions", "made")
_TEMPLATES = (*FRAME, "similarity.html.j2", "credits.html.j2", *(f"paper/{name}.html.j2" for name in _OWN))
_ROLES = (*TABLES, "finetuned")
_FACES = ("warriors", "postures", "han", "american")


@dataclass(frozen=True)
class PaperConfig(Settings):
    """What the page calls itself, and what stands in the place of the paper's data; empty: the paper's own data."""

    title: str = mark("The paper's tables")  # of the page
    people_are: str = ""  # what stands for the photographs of people
    warriors_are: str = ""  # what stands for the terracotta warriors
    postures_are: str = ""  # what stands for the warriors of known posture
    han_are: str = ""  # what stands for the Han figures
    american_are: str = ""  # what stands for the American figures
    language: Language = "en"  # of the page; the tables and paper.json are English


def paper_spec(inputs: PaperInputs, config: PaperConfig, figures: str = SHIPPED) -> StageSpec:
    """The stage that writes `paper.html` (self-contained), `paper.json`, and in `tables/` every table of the page
    (`tables.paper_tables`) in each format of `table_files.write_tables`.

    inputs: whatever there is of trainings, their data sets and predictions, faces and the validity test. A table whose
    inputs are absent is missing, and the page says so. figures: a file like `figures.yaml`. UserError where a
    training's data set or its predictions are absent.
    """
    read = read_figures(figures)
    faces = inputs.faces or {}
    named = {**inputs.models, **faces, **({"validity": inputs.validity} if inputs.validity else {})}
    named |= {f"dataset-{number}": output for number, output in enumerate(inputs.datasets)}
    named |= {f"similarity-{number}": output for number, output in enumerate(inputs.similarity)}
    named |= {f"predictions-{number}": output for number, output in enumerate(inputs.predictions)}
    models = {
        "page": storage.sha256("".join(map(read_template, _TEMPLATES)).encode()),
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
    with use_language(config.language):
        pictures = similarity_pictures(inputs.similarity)
        output.write_file(PAGE, render(paper, pictures, config, output.name).encode())
    answer = words.answer(paper)  # in English: programs read it
    content = {"title": config.title, "answer": answer, **asdict(paper)}
    output.write_file("paper.json", json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
    tables = [*paper_tables(paper), credits_table(inputs.photographed)]
    write_tables(storage.join(output.directory, "tables"), tables, about(paper, config.title, output.name))
    output.results = {"answer": answer, "summary": answer}


@dataclass(frozen=True)
class _Section:
    """A section of the page, see report.html.j2."""

    name: str
    title: str
    template: str
    entry: Entry | None = None
    by_intensity: ByIntensity | None = None


def render(paper: Paper, pictures: Sequence[SimilarityPictures], config: PaperConfig, output: str) -> str:
    """The page as HTML, in the current language. pictures: of `paper.similarity`. output: the name of its directory.

    Every string is escaped.
    """
    environment = page_environment()
    environment.globals["say"] = words
    # The paper's tables have numbers; the others on the page have letters.
    environment.globals["next_table"] = partial(next, iter(string.ascii_uppercase))
    return environment.get_template(FRAME[0]).render(
        **vars(paper),
        title=_(config.title),
        question=words.stand_ins(vars(config)),
        output=output,
        similarity_pictures=pictures,
        answer=words.answer(paper),
        parts=[(part, sections) for part, sections in _parts(paper, config) if sections],
    )


def _parts(paper: Paper, config: PaperConfig) -> Iterator[tuple[str, list[_Section]]]:
    """The parts of the page with their sections."""
    found = entries(paper, config.people_are, config.warriors_are)
    tables = [_Section(entry.id, entry.title, "paper/scores.html.j2", entry) for entry in found]
    strengths = by_intensity(paper)
    if strengths.rows:
        title = _("How strong an expression has to be")
        tables.append(_Section("intensity", title, "paper/intensity.html.j2", by_intensity=strengths))
    yield _("The seven tables"), tables
    groups = [
        (paper.shares, _Section("groups", _("Which expressions the figures show"), "paper/groups.html.j2")),
        (paper.similarity, _Section("similarity", _("How alike the faces are"), "similarity.html.j2")),
        (paper.agreement, _Section("agreement", _("How far annotators agree"), "paper/agreement.html.j2")),
    ]
    yield _("The groups"), [section for shown, section in groups if shown]
    last = [_Section("contradictions", _("Where the paper contradicts itself"), "paper/contradictions.html.j2")]
    if paper.credits.sources:
        last.append(_Section("credits", _("Whose photographs these are"), "credits.html.j2"))
    yield (
        _("The paper and this page"),
        [*last, _Section("made", _("Where this comes from"), "paper/made.html.j2")],
    )


def _build(request: Request) -> StageSpec:
    inputs = PaperInputs(
        models={role: request.one(role) for role in _ROLES if request.all(role)},
        datasets=request.all("datasets"),
        predictions=request.all("predictions"),
        faces={name: request.one(name) for name in _FACES if request.all(name)},
        validity=request.one("validity"),
        similarity=request.all("similarity"),
    )
    return paper_spec(inputs, request.config, request.files.get("figures", SHIPPED))


KIND = StageKind(
    "paper-tables",
    makes="the paper's tables beside ours, as a page, JSON, CSV, Excel and LaTeX",
    config=PaperConfig,
    inputs=(
        *(Input(role, ("train",), optional=True) for role in _ROLES),
        Input("datasets", ("dataset",), several=True, optional=True),
        Input("predictions", ("predict",), several=True, optional=True),
        *(Input(name, ("faces", "corrected"), optional=True) for name in _FACES),
        Input("validity", ("validity",), optional=True),
        Input("similarity", ("similarity",), several=True, optional=True),
    ),
    files=(InputFile("figures", "the paper's own numbers; the included ones if left out"),),
    build=_build,
    shown=(PAGE, "tables/tables.xlsx"),
)
