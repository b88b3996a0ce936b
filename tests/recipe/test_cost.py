"""Estimates before work: rows that follow from each other, rates, prices, clusters."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from engine_stages import make_artifact

from twfer_dist.core.errors import UserError
from twfer_dist.engine.artifact import Reused
from twfer_dist.recipe.cost import Estimate, estimate
from twfer_dist.recipe.load import load_recipe
from twfer_dist.recipe.prices import Prices, cost_of, cost_on, load_cluster, load_prices
from twfer_dist.recipe.rates import SHIPPED, Measured, Rate, Rates, load_rates, measure

CLUSTERS = Path(__file__).resolve().parents[2] / "clusters"
NONE = Rates("nothing", {})
GENERATOR = "package:weights/generator.safetensors"
STAGES: dict[str, Any] = {
    "faces": {"kind": "faces", "corpora": ["tw58"]},
    "animated": {"kind": "animate", "faces": ["faces"], "generator": GENERATOR, "select": "all"},
    "data": {"kind": "dataset", "animated": ["animated"], "ratios": [7, 1, 2], "per_expression": 100},
    "arm": {"kind": "train", "dataset": "data", "size": 100, "epochs": 3},
    "answers": {"kind": "predict", "inputs": ["data", "faces"], "model": "arm"},
    "strips": {"kind": "strips", "animated": ["animated"], "faces": ["faces"]},
}


def stages_of(folder: Path, rates: Rates = NONE, photographs: int | None = None, **given: Any) -> dict[str, Estimate]:
    recipe = {"corpora": {"tw58": "package:demo/tw58"}, "stages": STAGES, "out": str(folder / "out")} | given
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return {stage.stage.name: stage for stage in estimate(load_recipe(str(path)), rates, photographs)}


def amounts(stages: dict[str, Estimate]) -> dict[str, float]:
    return {name: stage.workload.amount for name, stage in stages.items() if stage.workload}


def test_rows_of_later_stages_follow_from_earlier_ones(tmp_path: Path) -> None:
    trained = (3 * (490 + 70 / 3) + 700 / 3) * 100**2 / 1e6  # forward and backward; a third of it forward alone
    expected = {"faces": 406, "animated": 406 * 28, "data": 700, "arm": trained, "answers": (700 + 406) * 100**2 / 1e6}
    assert amounts(stages_of(tmp_path)) == pytest.approx(expected)


def test_photographs_are_multiplied_with_their_labels(tmp_path: Path) -> None:
    neutral = STAGES | {"animated": STAGES["animated"] | {"select": "neutral"}}
    one, many = stages_of(tmp_path, stages=neutral), stages_of(tmp_path, stages=neutral, photographs=4060)
    assert amounts(one)["animated"] < 406 * 28 / 3
    assert amounts(many)["animated"] == pytest.approx(10 * amounts(one)["animated"])
    assert amounts(many)["data"] == 700


def test_hours_are_rows_times_rate_and_the_start(tmp_path: Path) -> None:
    rates = Rates("here", {"faces": Rate("photographs", start=14, cpu=0.5, bytes=1000)})
    faces = stages_of(tmp_path, rates)["faces"]
    assert faces.cpu_hours == pytest.approx((406 * 0.5 + 14) / 3600)
    assert faces.bytes == 406_000
    assert faces.workload and "one face in each photograph" in faces.workload.assumed


def test_reused_photographs_are_a_share_of_the_photographs(tmp_path: Path) -> None:
    """Of which each may have several faces."""
    faces = stages_of(tmp_path)["faces"]
    rows = {"photographs": 1000, "faces": 3000}
    artifact = make_artifact(str(tmp_path), planned_table="photographs", rows=rows, reused=Reused("faces-0", 900))
    assert replace(faces, artifact=artifact).amount == pytest.approx(406 / 10)


def test_what_cannot_be_told_is_not_estimated(tmp_path: Path) -> None:
    sweep = {"kind": "sweep", "dataset": "data", "trials": 2}
    stages = stages_of(tmp_path, stages=STAGES | {"sweep": sweep, "best": {"kind": "train", "dataset": "data",
        "sweep": "sweep"}, "read": {"kind": "predict", "inputs": ["faces"], "model": "best"}})  # fmt: skip
    assert stages["strips"].workload is stages["best"].workload is stages["read"].workload is None
    assert "'best'" in stages["read"].reason
    assert stages["faces"].cpu_hours is None and "no rate 'faces'" in stages["faces"].reason


def test_rates_of_two_amounts_tell_the_start(tmp_path: Path) -> None:
    def took(amount: float) -> Measured:
        return Measured("faces", "photographs", amount, 1, 20 + 0.25 * amount, int(1000 * amount), 10**9)

    measure([took(100), took(900)]).save(str(tmp_path / "rates.json"))
    rate = load_rates(str(tmp_path / "rates.json")).rates["faces"]
    assert (rate.start, rate.cpu, rate.bytes, rate.stages) == (20, 0.25, 1000, 2)
    alone = measure([took(100)]).rates["faces"]
    assert (alone.start, alone.cpu) == (0, 0.45)


def test_each_trial_of_a_sweep_pays_for_its_start(tmp_path: Path) -> None:
    def took(trials: int, amount: float) -> Measured:
        return Measured("sweep arm float32", "megapixels", amount, trials, 15 * trials + 2 * amount, 1, 10**9)

    rates = measure([took(2, 10), took(3, 60)])
    sweep = {"kind": "sweep", "dataset": "data", "trials": 4, "train": {"network": "arm", "size": 100, "epochs": 3}}
    stages = stages_of(tmp_path, rates, stages=STAGES | {"sweep": sweep})
    trained = amounts(stages)["arm"]
    assert amounts(stages)["sweep"] == pytest.approx(4 * trained)
    assert stages["sweep"].cpu_hours == pytest.approx(4 * (15 + 2 * trained) / 3600)


def test_a_file_that_holds_no_rates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rates.json").write_text("{}")
    with pytest.raises(UserError, match=r"rates\.json is not a file of rates: make one with `twfer bench rates"):
        load_rates(str(tmp_path / "rates.json"))


def prices_in(folder: Path, **given: Any) -> str:
    (folder / "prices.yaml").write_text(yaml.safe_dump(given))
    return str(folder / "prices.yaml")


def test_hours_of_cpus_and_gpus_are_priced(tmp_path: Path) -> None:
    rates = Rates("here", {"faces": Rate("photographs", cpu=36), "animate float32": Rate("images", cpu=1, gpu=1)})
    stages = stages_of(tmp_path, rates)
    prices, _ = load_prices(prices_in(tmp_path, cpu_hour=0.5, currency="EUR"))
    assert (found := cost_of(stages["faces"], prices)) and found.price == pytest.approx(4.06 * 0.5)
    assert (found := cost_of(stages["animated"], prices)) and found.price is None  # no price of a GPU
    assert cost_of(stages["strips"], Prices()) is None


def test_a_cluster_gives_hours_and_pays_for_its_nodes(tmp_path: Path) -> None:
    rates = Rates("here", {"faces": Rate("photographs", cpu=3600), "animate float32 on a GPU": Rate("images", gpu=36),
        "train arm float32 on a GPU": Rate("megapixels", gpu=3600)})  # fmt: skip
    stages = stages_of(tmp_path, rates, compute={"gpus": 1})
    hours = {"head": 1, "cpu": 2, "gpu": 3, "cpu_on_demand": 6, "gpu_on_demand": 9}
    _, prices = load_prices(prices_in(tmp_path, nodes={name: {"hour": hour} for name, hour in hours.items()}))
    cluster = load_cluster(str(CLUSTERS / "gcp.yaml"), prices)  # of 16 CPUs each, without a GPU and with: 4 spot, 2 not
    faces, animated, arm = (cost_on(stages[name], cluster) for name in ("faces", "animated", "arm"))
    assert faces and (faces.hours, faces.price) == (
        pytest.approx(406 / 96),
        pytest.approx(406 / 96 * (1 + 4 * 2 + 2 * 6)),
    )
    assert animated and animated.hours == pytest.approx(406 * 28 * 36 / 3600 / 6)
    assert arm and arm.nodes == {"gpu": 1} and arm.hours == pytest.approx(stages["arm"].amount)


def test_the_groups_of_kuberay_are_types_of_nodes(tmp_path: Path) -> None:
    _, prices = load_prices(prices_in(tmp_path, nodes={"head": {"hour": 1}, "gpu": {"hour": 3}}))
    cluster = load_cluster(str(CLUSTERS / "rayjob.yaml"), prices)
    assert (cluster.head.cpus, cluster.head.hour) == (2, 1)
    assert [(node.name, node.cpus, node.gpus, node.most, node.hour) for node in cluster.workers] == [
        ("cpu", 8, 0, 8, None),
        ("gpu", 8, 1, 4, 3),
    ]
    *_, job = yaml.safe_load_all((CLUSTERS / "rayjob.yaml").read_text())
    spec = job["spec"]["rayClusterSpec"]
    container = spec["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    container["resources"] = {"requests": {"cpu": "7500m"}}
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump({"kind": "RayCluster", "spec": spec}))
    assert load_cluster(str(tmp_path / "cluster.yaml"), {}).workers[0].cpus == 7.5


def test_a_file_that_describes_no_cluster_is_refused() -> None:
    with pytest.raises(UserError, match=r"mlflow\.yaml has no 'available_node_types' and no RayJob or RayCluster"):
        load_cluster(str(CLUSTERS / "mlflow.yaml"), {})


def test_a_cluster_that_kuberay_would_refuse_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("{kind: RayJob, spec: {}}")
    with pytest.raises(UserError, match=r"job\.yaml holds no RayJob as KubeRay defines it \(KeyError\('rayCl"):
        load_cluster(str(tmp_path / "job.yaml"), {})


def test_nodes_without_a_size_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"how many CPUs a node 'cpu' has: write `nodes: \{cpu: \{hour: \.\.\., cpus"):
        load_cluster(str(CLUSTERS / "aws.yaml"), {})


def test_the_shipped_rates_can_be_read() -> None:
    rates = load_rates(SHIPPED).rates
    assert {"faces", "animate float32", "read", "dataset"} <= rates.keys()
