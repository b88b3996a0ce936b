"""The generators under evaluation, the networks that measure their pictures, and the scores of these pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twfer_dist.core.intervals import as_dict, share_of
from twfer_dist.core.prototypes import prototype
from twfer_dist.core.taxonomy import EXPRESSIONS, NEUTRAL
from twfer_dist.engine.progress import Progress
from twfer_dist.measurement.analyzer import NetworkAnalyzer
from twfer_dist.measurement.face import FaceAnalyzer
from twfer_dist.measurement.identity import Identity, rank1_hits
from twfer_dist.synthesis.animate import animate, intensities
from twfer_dist.synthesis.checkpoints import LoadedGenerator
from twfer_dist.synthesis.evaluation import control
from twfer_dist.synthesis.evaluation.features import feature_distance
from twfer_dist.synthesis.evaluation.scores import SimilarityScores

INTENSITIES = intensities(5, drop_last=True)
"""Steps from a face's own Action Units to an expression's prototype, as the animate stage plans them."""

LABELS = range(1, NEUTRAL)
"""The labels of the six expressions."""

MIN_GALLERY = 20
"""The fewest figures that the identity score is given for: among fewer, guessing would do well."""

_BATCH = 16


@dataclass(frozen=True)
class ExpressionSeries:
    """The measured Action Units of N faces, and of their animations towards each expression by INTENSITIES."""

    neutral: np.ndarray  # (N, 17)
    animated: Mapping[str, np.ndarray]  # (N, 6, steps, 17) of each system


@dataclass(frozen=True)
class Evaluator:
    """Runs the systems (generators by name) and scores their pictures with analyzers (by score) and, where there is
    one, `identity`. `progress` counts each picture that is animated, and each that is measured.
    """

    systems: Mapping[str, LoadedGenerator]
    device: str
    reference_analyzer: NetworkAnalyzer
    secondary_analyzer: FaceAnalyzer | None
    identity: Identity | None
    progress: Progress

    @property
    def analyzers(self) -> dict[str, FaceAnalyzer]:
        """The analyzers by the name of the score that they give."""
        secondary = {"au_control_r_secondary": self.secondary_analyzer} if self.secondary_analyzer else {}
        return {"au_control_r": self.reference_analyzer, **secondary}

    def animate(self, system: str, crops: np.ndarray, own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """The crops uint8 (N, S, S, 3) animated from `own` to `wanted` Action Units (N, 17) in 0..5."""
        animated = []
        for start in range(0, len(crops), _BATCH):
            part = slice(start, start + _BATCH)
            animated.append(animate(self.systems[system], crops[part], own[part], wanted[part], self.device))
            self.progress.advance(len(animated[-1]))
        return np.concatenate(animated)

    def measure(self, analyzer: FaceAnalyzer, pictures: np.ndarray) -> np.ndarray:
        """`control.measure` of crops uint8 (N, S, S, 3)."""
        units = []
        for start in range(0, len(pictures), _BATCH):
            units.append(control.measure(analyzer, pictures[start : start + _BATCH]))
            self.progress.advance(len(units[-1]))
        return np.concatenate(units)

    def animate_series(self, neutral: np.ndarray, own: np.ndarray) -> dict[str, np.ndarray]:
        """Each face animated towards each expression by INTENSITIES: uint8 (N, 6, steps, S, S, 3) of each system."""
        wanted = targets(own)
        shape = wanted.shape[:3]
        crops, before = (np.repeat(each, shape[1] * shape[2], axis=0) for each in (neutral, own))
        return {
            name: self.animate(name, crops, before, wanted.reshape(-1, 17)).reshape(*shape, *neutral.shape[1:])
            for name in self.systems
        }

    def measure_series(
        self, analyzer: FaceAnalyzer, neutral: np.ndarray, series: Mapping[str, np.ndarray]
    ) -> ExpressionSeries:
        """The measured Action Units of neutral crops (N, S, S, 3) and of their `animate_series`."""
        units = {
            name: self.measure(analyzer, pictures.reshape(-1, *neutral.shape[1:])).reshape(*pictures.shape[:3], 17)
            for name, pictures in series.items()
        }
        return ExpressionSeries(self.measure(analyzer, neutral), units)

    def similarity(self, image: np.ndarray, truth: np.ndarray, pictures: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """psnr, ssim and feature_distance of pictures to the truth, where it differs from the input and elsewhere."""
        network = self.reference_analyzer.network
        similarity = SimilarityScores({"features": lambda a, b: feature_distance(network, a, b)})
        with torch.inference_mode():
            for start in range(0, len(image), _BATCH):
                part = slice(start, start + _BATCH)
                several = {name: _tensor(of_system[part]) for name, of_system in pictures.items()}
                similarity.add(_tensor(image[part]), _tensor(truth[part]), several)
        scores: dict[str, Any] = {}
        for key, measure in (("psnr", "psnr"), ("ssim", "ssim"), ("feature_distance", "features")):
            scores[key] = {
                name: {region: round(similarity.mean(name, measure, region), 5) for region in ("changed", "rest")}
                for name in pictures
            } | {"n": len(image)}
        scores["feature_distance"]["network"] = (
            f"the network that measures faces {self.reference_analyzer.sha256[:12]}, after its stem and its blocks"
        )
        return scores | {"changed_share": round(similarity.pixels["changed"] / similarity.pixels["all"], 5)}

    def control(
        self, analyzer: FaceAnalyzer, requested: np.ndarray, changes: Mapping[str, np.ndarray], figures: np.ndarray
    ) -> dict[str, Any]:
        """How closely the measured changes of each system follow the requested ones, all (N, 17), of `figures` (N,).

        Where `changes` holds the truth's own, the systems' means are also given as a share of it, `of_ceiling`.
        """
        scores: dict[str, Any] = {
            name: control.correlations(requested, change, figures) for name, change in changes.items()
        }
        if ceiling := scores.get("truth", {}).get("mean"):
            for name in self.systems:
                scores[name]["of_ceiling"] = round((scores[name]["mean"] or 0.0) / ceiling, 4)
        return scores | {"analyzer": analyzer.sha256[:12], "n": len(requested)}

    def monotone(self, series: ExpressionSeries, figures: np.ndarray) -> dict[str, Any]:
        """The share of figures and expressions whose measured expression rises at every step; `copy` never does."""
        first = np.repeat(series.neutral[:, None, None], len(LABELS), axis=1)  # (N, 6, 1, 17)
        scores: dict[str, Any] = {}
        for name, animated in {"copy": np.repeat(first, len(INTENSITIES), axis=2), **series.animated}.items():
            whole = np.concatenate([first, animated], axis=2)
            hits = np.stack(
                [control.rises(control.strengths(whole[:, k], label)) for k, label in enumerate(LABELS)], axis=1
            )
            by_expression = {
                EXPRESSIONS[label - 1]: as_dict(share_of(hits[:, k], figures)) for k, label in enumerate(LABELS)
            }
            total = as_dict(share_of(hits.ravel(), np.repeat(figures, len(LABELS))))
            scores[name] = total | {"by_expression": by_expression}
        return scores | {"intensities": [0, *INTENSITIES], "n": len(figures) * len(LABELS)}

    def identity_rank1(
        self, pictures: Mapping[str, np.ndarray], figures: np.ndarray, gallery: np.ndarray, known: np.ndarray
    ) -> dict[str, Any]:
        """The share of pictures (N, of `figures`) whose nearest picture in the gallery (M, of `known`) shows the same
        figure; empty without an identity network, or for fewer than MIN_GALLERY known figures.
        """
        if self.identity is None or len(known) < MIN_GALLERY:
            return {}
        of_gallery = self.identity.embed(gallery)
        hits = {
            name: rank1_hits(self.identity.embed(several), figures, of_gallery, known)
            for name, several in pictures.items()
        }
        scores = {name: as_dict(share_of(of_system, figures)) for name, of_system in hits.items()}
        return scores | {"network": self.identity.sha256[:12], "among": len(known), "n": len(figures)}


def targets(own: np.ndarray) -> np.ndarray:
    """Action Units (N, 6, steps, 17), by INTENSITIES from `own` (N, 17) to each expression's prototype."""
    goals = np.stack([prototype(EXPRESSIONS[label - 1]) for label in LABELS])
    return own[:, None, None] + np.array(INTENSITIES, np.float32)[:, None] * (goals[:, None] - own[:, None, None])


def _tensor(pictures: np.ndarray) -> Tensor:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
