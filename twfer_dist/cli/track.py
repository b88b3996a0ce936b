"""`twfer track`: what MLflow has not been sent yet."""

import click

from twfer_dist.cli.group import json_option, main
from twfer_dist.cli.terminal import print_facts
from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.engine.journal import without_password
from twfer_dist.engine.tracking import Tracking, stores_waiting


@main.group("track")
def track_group() -> None:
    """MLflow runs of an output folder."""


@track_group.command("sync")
@click.argument("folder", metavar="DIR")
@click.option("--tracking", metavar="URI", help="The address of the MLflow server with its user and password.")
@json_option
def sync_command(folder: str, tracking: str | None, as_json: bool) -> None:
    """Send what was kept while MLflow did not answer, and close the runs of processes that were killed.

    DIR is the output folder of a recipe. What MLflow still does not accept is kept.
    """
    out = storage.absolute(folder)
    stores = stores_waiting(out)
    if tracking:
        stores = [known for store in stores if (known := Tracking(tracking, store.experiment)).shown == store.shown]
        if not stores:
            raise UserError(f"{folder} keeps nothing for {without_password(tracking)}: leave --tracking out.")
    waiting = 0
    for store in stores:
        store.experiment_id()  # UserError where it does not answer
        waiting += store.send_waiting(out)
    facts = {"runs of": [store.shown for store in stores], "entries still kept": waiting}
    print_facts(facts if stores else {"nothing to send": folder}, as_json)
