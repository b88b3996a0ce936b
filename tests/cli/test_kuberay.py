"""The manifests for Kubernetes: KubeRay's own definitions of the job, volumes, rights, what reaches what."""

import copy
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cluster_files import CLUSTERS, CONFIGMAP, DOCKERFILE, MLFLOW, POLICY, RAYCLUSTER, RAYJOB, ROOT, groups, parse, pod

from twfer_dist.recipe.load import load_recipe

KUBERAY = ROOT.parent / "shared" / "data" / "kuberay"
"""KubeRay's custom resource definitions, where they are at hand."""

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


def closed(schema: Any) -> Any:
    """A schema in which objects have the fields that it names, and no others."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    named = schema.get("type") == "object" and isinstance(schema.get("properties"), dict)
    return {"additionalProperties": False} | inner if named else inner


@pytest.mark.skipif(not KUBERAY.is_dir(), reason="KubeRay's definitions are not at hand: ../shared/data/kuberay")
def test_kuberay_accepts_the_rayjob() -> None:
    definition = yaml.load((KUBERAY / "ray.io_rayjobs.yaml").read_text(), yaml.CSafeLoader)
    (schema,) = [one["schema"]["openAPIV3Schema"] for one in definition["spec"]["versions"] if one["name"] == "v1"]
    kuberay = jsonschema.Draft7Validator(closed(schema))
    assert not [error.message for error in kuberay.iter_errors(RAYJOB)]
    misspelt = copy.deepcopy(RAYJOB)
    misspelt["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMount"] = []
    assert ["'volumeMount' was unexpected" in error.message for error in kuberay.iter_errors(misspelt)] == [True]


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
    assert {name: group["minReplicas"] for name, group in workers.items()} == {"cpu": 0, "gpu": 0}
    assert workers["gpu"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_ray_spills_into_a_volume_that_the_pod_has_room_for() -> None:
    for group in groups():
        spec = group["template"]["spec"]
        limits = spec["containers"][0]["resources"]["limits"]
        volumes = {one["name"]: one.get("emptyDir") for one in spec["volumes"]}
        volume = {one["mountPath"]: volumes[one["name"]] for one in spec["containers"][0]["volumeMounts"]}
        assert volume["/dev/shm"]["medium"] == "Memory"
        assert gibibytes(volume["/dev/shm"]["sizeLimit"]) < gibibytes(limits["memory"])
        spilled = volume[group["rayStartParams"]["object-spilling-directory"]]
        assert spilled.keys() == {"sizeLimit"}  # on the disk
        assert gibibytes(spilled["sizeLimit"]) < gibibytes(limits["ephemeral-storage"])


def gibibytes(quantity: str) -> int:
    return int(quantity.removesuffix("Gi"))


def test_pods_are_no_superuser_and_hold_no_secret() -> None:
    head, *workers = [group["template"]["spec"] for group in groups()]
    for spec in (head, *workers, pod("mlflow"), pod("mlflow-postgres")):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec is head or spec["automountServiceAccountToken"] is False  # the head's autoscaler asks for pods
        assert all(one["securityContext"]["allowPrivilegeEscalation"] is False for one in spec["containers"])
    assert RAYCLUSTER["autoscalerOptions"]["securityContext"]["allowPrivilegeEscalation"] is False
    for path in CLUSTERS.glob("*.yaml"):
        assert not re.search(r"(?i)(password|secret_access_key|auth_token): +[^{$&*~\s]", path.read_text()), path.name


def test_only_the_server_of_runs_reaches_its_database() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in MLFLOW if one["kind"] == "NetworkPolicy"}
    (rule,) = policies["mlflow-postgres"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app": "mlflow"}}}]
    recipe = yaml.safe_load(next(iter(CONFIGMAP["data"].values())))
    ports = {one["metadata"]["name"]: one["spec"]["ports"][0]["port"] for one in MLFLOW if one["kind"] == "Service"}
    assert recipe["tracking"] == f"http://mlflow:{ports['mlflow']}"


def test_only_ray_and_who_submits_reach_rays_pods() -> None:
    spec = POLICY["spec"]
    assert spec["policyTypes"] == ["Ingress"]
    for group in groups():
        assert group["template"]["metadata"]["labels"] == spec["podSelector"]["matchLabels"]
    among_pods, submission = spec["ingress"]
    assert among_pods == {"from": [{"podSelector": spec["podSelector"]}]}
    assert submission["ports"] == [{"port": 8265}]
    assert {"podSelector": {"matchLabels": {"job-name": RAYJOB["metadata"]["name"]}}} in submission["from"]


def test_rayjob_starts_what_image_and_config_map_hold(tmp_path: Path) -> None:
    workdir = re.findall(r"^WORKDIR (\S+)$", DOCKERFILE, re.MULTILINE)[-1]
    python, script, *arguments = shlex.split(RAYJOB["spec"]["entrypoint"])
    assert python == "python"
    assert (ROOT / Path(script).relative_to(workdir)).is_file()
    parse([Path(script).stem, *arguments])

    pod = RAYCLUSTER["headGroupSpec"]["template"]["spec"]
    assert {"name": "recipe", "configMap": {"name": CONFIGMAP["metadata"]["name"]}} in pod["volumes"]
    (mount,) = [one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "recipe"]
    name = str(Path(arguments[0]).relative_to(mount["mountPath"]))
    (tmp_path / name).write_text(CONFIGMAP["data"][name])
    loaded = load_recipe(str(tmp_path / name))
    gpu_pods = RAYCLUSTER["workerGroupSpecs"][1]["maxReplicas"]
    assert loaded.out.startswith("s3://") and loaded.tracking and loaded.tracking.uri.startswith("http://")
    for compute in (stage.compute for stage in loaded.stages):
        assert compute.workers * compute.gpus <= gpu_pods and (compute.actors or 0) * compute.gpus <= gpu_pods
