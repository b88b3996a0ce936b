"""The files for `ray up` by Ray's own check, versions equal to the lock, what is uploaded, commands in the guides."""

import copy
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_files import AWS, CLUSTERS, DOCKERFILE, GCP, RAYCLUSTER, ROOT, groups, parse, pod
from ray._private.runtime_env.packaging import get_uri_for_directory

from twfer_dist import __version__

LOCK = dict(
    line.split(";")[0].split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line
)


def checked_by_ray(config: dict[str, Any]) -> dict[str, Any]:
    """`config` as `ray up` takes it: its defaults filled in, then Ray's schema and further checks."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    filled = prepare_config(copy.deepcopy(config))
    validate_config(filled)
    return filled


@pytest.mark.parametrize("config", [AWS, GCP], ids=["aws", "gcp"])
def test_ray_accepts_the_ray_up_files(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # file mounts are relative to it
    filled = checked_by_ray(config)
    assert filled["available_node_types"]["gpu"]["min_workers"] == 0
    assert filled["provider"]["type"] in ("aws", "gcp")


def test_nodes_start_from_an_image_with_a_driver() -> None:
    """Ray's own default for AWS is older than torch's CUDA needs."""
    assert all("deeplearning" in node["node_config"]["ImageId"] for node in AWS["available_node_types"].values())
    disks = [disk for node in GCP["available_node_types"].values() for disk in node["node_config"]["disks"]]
    drivers = [int(disk["initializeParams"]["sourceImage"].rpartition("-nvidia-")[2]) for disk in disks]
    assert "nvidia-cudnn-cu13" in LOCK  # CUDA 13, which needs driver 580
    assert min(drivers) >= 580


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("idle_timeout",), 5),
        (("docker", "images"), "rayproject/ray"),
        (("available_node_types", "gpu", "minimum"), 0),
        (("available_node_types", "gpu", "resources"), {"GPU": "one"}),
        (("head_node_type",), "nobody"),
    ],
)
def test_ray_refuses_the_ray_up_file_with_a_fault(
    path: tuple[str, ...], value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    config = copy.deepcopy(AWS)
    inner = config
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(Exception, match=path[-1] if path[-1] != "resources" else "one"):
        checked_by_ray(config)


@pytest.mark.parametrize("config", [AWS, GCP], ids=["aws", "gcp"])
def test_ray_up_asks_for_a_token_and_spares_the_head(config: dict[str, Any]) -> None:
    assert "-e RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert "/home/ray/.ray/auth_token" in config["file_mounts"]
    head = config["available_node_types"][config["head_node_type"]]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert "--num-cpus=0" in config["head_start_ray_commands"][-1]


@pytest.mark.parametrize("config", [AWS, GCP], ids=["aws", "gcp"])
def test_on_demand_nodes_stand_in_for_spot_ones(config: dict[str, Any]) -> None:
    types = config["available_node_types"]
    for name in ("cpu", "gpu"):
        spot, paid = types[name], types[f"{name}_on_demand"]
        assert "spot" in str(spot["node_config"]).lower() and "spot" not in str(paid["node_config"]).lower()
        assert spot["priority"] > paid.get("priority", 0)
        assert spot["resources"] == paid["resources"]
        machine = "InstanceType" if config is AWS else "machineType"
        assert spot["node_config"][machine] == paid["node_config"][machine]
    assert config["max_workers"] >= sum(node["max_workers"] for node in types.values() if "max_workers" in node)


def test_versions_equal_the_lock() -> None:
    ray = LOCK["ray"]
    assert re.findall(r"^FROM (\S+)$", DOCKERFILE, re.MULTILINE) == [f"rayproject/ray:{ray}-py311"]
    for config in (AWS, GCP):
        assert config["docker"]["head_image"] == f"rayproject/ray:{ray}-py311"
        assert config["docker"]["worker_image"] == f"rayproject/ray:{ray}-py311-gpu"
        assert config["file_mounts"]["/home/ray/twfer/requirements-run.lock"] == "requirements-run.lock"
    for place in (DOCKERFILE, *(" ".join(config["setup_commands"]) for config in (AWS, GCP))):
        assert re.search(r"pip install --no-cache-dir -r \S*requirements-run\.lock", place)
    assert RAYCLUSTER["rayVersion"] == ray
    pods = [group["template"]["spec"] for group in groups()] + [pod(name) for name in ("mlflow",)]
    images = {container["image"] for spec in pods for container in spec["containers"]}
    assert images == {f"example.org/twfer_dist:{__version__}-ray{ray}"}
    assert f"-t {images.pop()} " in DOCKERFILE


def test_a_growing_log_changes_nothing_that_is_uploaded(tmp_path: Path) -> None:
    """What is uploaded is named by its hash."""
    excludes = yaml.safe_load((ROOT / "jobs" / "env.yaml").read_text())["excludes"]
    names = [tmp_path / name for name in ("jobs/run.py", "x.log", "jobs/y.log", "docs/page.md")]
    uploaded = [get_uri_for_directory(str(tmp_path), include_gitignore=True, excludes=excludes)]
    for path in names:
        path.parent.mkdir(exist_ok=True)
        path.write_text("a line")
        uploaded.append(get_uri_for_directory(str(tmp_path), include_gitignore=True, excludes=excludes))
    assert uploaded[0] != uploaded[1]
    assert len(set(uploaded[1:])) == 1


def written(pattern: str) -> list[list[str]]:
    """What a person is told to type: indented lines of the guides and the cluster files that match, cut at a
    comment.
    """
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *CLUSTERS.iterdir()]
    texts = [path.read_text().replace("\\\n", "") for path in paths]
    lines = [match for text in texts for match in re.findall(rf"^(?:    |#).*?{pattern}(.+)$", text, re.MULTILINE)]
    return [shlex.split(line, comments=True) for line in lines]


def test_written_entry_points_are_there_and_parse() -> None:
    entry_points = written(r"-- python (?=jobs/)")
    assert entry_points
    for script, *arguments in entry_points:
        assert (ROOT / script).is_file()
        parse([Path(script).stem, *arguments])


def test_written_commands_parse() -> None:
    commands = written(r"\btwfer (?=[a-z])")
    assert commands
    for command in commands:
        parse(command)
