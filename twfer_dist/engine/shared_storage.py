"""Whether all nodes of the cluster reach the same storage."""

import uuid
from collections.abc import Sequence

from twfer_dist.core.errors import UserError
from twfer_dist.core.language import listed
from twfer_dist.engine import resources, storage
from twfer_dist.engine.journal import without_password
from twfer_dist.engine.mlflow_store import Store

ANSWER_SECONDS = 60.0
"""How long a node may take to look; one that does not answer is not judged."""


class SharedStorage:
    """What all nodes of a cluster must reach: the folder of outputs, the inputs, and the MLflow store, if any."""

    def __init__(self, out: str, inputs: Sequence[str], store: Store | None) -> None:
        self._out, self._inputs, self._store = out, inputs, store
        self._checked: set[str] = set()  # ids of nodes

    def check(self) -> None:
        """UserError where work is done on several nodes and one of them does not see what this process writes in the
        folder, or does not see the inputs: each would write to a disk of its own, and a stage would end without most of
        its rows; or where the store is a file. Where no node has joined since the last time, nothing is done.
        """
        import ray

        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        if alive <= self._checked:
            return
        if self._store:
            self._store.check_nodes()
        if len(alive) > 1:
            _check_seen(self._out, self._inputs)
        elif resources.has_other_nodes() and "://" not in self._out:
            raise UserError(
                f"{self._out} is a folder of the cluster's head, and other nodes will do the work: name an address "
                "that every node reaches, such as s3://bucket/study; a folder of a shared file system is taken once a "
                "node has joined."
            )
        self._checked = alive


def _check_seen(out: str, inputs: Sequence[str]) -> None:
    if blind := nodes_without(out):
        raise UserError(
            f"{without_password(out)} is not shared: {listed(blind)} cannot see what is written there. Name an address "
            "that every node reaches, such as s3://bucket/study or a folder of a shared file system."
        )
    for uri in inputs:
        if blind := _blind(uri, None):
            raise UserError(
                f"{without_password(uri)} does not exist on {listed(blind)}: name an address that every node reaches."
            )


def nodes_without(folder: str) -> list[str]:
    """The host names of the nodes that do not see a file which this process writes in `folder` for the occasion."""
    uri, written = storage.join(folder, f"_shared-{uuid.uuid4().hex[:8]}"), uuid.uuid4().hex.encode()
    storage.write_bytes(uri, written)
    try:
        return _blind(uri, written)
    finally:
        storage.delete_file(uri)


def _blind(uri: str, written: bytes | None) -> list[str]:
    """The host names of the nodes that do not see `uri`, or see other bytes there than `written`."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(num_cpus=0)(_sees)
    hosts = {}
    for node in ray.nodes():
        if node["Alive"]:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            hosts[look.options(scheduling_strategy=there).remote(uri, written)] = node["NodeManagerHostname"]
    answered, _ = ray.wait(list(hosts), num_returns=len(hosts), timeout=ANSWER_SECONDS)
    return sorted({hosts[answer] for answer in answered if not ray.get(answer)})


def _sees(uri: str, written: bytes | None) -> bool:
    try:
        return storage.exists(uri) and (written is None or storage.read_bytes(uri) == written)
    except (OSError, UserError):  # such as object storage without keys on this node
        return False
