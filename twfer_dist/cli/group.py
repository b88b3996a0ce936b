"""The group of all commands: how an error or a signal ends a command, and the options that commands share."""

import signal
from typing import Any

import click

from twfer_dist import __version__
from twfer_dist.core.errors import UserError
from twfer_dist.engine import log
from twfer_dist.engine.journal import without_password
from twfer_dist.engine.stdout import own_output

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
out_option = click.option("--out", metavar="DIR", help="Folder or URI for the outputs.")


class _Group(click.Group):
    """Prints a UserError as its sentence and exits with 2; exits with 130 on Ctrl-C, or on the SIGTERM by which
    clusters stop a process.
    """

    def invoke(self, context: click.Context) -> Any:
        signal.signal(signal.SIGTERM, _stop)
        log.configure()
        try:
            with own_output():
                return super().invoke(context)
        except UserError as error:
            click.echo(f"twfer: {without_password(str(error))}", err=True)
            context.exit(2)
        except KeyboardInterrupt:
            click.echo(
                "\ntwfer: stopped. Finished work is kept: run the same command to continue; a training continues from "
                "its last checkpoint.",
                err=True,
            )
            context.exit(130)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="twfer")
def main() -> None:
    """Read expressions in sculpted faces, from a folder of photographs to a study.

    Start with `twfer run package:recipes/demo.yaml`, or with `twfer study FOLDER` for photographs of your own.
    """
