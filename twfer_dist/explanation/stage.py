"""The stage that explains the answers of one model on Ray Data: a sample of faces to be shown, and rendered faces on
which the explanations are checked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import captum
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from twfer_dist.core.errors import UserError
from twfer_dist.core.images import decode
from twfer_dist.core.schema import FACES, PREDICTIONS, figures
from twfer_dist.core.status import OK, UNREADABLE
from twfer_dist.corpus.corpus import Corpus
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Range, Settings
from twfer_dist.engine.kind import Input, InputFile, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.explanation.contributions import contributions
from twfer_dist.explanation.maps import attribution_map, randomised, sized
from twfer_dist.explanation.tables import EXPLANATIONS
from twfer_dist.explanation.truth import UNITS, Rendered, moved, read_rendered, scene_of
from twfer_dist.reading.reader import SHIPPED, open_reader
from twfer_dist.recognition.cross_fitting import readers_of
from twfer_dist.recognition.recogniser import open_recogniser

VERSION = 1
ROWS_PER_SHARD = 8
_PLAN = pa.schema(
    [
        *(EXPLANATIONS.field(name) for name in ("image_id", "model", "corpus", "figure_id", "explained", "shown")),
        ("recogniser", pa.int16()),  # an index of the models; null for the reader
        ("at_rest", pa.string()),  # the id of the same figure's face at rest in the same scene
        EXPLANATIONS.field("rendered"),
    ]
)
_FACE = ["face_id", "corpus", "path", "image", "crop_matrix", "action_units", "action_units_half_width_90"]

Row = dict[str, Any]


@dataclass(frozen=True)
class ExplainConfig(Settings):
    """How many answers are explained."""

    shown: Annotated[int, Range(0, 10_000)] = 24  # faces for the page: the first answered ones by id, a random sample
    check: Annotated[int, Range(0, 10_000)] = 60  # rendered faces of the check, at most


def explain_spec(
    predictions: Artifact,
    faces: Sequence[Artifact],
    config: ExplainConfig,
    *,
    models: Sequence[Artifact] = (),
    truth: Sequence[Corpus] = (),
    reader: str = SHIPPED,
    actors: int | None = None,
) -> StageSpec:
    """What the answers of `predictions` (an output of predict or read) to `faces` rest on: table EXPLANATIONS.

    models: the trainings behind an output of predict; each face is explained by the one that read it. Recognisers get a
    map of the face (`maps.attribution_map`), and one of a network with random weights; the reader gets contributions of
    Action Units. truth: rendered corpora, for whose faces the table also says what is known: the units that were
    rendered, and what moved since the same figure at rest. reader: the weights behind an output of read. UserError
    where a training behind the predictions is not among `models`, where there are models and the reader answered, or
    where a corpus of `truth` has no table of its units.
    """
    numbers = _recognisers(predictions, models)
    rendered = read_rendered(truth)

    def do(output: StageOutput) -> None:
        plan = _plan(predictions, faces, rendered, numbers, config)
        kwargs = {"faces": tuple(faces), "models": tuple(models), "reader": storage.absolute(reader)}
        output.map(plan, [Step(Explainer, kwargs, actors=actors)], rows_per_shard=ROWS_PER_SHARD)
        output.results["summary"] = [f"{len(plan):,} answers explained"]

    named = {"predictions": predictions} | {f"faces_{k}": artifact for k, artifact in enumerate(faces)}
    named |= {f"model_{k}": artifact for k, artifact in enumerate(models)}
    versions = {"torch": torch.__version__, "opencv": cv2.__version__, "captum": captum.__version__}
    versions |= {f"truth_{corpus.name}": storage.sha256_file(storage.join(corpus.root, UNITS)) for corpus in truth}
    if not numbers:
        versions["reader"] = open_reader(reader).sha256
    return StageSpec("explain-answers", VERSION, named, config, versions, {".": EXPLANATIONS}, do)


def _recognisers(predictions: Artifact, models: Sequence[Artifact]) -> dict[str, int]:
    """The index in `models` of each training behind the predictions, by digest; empty for the reader."""
    if predictions.manifest.stage == "read":
        if models:
            raise UserError(f"{predictions.uri} was made by the reader, not by a training: leave out 'models'.")
        return {}
    inputs = predictions.manifest.inputs
    wanted = [digest for name, digest in sorted(inputs.items()) if name == "model" or name.startswith("model_")]
    by_digest = {model.digest: number for number, model in enumerate(models)}
    if not wanted or not by_digest.keys() >= set(wanted):
        raise UserError(
            f"Of the {len(wanted)} trainings behind {predictions.uri}, not all are named: list them under 'models', so "
            "that each answer is explained by the network that gave it."
        )
    return {digest: by_digest[digest] for digest in wanted}


def _plan(
    predictions: Artifact,
    faces: Sequence[Artifact],
    rendered: Rendered,
    numbers: Mapping[str, int],
    config: ExplainConfig,
) -> pa.Table:
    """What _PLAN lists of each face that is explained."""
    known = _pictures(faces)
    columns = ["image_id", "model", "corpus", "figure_id", "predicted"]
    answered = predictions.scan(".", PREDICTIONS).to_table(columns=columns, filter=pc.is_valid(pc.field("predicted")))
    answered = answered.filter(pc.is_in(answered["image_id"], known["face_id"].combine_chunks())).sort_by("image_id")
    truth = known.filter(pc.is_in(known["corpus"], pa.array(sorted(rendered.corpora), pa.string()))).to_pylist()
    by_id, rest = {face["face_id"]: face for face in truth}, rendered.at_rest(truth)
    chosen = answered[: config.shown].append_column("shown", pa.array([True] * min(config.shown, len(answered))))
    checked = answered.filter(pc.is_in(answered["image_id"], pa.array(_checked(truth, rendered, rest), pa.string())))
    others = checked[: config.check].filter(
        pc.invert(pc.is_in(checked[: config.check]["image_id"], chosen["image_id"]))
    )
    table = pa.concat_tables([chosen, others.append_column("shown", pa.array([False] * len(others), pa.bool_()))])
    crossed = readers_of(predictions) if "cross_fitted" in predictions.results else {}
    rows = []
    for row, figure in zip(table.to_pylist(), figures(table).to_pylist(), strict=True):
        face = by_id.get(row["image_id"])
        units, at_rest = (rendered.of(face), rest.get(scene_of(face))) if face else (None, None)
        row |= {"explained": row["predicted"], "rendered": None if units is None else units.tolist()}
        row |= {"at_rest": at_rest and at_rest["face_id"]}
        row |= {"recogniser": numbers[crossed[figure]] if crossed else next(iter(numbers.values()), None)}
        rows.append(row)
    return pa.Table.from_pylist(rows, _PLAN)


def _pictures(faces: Sequence[Artifact]) -> pa.Table:
    """face_id, corpus and path of every accepted face with a picture."""
    wanted, columns = (pc.field("status") == OK) & pc.is_valid(pc.field("image")), ["face_id", "corpus", "path"]
    return pa.concat_tables(output.scan("faces", FACES).to_table(columns=columns, filter=wanted) for output in faces)


def _checked(truth: Sequence[Row], rendered: Rendered, rest: Mapping[tuple[str, str], Any]) -> list[str]:
    """The ids of the rendered faces that show something, and whose figure is at rest in another face of the scene."""
    return [
        face["face_id"]
        for face in truth
        if (units := rendered.of(face)) is not None and units.any() and scene_of(face) in rest
    ]


class Explainer:
    """An actor with the models, on one thread: explains the answers of a shard, one by one."""

    def __init__(self, faces: Sequence[Artifact], models: Sequence[Artifact], reader: str) -> None:
        torch.set_num_threads(1)
        self.faces = faces
        self.recognisers = [open_recogniser(model) for model in models]
        self.random = [randomised(recogniser) for recogniser in self.recognisers]
        self.reader = None if models else open_reader(reader)

    def __call__(self, plan: pa.Table) -> pa.Table:
        ids = [name for column in ("image_id", "at_rest") for name in plan[column].drop_null().to_pylist()]
        tables = [output.table("faces", FACES, columns=_FACE, ids=ids) for output in self.faces]
        faces = {row["face_id"]: row for table in tables for row in table.to_pylist()}
        rows = [self._row(row, faces[row["image_id"]], faces.get(row["at_rest"])) for row in plan.to_pylist()]
        return pa.Table.from_pylist(rows, EXPLANATIONS)

    def _row(self, planned: Row, face: Row, at_rest: Row | None) -> Row:
        row = {name: planned.get(name) for name in EXPLANATIONS.names} | {"at_rest": None, "status": OK, "error": ""}
        if self.reader:
            return row | self._contributions(planned, face)
        image = decode(face["image"])
        if image is None:
            return row | {"status": UNREADABLE, "error": "the image cannot be decoded"}
        recogniser, random = self.recognisers[planned["recogniser"]], self.random[planned["recogniser"]]
        pixels, label = sized(image, recogniser), planned["explained"]
        row["map"] = attribution_map(recogniser.network, pixels, label).ravel()
        row["random_map"] = attribution_map(random, pixels, label).ravel()
        changed = moved(face, at_rest) if at_rest and at_rest is not face else None
        return row | {"moved": None if changed is None else changed.ravel()}

    def _contributions(self, planned: Row, face: Row) -> Row:
        assert self.reader
        half_width = face["action_units_half_width_90"]
        half_width = None if half_width is None else np.array(half_width, np.float32)
        units = np.array(face["action_units"], np.float32)
        values, at_rest = contributions(self.reader, units, half_width, planned["explained"], planned["image_id"])
        return {"contributions": values, "at_rest": at_rest}


def _build(request: Request) -> StageSpec:
    return explain_spec(
        request.one("predictions"),
        request.all("faces"),
        request.config,
        models=request.all("models"),
        truth=request.all("truth"),
        reader=request.files.get("reader", SHIPPED),
        actors=request.compute.actors,
    )


KIND = StageKind(
    "explain-answers",
    makes="what answers rest on: maps of faces for a recogniser, Action Units for the reader; checked on the rendered "
    "corpora of `truth`",
    config=ExplainConfig,
    inputs=(
        Input("predictions", ("predict", "read")),
        Input("faces", ("faces", "corrected"), several=True),
        Input("models", ("train",), several=True, optional=True),
        Input("truth", (), several=True, optional=True),
    ),
    files=(InputFile("reader", "the weights of the reader that answered; the included one if left out"),),
    build=_build,
)
