"""How much of a grid's compute ASHA needs, and what it misses: `python jobs/measure/measure_sweep.py DATASET`.

Trains ResNet-18 at 32 pixels at every point of a grid of alpha, gamma and learning rate, each to the end; then replays
Ray's rule of ASHA on these curves as a sweep would meet them, one trial after another, in 2,000 random orders.
"""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import torch

from twfer_dist.dataset.parts import parts_of
from twfer_dist.dataset.stream import ImageSource
from twfer_dist.engine.artifact import open_artifact
from twfer_dist.engine.storage import absolute
from twfer_dist.recognition import training
from twfer_dist.recognition.search import SweepConfig
from twfer_dist.recognition.sweep_pictures import SCORE
from twfer_dist.recognition.train_config import TrainConfig

EPOCHS, ORDERS = 5, 2000
ALPHA, GAMMA, LEARNING_RATE = (0.1, 0.25, 0.5), (0.0, 2.0), (1e-4, 3e-4, 1e-3)
TRAIN = TrainConfig(network="resnet18", size=32, epochs=EPOCHS)
GRID = SweepConfig(TRAIN, "grid", alpha=ALPHA, gamma=GAMMA, learning_rate=LEARNING_RATE)


def curve(point: dict[str, float], dataset: str) -> list[float]:
    """The balanced accuracy on the validation images after each epoch of a trial."""
    torch.set_num_threads(1)
    config, images = GRID.trial(point), open_artifact(dataset)
    source = ImageSource(images, parts_of(images, seed=config.seed))
    state = training.new_state(config)
    scores = [float(line[SCORE]) for line in training.fit(state, state.network, config, source)]
    print(json.dumps({**point, "curve": scores}), file=sys.stderr, flush=True)
    return scores


def replay(curves: np.ndarray, order: np.ndarray, patience: int) -> tuple[int, float]:
    """The epochs that ASHA grants, and the best score among them. curves: (trials, epochs)."""
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.schedulers.async_hyperband import _Bracket

    rungs = _Bracket(patience, EPOCHS, GRID.reduction, 0)
    epochs, best = 0, 0.0
    for number in order:
        for epoch, score in enumerate(np.maximum.accumulate(curves[number]), start=1):
            epochs, best = epochs + 1, max(best, score)
            if rungs.on_result(Named(str(number)), epoch, score) == TrialScheduler.STOP:  # type: ignore[arg-type]
                break
    return epochs, best


class Named:
    """What the rule knows of a trial."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id


def main(dataset: str) -> None:
    with ProcessPoolExecutor(2) as pool:
        curves = np.array(list(pool.map(partial(curve, dataset=absolute(dataset)), GRID.points())))
    best = curves.max(1)
    print(f"full grid: {curves.size} epochs, best of {len(curves)} points {100 * best.max():.1f} %")
    print("settings of the best:", GRID.points()[int(best.argmax())], "; all:", np.round(100 * np.sort(best)[::-1], 1))
    random = np.random.default_rng(0)
    for patience in (1, 2):
        found = np.array([replay(curves, random.permutation(len(curves)), patience) for _ in range(ORDERS)])
        share, loss = found[:, 0] / curves.size, 100 * (best.max() - found[:, 1])
        print(
            f"ASHA, patience {patience}: {100 * share.mean():.0f} % of the epochs ({100 * share.min():.0f} to "
            f"{100 * share.max():.0f}); finds the grid's best in {100 * (loss < 1e-9).mean():.0f} % of orders, else "
            f"loses {loss[loss > 1e-9].mean() if (loss > 1e-9).any() else 0:.1f} points (at most {loss.max():.1f})"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
