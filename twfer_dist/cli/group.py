"""The group of all commands, the options they share, and how errors end a command."""

import signal
from collections.abc import Mapping
from typing import Any

import click

from twfer_dist import __version__
from twfer_dist.core.errors import UserError
from twfer_dist.engine import log, storage
from twfer_dist.engine.journal import without_password
from twfer_dist.engine.stdout import own_output

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")


out_option = click.option("--out", metavar="DIR", help="Where outputs go: a folder or a URI.")


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


class _Group(click.Group):
    """Prints a Problem as its sentence and exits with 2, wherever it is raised; with 130 where the keyboard stops it,
    or SIGTERM, by which clusters end a process.
    """

    def invoke(self, context: click.Context) -> Any:
        signal.signal(signal.SIGTERM, _stop)
        log.configure()
        try:
            with own_output():
                return super().invoke(context)
        except UserError as problem:
            click.echo(f"twfer: {without_password(str(problem))}", err=True)
            context.exit(2)
        except KeyboardInterrupt:
            click.echo(
                "\ntwfer: stopped. What is done is kept: start again to go on, a training from its last checkpoint.",
                err=True,
            )
            context.exit(130)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="twfer")
def main() -> None:
    """Read expressions in sculpted faces, from a folder of photographs to a study.

    Start with `twfer run jobs/demo.yaml`, or `twfer study FOLDER --model runs/demo` for photographs of your own.
    """


def _print_facts(facts: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(storage.json_text(facts, indent=2))
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {count}" for name, count in value.items() if count is not None)
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        click.echo(f"{key.replace('_', ' '):>25}  {'none' if value in ('', None) else value}")
