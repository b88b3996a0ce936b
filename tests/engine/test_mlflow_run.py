"""MLflow runs: logged by several processes, kept in a journal during an outage, and never a reason to stop."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import mlflow.pytorch
import mlflow_server
import pytest
import torch
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow_server import Proxy

from twfer_dist.cli.main import main
from twfer_dist.engine.mlflow_model import Registration
from twfer_dist.engine.mlflow_run import KEY
from twfer_dist.engine.tracking import Tracking

pytestmark = pytest.mark.usefixtures("impatient")


def the_run(store: Tracking, name: str) -> tuple[MlflowClient, Run]:
    client = store.client
    (run,) = client.search_runs([store.experiment_id()], f"attributes.run_name = '{name}'")
    return client, run


def save_linear(folder: str) -> None:
    example = torch.zeros(1, 3).numpy()
    mlflow.pytorch.save_model(torch.nn.Linear(3, 2).eval(), folder, pip_requirements=["torch"], input_example=example)


def pending(out: Path) -> int:
    return len(list((out / "_mlflow").glob("*/*.entry.json")))


def test_a_password_in_the_address_is_written_nowhere(
    proxy: Proxy, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    proxy.authorization = mlflow_server.basic("ann", "secret")
    store = Tracking(proxy.uri.replace("://", "://ann:secret@"), "address")
    with store.start("train-1", str(tmp_path), params={"initial": "s3://key:sec@ret@bucket/x"}) as run:
        assert the_run(store, "train-1")[1].data.params == {"initial": "s3://bucket/x"}
        proxy.away = True
        run.log_metrics({"loss": 1.0})
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    printed = capfd.readouterr()
    assert pending(tmp_path) and b"secret" not in written and "secret" not in printed.out + printed.err
    assert "127.0.0.1" in printed.err and printed.out == ""
    refused = CliRunner().invoke(main, ["status", "ftp://ann:secret@host/x"])
    assert refused.exit_code == 2 and "secret" not in refused.stderr
    assert "ftp://host/x cannot be reached" in refused.stderr


def test_entries_of_an_outage_are_sent_later(proxy: Proxy, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = Tracking(proxy.uri, "outage")
    with store.start("train-2", str(tmp_path), tags={"fingerprint": "2"}, params={"size": 32}) as run:
        run.log_metrics({"loss": 3.0}, step=1)
        proxy.away = True
        for step in (2, 3):
            run.log_metrics({"loss": 4.0 - step}, step=step)
        run.log_text("kept", "notes/scores.json")
        run.log_model(save_linear, "linear", {"accuracy/test": 0.75}, registration=Registration("linear", "# A line"))
    printed = capfd.readouterr()
    assert pending(tmp_path) == 5
    assert printed.err.count("continues without MLflow") == 1
    assert "5 entries of runs are kept in" in printed.err

    refused = CliRunner().invoke(main, ["track", "sync", str(tmp_path)])
    assert refused.exit_code == 2 and "does not answer" in refused.stderr and pending(tmp_path) == 5
    proxy.away = False
    result = CliRunner().invoke(main, ["track", "sync", str(tmp_path), "--json"])
    assert json.loads(result.output) == {"runs of": [store.shown], "entries still kept": 0}
    client, sent = the_run(store, "train-2")
    assert sent.info.status == "FINISHED"
    assert sent.data.params == {"size": "32"} and sent.data.tags["fingerprint"] == "2"
    history = client.get_metric_history(sent.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert history[0].timestamp <= history[1].timestamp <= history[2].timestamp <= sent.info.end_time
    assert [file.path for file in client.list_artifacts(sent.info.run_id, "notes")] == ["notes/scores.json"]
    (model,) = client.search_logged_models([sent.info.experiment_id])
    assert model.source_run_id == sent.info.run_id and str(model.status) == "READY"
    assert [(metric.key, metric.value) for metric in model.metrics or []] == [("accuracy/test", 0.75)]
    version = client.get_model_version_by_alias("linear", "champion")
    assert (version.version, version.description, version.run_id) == ("1", "# A line", sent.info.run_id)
    assert list((tmp_path / "_mlflow").iterdir()) == []
    assert capfd.readouterr().out == ""  # MLflow itself prints where to view a run


def test_entries_that_were_sent_twice_count_once(proxy: Proxy, tmp_path: Path) -> None:
    """As after a process was killed between sending an entry and deleting it."""
    store = Tracking(proxy.uri, "twice")
    with store.start("train-3", str(tmp_path), params={"size": 32}) as run:
        proxy.away = True
        run.log_metrics({"loss": 2.0}, step=1)
    shutil.copytree(tmp_path / "_mlflow", tmp_path / "copy")
    proxy.away = False
    store.send_waiting(str(tmp_path))
    shutil.copytree(tmp_path / "copy", tmp_path / "_mlflow", dirs_exist_ok=True)
    store.send_waiting(str(tmp_path))
    client, sent = the_run(store, "train-3")
    assert sent.info.status == "FINISHED" and pending(tmp_path) == 0
    assert [m.step for m in client.get_metric_history(sent.info.run_id, "loss")] == [1]


def test_a_run_may_start_during_an_outage(proxy: Proxy, tmp_path: Path) -> None:
    store = Tracking(proxy.uri, "late")
    proxy.away = True
    with store.start("sweep-3", str(tmp_path), params={"a": 1}) as run:
        assert run.id is None
        trial = store.nested("trial-000", str(tmp_path), run, {})
        trial.open({"b": 2})
        trial.log_metrics({"loss": 0.5}, step=1)
        trial.close("FINISHED")
        proxy.away = False
        run.log_metrics({"best": 0.5})
        assert run.id is not None
    _, parent = the_run(store, "sweep-3")
    _, nested = the_run(store, "trial-000")
    assert nested.data.tags["mlflow.parentRunId"] == parent.info.run_id and nested.data.metrics == {"loss": 0.5}
    assert {parent.info.status, nested.info.status} == {"FINISHED"} and pending(tmp_path) == 0


def test_rejected_entries_are_left_out(mlflow_uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = Tracking(mlflow_uri, "rejects")
    with store.start("train-4", str(tmp_path), params={"a": 1}) as run:
        run.log_metrics({"loss!": 1.0})
        run.log_metrics({"loss": 2.0})
    _, logged = the_run(store, "train-4")
    assert logged.data.metrics == {"loss": 2.0} and pending(tmp_path) == 0
    assert "MLflow rejects the metrics of train-4" in capfd.readouterr().err


@pytest.mark.long
def test_runs_of_a_killed_process_are_closed(mlflow_uri: str, tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from twfer_dist.engine.tracking import Tracking\n"
        "store, out = Tracking(sys.argv[1], 'x'), sys.argv[2]\n"
        "with store.start('sweep-5', out, params={}) as run:\n"
        "    store.nested('trial-000', out, run, {}).open({})\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, mlflow_uri, str(tmp_path)], timeout=180)
    assert killed.returncode == -signal.SIGKILL
    store = Tracking(mlflow_uri, "x")
    states = lambda: sorted(run.info.status for run in store.client.search_runs([store.experiment_id()]))  # noqa: E731
    assert states() == ["RUNNING", "RUNNING"]
    shutil.copytree(tmp_path / "_mlflow", tmp_path / "copy")
    with store.start("sweep-5", str(tmp_path), params={}):
        assert states() == ["KILLED", "KILLED", "RUNNING"]
    shutil.copytree(tmp_path / "copy", tmp_path / "_mlflow", dirs_exist_ok=True)
    for run in store.client.search_runs([store.experiment_id()], "attributes.status = 'KILLED'"):
        store.client.update_run(run.info.run_id, "RUNNING")
    with store.start("train-6", str(tmp_path), params={}) as at_work:  # of another stage
        result = CliRunner().invoke(main, ["track", "sync", str(tmp_path)])
        assert result.exit_code == 0 and "entries still kept  0" in result.output
        assert states() == ["FINISHED", "KILLED", "KILLED", "RUNNING"]
        assert store.client.get_run(at_work.id or "").info.status == "RUNNING"


def test_a_run_is_created_once(mlflow_uri: str, tmp_path: Path) -> None:
    store = Tracking(mlflow_uri, "once")
    with store.start("train-7", str(tmp_path), params={}) as run:
        run.id = None  # as a worker has it whose driver could not make the run
        run.log_metrics({"loss": 1.0})
    _, logged = the_run(store, "train-7")
    assert logged.data.tags[KEY] == run.key and logged.info.run_id == run.id
