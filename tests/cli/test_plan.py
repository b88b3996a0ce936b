"""`twfer plan` before a run and after it, with rates measured on what was run."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from twfer_dist.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """
corpora: {terracottas: package:demo/terracottas}
stages:
  heads: {kind: render, head: package:demo/head.npz, plan: expressions, figures: 2, scenes: 1, size: 32}
  more: {kind: render, head: package:demo/head.npz, plan: expressions, figures: 5, scenes: 1, size: 32}
  faces: {kind: faces, corpora: [terracottas]}
"""


def twfer(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "heads.yaml").write_text(f"out: {tmp_path}/out\n{RECIPE}")
    return tmp_path / "heads.yaml"


def test_a_run_gives_the_rates_of_the_next(ray_cluster: None, recipe: Path) -> None:
    rates, other = recipe.parent / "rates.json", recipe.parent / "other"
    unmeasured = twfer("bench", "rates", recipe, "--save", rates)
    assert unmeasured.exit_code == 2 and "run them first" in unmeasured.stderr
    assert twfer("run", recipe, "--until", "heads").exit_code == 0
    assert twfer("bench", "rates", recipe, "--save", rates).exit_code == 0

    before = twfer("plan", recipe, "--rates", rates, "--out", other)
    assert before.exit_code == 0, before.output
    assert "14 images x" in before.output and "35 images x" in before.output
    assert "faces not estimated: no rate 'faces'" in before.output

    heads, more, _ = json.loads(twfer("plan", recipe, "--rates", rates, "--json").stdout)["stages"]
    assert heads["state"] == "finished" and more["state"] == "to do" and more["took"] is None
    assert heads["cpu_hours"] == pytest.approx(heads["took"]["cpu_hours"], rel=0.01)
    assert more["cpu_hours"] == pytest.approx(35 / 14 * heads["cpu_hours"])
    assert "it took" in twfer("plan", recipe, "--rates", rates).output
    as_on_a_cluster(recipe.parent / "out")
    assert re.search(r"  hours\n(.*\n)+ +it took +\d+ MB +2\n", twfer("plan", recipe, "--rates", rates).output)


def as_on_a_cluster(out: Path) -> None:
    """The outputs say how long their stages took, two hours, and no more."""
    for path in out.glob("*/_manifest.json"):
        unknown = {"cpu_seconds": None, "peak_bytes": None, "seconds": 7200.0}
        path.write_text(json.dumps(json.loads(path.read_text()) | unknown))


@pytest.mark.long
def test_what_a_killed_run_finished_is_not_planned_again(tmp_path: Path) -> None:
    shipped = sorted((ROOT / "twfer_dist" / "demo" / "tw58").rglob("*.jpg"))
    (tmp_path / "here").mkdir()
    for number in range(320):  # five shards
        shutil.copyfile(shipped[number % len(shipped)], tmp_path / "here" / f"{number:03}.jpg")
    path = tmp_path / "recipe.yaml"
    faces = "{kind: faces, corpora: [here], aligned: true}"
    path.write_text(f"out: {tmp_path}/out\ncorpora: {{here: {tmp_path}/here}}\nstages:\n  faces: {faces}\n")
    run = subprocess.Popen([sys.executable, "-m", "twfer_dist", "run", str(path)], start_new_session=True)
    while not list(tmp_path.glob("out/faces-*/_work/photographs/shard-*.parquet")):
        assert run.poll() is None
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    (stage,) = json.loads(twfer("plan", path, "--json").stdout)["stages"]
    done = len(list(tmp_path.glob("out/faces-*/_work/photographs/shard-*.parquet"))) / 5
    assert 0 < done < 1 and stage["state"] == "to do" and stage["rows"] == 320
    assert stage["sum"].startswith(f"{320 * (1 - done):.0f} photographs x ")
    assert stage["sum"].endswith(f", {done:.0%} is done")


def test_a_plan_of_a_million_photographs_is_priced(recipe: Path) -> None:
    prices = recipe.parent / "prices.yaml"
    prices.write_text("{currency: EUR, gb_month: 0.02, nodes: {head: {hour: 0.1}, cpu: {hour: 0.2}, gpu: {hour: 1}}}")
    cluster = ROOT / "clusters" / "gcp.yaml"
    planned = twfer("plan", recipe, "--photographs", 1_000_000, "--on", cluster, "--prices", prices)
    assert planned.exit_code == 0, planned.output
    assert "1,000,000 photographs x" in planned.output and "EUR a month" in planned.output
    assert "Assumed: one face in each photograph." in planned.output


def test_recipe_of_the_demo_is_planned_whole(tmp_path: Path) -> None:
    result = twfer("run", "package:recipes/demo.yaml", "--out", tmp_path / "demo", "--plan")
    assert result.exit_code == 0 and result.output.count("to do") == 19, result.output
