"""How good generators are: on rendered heads, whose right picture is known, and on faces of photographs, of which none
is.

Three systems answer: copying the input, the public generator, ours. Each sees the crops as the stage that animates
shows them (`animate.animate`). The networks that measure take no part in the training of a generator: whoever asks sees
to that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor
from torch.nn import functional as F

from twfer_dist.core import images
from twfer_dist.core.errors import UserError
from twfer_dist.core.intervals import as_dict, share_of
from twfer_dist.core.prototypes import prototype
from twfer_dist.core.schema import FACES, RENDERED
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS, MAX_INTENSITY, NEUTRAL
from twfer_dist.engine.artifact import Artifact
from twfer_dist.measurement.analyzer import SHIPPED, FaceAnalyzer, NetworkAnalyzer, open_analyzer, open_network
from twfer_dist.measurement.identity import Identity, open_identity, rank1_hits
from twfer_dist.measurement.network import SIZE, FaceNetwork, standardised
from twfer_dist.synthesis import references
from twfer_dist.synthesis.animate import animate, intensities
from twfer_dist.synthesis.checkpoints import LoadedGenerator, load_generator
from twfer_dist.synthesis.evaluation import control
from twfer_dist.synthesis.evaluation.scores import Nearness
from twfer_dist.synthesis.pairs import Pairs, load_scenes

LEAST = 20
"""Figures among which one is looked for: among fewer, guessing would do."""

STEPS = intensities(5, drop_last=True)
"""Of the way from a face's own Action Units to an expression's prototype: as the stage that animates plans them."""

REFERENCES = 5  # of each expression, in the measure of how much their choice matters
_SIDE = 128  # pixels of the faces of photographs
_BATCH = 16
_SHOWN = range(1, NEUTRAL)  # the labels of the six expressions

Systems = Mapping[str, LoadedGenerator]


def evaluate(
    ours: str,
    public: str | None,
    rendered: Artifact,
    faces: Sequence[Artifact],
    *,
    identity: str,
    reference_analyzer: str | None = None,
    secondary_analyzer: str | None = None,
    figures: int = 40,
) -> dict[str, Any]:
    """Scores of the generators `ours` and, where given, `public`, beside copying the input.

    rendered: scenes of heads (plan pairs, framing crop) of figures that no generator has seen; `figures` of them are
    taken, evenly.
    faces: outputs of the faces stage; of each, the first neutral or unlabelled face of each of so many figures.
    identity, reference_analyzer: weights of networks; the analyzer is the one that ships where none is named.
    secondary_analyzer: another network that measures faces, such as MediaPipe's. Keys:
        psnr, ssim, feature_distance: on pairs of rendered pictures, of each system `changed` (where the truth
            changes) and `rest`;
        au_control_r (au_control_r_secondary): `control.correlations` of requested and measured change, for `clay` with
            the `truth`'s own and `of_ceiling`, the mean as a share of the truth's;
        monotone_share: of figures and expressions, those whose measured expression rises at each of STEPS, see
        `control.rises`; identity_rank1: of animated pictures, those nearest to their own figure's neutral one: in
            another scene where the figure has one (clay), or in the face itself (sculpture);
        reference_choice: `control.choice` by expression, where labelled `faces` offer references, else None.
    Problem where a file is missing or another, or where there are fewer than LEAST figures.
    """
    systems = {"public": load_generator(public)} if public else {}
    systems["ours"] = load_generator(ours)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for loaded in systems.values():
        loaded.network.to(device)
    analyzers = {"au_control_r": open_network(reference_analyzer or SHIPPED)} | (
        {"au_control_r_secondary": open_analyzer(secondary_analyzer)} if secondary_analyzer else {}
    )
    evaluator = _Evaluator(systems, device, analyzers, open_identity(identity))
    clay = _scenes(rendered, figures)
    photographed = _all_photographed(faces, figures) if faces else None
    scores = evaluator.on_clay(*clay)
    if photographed:
        scores = _merged(scores, "sculpture", evaluator.on_faces(*photographed))
        scores["reference_choice"] = evaluator.of_references(*photographed[:2], faces)
    return scores


def _merged(scores: dict[str, Any], kind: str, more: Mapping[str, Any]) -> dict[str, Any]:
    return {key: {**value, kind: more[key]} if key in more else value for key, value in scores.items()}


def _scenes(rendered: Artifact, figures: int) -> tuple[Pairs, list[str]]:
    """Scenes of up to `figures` figures, evenly taken, and the figure of each scene."""
    if rendered.manifest.stage == "render" and (framing := rendered.manifest.config.get("framing")) != "crop":
        raise UserError(
            f"{rendered.uri} shows heads in the framing '{framing}', and a generator sees crops: render with "
            "framing crop."
        )
    widths = rendered.table(".", RENDERED, columns=["width"])["width"]
    pairs, names = load_scenes(rendered, int(pc.max(widths).as_py() or _SIDE))
    known = sorted(set(names))
    if len(known) < LEAST:
        raise UserError(
            f"{rendered.uri} has scenes of {len(known)} figures, and one is looked for among {LEAST} at least: "
            "render more."
        )
    taken = {known[k] for k in np.linspace(0, len(known) - 1, min(figures, len(known))).round().astype(int)}
    kept = [k for k, name in enumerate(names) if name in taken]
    return pairs.of(kept), [names[k] for k in kept]


def _all_photographed(faces: Sequence[Artifact], figures: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`_photographed` of all outputs together. Problem where there are fewer than LEAST figures."""
    parts = [_photographed(one, figures) for one in faces]
    crops, own, figure_ids = (np.concatenate(several) for several in zip(*parts, strict=True))
    if len(crops) < LEAST:
        places = ", ".join(one.uri for one in faces)
        raise UserError(
            f"{places} has neutral or unlabelled faces of {len(crops)} figures, and one is looked for among {LEAST} "
            "at least: give more."
        )
    return crops, own, figure_ids


def _photographed(faces: Artifact, figures: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first neutral or unlabelled face of each of up to `figures` figures: crops uint8 (N, S, S, 3), their Action
    Units (N, 17), 0 to 5, and figures.
    """
    light = faces.table("faces", FACES, columns=["face_id", "corpus", "figure_id", "label", "status"]).to_pylist()
    first: dict[tuple[str, str], str] = {}
    for row in light:
        if row["status"] == OK and row["label"] in (None, NEUTRAL):
            first.setdefault((row["corpus"], row["figure_id"]), row["face_id"])
    ids = sorted(first.values())[:figures]
    rows = faces.table(
        "faces", FACES, columns=["face_id", "corpus", "figure_id", "action_units", "image"], ids=ids
    ).to_pylist()
    crops = np.zeros((len(rows), _SIDE, _SIDE, 3), np.uint8)
    for crop, row in zip(crops, rows, strict=True):
        image = images.decode(row["image"])
        if image is None:
            raise UserError(
                f"{faces.uri}: the image of {row['face_id']} cannot be decoded; delete the directory and make it again."
            )
        crop[:] = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    own = np.array([row["action_units"] or [0.0] * 17 for row in rows], np.float32).reshape(-1, 17)
    return crops, own, np.array([f"{row['corpus']}/{row['figure_id']}" for row in rows])


@dataclass(frozen=True)
class _Evaluator:
    """Asks the systems, and the networks that measure them."""

    systems: Systems
    device: str
    analyzers: Mapping[str, FaceAnalyzer]
    identity: Identity

    def _animated(self, loaded: LoadedGenerator, crops: np.ndarray, own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        parts = [slice(start, start + _BATCH) for start in range(0, len(crops), _BATCH)]
        return np.concatenate([animate(loaded, crops[part], own[part], wanted[part], self.device) for part in parts])

    def on_clay(self, pairs: Pairs, names: list[str]) -> dict[str, Any]:
        """All scores of rendered scenes; names: the figure of each scene."""
        draw = pairs.neutral_batch(len(pairs.images))
        image, truth = pairs.images[draw.source], pairs.images[draw.target]
        own, wanted = (MAX_INTENSITY * pairs.units[index] for index in (draw.source, draw.target))
        made = {name: self._animated(loaded, image, own, wanted) for name, loaded in self.systems.items()}
        scores = self._nearness(image, truth, {"copy": image, **made})
        inputs, number = np.unique(draw.source, return_inverse=True)
        for key, analyzer in self.analyzers.items():
            before = control.measured(analyzer, pairs.images[inputs])[number]
            changes = {
                name: control.measured(analyzer, several) - before for name, several in {"truth": truth, **made}.items()
            }
            scores[key] = {"clay": self._control(analyzer, wanted - own, changes)}

        last = {name: number for number, name in enumerate(names)}  # the scene in which a figure is looked for
        figures = np.array(sorted(last))
        neutral = np.array([pairs.scenes[last[name]][0] for name in figures])
        series = self._series(pairs.images[neutral], MAX_INTENSITY * pairs.units[neutral])
        start, units = self._measured(self.analyzers["au_control_r"], pairs.images[neutral], series)
        scores["monotone_share"] = {"clay": self._monotone(start, units, figures)}

        scene_of = {int(index): number for number, scene in enumerate(pairs.scenes) for index in scene}
        scene = np.array([scene_of[int(index)] for index in draw.source])
        figure = np.array([names[number] for number in scene])
        single = {name for name in last if names.count(name) == 1}
        asked = np.array([name in single or number != last[name] for number, name in zip(scene, figure, strict=True)])
        pictures = {name: several[asked] for name, several in {"copy": image, "truth": truth, **made}.items()}
        scores["identity_rank1"] = {"clay": self._known_again(pictures, figure[asked], pairs.images[neutral], figures)}
        return scores

    def on_faces(self, neutral: np.ndarray, own: np.ndarray, figure_ids: np.ndarray) -> dict[str, Any]:
        """The scores that need no true picture: crops (N, S, S, 3) of faces of N figures, their Action Units (N,
        17).
        """
        series = self._series(neutral, own)
        asked = _towards(own) - own[:, None, None]
        scores: dict[str, Any] = {}
        for key, analyzer in self.analyzers.items():
            start, units = self._measured(analyzer, neutral, series)
            changes = {name: (after - start[:, None, None]).reshape(-1, 17) for name, after in units.items()}
            scores[key] = self._control(analyzer, asked.reshape(-1, 17), changes)
            if key == "au_control_r":
                scores["monotone_share"] = self._monotone(start, units, figure_ids)
        strongest = {name: pictures[:, :, -1].reshape(-1, *neutral.shape[1:]) for name, pictures in series.items()}
        strongest = {"copy": np.repeat(neutral, len(_SHOWN), axis=0), **strongest}
        return scores | {
            "identity_rank1": self._known_again(strongest, np.repeat(figure_ids, len(_SHOWN)), neutral, figure_ids)
        }

    def of_references(self, neutral: np.ndarray, own: np.ndarray, faces: Sequence[Artifact]) -> dict[str, Any] | None:
        """How much it matters which face an expression is copied from, for our generator; None where there is no
        choice.
        """
        columns = ["face_id", "corpus", "figure_id", "label", "action_units", "status"]
        chosen = references.choose([one.table("faces", FACES, columns=columns) for one in faces], REFERENCES)
        found = {}
        for label in _SHOWN:
            of_label = [
                np.array(reference.action_units, np.float32) for reference in chosen if reference.label == label
            ]
            if len(of_label) < 2:
                continue
            values = []
            for units in of_label:
                made = self._animated(self.systems["ours"], neutral, own, own + np.float32(STEPS[-1]) * (units - own))
                values.append(control.strengths(control.measured(self.analyzers["au_control_r"], made), label))
            found[EXPRESSIONS[label - 1]] = control.choice(np.stack(values, axis=1))
        if not found:
            return None
        mean = float(np.mean([one["share_of_variance"] for one in found.values()]))
        return {"share_of_variance": round(mean, 4), "by_expression": found, "n": len(neutral)}

    def _series(self, neutral: np.ndarray, own: np.ndarray) -> dict[str, np.ndarray]:
        """Each face carried towards each expression by STEPS: uint8 (N, 6, steps, S, S, 3) of each system."""
        wanted = _towards(own)
        shape = wanted.shape[:3]
        crops, before = (np.repeat(each, shape[1] * shape[2], axis=0) for each in (neutral, own))
        return {
            name: self._animated(loaded, crops, before, wanted.reshape(-1, 17)).reshape(*shape, *neutral.shape[1:])
            for name, loaded in self.systems.items()
        }

    def _measured(
        self, analyzer: FaceAnalyzer, neutral: np.ndarray, series: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The measured Action Units of the faces themselves (N, 17), and of the systems' series (N, 6, steps, 17)."""
        units = {
            name: control.measured(analyzer, pictures.reshape(-1, *neutral.shape[1:])).reshape(*pictures.shape[:3], 17)
            for name, pictures in series.items()
        }
        return control.measured(analyzer, neutral), units

    def _nearness(self, image: np.ndarray, truth: np.ndarray, pictures: Mapping[str, np.ndarray]) -> dict[str, Any]:
        analyzer = self.analyzers["au_control_r"]
        assert isinstance(analyzer, NetworkAnalyzer)
        near = Nearness({"features": lambda a, b: feature_distance(analyzer.network, a, b)})
        with torch.inference_mode():
            for start in range(0, len(image), _BATCH):
                part = slice(start, start + _BATCH)
                near.add(
                    _tensor(image[part]),
                    _tensor(truth[part]),
                    {name: _tensor(several[part]) for name, several in pictures.items()},
                )
        found: dict[str, Any] = {}
        for key, measure in (("psnr", "psnr"), ("ssim", "ssim"), ("feature_distance", "features")):
            found[key] = {
                name: {region: round(near.mean(name, measure, region), 5) for region in ("changed", "rest")}
                for name in pictures
            } | {"n": len(image)}
        found["feature_distance"]["network"] = (
            f"the network that measures faces {analyzer.sha256[:12]}, after its stem and its blocks"
        )
        return found | {"changed_share": round(near.pixels["changed"] / near.pixels["all"], 5)}

    def _control(self, analyzer: FaceAnalyzer, asked: np.ndarray, changes: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """How closely measured changes follow the requested ones, all (N, 17); as a share of the truth's own, where
        there is one.
        """
        found: dict[str, Any] = {name: control.correlations(asked, change) for name, change in changes.items()}
        if ceiling := found.get("truth", {}).get("mean"):
            for name in self.systems:
                found[name]["of_ceiling"] = round((found[name]["mean"] or 0.0) / ceiling, 4)
        return found | {"analyzer": analyzer.sha256[:12], "n": len(asked)}

    def _monotone(self, start: np.ndarray, units: Mapping[str, np.ndarray], figures: np.ndarray) -> dict[str, Any]:
        """The figures and expressions that rise at every step. start, units: of `_measured`."""
        first = np.repeat(start[:, None, None], len(_SHOWN), axis=1)  # (N, 6, 1, 17)
        found: dict[str, Any] = {}
        for name, after in {"copy": np.repeat(first, len(STEPS), axis=2), **units}.items():
            whole = np.concatenate([first, after], axis=2)
            hits = np.stack(
                [control.rises(control.strengths(whole[:, k], label)) for k, label in enumerate(_SHOWN)], axis=1
            )
            by_expression = {
                EXPRESSIONS[label - 1]: as_dict(share_of(hits[:, k], figures)) for k, label in enumerate(_SHOWN)
            }
            found[name] = as_dict(share_of(hits.ravel(), np.repeat(figures, len(_SHOWN)))) | {
                "by_expression": by_expression
            }
        return found | {"intensities": [0, *STEPS], "n": len(figures) * len(_SHOWN)}

    def _known_again(
        self, pictures: Mapping[str, np.ndarray], figure: np.ndarray, gallery: np.ndarray, known: np.ndarray
    ) -> dict[str, Any]:
        """The share of pictures (N of `figure`) that are nearest to their own figure's in the gallery (M of
        `known`).
        """
        there = self.identity.embed(gallery)
        found = {
            name: as_dict(share_of(rank1_hits(self.identity.embed(several), figure, there, known), figure))
            for name, several in pictures.items()
        }
        return found | {"network": self.identity.sha256[:12], "among": len(known), "n": len(figure)}


def _towards(own: np.ndarray) -> np.ndarray:
    """The Action Units (N, 6, steps, 17) at STEPS of the way from own (N, 17) to each expression's prototype."""
    goals = np.stack([prototype(EXPRESSIONS[label - 1]) for label in _SHOWN])
    return own[:, None, None] + np.array(STEPS, np.float32)[:, None] * (goals[:, None] - own[:, None, None])


def _tensor(pictures: np.ndarray) -> Tensor:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def feature_distance(network: FaceNetwork, a: Tensor, b: Tensor) -> Tensor:
    """How differently a network sees two pictures, (B, 3, S, S) in -1..1, place by place: a map (B, 1, S, S).

    As in LPIPS (Zhang et al. 2018), without its learned weights: after the stem and after each block, the squared
    difference of the channels, each place's brought to length 1, is enlarged to the picture; the mean over the layers.
    Grey pictures: 0 for equal ones.
    """
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    x = torch.cat([a, b])
    grey = F.interpolate(
        (x * weights).sum(1, keepdim=True), (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False
    )
    x = standardised((grey.squeeze(1) + 1) * 127.5)
    maps = []
    for layer in (network.stem, *network.body):
        x = layer(x)
        one, other = F.normalize(x).chunk(2)
        difference = (one - other).square().sum(1, keepdim=True)
        maps.append(F.interpolate(difference, a.shape[2:], mode="bilinear", align_corners=False))
    return torch.stack(maps).mean(0)
