"""Prices that a user gives, and what a recipe costs by them: for CPU and GPU hours, or on the nodes of a cluster."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from twfer_dist.core.errors import UserError
from twfer_dist.engine.config import Range, Settings, fill, read_documents, read_yaml
from twfer_dist.recipe.cost import Estimate

_Price = Annotated[float, Range(0, 10**6)]
_Count = Annotated[float, Range(0, 10**4)]


@dataclass(frozen=True)
class NodePrice(Settings):
    """A type of node of a cluster file. cpus, gpus: where the cluster file does not say how many it has."""

    hour: _Price | None = None
    cpus: _Count | None = None
    gpus: _Count | None = None


@dataclass(frozen=True)
class Prices(Settings):
    currency: str = "USD"
    cpu_hour: _Price | None = None
    gpu_hour: _Price | None = None
    gb_month: _Price | None = None  # of keeping the outputs


@dataclass(frozen=True)
class Node:
    """A type of node. most: how many of it the cluster starts at once; 0 of the head, which only schedules."""

    name: str
    cpus: float
    gpus: float
    most: int
    hour: float | None


@dataclass(frozen=True)
class Cluster:
    """workers: the types of node that it starts, those that it starts first first."""

    head: Node
    workers: Sequence[Node]


@dataclass(frozen=True)
class Cost:
    """Of a stage. hours: of wall time, None where no cluster is named. price: None where a price is missing."""

    hours: float | None
    price: float | None
    nodes: Mapping[str, int] = field(default_factory=dict)


def load_prices(path: str) -> tuple[Prices, dict[str, NodePrice]]:
    """The prices in a YAML file, and those of types of nodes. UserError for what it cannot hold."""
    given, _ = read_yaml(path)
    if not isinstance(given, dict) or not isinstance(given.get("nodes", {}), dict):
        raise UserError(f"{path} holds no prices: write lines such as `cpu_hour: 0.04`, as docs/cluster.md shows.")
    nodes = given.pop("nodes", {})
    prices = fill(Prices, given, path, other_keys=("nodes",))
    return prices, {name: fill(NodePrice, node or {}, f"{path}, node '{name}'") for name, node in nodes.items()}


def load_cluster(path: str, prices: Mapping[str, NodePrice]) -> Cluster:
    """The types of nodes in a file for `ray up`, or the groups of KubeRay's RayJob or RayCluster. UserError where the
    file is none of these, or how many CPUs a node has is neither there nor among the prices.
    """
    documents = [one for one in read_documents(path)[0] if isinstance(one, dict)]
    given = next(filter(None, (_types(path, document) for document in documents)), None)
    if given is None:
        raise UserError(
            f"{path} has no 'available_node_types' and no RayJob or RayCluster: name a file such as clusters/gcp.yaml "
            "or clusters/rayjob.yaml."
        )
    most = given.get("max_workers", 2)
    types = sorted(given["available_node_types"].items(), key=lambda item: -item[1].get("priority", 0))
    nodes = {name: _node(path, name, node, prices, most) for name, node in types}
    head = nodes.pop(str(given.get("head_node_type")), None)
    if head is None or not nodes:
        raise UserError(f"{path} names no 'head_node_type' among its nodes, or no other node: add it.")
    return Cluster(head, list(nodes.values()))


def _types(path: str, document: dict[str, Any]) -> dict[str, Any] | None:
    """A document in the form of a file for `ray up`; None where it describes no cluster."""
    if isinstance(document.get("available_node_types"), dict):
        return document
    if document.get("kind") not in ("RayJob", "RayCluster"):
        return None
    try:
        spec = document["spec"]["rayClusterSpec"] if document["kind"] == "RayJob" else document["spec"]
        groups = {"head": spec["headGroupSpec"]} | {group["groupName"]: group for group in spec["workerGroupSpecs"]}
        types = {name: _type(group) for name, group in groups.items()}
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"{path} holds no {document['kind']} as KubeRay defines it ({error!r}): correct it.") from None
    return {"head_node_type": "head", "available_node_types": types}


def _type(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group of KubeRay as a type of node: what the first container, which is Ray's, asks for."""
    asked = group["template"]["spec"]["containers"][0].get("resources", {})
    asked = asked.get("requests", {}) | asked.get("limits", {})
    names = {"CPU": "cpu", "GPU": "nvidia.com/gpu"}
    resources = {name: _quantity(asked[key]) for name, key in names.items() if key in asked}
    return {"resources": resources, "max_workers": group.get("maxReplicas", 1), "priority": group.get("priority", 0)}


def _quantity(text: str | float) -> float:
    """A Kubernetes quantity of processors: 8, "8" or "7500m"."""
    thousandths = str(text).endswith("m")
    return float(str(text).removesuffix("m")) / (1000 if thousandths else 1)


def _node(path: str, name: str, node: Mapping[str, Any], prices: Mapping[str, NodePrice], most: int) -> Node:
    price, resources = prices.get(name, NodePrice()), node.get("resources") or {}
    cpus = resources.get("CPU", price.cpus)
    if cpus is None:
        raise UserError(
            f"{path} does not say how many CPUs a node '{name}' has: write `nodes: {{{name}: {{hour: ..., cpus: ..., "
            "gpus: ...}}` in the file of --prices, or its `resources` here."
        )
    return Node(name, cpus, resources.get("GPU", price.gpus or 0), int(node.get("max_workers", most)), price.hour)


def cost_of(stage: Estimate, prices: Prices) -> Cost | None:
    """What a stage costs by its hours; None where it is not estimated."""
    if stage.cpu_hours is None or stage.gpu_hours is None:
        return None
    parts = [(stage.cpu_hours, prices.cpu_hour), (stage.gpu_hours, prices.gpu_hour)]
    missing = any(hours and price is None for hours, price in parts)
    return Cost(None, None if missing else sum(hours * (price or 0) for hours, price in parts))


def cost_on(stage: Estimate, cluster: Cluster) -> Cost | None:
    """What a stage costs on a cluster that has only this stage's nodes, the head included, for as long as it runs.

    Nodes are those with GPUs for a stage that uses them, and those without for others, as many as it can keep busy. A
    process has one CPU. None where the stage is not estimated; UserError where it needs a GPU and no node has one.
    """
    if stage.cpu_hours is None or stage.gpu_hours is None or stage.workload is None:
        return None
    gpu = stage.gpu_hours > 0
    nodes = [node for node in cluster.workers if node.most and node.cpus and bool(node.gpus) == gpu]
    nodes = nodes or [node for node in cluster.workers if node.most and node.cpus and not gpu]
    if not nodes:
        raise UserError(f"No node of the cluster {'has a GPU, as' if gpu else 'can run'} '{stage.stage.name}' needs.")
    cpus, gpus = sum(node.most * node.cpus for node in nodes), sum(node.most * node.gpus for node in nodes)
    processes = stage.workload.processes or math.inf
    share = min(1.0, processes * stage.stage.compute.gpus / gpus if gpu else processes / cpus)
    hours = max(stage.cpu_hours / (share * cpus), stage.gpu_hours / (share * gpus) if gpu else 0)
    used = _started(nodes, share * (gpus if gpu else cpus), gpu)
    priced = [(cluster.head.hour, 1), *((node.hour, used[node.name]) for node in nodes if node.name in used)]
    price = None if any(hour is None for hour, _ in priced) else sum(hours * (hour or 0) * n for hour, n in priced)
    return Cost(hours, price, used)


def _started(nodes: Sequence[Node], wanted: float, gpu: bool) -> dict[str, int]:
    """How many nodes of each type have `wanted` CPUs or GPUs between them, where a type is used up before the next."""
    counts = {}
    for node in nodes:
        size = node.gpus if gpu else node.cpus
        counts[node.name] = max(0, min(node.most, math.ceil(round(wanted / size, 6))))
        wanted -= counts[node.name] * size
    return {name: count for name, count in counts.items() if count}
