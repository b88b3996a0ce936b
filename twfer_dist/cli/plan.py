"""`twfer plan`: what a recipe will cost, before any work; `twfer bench rates`: what that is computed from."""

from collections.abc import Sequence
from typing import Any

import click

from twfer_dist.cli.bench import bench_group
from twfer_dist.cli.group import json_option, main, out_option
from twfer_dist.cli.terminal import print_facts
from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.recipe.load import load_recipe
from twfer_dist.recipe.rates import SHIPPED


@main.command("plan")
@click.argument("path", metavar="RECIPE")
@out_option
@click.option(
    "--photographs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Plan for so many photographs in all, with the labels and faces that those of the recipe have.",
)
@click.option(
    "--on", "cluster", metavar="FILE", help="The cluster, as a file for `ray up` or a RayJob of KubeRay: adds hours."
)
@click.option("--prices", metavar="FILE", help="What CPUs, GPUs or nodes cost an hour, in YAML: adds what is to pay.")
@click.option("--rates", default=SHIPPED, metavar="FILE", help="Rates of `twfer bench rates`. Default: the package's.")
@json_option
def plan_command(
    path: str,
    out: str | None,
    photographs: int | None,
    cluster: str | None,
    prices: str | None,
    rates: str,
    as_json: bool,
) -> None:
    """Say what each stage of a recipe will cost, and what the finished ones took."""
    from twfer_dist.recipe.budget import budget

    planned = budget(load_recipe(path, out=out), rates, photographs, cluster, prices)
    if as_json:
        click.echo(storage.json_text(planned, indent=2))
    else:
        _print(planned)


@bench_group.command("rates")
@click.argument("recipes", metavar="RECIPE...", nargs=-1, required=True)
@click.option("--save", required=True, metavar="FILE", help="Where to write the rates, for `twfer plan --rates`.")
@json_option
def bench_rates_command(recipes: Sequence[str], save: str, as_json: bool) -> None:
    """Measure rates for `twfer plan` on the finished stages of recipes that were run on this machine.

    Two recipes that do different amounts of the same work tell what a stage takes to start from what each row takes.
    """
    from twfer_dist.recipe.cost import estimate
    from twfer_dist.recipe.rates import Rates, measure

    stages = [stage.took for path in recipes for stage in estimate(load_recipe(path), Rates(""))]
    measured = measure(took for took in stages if took)
    if not measured.rates:
        raise UserError(f"No stage of {', '.join(recipes)} is finished and says what it took: run them first.")
    measured.save(save)
    print_facts({"rates": list(measured.rates), "saved": save}, as_json)


def _print(planned: dict[str, Any]) -> None:
    stages = planned["stages"]
    names = max([5, *(len(stage["name"]) for stage in stages)])
    sums = max([8, *(len(stage["sum"] or "") for stage in stages)])
    priced = f"  {planned['currency']:>9}" if planned["priced"] else ""
    lasted = any(stage["took"] and stage["took"]["cpu_hours"] is None for stage in stages)  # on a cluster
    planned = planned | {"wall": planned["cluster"] or lasted}
    wall = f"  {'hours':>8}" if planned["wall"] else ""
    click.echo(f"{planned['recipe']}: CPU seconds by {planned['rates']}")
    click.echo(
        f"  {'':<9} {'stage':<{names}} {'sum':<{sums}} {'CPU hours':>9}  {'GPU hours':>9}  {'memory':>7}  "
        f"{'written':>8}{wall}{priced}"
    )
    for stage in stages:
        start = f"  {stage['state']:<9} {stage['name']:<{names}} "
        if stage["cpu_hours"] is None:
            click.echo(f"{start}not estimated: {stage['reason']}")
            continue
        click.echo(f"{start}{stage['sum']:<{sums}} {_costs(stage, planned)}")
        if took := stage["took"]:
            costs = _costs(took, planned | {"priced": False})
            click.echo(f"  {'':<9} {'':<{names}} {'it took':<{sums}} {costs}")
    click.echo(f"  {'to do':<9} {'all that is estimated':<{names + 1 + sums}} {_costs(planned['total'], planned)}")
    for line in planned["remarks"]:
        click.echo(line)


def _costs(costs: dict[str, Any], planned: dict[str, Any]) -> str:
    hours = [_number(costs[key]) for key in ("cpu_hours", "gpu_hours")]
    columns = [f"{number:>9}" for number in hours]
    columns += [f"{_size(costs['memory']):>7}", f"{_size(costs['bytes']):>8}"]
    columns += [f"{_number(costs['hours']):>8}"] if planned["wall"] else []
    columns += [f"{_number(costs['price']):>9}"] if planned["priced"] else []
    return "  ".join(columns).rstrip()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _size(count: float | None) -> str:
    return "" if count is None else f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"
