"""What a person asks of an output: how many rows of each status, and which."""

import json
import re
from dataclasses import replace

import pytest
from click.testing import CliRunner
from engine_jobs import Config, numbers_job
from study_tables import output

from twfer_dist.cli.main import main
from twfer_dist.cli.terminal import print_results, print_stage
from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import FACES, PHOTOGRAPHS
from twfer_dist.engine.artifact import OutputFile
from twfer_dist.engine.inspect import EXAMPLES, inspect
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.recipe.recipe import Outcome, Stage
from twfer_dist.recipe.status import find_faces

ODD = [f"{i:05d}" for i in range(200) if (2 * (199 - i) + 1) % 7 == 0]


def test_statuses_are_counted_and_shown_by_examples(ray_cluster, tmp_path):
    finished = run_stage(numbers_job(Config()), str(tmp_path))
    told = inspect(finished.uri)
    assert told["state"] == "finished" and list(told["tables"]) == ["numbers"]  # digits have no status
    numbers = told["tables"]["numbers"]
    assert numbers["rows"] == 200 and numbers["counts"] == {"ok": 200 - len(ODD), "multiple_of_seven": len(ODD)}
    assert numbers["examples"] == {"multiple_of_seven": [{"id": row_id, "error": ""} for row_id in ODD[:EXAMPLES]]}

    run = CliRunner().invoke(main, ["inspect", finished.uri, "--json"])
    assert run.exit_code == 0 and json.loads(run.stdout) == told
    run = CliRunner().invoke(main, ["inspect", finished.uri])
    assert "numbers: 200" in run.stdout and f"{len(ODD)}  multiple_of_seven\n" in run.stdout and ODD[0] in run.stdout


def test_an_unfinished_stage_is_inspected_as_far_as_it_is(ray_cluster, tmp_path):
    job = numbers_job(Config())

    def stops(work: StageOutput) -> None:
        job.do(work)
        raise UserError("the power is gone: wait.")

    with pytest.raises(UserError):
        run_stage(StageSpec("numbers", 1, {}, {}, {}, job.tables, stops), str(tmp_path))
    (place,) = tmp_path.iterdir()
    told = inspect(str(place))
    assert told["state"] == "unfinished" and told["tables"]["numbers"]["counts"]["multiple_of_seven"] == len(ODD)
    run = CliRunner().invoke(main, ["status", str(tmp_path)])
    assert re.search(rf"unfinished numbers .* 200 numbers \({len(ODD)} multiple_of_seven\), of 200 planned", run.stdout)


def test_the_folder_of_a_recipe_gives_its_stages(tmp_path):
    made = output(
        str(tmp_path / "a run"),
        "faces",
        {"faces": (FACES, [{"face_id": "a", "status": "ok"}]), "photographs": (PHOTOGRAPHS, [])},
    )
    run, status = (CliRunner().invoke(main, [command, str(tmp_path / "a run")]) for command in ("inspect", "status"))
    assert run.exit_code == 0 and made.name in run.stdout and run.stdout == status.stdout
    assert find_faces(str(tmp_path / "a run")) == made.uri
    other = output(
        str(tmp_path / "a run"), "faces", {"faces": (FACES, [{"face_id": "b"}]), "photographs": (PHOTOGRAPHS, [])}
    )
    run = CliRunner().invoke(main, ["inspect", str(tmp_path / "a run"), "--html", str(tmp_path / "page.html")])
    assert (
        run.exit_code == 2 and "holds 2 outputs of faces: name one of them: " in run.stderr and other.uri in run.stderr
    )
    output(str(tmp_path / "none"), "dataset", {})
    run = CliRunner().invoke(main, ["inspect", str(tmp_path / "none"), "--html", str(tmp_path / "page.html")])
    assert run.exit_code == 2 and "holds no finished output of faces: run the stage of kind faces first." in run.stderr


def test_each_table_has_its_own_counts_and_few_pictures_are_named(tmp_path, capsys):
    rows = {
        "photographs": (
            PHOTOGRAPHS,
            [{"photo_id": f"{k}", "status": s} for k, s in enumerate(("ok", "ok", "no_face"))],
        ),
        "faces": (FACES, [{"face_id": f"{k}", "status": s} for k, s in enumerate(("ok", "low_quality"))]),
    }
    made = output(str(tmp_path), "faces", rows)
    pictures = tuple(OutputFile(name, sha256="") for name in ("b.png", "c.png", "a.jpg", "z.png", "sheet.jpg"))
    made = replace(made, manifest=replace(made.manifest, files=pictures))
    outcome = Outcome(Stage("faces", "faces", {}, {}), "made", made)
    print_stage(outcome.summary())
    print_results(outcome)
    first, *looks = capsys.readouterr().out.splitlines()
    assert first.endswith("3 photographs (1 no_face), 2 faces (1 low_quality)")
    assert [line.split("/")[-1] for line in looks[:3]] == ["sheet.jpg", "a.jpg", "b.png"] and "and 2 more in" in looks[
        3
    ]


def test_what_is_no_output_is_one_clear_problem(tmp_path):
    run = CliRunner().invoke(main, ["inspect", str(tmp_path)])
    assert (
        run.exit_code == 2
        and run.stderr
        == f"twfer: {tmp_path} is not an output of a stage: name one, such as a folder that `twfer status` lists.\n"
    )
