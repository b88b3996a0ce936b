"""The rendered corpus as a stage on Ray Data."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from twfer_dist.core import images, schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.landmarks import apply_affine, resample_jawline
from twfer_dist.core.status import OK
from twfer_dist.engine import storage
from twfer_dist.engine.config import fill, read_yaml
from twfer_dist.engine.kind import InputFile, Request, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.shards import Step
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.workload import Content, Workload
from twfer_dist.rendering import plan as plans
from twfer_dist.rendering import scenes
from twfer_dist.rendering.annotators import votes
from twfer_dist.rendering.export import export_corpus, sheet
from twfer_dist.rendering.facs import TABLE_VERSION, shape_weights
from twfer_dist.rendering.figure import Figure, Workshop
from twfer_dist.rendering.head import head_digest, load_head
from twfer_dist.rendering.plan import ClayConfig
from twfer_dist.rendering.render import Scene, draw, project

VERSION = 4
ROWS_PER_SHARD = 120


class Studio:
    """Renders the planned images of a shard."""

    def __init__(self, head: str, config: ClayConfig) -> None:
        cv2.setNumThreads(1)
        self.workshop = Workshop(load_head(head))
        self.config = config

    def __call__(self, plan: pa.Table) -> pa.Table:
        rows, figure_id, scene_id = [], "", ""
        for planned in plan.to_pylist():
            # The images of a figure, and of a scene, are consecutive.
            if planned["figure_id"] != figure_id:
                figure_id = planned["figure_id"]
                figure = self._figure(figure_id, planned["posture"])
            if planned["scene"] != scene_id:
                scene_id = planned["scene"]
                scene = scenes.scene(self.config, scene_id)
                view = plans.view(self.config, scene_id, project(figure.vertices, scene)[1][figure.landmarks])
            rows.append(self._row(planned, figure, scene, view))
        return pa.Table.from_pylist(rows, schema=schema.RENDERED)

    def _figure(self, figure_id: str, posture: str) -> Figure:
        dress = plans.dress(self.config, figure_id, posture)
        rng = plans.seeded("figure", self.config.seed, figure_id)
        return self.workshop.figure(dress, rng, plans.stylisation(self.config, figure_id))

    def _row(self, planned: Mapping[str, Any], figure: Figure, scene: Scene, view: np.ndarray) -> dict[str, Any]:
        config, image_id = self.config, planned["image_id"]
        units, lean = plans.action_units(config, image_id, planned["label"], planned["intensity"])
        names = self.workshop.head.expression_names
        weights = shape_weights(units, names, lean) + plans.incidental_shapes(config, image_id, names)
        weights += plans.resting_shapes(config, planned["figure_id"], names)
        vertices = self.workshop.posed(figure, weights)
        image = draw(figure, vertices, plans.folds(config, planned["figure_id"], units), scene, view, config.size)
        points = resample_jawline(apply_affine(project(vertices[figure.landmarks], scene)[1], view))
        groups = {"material": scene.material, "headgear": figure.dress.headgear}
        if planned["posture"]:
            groups["posture"] = planned["posture"]
        has_votes = config.plan in ("expressions", "postures")
        return {
            **{name: planned[name] for name in ("image_id", "figure_id", "scene", "label", "intensity")},
            "votes": votes(units, plans.seeded("votes", config.seed, image_id)) if has_votes else "",
            "groups": sorted(groups.items()),
            "action_units": units,
            "landmarks68": points.astype(np.float32).reshape(-1),
            "pose": scene.pose,
            "image": images.encode_jpeg(image, config.quality),
            "width": config.size,
            "height": config.size,
            "status": OK,
            "error": "",
        }


def render_spec(head: str, config: ClayConfig, *, actors: int | None = None) -> StageSpec:
    """The stage that renders a corpus with the head model file `head` (a path or URI). Table ".": RENDERED, all ok."""

    def do(output: StageOutput) -> None:
        step = Step(Studio, {"head": storage.absolute(head), "config": config}, actors=actors)
        output.map(plans.plan(config), [step], rows_per_shard=ROWS_PER_SHARD)

    models = {"head": head_digest(head), "facs": str(TABLE_VERSION)}
    return StageSpec("render", VERSION, {}, config, models, {".": schema.RENDERED}, do)


def make_corpora(recipe: str, head: str, out: str) -> list[str]:
    """Render the corpora of a recipe and write each to `<out>/<name>` with a sheet `<out>/<name>.jpg`; the folders.

    recipe: a YAML file, `corpora: {name: {fields of ClayConfig}}`. The rendered tables are kept in `<out>/rendered`, so
    that an interrupted run resumes there.
    """
    folders = []
    load_head(head)  # a wrong file is reported before workers start
    for name, config in _read_recipe(recipe).items():
        rendered = run_stage(render_spec(head, config), storage.join(out, "rendered"))
        table = rendered.table(".", schema.RENDERED)
        folders.append(storage.join(out, name))
        export_corpus(table, folders[-1])
        storage.write_bytes(storage.join(out, f"{name}.jpg"), sheet(table))
    return folders


def _read_recipe(path: str) -> dict[str, ClayConfig]:
    content, _ = read_yaml(path)
    corpora = content.get("corpora") if isinstance(content, dict) else None
    if not isinstance(corpora, dict) or not corpora or not all(isinstance(value, dict) for value in corpora.values()):
        raise UserError(f"{path} names no corpora to render: write `corpora:` and, under each name, its settings.")
    configs = {}
    for name, settings in corpora.items():
        if "/" in str(name) or str(name) in ("", ".", "..", "rendered"):
            raise UserError(f"{path}: '{name}' cannot be the name of a corpus: choose another word.")
        configs[str(name)] = fill(ClayConfig, settings, f"{path}, corpus '{name}'")
    return configs


def _workload(request: Request) -> Workload:
    planned = plans.plan(request.config)
    content = Content(Counter(planned["label"].to_pylist()))
    return Workload(f"render {request.config.size}", len(planned), "images", content, request.compute.actors)


KIND = StageKind(
    "render",
    makes="rendered heads with known Action Units",
    config=ClayConfig,
    files=(
        InputFile(
            "head",
            "a head model",
            "name a head model, such as package:demo/head.npz, or one that `twfer corpus head` makes",
        ),
    ),
    build=lambda request: render_spec(request.files["head"], request.config, actors=request.compute.actors),
    workload=_workload,
)
