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
from twfer_dist.engine.kind import Input, InputFile, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.spreadsheet import group_names, rows_to_csv
from twfer_dist.faces import copies
from twfer_dist.faces.credits import credits_of, write_credits
from twfer_dist.faces.detector import Detector
from twfer_dist.faces.detector_models import DETECTORS, Choice, choose
from twfer_dist.faces.finder import ALIGNED, FaceFinder, FacesConfig
from twfer_dist.faces.handout import write_handout
from twfer_dist.measurement.analyzer import SHIPPED, open_analyzer

VERSION = 6
ROWS_PER_SHARD = 64


def faces_spec(
    corpora: Sequence[Corpus],
    config: FacesConfig,
    *,
    detector: str = "auto",
    model: str | None = None,
    network: str = SHIPPED,
    actors: int | None = None,
) -> StageSpec:
    """The stage that finds the faces in the photographs of `corpora` and measures them.

    Tables: "photographs", one row per planned photograph, and "faces", as many as were found and kept. All copies of a
    photograph share one figure_id in "faces" (see `copies`). Beside the tables: photographs.csv, faces.csv, sheet.jpg
    with the first faces and their points, copies.csv where there are copies, credits.json where a corpus says whose its
    photographs are, and votes.csv where there are annotators' votes. `results` holds the detector and why it was
    chosen, the digest of the network that measured, the number of copies, and the notes of each corpus.

    detector, model: see `detector_models.choose`; network: the weights that measure; actors: how many run in parallel.
    """
    _check_names(corpora)
    choice = None if config.aligned else choose(detector, model)
    if choice is not None and model is not None:
        Detector(choice, config.side)  # a wrong file is reported before workers start
    weights = storage.absolute(network) if config.measure else None
    models = _models(choice, weights)

    def do(output: StageOutput) -> None:
        roots = {corpus.name: storage.absolute(corpus.root) for corpus in corpora}
        step = Step(FaceFinder, {"roots": roots, "config": config, "choice": choice, "network": weights}, actors=actors)
        plan = _plan(corpora)
        output.results |= _facts(corpora, choice, models.get("network"))
        output.map(plan, [step], rows_per_shard=ROWS_PER_SHARD, reuse_key_columns=plan.column_names)
        _join_copies(output)
        write_handout(output, group_names(plan["groups"]))
        write_credits(output, credits_of(corpora))
        if votes := votes_csv(corpora):
            output.write_file(VOTES, votes)

    tables = {"photographs": schema.PHOTOGRAPHS, "faces": schema.FACES}
    return StageSpec("faces", VERSION, {corpus.name: corpus for corpus in corpora}, config, models, tables, do)


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
    photographs = pa.concat_tables([empty, *(shard.select(columns) for shard in output.pieces("photographs"))])
    found = copies.find(photographs)
    output.revise("faces", partial(copies.with_figure_ids, photographs=copies.figure_ids(photographs, found)))
    output.results["copies"] = copies.count(found)
    output.results["summary"] += copies.summary(output.results["copies"])
    if len(found):
        output.write_file(copies.FILE, rows_to_csv(copies.COLUMNS, found.select(copies.COLUMNS).to_pylist()))


def _check(request: Request) -> None:
    if (detector := request.options.get("detector", "auto")) not in ("auto", *DETECTORS):
        raise UserError(f"'{detector}' is not a face detector: use {either(('auto', *DETECTORS))}.")


def _build(request: Request) -> StageSpec:
    return faces_spec(
        request.all("corpora"),
        request.config,
        detector=request.options.get("detector", "auto"),
        model=request.files.get("model"),
        network=request.files.get("network", SHIPPED),
        actors=request.compute.actors,
    )


KIND = StageKind(
    "faces",
    makes="tables of photographs and faces, with crops, points and Action Units",
    config=FacesConfig,
    inputs=(Input("corpora", several=True),),
    files=(InputFile("model"), InputFile("network")),
    options=("detector",),
    build=_build,
    check=_check,
)
