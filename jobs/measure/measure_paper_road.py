"""The paper's road where the truth is known: faces animated to seven expressions, a recogniser trained on the animated
images alone, and the true expressions of other people's faces read by it.

    twfer faces RAF-DB/basic --aligned --out runs/fer
    twfer faces yalefaces/ --out runs/yale
    twfer faces twfer_dist/demo/tw58 --out runs/heads
    python jobs/measure/measure_paper_road.py export runs/fer/faces-0123456789ab fer.npz      (the same for the others)
    python jobs/measure/measure_paper_road.py run fer.npz yale.npz heads.npz --seconds 600 > road.jsonl
    python jobs/measure/measure_paper_road.py table road.jsonl

One corpus has a training and a test part (RAF-DB's layout), the other several faces of each person (Yale's). They are
read in two ways. "folder": the people of a folder are cross-fitted, each read by a network that saw neither the face
nor its animated images; of the first corpus, the test part is the folder. "apart": the training part's animated faces
teach, the test part and the other corpus are read, and so are the training part's other faces ("held"), by which
settings can be chosen without the test part. Each line of output is a setting with all its seeds; "together" is the
mean of the seeds' probabilities. --share 0/4: the first of four processes that divide the settings among themselves.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from paper_road import Animated, Animator, Faces, adapt, clearest, export, fit, load, new_network, read
from paper_road_settings import Job, Road, described, jobs
from torch import Tensor, nn

from twfer_dist.core.intervals import share_of, wilson
from twfer_dist.core.taxonomy import EXPRESSIONS, NEUTRAL
from twfer_dist.engine.config import package_path
from twfer_dist.synthesis.checkpoints import load_generator

GENERATOR = package_path("package:weights/generator.safetensors")
REFERENCES = 5  # of each expression, where the clearest labelled faces are copied


class Laboratory:
    """Runs jobs on one device."""

    def __init__(self, corpora: dict[str, Faces], device: torch.device, scale: float) -> None:
        self.corpora, self.device, self.scale = corpora, device, scale
        fer = corpora["fer"]
        self.animator = Animator(load_generator(GENERATOR), clearest(fer.of(~fer.test), REFERENCES), device)
        self.trunks: dict[tuple[bool, int], dict[str, Tensor]] = {}

    def run(self, job: Job) -> dict[str, Any]:
        """The results of a job, by what was read."""
        road = replace(job.road, epochs=max(1, round(self.scale * job.road.epochs)))
        do = self._folder if job.way == "folder" else self._apart
        seeds = [do(job, road, seed) for seed in range(job.seeds)]
        return {name: scores([seed[name][1] for seed in seeds], seeds[0][name][0]) for name in seeds[0]}

    def _folder(self, job: Job, road: Road, seed: int) -> dict[str, tuple[Faces, np.ndarray]]:
        """Cross-fitted probabilities of a folder's labelled faces."""
        faces = self.corpora[job.corpus]
        if job.corpus == "fer":
            faces = faces.of(faces.test)
        people, person = np.unique(faces.figures, return_inverse=True)
        fold = (np.random.default_rng(seed).permutation(len(people)) % job.folds)[person]
        chosen = faces.measured & ((faces.labels == NEUTRAL) | (road.source == "every"))
        animated = self.animator(faces.of(chosen), road, seed)
        result = np.zeros((len(faces), len(EXPRESSIONS)))
        for k in range(job.folds):
            kept = np.repeat(fold[chosen] != k, len(animated.labels) // int(chosen.sum()))
            network = self._train(animated, kept, road, seed, self._pixels(faces.of(fold != k)))
            result[fold == k] = read(network, road, self._pixels(faces.of(fold == k)))
        return {job.corpus: (faces.of(faces.labels > 0), result[faces.labels > 0])}

    def _apart(self, job: Job, road: Road, seed: int) -> dict[str, tuple[Faces, np.ndarray]]:
        """Probabilities of the test part, of what the training part holds beside the animated faces, and of the other
        corpus.
        """
        faces, other = self.corpora["fer"], self.corpora["yale"]
        may = np.flatnonzero(~faces.test & faces.measured & ((faces.labels == NEUTRAL) | (road.source == "every")))
        chosen = np.zeros(len(faces), bool)
        chosen[np.random.default_rng(0).permutation(may)[: road.most]] = True
        animated = self.animator(faces.of(chosen), road, seed)
        everything = np.ones(len(animated.labels), bool)
        network = self._train(animated, everything, road, seed, self._pixels(faces.of(~faces.test)))
        parts = {
            "test": faces.of(faces.test),
            "held": faces.of(~faces.test & ~chosen),
            "yale": other.of(other.labels > 0),
        }
        return {name: (part, read(network, road, self._pixels(part))) for name, part in parts.items()}

    def _train(self, animated: Animated, kept: np.ndarray, road: Road, seed: int, real: Tensor) -> nn.Module:
        rows = torch.from_numpy(np.flatnonzero(kept)).to(self.device)
        images, labels = animated.images[rows], animated.labels[rows]
        trunk = None
        if road.start == "heads":
            trunk = self._heads(road)
        elif road.start == "resnet18":
            trunk = _trunk(self._fitted(replace(road, network="resnet18"), None, images, labels, seed))
        network = self._fitted(road, trunk, images, labels, seed)
        if road.adapt:
            adapt(network, road, real)
        return network

    def _heads(self, road: Road) -> dict[str, Tensor]:
        """The trunk of a ResNet-18 trained on animated rendered heads."""
        key = road.strong, road.size
        if key not in self.trunks:
            start = replace(road, network="resnet18", source="every", epochs=max(1, round(self.scale * 12)))
            animated = self.animator(self.corpora["heads"], start, 0)
            self.trunks[key] = _trunk(self._fitted(start, None, animated.images, animated.labels, 0))
        return self.trunks[key]

    def _fitted(
        self, road: Road, trunk: dict[str, Tensor] | None, images: Tensor, labels: Tensor, seed: int
    ) -> nn.Module:
        torch.manual_seed(seed)
        network = new_network(road, trunk, self.device)
        fit(network, road, images, labels)
        return network

    def _pixels(self, faces: Faces) -> Tensor:
        return torch.from_numpy(faces.crops).to(self.device).permute(0, 3, 1, 2)


def _trunk(network: nn.Module) -> dict[str, Tensor]:
    return network.get_submodule("features").state_dict()


def scores(seeds: Sequence[np.ndarray], faces: Faces) -> dict[str, Any]:
    """How often probabilities (N, 7) of each seed, and of all together, are right: of all faces, of those that could
    be measured, and with the answer limited to the expressions that the labels have.
    """
    labels, kept = faces.labels - 1, faces.measured
    present = np.unique(labels)
    result = {"majority": majority(labels), "all": _scores(seeds, labels, faces.figures)}
    if not kept.all():
        result["measured"] = _scores([one[kept] for one in seeds], labels[kept], faces.figures[kept])
    if len(present) < len(EXPRESSIONS):
        limited = [one[:, present] for one in seeds]
        result["limited"] = _scores(limited, np.searchsorted(present, labels), faces.figures)
    return result


def _scores(seeds: Sequence[np.ndarray], labels: np.ndarray, people: np.ndarray) -> dict[str, Any]:
    hits = [one.argmax(1) == labels for one in seeds]
    together = np.mean(seeds, 0).argmax(1)
    right, mean = together == labels, float(np.mean(hits))
    share = share_of(right, people)
    classes = np.unique(labels)
    return {
        "n": len(labels),
        "seeds": [int(one.sum()) for one in hits],
        "mean": [round(v, 4) for v in (mean, *wilson(mean * len(labels), len(labels)))],
        "balanced": round(float(np.mean([[one[labels == c].mean() for c in classes] for one in hits])), 4),
        "together": [share.k, round(share.low, 4), round(share.high, 4)],
        "per_class": {str(c): [int(right[labels == c].sum()), int((labels == c).sum())] for c in classes},
        "answers": np.bincount(together, minlength=seeds[0].shape[1]).tolist(),
    }


def majority(labels: np.ndarray) -> list[float]:
    """The most frequent label's count, and its share with its interval."""
    most = int(np.bincount(labels).max())
    return [most, *(round(v, 4) for v in (most / len(labels), *wilson(most, len(labels))))]


def run(options: argparse.Namespace, clock: Callable[[], float] = time.monotonic) -> None:
    began = clock()
    part, parts = map(int, options.share.split("/"))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    corpora = dict(zip(("fer", "yale", "heads"), map(load, options.faces), strict=True))
    if options.few:
        corpora = {name: faces.of(_spread(faces, options.few)) for name, faces in corpora.items()}
    laboratory = Laboratory(corpora, device, options.scale)
    longest = 0.0
    for number, job in enumerate(jobs()):
        if number % parts != part:
            continue
        before = clock()
        if before - began + longest / 2 > options.seconds:
            break
        result = laboratory.run(job)
        longest = max(longest, clock() - before)
        name = {"job": number, "corpus": job.corpus, "way": job.way, "folds": job.folds if job.way == "folder" else 0}
        line = name | {"setting": described(job.road), "read": result, "seconds": round(clock() - before, 1)}
        print(json.dumps(line), flush=True)


def _spread(faces: Faces, count: int) -> np.ndarray:
    """About `count` faces of each part, whole people, for a trial."""
    kept = [
        np.unique(faces.figures[faces.test == part])[:: max(1, (faces.test == part).sum() // count)] for part in (0, 1)
    ]
    return np.flatnonzero(np.isin(faces.figures, np.concatenate(kept)))


def table(options: argparse.Namespace) -> None:
    """The results as lines for people, best first in each group."""
    lines = [json.loads(line) for path in options.results for line in Path(path).read_text().splitlines()]
    groups: dict[tuple[Any, ...], list[tuple[float, str]]] = {}
    for line in lines:
        for name, read_ in line["read"].items():
            for kind in ("all", "measured", "limited"):
                if kind in read_:
                    score = read_[kind]
                    mean, low, high = score["mean"]
                    text = (
                        f"{mean:6.1%} ({low:.1%} to {high:.1%})  balanced {score['balanced']:.1%}  seeds "
                        f"{score['seeds']}  together {score['together'][0]} of {score['n']}  "
                        f"{json.dumps(line['setting'])}"
                    )
                    key = line["corpus"], line["way"], str(line["folds"] or ""), name, kind, str(read_["majority"])
                    groups.setdefault(key, []).append((mean, text))
    for key, rows in groups.items():
        print(f"\n{key[0]}, {key[1]} {key[2]}: {key[3]}, {key[4]} answers; majority {key[5]}")
        print("\n".join(text for _, text in sorted(rows, reverse=True)))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="The paper's road where the truth is known.")
    commands = parser.add_subparsers(required=True)
    exporting = commands.add_parser("export", help="Write the faces of a faces output into one file.")
    exporting.add_argument("output")
    exporting.add_argument("path")
    exporting.set_defaults(do=lambda options: export(options.output, options.path))
    running = commands.add_parser("run", help="Measure the settings, a line of JSON for each.")
    running.add_argument("faces", nargs=3, metavar="NPZ", help="FER, Yale and rendered heads, as exported.")
    running.add_argument("--seconds", type=float, default=600, help="No setting begins that would end later.")
    running.add_argument("--share", default="0/1", metavar="K/N", help="Every N-th setting, from the K-th.")
    running.add_argument("--few", type=int, default=0, help="About this many faces of each part, for a trial.")
    running.add_argument("--scale", type=float, default=1.0, help="Of all epochs, for a trial.")
    running.set_defaults(do=run)
    showing = commands.add_parser("table", help="Show the results.")
    showing.add_argument("results", nargs="+", metavar="JSONL")
    showing.set_defaults(do=table)
    options = parser.parse_args(arguments)
    options.do(options)


if __name__ == "__main__":
    main(sys.argv[1:])
