"""What a person reads in the terminal."""

from pathlib import Path

import pytest

from twfer_dist.cli.terminal import print_trials
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage


def test_the_trials_of_a_sweep_are_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The best first; those without a result last."""
    trials = [
        {"alpha": 0.5, "gamma": 2, "diverged": "Its loss is nan."},
        {"alpha": 0.25, "gamma": 0, "epochs": 2, "balanced_accuracy/validation": 0.25},
        {"alpha": 0.125, "gamma": 1, "epochs": 8, "balanced_accuracy/validation": 0.5},
        {"alpha": 0.75, "gamma": 1, "failed": "CUDA out of memory."},
    ]

    def do(output: StageOutput) -> None:
        output.results = {"swept": ["alpha", "gamma"], "trials": trials, "best": 2}

    print_trials(run_stage(StageSpec("sweep", 1, {}, {"train": {"epochs": 8}}, {}, {}, do), str(tmp_path), quiet=True))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["trial", "alpha", "gamma", "epochs", "balanced", "accuracy", "state"],
        ["2", "0.125", "1", "8", "50.0", "%", "all", "epochs"],
        ["1", "0.25", "0", "2", "25.0", "%", "stopped", "after", "2", "of", "8", "epochs"],
        ["0", "0.5", "2", "diverged"],
        ["3", "0.75", "1", "failed"],
    ]
