"""Recognisers at the same budget, on figures that they have not seen:
`python jobs/measure/measure_recognisers.py DATASET OUT [FACES]`.

Each recogniser is trained with three seeds for as many epochs on DATASET (an output of kind dataset with training,
validation and test images), and reads its test images, and the labelled faces of FACES (an output of kind faces) whose
figures are among the test figures. Answers are kept in OUT, so that a run that was stopped goes on.
"""

import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch

from twfer_dist.core.schema import DATASET, FACES
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.dataset import loader
from twfer_dist.dataset.parts import parts_of
from twfer_dist.dataset.stream import ImageSource
from twfer_dist.engine.artifact import Artifact, open_artifact
from twfer_dist.engine.storage import absolute
from twfer_dist.recognition import training
from twfer_dist.recognition.train_config import TrainConfig

SEEDS, RESAMPLES = (0, 1, 2), 10_000
BUDGET = TrainConfig(epochs=8, size=112, loss="softmax", learning_rate=3e-4, precision="auto")
PUBLIC, OURS = "ARM, public recipe", "ARM, ours"
RECOGNISERS = {
    "ResNet-18": replace(BUDGET, network="resnet18", size=96),
    # As the public code: Adam at 1e-3 with a weight decay of 1e-4, 0.9 of the rate after each epoch, cross-entropy, its
    # augmentation; its batch is 256.
    PUBLIC: replace(BUDGET, network="arm", learning_rate=1e-3, weight_decay=1e-4, gamma=0, augment="arm"),
    OURS: replace(BUDGET, network="arm", schedule="cosine", warmup=0.5, ema=0.99),
    "AU-ResNet": replace(BUDGET, network="au-resnet"),
}
"""ARM starts from the trunk of the ResNet-18 with the same seed, as in its paper from one trained on faces."""


def trained(name: str, seed: int, dataset: Artifact, out: Path) -> training.State:
    """The recogniser at its best epoch, from its file in `out` if it is there."""
    config = replace(RECOGNISERS[name], seed=seed)
    file = out / f"{name} {seed}.pt"
    state = training.new_state(config)
    if file.exists():
        state.network.load_state_dict(torch.load(file, weights_only=True))
        return state
    if config.network == "arm":
        trunk = trained("ResNet-18", seed, dataset, out).network.features
        state.network.features.load_state_dict(trunk.state_dict())
        training.start_average(state, config)
    source = ImageSource(dataset, parts_of(dataset, seed=seed))
    for line in training.fit(state, state.network, config, source):
        print(name, seed, line, file=sys.stderr, flush=True)
    torch.save(state.best, file)
    state.network.load_state_dict(state.best)
    return state


@torch.no_grad()
def answers(state: training.State, size: int, images: list[bytes]) -> np.ndarray:
    """The expression, 1 to 7, that the network gives each encoded image."""
    state.network.eval()
    found = [np.zeros(0, np.int64)]
    for start in range(0, len(images), 32):
        decoded = [loader.decode(image, size) for image in images[start : start + 32]]
        pixels = torch.from_numpy(np.stack([image for image in decoded if image is not None]))
        logits = state.network(loader.normalise(pixels, "cpu"))
        found.append(1 + logits.argmax(1).numpy())
    return np.concatenate(found)


def tests(dataset: Artifact, faces: Artifact | None) -> Iterator[tuple[str, list[dict]]]:
    """The images to be read: rows with image, label, corpus and figure_id."""
    rows = [row for row in dataset.table(".", DATASET).to_pylist() if row["split"] == "test"]
    yield "test images", rows
    if faces:
        figures = {(row["corpus"], row["figure_id"]) for row in rows}
        labelled = [row for row in faces.table("faces", FACES).to_pylist() if row["label"] and row["image"]]
        yield "photographs of test figures", [r for r in labelled if (r["corpus"], r["figure_id"]) in figures]


def work(job: tuple[str, int], dataset: str, faces: str, out: Path) -> list[np.ndarray]:
    """Train one recogniser with one seed; whether each of its answers is right, for each test."""
    torch.set_num_threads(1)
    name, seed = job
    images = open_artifact(dataset)
    state = trained(name, seed, images, out)
    found = []
    for _, rows in tests(images, open_artifact(faces) if faces else None):
        given = answers(state, RECOGNISERS[name].size, [row["image"] for row in rows])
        found.append(given == np.array([row["label"] for row in rows]))
    return found


def difference(right: np.ndarray, other: np.ndarray, figures: np.ndarray) -> np.ndarray:
    """Bootstrap samples over figures of the difference of two accuracies on the same images, in points."""
    total = np.bincount(figures)
    gained = np.bincount(figures, right - other)
    drawn = np.random.default_rng(0).multinomial(len(total), np.full(len(total), 1 / len(total)), RESAMPLES)
    return 100 * (drawn @ gained) / (drawn @ total)


def tell(title: str, rows: list[dict], right: dict[tuple[str, int], np.ndarray]) -> None:
    """Print a table of one test."""
    label = np.array([row["label"] for row in rows])
    _, figures = np.unique([f"{row['corpus']}/{row['figure_id']}" for row in rows], return_inverse=True)
    print(
        f"\n{title}: {len(rows)} of {figures.max() + 1} figures; mean of {len(SEEDS)} seeds (their standard deviation)"
    )
    means = {name: np.mean([right[name, seed] for seed in SEEDS], 0) for name in RECOGNISERS}
    for name, mean in means.items():
        each = [100 * right[name, seed].mean() for seed in SEEDS]
        by_expression = "  ".join(
            f"{expression} {100 * mean[label == k].mean():.0f}"
            for k, expression in enumerate(EXPRESSIONS, 1)
            if (label == k).any()
        )
        print(f"{name:20} {np.mean(each):.1f} % ({np.std(each, ddof=1):.1f})   {by_expression}")
    for name in (OURS, "ResNet-18", "AU-ResNet"):
        samples = difference(means[name], means[PUBLIC], figures)
        low, high = np.percentile(samples, [2.5, 97.5])
        gain = 100 * (means[name] - means[PUBLIC]).mean()
        print(f"{name} against {PUBLIC}: {gain:+.1f} points (95 % over figures {low:+.1f} to {high:+.1f})")


def main(dataset: str, out: str, faces: str = "") -> None:
    Path(out).mkdir(parents=True, exist_ok=True)
    jobs = [(name, seed) for name, seed in product(RECOGNISERS, SEEDS)]
    run = partial(work, dataset=absolute(dataset), faces=absolute(faces) if faces else "", out=Path(out))
    first, rest = [j for j in jobs if j[0] == "ResNet-18"], [j for j in jobs if j[0] != "ResNet-18"]
    with ProcessPoolExecutor(2) as pool:  # the others start from the ResNet-18s
        right = dict(zip(first + rest, [*pool.map(run, first), *pool.map(run, rest)], strict=True))
    for k, (title, rows) in enumerate(tests(open_artifact(dataset), open_artifact(faces) if faces else None)):
        tell(title, rows, {job: found[k] for job, found in right.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
