"""What `twfer plan` says of a recipe."""

from collections.abc import Iterator
from typing import Any

from twfer_dist.core.language import listed
from twfer_dist.engine.artifact import Manifest
from twfer_dist.recipe.cost import Estimate, estimate
from twfer_dist.recipe.prices import Cost, NodePrice, Prices, cost_of, cost_on, load_cluster, load_prices
from twfer_dist.recipe.rates import load_rates
from twfer_dist.recipe.recipe import Recipe


def budget(
    recipe: Recipe, rates: str, photographs: int | None, cluster: str | None, prices: str | None
) -> dict[str, Any]:
    """The plan of a recipe as JSON: each stage's expected costs and their sum, and what finished stages took.

    rates, cluster, prices: paths of files. UserError where one cannot be used, or the recipe cannot run.
    """
    no_nodes: dict[str, NodePrice] = {}
    given, nodes = load_prices(prices) if prices else (Prices(), no_nodes)
    on = load_cluster(cluster, nodes) if cluster else None
    known = load_rates(rates)
    stages = estimate(recipe, known, photographs)
    costs = [cost_on(stage, on) if on else cost_of(stage, given) for stage in stages]
    planned = [_stage(stage, cost) for stage, cost in zip(stages, costs, strict=True)]
    to_do = [stage for stage in planned if stage["state"] == "to do" and stage["cpu_hours"] is not None]
    total: dict[str, Any] = {key: _sum(to_do, key) for key in ("cpu_hours", "gpu_hours", "bytes", "hours", "price")}
    total["memory"] = max((stage["memory"] or 0 for stage in to_do), default=None)
    return {
        "recipe": recipe.name,
        "out": recipe.out,
        "photographs": photographs,
        "rates": f"{rates} ({known.machine})",
        "cluster": cluster,
        "priced": prices is not None,
        "currency": given.currency,
        "stages": planned,
        "total": total,
        "remarks": list(_remarks(planned, total, given)),
    }


def _sum(stages: list[dict[str, Any]], key: str) -> float | None:
    """None where a stage has no such number."""
    numbers = [stage[key] for stage in stages]
    return None if None in numbers else sum(numbers)


def _stage(stage: Estimate, cost: Cost | None) -> dict[str, Any]:
    rate = stage.rate
    spelt_out = None
    if rate and stage.workload:
        starts = f"{stage.starts} x " if stage.starts > 1 else ""
        spelt_out = f"{stage.amount:,.0f} {stage.workload.unit} x {rate.cpu:g} s + {starts}{rate.start:g} s"
        spelt_out += f", {stage.done:.0%} is done" if stage.done else ""
    return {
        "name": stage.stage.name,
        "kind": stage.stage.kind,
        "state": stage.state,
        "rows": round(stage.workload.content.rows) if stage.workload else None,
        "sum": spelt_out,
        "cpu_hours": stage.cpu_hours,
        "gpu_hours": stage.gpu_hours,
        "memory": rate and rate.memory,
        "bytes": stage.bytes,
        "hours": cost and cost.hours,
        "nodes": cost and cost.nodes,
        "price": cost and cost.price,
        "reason": "" if rate else stage.reason,
        "assumed": stage.workload.assumed if stage.workload else (),
        "source": rate.source if rate else "",
        "took": _took(stage, stage.artifact.manifest) if stage.artifact and stage.workload else None,
    }


def _took(stage: Estimate, manifest: Manifest) -> dict[str, Any]:
    """Of a finished stage, in the same units. hours: as its run lasted, whatever else the machines did."""
    return {
        "cpu_hours": None if manifest.cpu_seconds is None else manifest.cpu_seconds / 3600,
        "gpu_hours": None,
        "memory": manifest.peak_bytes,
        "bytes": stage.written,
        "hours": manifest.seconds / 3600,
        "price": None,
    }


def _remarks(stages: list[dict[str, Any]], total: dict[str, Any], prices: Prices) -> Iterator[str]:
    to_do = [stage for stage in stages if stage["state"] == "to do"]
    if assumed := sorted({phrase for stage in to_do for phrase in stage["assumed"]}):
        yield f"Assumed: {listed(assumed)}."
    if missing := [stage["name"] for stage in to_do if stage["cpu_hours"] is None]:
        yield f"Not in the sum: {listed(missing)}."
    for source in sorted({stage["source"] for stage in to_do if stage["source"]}):
        yield f"Not measured by this program: {source}."
    measured = [stage for stage in stages if stage["took"] and stage["took"]["cpu_hours"] is not None]
    if compared := [stage for stage in measured if stage["cpu_hours"] is not None]:
        hours, truth = _sum(compared, "cpu_hours") or 0, sum(stage["took"]["cpu_hours"] for stage in compared)
        error = f"{hours / truth - 1:+.0%}" if truth else "no time"
        yield f"What is finished was estimated at {hours:.3g} CPU hours and took {truth:.3g} ({error})."
    if prices.gb_month is not None and total["bytes"] is not None:
        gigabytes = total["bytes"] / 1e9
        yield f"Keeping {gigabytes:,.1f} GB costs {gigabytes * prices.gb_month:,.2f} {prices.currency} a month."
