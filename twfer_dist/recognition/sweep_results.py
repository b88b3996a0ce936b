"""The results of a sweep: its trials in a table and in pictures, and the best of them."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.engine.mlflow_run import Run
from twfer_dist.engine.output import StageOutput
from twfer_dist.recognition import training
from twfer_dist.recognition.search import Point, SweepConfig
from twfer_dist.recognition.sweep_pictures import SCORE, pictures
from twfer_dist.training.state import LogLine

TRIALS = "trials.json"


def finish_sweep(output: StageOutput, run: Run, config: SweepConfig, ends: Sequence["TrialEnd"], images: int) -> None:
    """Choose the best trial. Raises UserError if all have diverged or failed."""
    table = [end.row() for end in ends]
    out = {number: end.out for number, end in enumerate(ends) if end.out}
    if len(out) == len(table):
        fault, remedy = "diverged", "lower both ends of the sweep's learning_rate"
        if any(end.failed for end in ends):
            fault, remedy = "failed or diverged", "remove the cause, and start again"
        raise UserError(f"All {len(table)} trials {fault}: {remedy}. Trial 0: {out[0]}")
    done = [number for number in range(len(table)) if number not in out]
    best = max(done, key=lambda number: (table[number][SCORE], -table[number]["loss/validation"], -number))
    histories = [{**row, "history": list(end.history)} for row, end in zip(table, ends, strict=True)]
    output.write_file(TRIALS, (storage.json_text(histories, indent=2) + "\n").encode())
    swept = [dimension.name for dimension in config.dimensions]
    settings = ", ".join(f"{name} {table[best][name]:g}" for name in swept)
    output.results |= {
        "swept": swept,
        "trials": table,
        "best": best,
        "best_config": dataclasses.asdict(config.trial(ends[best].point)),
        "validation_images": images,
        "run_id": run.id,
        "summary": [
            f"best of {len(table)} trials: number {best} with {settings}: balanced accuracy "
            f"{100 * table[best][SCORE]:.1f} % on the validation images",
            *(f"trial {number} is out: {sentence}" for number, sentence in out.items()),
        ],
    }
    run.log_metrics({key: value for key, value in table[best].items() if "/" in key} | {"best_trial": best})
    run.log_text(storage.json_text(table, indent=2), TRIALS)
    for name, canvas in pictures(swept, histories, best):
        output.write_file(f"{name}.png", canvas.png())
        run.log_bytes(canvas.png(), f"pictures/{name}.png")


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended: its point, the metrics of its epochs, and a sentence where it diverged or failed."""

    point: Point
    history: Sequence[LogLine] = ()
    diverged: str = ""
    failed: str = ""

    @property
    def out(self) -> str:
        """Why the trial has no result; empty where it has one."""
        return self.diverged or self.failed

    def row(self) -> dict[str, Any]:
        """The trial in tables."""
        if self.out:
            return {"diverged" if self.diverged else "failed": self.out, **self.point}
        best = training.best_epoch(self.history)
        line = {name: value for name, value in self.history[best - 1].items() if name not in ("epoch", "learning_rate")}
        return {**line, "epochs": len(self.history), "best_epoch": best, **self.point}
