"""How good generators are: on rendered heads, whose true picture is known, and on faces of photographs without one.

Three systems are compared: copying the input, the public generator, and ours, each with the code of the animate stage
(`animate.animate`). The caller has to name measuring networks that took no part in the training of a generator.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from twfer_dist.core.schema import FACES
from twfer_dist.core.taxonomy import EXPRESSIONS, MAX_INTENSITY
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.progress import Progress
from twfer_dist.measurement.analyzer import SHIPPED, open_analyzer, open_network
from twfer_dist.measurement.identity import open_identity
from twfer_dist.synthesis import references
from twfer_dist.synthesis.checkpoints import LoadedGenerator, load_generator
from twfer_dist.synthesis.evaluation import control
from twfer_dist.synthesis.evaluation.evaluator import INTENSITIES, LABELS, Evaluator, targets
from twfer_dist.synthesis.evaluation.inputs import (
    NeutralFaces,
    RenderedScenes,
    find_sculpture,
    load_neutral_faces,
    load_rendered,
)
from twfer_dist.synthesis.pairs import PairBatch

REFERENCES = 5  # of each expression, to measure how much their choice matters

ReferenceUnits = Mapping[int, list[np.ndarray]]
"""The Action Units (17,) of the references of each label."""


def evaluate(
    ours: str,
    public: str | None,
    rendered: Artifact,
    faces: Sequence[Artifact],
    *,
    identity: str | None = None,
    reference_analyzer: str | None = None,
    secondary_analyzer: str | None = None,
    figures: int = 40,
    quiet: bool = False,
) -> dict[str, Any]:
    """Scores of the generator `ours` and, if given, `public`, next to copying the input.

    rendered: scenes of heads (`load_rendered`). faces: outputs of the faces stage (`load_neutral_faces`); without any
    the sculpture that ships (`find_sculpture`). figures: the most that are taken of each. identity, reference_analyzer
    (default: the one that ships), secondary_analyzer: weights of networks. Keys:
        psnr, ssim, feature_distance: on rendered pairs, where input and truth differ (`changed`), and in the `rest`;
        au_control_r, au_control_r_secondary: `Evaluator.control`; on rendered figures (`clay`) also of the `truth`;
        monotone_share: the share of figures and expressions whose measured expression rises at each of INTENSITIES;
        identity_rank1: `Evaluator.identity_rank1`, on clay in another scene if the figure has two; needs `identity`;
        reference_choice: `control.reference_effect` by expression where labelled `faces` offer references, else None.
    Raises UserError where a file is missing or of another kind, or holds nothing to animate.
    """
    analyzer = open_network(reference_analyzer or SHIPPED)
    secondary = open_analyzer(secondary_analyzer) if secondary_analyzer else None
    network = open_identity(identity) if identity else None
    systems, device = _load_systems(ours, public)
    scenes = load_rendered(rendered, figures)
    neutral = load_neutral_faces(faces, figures) if faces else find_sculpture(figures)
    chosen = _choose_references(faces)
    total = _pictures(len(systems), 2 if secondary else 1, scenes, len(neutral.crops), chosen)
    progress = Progress("pictures animated and measured", total, quiet=quiet)
    evaluator = Evaluator(systems, device, analyzer, secondary, network, progress)
    scores = _score_rendered(evaluator, scenes)
    for key, of_faces in _score_faces(evaluator, neutral).items():
        scores.setdefault(key, {})["sculpture"] = of_faces
    scores["reference_choice"] = _score_reference_choice(evaluator, neutral, chosen)
    progress.close()
    return scores


def _pictures(systems: int, analyzers: int, scenes: RenderedScenes, faces: int, chosen: ReferenceUnits) -> int:
    """How many pictures are animated or measured in all; those that two analyzers measure count twice."""
    pairs, steps = scenes.pairs, len(LABELS) * len(INTENSITIES)
    inputs, figures = len(pairs.scenes), len(set(scenes.figures))
    results = sum(len(scene) - 1 for scene in pairs.scenes)
    of_pairs = systems * results + analyzers * (inputs + (systems + 1) * results)
    of_series = systems * figures * steps * 2 + figures
    of_faces = systems * faces * steps * (1 + analyzers) + analyzers * faces
    return of_pairs + of_series + of_faces + 2 * faces * sum(map(len, chosen.values()))


def _load_systems(ours: str, public: str | None) -> tuple[dict[str, LoadedGenerator], str]:
    """The generators by name, and the device that they are on."""
    systems = {"public": load_generator(public)} if public else {}
    systems["ours"] = load_generator(ours)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for generator in systems.values():
        generator.network.to(device)
    return systems, device


def _score_rendered(evaluator: Evaluator, scenes: RenderedScenes) -> dict[str, Any]:
    """All scores of rendered scenes; those that sculpture has too, under `clay`."""
    pairs = scenes.pairs
    last = {name: number for number, name in enumerate(scenes.figures)}  # the scene of each figure in the gallery
    batch = pairs.neutral_batch(len(pairs.images))
    image, truth = pairs.images[batch.source], pairs.images[batch.target]
    own, wanted = (MAX_INTENSITY * pairs.units[index] for index in (batch.source, batch.target))
    animated = {name: evaluator.animate(name, image, own, wanted) for name in evaluator.systems}
    scores = evaluator.similarity(image, truth, {"copy": image, **animated})
    inputs, of_input = np.unique(batch.source, return_inverse=True)
    figure, queried = _queries(scenes, batch, last)
    for key, analyzer in evaluator.analyzers.items():
        before = evaluator.measure(analyzer, pairs.images[inputs])[of_input]
        changes = {
            name: evaluator.measure(analyzer, pictures) - before
            for name, pictures in {"truth": truth, **animated}.items()
        }
        scores[key] = {"clay": evaluator.control(analyzer, wanted - own, changes, figure)}

    figures = np.array(sorted(last))
    neutral = np.array([pairs.scenes[last[name]][0] for name in figures])
    gallery = pairs.images[neutral]
    pictures = evaluator.animate_series(gallery, MAX_INTENSITY * pairs.units[neutral])
    series = evaluator.measure_series(evaluator.reference_analyzer, gallery, pictures)
    scores["monotone_share"] = {"clay": evaluator.monotone(series, figures)}

    queries = {name: several[queried] for name, several in {"copy": image, "truth": truth, **animated}.items()}
    if identified := evaluator.identity_rank1(queries, figure[queried], gallery, figures):
        scores["identity_rank1"] = {"clay": identified}
    return scores


def _queries(
    scenes: RenderedScenes, batch: PairBatch, gallery_scene: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The figure of each pair, str (B,), and which pairs are looked up in the gallery, bool (B,): those of another
    scene than the gallery's, and all of figures that have one scene only.
    """
    scene_of = {int(index): number for number, scene in enumerate(scenes.pairs.scenes) for index in scene}
    scene = np.array([scene_of[int(index)] for index in batch.source])
    figure = np.array([scenes.figures[number] for number in scene])
    single = {name for name in gallery_scene if scenes.figures.count(name) == 1}
    queried = [name in single or number != gallery_scene[name] for number, name in zip(scene, figure, strict=True)]
    return figure, np.array(queried)


def _score_faces(evaluator: Evaluator, faces: NeutralFaces) -> dict[str, Any]:
    """The scores that need no true picture."""
    series = evaluator.animate_series(faces.crops, faces.action_units)
    requested = targets(faces.action_units) - faces.action_units[:, None, None]
    scores: dict[str, Any] = {}
    for key, analyzer in evaluator.analyzers.items():
        measured = evaluator.measure_series(analyzer, faces.crops, series)
        changes = {
            name: (units - measured.neutral[:, None, None]).reshape(-1, 17) for name, units in measured.animated.items()
        }
        of_figure = np.repeat(faces.figure_ids, len(LABELS) * len(INTENSITIES))
        scores[key] = evaluator.control(analyzer, requested.reshape(-1, 17), changes, of_figure)
        if analyzer is evaluator.reference_analyzer:
            scores["monotone_share"] = evaluator.monotone(measured, faces.figure_ids)
    queries = {"copy": np.repeat(faces.crops, len(LABELS), axis=0)}
    queries |= {name: pictures[:, :, -1].reshape(-1, *faces.crops.shape[1:]) for name, pictures in series.items()}
    figures = np.repeat(faces.figure_ids, len(LABELS))
    identified = evaluator.identity_rank1(queries, figures, faces.crops, faces.figure_ids)
    return scores | ({"identity_rank1": identified} if identified else {})


def _choose_references(faces: Sequence[Artifact]) -> ReferenceUnits:
    """Up to REFERENCES for each expression that the labelled faces offer at least two of."""
    tables = [artifact.table("faces", FACES, columns=references.COLUMNS) for artifact in faces]
    units: dict[int, list[np.ndarray]] = {label: [] for label in LABELS}
    for one in references.choose(tables, REFERENCES):
        if one.label in units:
            units[one.label].append(np.array(one.action_units, np.float32))
    return {label: several for label, several in units.items() if len(several) > 1}


def _score_reference_choice(
    evaluator: Evaluator, neutral: NeutralFaces, chosen: ReferenceUnits
) -> dict[str, Any] | None:
    """How much it matters for our generator which face an expression is copied from; None where there is no choice."""
    own, strongest = neutral.action_units, np.float32(INTENSITIES[-1])
    by_expression = {}
    for label, of_label in chosen.items():
        values = []
        for units in of_label:
            animated = evaluator.animate("ours", neutral.crops, own, own + strongest * (units - own))
            values.append(control.strengths(evaluator.measure(evaluator.reference_analyzer, animated), label))
        by_expression[EXPRESSIONS[label - 1]] = control.reference_effect(np.stack(values, axis=1))
    if not by_expression:
        return None
    mean = float(np.mean([effect["share_of_variance"] for effect in by_expression.values()]))
    return {"share_of_variance": round(mean, 4), "by_expression": by_expression, "n": len(neutral.crops)}
