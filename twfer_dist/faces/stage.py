"""Photographs to faces as a stage on Ray Data."""

from collections import Counter
from collections.abc import Sequence
from functools import partial

import cv2
import pyarrow as pa
import torch

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.corpus import formats
from twfer_dist.corpus.corpus import Corpus
from twfer_dist.corpus.votes_table import FILE as VOTES
from twfer_dist.corpus.votes_table import votes_csv
from twfer_dist.engine import storage
from twfer_dist.engine.config import either
from twfer_dist.engine.kind import Input, InputFile, Option, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import HasDigest, StageSpec
from twfer_dist.engine.spreadsheet import group_names, rows_to_csv
from twfer_dist.engine.workload import Workload, joined
from twfer_dist.faces import copies
from twfer_dist.faces.credits import credits_of, write_credits
from twfer_dist.faces.detector import Detector
from twfer_dist.faces.detector_models import DETECTORS, Choice, choose
from twfer_dist.faces.finder import ALIGNED, FaceFinder, FacesConfig
from twfer_dist.faces.handout import write_handout
from twfer_dist.faces.rendered import RenderedHeads
from twfer_dist.measurement.analyzer import SHIPPED, open_analyzer

VERSION = 6
ROWS_PER_SHARD = 64
_OF_RENDERED = {  # options that only rendered heads have
    "called": "the name of the corpus that `rendered` makes; rendered if left out",
    "split": "the part that all `rendered` heads belong to: train, validation or test",
}
_SPLITS = ("train", "validation", "test")


def faces_spec(
    corpora: Sequence[Corpus],
    config: FacesConfig,
    *,
    detector: str = "auto",
    model: str | None = None,
    network: str = SHIPPED,
    actors: int | None = None,
    heads: RenderedHeads | None = None,
) -> StageSpec:
    """The stage that finds the faces in the photographs of `corpora` and measures them.

    Tables: "photographs", one row per planned photograph, and "faces", as many as were found and kept. All copies of a
    photograph share one figure_id in "faces" (see `copies`). Beside the tables: photographs.csv, faces.csv, sheet.jpg
    with the first faces and their points, and, where there are any, copies.csv, the photographs' credits.json and the
    annotators' votes.csv. `results` holds the detector and why it was chosen, the network's digest, corpora's notes.

    detector, model: see `detector_models.choose`; network: the weights that measure; actors: how many run in parallel.
    heads: one more corpus, of rendered heads.
    """
    corpora = [*corpora, heads.corpus()] if heads else corpora
    _check_names(corpora)
    choice = _choice(config, detector, model)
    weights = storage.absolute(network) if config.measure else None
    models = _models(choice, weights)

    def do(output: StageOutput) -> None:
        roots = {corpus.name: storage.absolute(corpus.root) for corpus in corpora}
        finder = {"roots": roots, "config": config, "choice": choice, "network": weights, "heads": heads}
        step = Step(FaceFinder, finder, actors=actors)
        plan = _plan(corpora)
        output.results |= _facts(corpora, choice, models.get("network"))
        output.map(plan, [step], rows_per_shard=ROWS_PER_SHARD, reuse_key_columns=plan.column_names)
        _write_beside(output, corpora, plan)

    tables = {"photographs": schema.PHOTOGRAPHS, "faces": schema.FACES}
    inputs: dict[str, HasDigest] = {corpus.name: corpus for corpus in corpora}
    inputs |= {"rendered heads": heads.rendered} if heads else {}
    return StageSpec("faces", VERSION, inputs, config, models, tables, do)


def _write_beside(output: StageOutput, corpora: Sequence[Corpus], plan: pa.Table) -> None:
    """What people read beside the tables, and what later stages need of the corpora."""
    _join_copies(output)
    write_handout(output, group_names(plan["groups"]))
    write_credits(output, credits_of(corpora))
    if votes := votes_csv(corpora):
        output.write_file(VOTES, votes)


def _choice(config: FacesConfig, detector: str, model: str | None) -> Choice | None:
    choice = None if config.aligned else choose(detector, model)
    if choice is not None and model is not None:
        Detector(choice, config.side)  # a wrong file is reported before workers start
    return choice


def _models(choice: Choice | None, weights: str | None) -> dict[str, str]:
    """What the fingerprint covers besides inputs and configuration: detector, network and libraries."""
    models = {"detector": choice.identity if choice else ALIGNED, "opencv": cv2.__version__, **formats.VERSIONS}
    return models | ({"network": open_analyzer(weights).sha256, "torch": torch.__version__} if weights else {})


def _check_names(corpora: Sequence[Corpus]) -> None:
    names = Counter(corpus.name for corpus in corpora)
    if twice := [name for name, count in names.items() if count > 1]:
        raise UserError(f"Two corpora are called '{twice[0]}', and photo ids depend on the name: rename one of them.")


def _plan(corpora: Sequence[Corpus]) -> pa.Table:
    """The photographs of all corpora, each with a fact about its file (`fact`) that tells whether it changed."""
    plans = [corpus.table.append_column("fact", pa.array(map(str, corpus.facts), pa.string())) for corpus in corpora]
    return pa.concat_tables(plans) if plans else schema.CORPUS.empty_table()


def _facts(corpora: Sequence[Corpus], choice: Choice | None, network: str | None) -> dict[str, object]:
    return {
        "detector": choice.describe() if choice else "none: the photographs are aligned crops",
        "network": network,
        "corpora": {corpus.name: {**corpus.notes, "remarks": corpus.remarks} for corpus in corpora},
        "summary": [line for corpus in corpora for line in corpus.remarks],
    }


def _join_copies(output: StageOutput) -> None:
    """Give the faces of all copies of a photograph one figure_id, and list the copies."""
    columns = ["photo_id", "corpus", "path", "figure_id", "content_sha256", "width", "height", "thumbnail"]
    empty = schema.PHOTOGRAPHS.empty_table().select(columns)
    photographs = pa.concat_tables([empty, *output.pieces("photographs", columns)])
    found = copies.find(photographs)
    output.revise("faces", partial(copies.with_figure_ids, photographs=copies.figure_ids(photographs, found)))
    output.results["copies"] = copies.count(found)
    output.results["summary"] += copies.summary(output.results["copies"])
    if len(found):
        output.write_file(copies.FILE, rows_to_csv(copies.COLUMNS, found.select(copies.COLUMNS).to_pylist()))


def _check(request: Request) -> None:
    if (detector := request.options.get("detector", "auto")) not in ("auto", *DETECTORS):
        raise UserError(f"'{detector}' is not a face detector: use {either(('auto', *DETECTORS))}.")
    if not request.all("corpora") and not request.all("rendered"):
        raise UserError("'corpora' is missing: name a corpus, or 'rendered' heads.")
    if (given := [name for name in _OF_RENDERED if name in request.options]) and not request.all("rendered"):
        raise UserError(f"'{given[0]}' describes 'rendered' heads, and there are none: leave it out.")
    if (split := request.options.get("split", "train")) not in _SPLITS:
        raise UserError(f"'{split}' is not a split: use {either(_SPLITS)}.")


def _build(request: Request) -> StageSpec:
    described = {name: request.options[name] for name in _OF_RENDERED if name in request.options}
    return faces_spec(
        request.all("corpora"),
        request.config,
        detector=request.options.get("detector", "auto"),
        model=request.files.get("model"),
        network=request.files.get("network", SHIPPED),
        actors=request.compute.actors,
        heads=RenderedHeads(request.one("rendered"), **described) if request.all("rendered") else None,
    )


def _workload(request: Request) -> Workload:
    photographs = joined([*request.all("corpora"), *request.all("rendered")])
    how = [" aligned" if request.config.aligned else "", "" if request.config.measure else " unmeasured"]
    assumed = () if request.config.aligned else ("one face in each photograph",)
    rate = "faces" + "".join(how)
    return Workload(rate, photographs.rows, "photographs", photographs, request.compute.actors, assumed)


KIND = StageKind(
    "faces",
    makes="tables of photographs and faces, with crops, points and Action Units",
    config=FacesConfig,
    inputs=(Input("corpora", several=True, optional=True), Input("rendered", ("render",), optional=True)),
    files=(
        InputFile("model", "the detector's model file: YuNet's .onnx"),
        InputFile("network", "weights of the network that measures; the included one if left out"),
    ),
    options=(
        Option("detector", f"{either(('auto', *DETECTORS))}; auto is the best that needs no download"),
        *(Option(name, meaning) for name, meaning in _OF_RENDERED.items()),
    ),
    build=_build,
    workload=_workload,
    check=_check,
)
