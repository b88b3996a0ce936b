"""The cluster files: Ray's own check of the `ray up` file, the shape of the KubeRay job, versions equal to the lock."""

import copy
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from ray._private.runtime_env.packaging import get_uri_for_directory

from twfer_dist import __version__
from twfer_dist.cli.main import main
from twfer_dist.recipe.load import load_recipe

ROOT = Path(__file__).resolve().parents[2]
CLUSTERS = ROOT / "clusters"
LOCK = dict(
    line.split(";")[0].split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line
)
DOCKERFILE = (CLUSTERS / "Dockerfile").read_text()
AWS = yaml.safe_load((CLUSTERS / "aws.yaml").read_text())
GCP = yaml.safe_load((CLUSTERS / "gcp.yaml").read_text())
MLFLOW = list(yaml.safe_load_all((CLUSTERS / "mlflow.yaml").read_text()))
CONFIGMAP, RAYJOB = yaml.safe_load_all((CLUSTERS / "rayjob.yaml").read_text())
RAYCLUSTER = RAYJOB["spec"]["rayClusterSpec"]

# The fields of KubeRay's ray.io/v1 resources (1.5.1) that this project may use: a misspelt one is in none of these.
RAYJOB_FIELDS = {
    "entrypoint", "submissionMode", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "activeDeadlineSeconds",
    "backoffLimit", "runtimeEnvYAML", "rayClusterSpec", "suspend", "jobId", "metadata", "entrypointNumCpus",
    "entrypointNumGpus", "entrypointResources", "submitterPodTemplate", "submitterConfig", "deletionStrategy",
}  # fmt: skip
RAYCLUSTER_FIELDS = {
    "rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs",
    "headServiceAnnotations", "gcsFaultToleranceOptions", "suspend", "managedBy",
}  # fmt: skip
AUTOSCALER_FIELDS = {
    "version", "idleTimeoutSeconds", "upscalingMode", "resources", "image", "imagePullPolicy", "env", "envFrom",
    "securityContext", "volumeMounts",
}  # fmt: skip
GROUP_FIELDS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template",
    "idleTimeoutSeconds", "numOfHosts", "scaleStrategy", "suspend", }  # fmt: skip


def checked_by_ray(config: dict[str, Any]) -> dict[str, Any]:
    """`config` as `ray up` takes it: its defaults filled in, then Ray's schema and further checks."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    filled = prepare_config(copy.deepcopy(config))
    validate_config(filled)
    return filled


def parse(command: list[str]) -> None:
    """Parse `twfer COMMAND` with the real parser and run nothing; click.UsageError where it is wrong."""
    inner: click.Command = main
    rest = command
    while isinstance(inner, click.Group):
        _, found, rest = inner.resolve_command(click.Context(inner), rest)
        assert found
        inner = found
    inner.make_context(command[0], list(rest))


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


def pod(name: str) -> dict[str, Any]:
    """The pod of a deployment in mlflow.yaml."""
    (found,) = [one for one in MLFLOW if (one["kind"], one["metadata"]["name"]) == ("Deployment", name)]
    return found["spec"]["template"]["spec"]


def groups() -> list[dict[str, Any]]:
    return [RAYCLUSTER["headGroupSpec"], *RAYCLUSTER["workerGroupSpecs"]]


def test_the_rayjob_has_the_fields_of_kuberay() -> None:
    assert (RAYJOB["apiVersion"], RAYJOB["kind"]) == ("ray.io/v1", "RayJob")
    assert RAYJOB.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", RAYJOB["metadata"]["name"])
    assert RAYJOB["spec"].keys() <= RAYJOB_FIELDS
    assert RAYCLUSTER.keys() <= RAYCLUSTER_FIELDS
    assert RAYCLUSTER["autoscalerOptions"].keys() <= AUTOSCALER_FIELDS
    for group in groups():
        assert group.keys() <= GROUP_FIELDS
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        assert pod["restartPolicy"] == "Never"  # autoscaler v2 starts new pods itself
        assert pod["containers"][0]["name"] == ("ray-head" if group is RAYCLUSTER["headGroupSpec"] else "ray-worker")
        for container in pod["containers"]:
            assert container["resources"]["requests"] == container["resources"]["limits"]
            assert container["resources"]["limits"].keys() >= {"cpu", "memory"}


def test_the_rayjob_goes_away_scales_and_asks_for_the_token() -> None:
    spec = RAYJOB["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["submissionMode"] in ("K8sJobMode", "HTTPMode", "SidecarMode")
    assert RAYCLUSTER["authOptions"] == {"mode": "token"}
    assert RAYCLUSTER["enableInTreeAutoscaling"] is True
    assert RAYCLUSTER["autoscalerOptions"]["version"] == "v2"
    assert RAYCLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    workers = {group["groupName"]: group for group in RAYCLUSTER["workerGroupSpecs"]}
    assert len(workers) == len(RAYCLUSTER["workerGroupSpecs"])
    for group in workers.values():
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    with_gpu = [
        g for g in workers.values() if "nvidia.com/gpu" in g["template"]["spec"]["containers"][0]["resources"]["limits"]
    ]
    assert [group["minReplicas"] for group in with_gpu] == [0]


def test_pods_are_no_superuser_and_hold_no_secret() -> None:
    workers = [group["template"]["spec"] for group in RAYCLUSTER["workerGroupSpecs"]]
    for spec in (*workers, pod("mlflow"), pod("mlflow-postgres")):
        assert spec["securityContext"]["runAsNonRoot"] is True and spec["automountServiceAccountToken"] is False
        assert all(one["securityContext"]["allowPrivilegeEscalation"] is False for one in spec["containers"])
    for path in CLUSTERS.glob("*.yaml"):
        assert not re.search(r"(?i)(password|secret_access_key|auth_token): +[^{$&*~\s]", path.read_text()), path.name


def test_only_the_server_of_runs_reaches_its_database() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in MLFLOW if one["kind"] == "NetworkPolicy"}
    (rule,) = policies["mlflow-postgres"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app": "mlflow"}}}]
    recipe = yaml.safe_load(next(iter(CONFIGMAP["data"].values())))
    ports = {one["metadata"]["name"]: one["spec"]["ports"][0]["port"] for one in MLFLOW if one["kind"] == "Service"}
    assert recipe["tracking"] == f"http://mlflow:{ports['mlflow']}"


def test_rayjob_starts_what_image_and_config_map_hold(tmp_path: Path) -> None:
    workdir = re.findall(r"^WORKDIR (\S+)$", DOCKERFILE, re.MULTILINE)[-1]
    python, script, *arguments = shlex.split(RAYJOB["spec"]["entrypoint"])
    assert python == "python"
    assert (ROOT / Path(script).relative_to(workdir)).is_file()
    parse([Path(script).stem, *arguments])

    pod = RAYCLUSTER["headGroupSpec"]["template"]["spec"]
    assert pod["volumes"] == [{"name": "recipe", "configMap": {"name": CONFIGMAP["metadata"]["name"]}}]
    (mount,) = pod["containers"][0]["volumeMounts"]
    name = str(Path(arguments[0]).relative_to(mount["mountPath"]))
    (tmp_path / name).write_text(CONFIGMAP["data"][name])
    loaded = load_recipe(str(tmp_path / name))
    gpu_pods = RAYCLUSTER["workerGroupSpecs"][1]["maxReplicas"]
    assert loaded.out.startswith("s3://") and loaded.tracking and loaded.tracking.uri.startswith("http://")
    for compute in (stage.compute for stage in loaded.stages):
        assert compute.workers * compute.gpus <= gpu_pods and (compute.actors or 0) * compute.gpus <= gpu_pods


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
    texts = [path.read_text() for path in [*ROOT.glob("*.md"), *CLUSTERS.iterdir()]]
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
