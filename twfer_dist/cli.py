"""The `twfer` command: parses, calls one function, prints."""

import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import click

from twfer_dist import __version__, recipe, storage
from twfer_dist.errors import Problem
from twfer_dist.journal import without_password
from twfer_dist.progress import own_output
from twfer_dist.stages import TRACKED, Recipe
from twfer_dist.terminal import print_end, print_results, print_stage

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
retry_option = click.option("--retry", type=click.Choice(["failed"]), help="Do rows of finished stages again that may come out otherwise.")
corrections_option = click.option(
    "--corrections", metavar="FILE", help="What a person marked as wrong: the table that the page of `twfer inspect --html` saves."
)
out_option = click.option("--out", metavar="DIR", help="Where outputs go: a folder or a URI.")


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


class _Group(click.Group):
    """Prints a Problem as its sentence and exits with 2, wherever it is raised; with 130 where the keyboard stops it, or SIGTERM, by
    which clusters end a process.
    """

    def invoke(self, context: click.Context) -> Any:
        signal.signal(signal.SIGTERM, _stop)
        try:
            with own_output():
                return super().invoke(context)
        except Problem as problem:
            click.echo(f"twfer: {without_password(str(problem))}", err=True)
            context.exit(2)
        except KeyboardInterrupt:
            click.echo("\ntwfer: stopped. What is done is kept: start again to go on, a training from its last checkpoint.", err=True)
            context.exit(130)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="twfer")
def main() -> None:
    """Read expressions in sculpted faces, from a folder of photographs to a study.

    Start with `twfer run jobs/demo.yaml`, or `twfer study FOLDER --model runs/demo` for photographs of your own.
    """


@main.command("run")
@click.argument("path", metavar="RECIPE")
@out_option
@click.option("--plan", "only_plan", is_flag=True, help="Say what is finished and what is to do, and do nothing.")
@retry_option
@json_option
def run_command(path: str, out: str | None, only_plan: bool, retry: str | None, as_json: bool) -> None:
    """Do the stages of a recipe in order; finished ones are skipped."""
    _run(recipe.load(path, out=out), only_plan=only_plan, retry=retry is not None, as_json=as_json)


def _faces_options(command: Callable) -> Callable:
    for option in (
        click.option("--all/--largest", "every", default=True, help="Take all faces of a photograph (default), or the largest."),
        click.option("--aligned", is_flag=True, help="The photographs are aligned crops of faces: detect nothing."),
        click.option("--detector-model", metavar="FILE", help="The detector's model file: YuNet's .onnx."),
        click.option("--detector", default="auto", show_default=True, help="auto, yunet, centerface or haar."),
    ):
        command = option(command)
    return command


def _faces_settings(detector: str, detector_model: str | None, aligned: bool, every: bool) -> dict[str, Any]:
    settings = {"detector": detector, "aligned": aligned, "keep": "all" if every else "largest"}
    return settings | ({"model": detector_model} if detector_model else {})


@main.command("study")
@click.argument("corpus", metavar="FOLDER")
@click.option(
    "--model",
    required=True,
    metavar="RUN",
    help="A recogniser: the output of a training, or the folder of a recipe; of several the best on validation images.",
)
@click.option("--group", "groups", multiple=True, metavar="COLUMN", help="Compare by this column; by all that group, if none is named.")
@_faces_options
@corrections_option
@out_option
@json_option
def study_command(
    corpus: str, model: str, groups: tuple[str, ...], corrections: str | None, out: str | None, as_json: bool, **faces: Any
) -> None:
    """Answer for a folder of anyone's photographs (or a table of them, CSV or Excel, or RAF-DB's layout): one report."""
    loaded = recipe.study(corpus, model, _faces_settings(**faces), groups, out, corrections)
    if not as_json:
        (asked,) = (stage.inputs["model"][0] for stage in loaded.stages if stage.kind == "predict")
        click.echo(f"asks {asked}")
    _run(loaded, as_json=as_json)
    _say_corrections(loaded, as_json)


@main.command("faces")
@click.argument("corpus", metavar="FOLDER")
@_faces_options
@corrections_option
@click.option("--out", required=True, metavar="DIR", help="Where the tables go: a folder or a URI.")
@retry_option
@json_option
def faces_command(corpus: str, corrections: str | None, out: str, retry: str | None, as_json: bool, **faces: Any) -> None:
    """Find the faces in a folder of photographs: one table of photographs, one of faces, as Parquet and CSV."""
    loaded = recipe.faces(corpus, _faces_settings(**faces), out, corrections)
    _run(loaded, retry=retry is not None, as_json=as_json)
    _say_corrections(loaded, as_json)


def _say_corrections(loaded: Recipe, as_json: bool) -> None:
    if not as_json:
        page = f"twfer inspect {shlex.quote(loaded.out)} --html faces.html"
        click.echo(f"Wrong crops, points or labels? Mark them on the page of {page}, and run this again with --corrections corrections.csv")


@main.command("sweep")
@click.argument("path", metavar="RECIPE")
@out_option
@json_option
def sweep_command(path: str, out: str | None, as_json: bool) -> None:
    """Do a recipe as far as its sweep, and print the sweep's trials."""
    loaded = recipe.load(path, out=out)
    _run(loaded, until=_stage_of_kind(loaded, "sweep"), as_json=as_json)


@main.command("train-gan")
@click.argument("path", metavar="RECIPE")
@out_option
@json_option
def train_gan_command(path: str, out: str | None, as_json: bool) -> None:
    """Do a recipe as far as its generator, and print the generator's scores."""
    loaded = recipe.load(path, out=out)
    _run(loaded, until=_stage_of_kind(loaded, "generator"), as_json=as_json)


@main.command("train-faces")
@click.argument("path", metavar="RECIPE")
@out_option
@json_option
def train_faces_command(path: str, out: str | None, as_json: bool) -> None:
    """Do a recipe as far as its network that measures faces, and print the network's scores."""
    loaded = recipe.load(path, out=out)
    _run(loaded, until=_stage_of_kind(loaded, "face-network"), as_json=as_json)


@main.command("status")
@click.argument("folder", metavar="DIR")
@json_option
def status_command(folder: str, as_json: bool) -> None:
    """What lies in the output folder of a recipe: stages, rows, counts by status, seconds."""
    _print_status(folder, as_json)


def _print_status(folder: str, as_json: bool) -> None:
    summary = recipe.status(folder)
    if as_json:
        click.echo(storage.json_text(summary, indent=2))
        return
    for stage in summary["stages"]:
        print_stage(stage)
    click.echo(f"\n{summary['finished']} finished, {summary['unfinished']} unfinished, in {folder}")


@main.command("inspect")
@click.argument("folder", metavar="DIR")
@click.option("--html", metavar="FILE", help="Write a page of all faces, to mark on it what is wrong.")
@click.option("--first", type=click.IntRange(min=0), default=0, help="The number of the first face of the page, which shows a thousand.")
@json_option
def inspect_command(folder: str, html: str | None, first: int, as_json: bool) -> None:
    """What came of every row of a stage: counts by status, with examples of what has no result. Of the folder of a recipe: its stages."""
    from twfer_dist.inspection import inspect, is_output

    if html:
        from twfer_dist.faces.page import AFTER, page

        storage.write_bytes(storage.absolute(html), page(storage.open_finished(recipe.faces_in(folder)), first).encode())
        _print_facts({"page": html, "next": f"mark on it what is wrong, and save it. {AFTER}"}, as_json)
        return
    if not is_output(folder) and recipe.has_stages(folder):
        _print_status(folder, as_json)
        return
    found = inspect(folder)
    if as_json:
        click.echo(storage.json_text(found, indent=2))
        return
    click.echo(f"{found['output']} ({found['state']})")
    for name, table in found["tables"].items():
        click.echo(f"\n{'rows' if name == '.' else name}: {table['rows']:,}")
        for status, count in table["counts"].items():
            click.echo(f"{count:>9,}  {status}")
            for example in table["examples"].get(status, []):
                click.echo(f"{'':>11}{example['id']}  {example['error']}")


@main.group("evaluate")
def evaluate_group() -> None:
    """How good a network is where the truth is known."""


@evaluate_group.command("faces")
@click.option("--weights", metavar="FILE", help="Weights of `twfer train-faces`; those that ship where not given.")
@click.option("--rendered", metavar="DIR", help="Output of a stage of kind render, plan units; heads that ship where not given.")
@json_option
def evaluate_faces_command(weights: str | None, rendered: str | None, as_json: bool) -> None:
    """Points and Action Units of rendered heads, from a detector's framing on."""
    from twfer_dist.faces.evaluate import TEST, evaluate
    from twfer_dist.faces.measure import SHIPPED

    heads = storage.open_finished(storage.absolute(rendered or TEST))
    _print_facts(evaluate(weights or SHIPPED, heads), as_json)


@evaluate_group.command("gan")
@click.option("--ours", required=True, metavar="FILE", help="The generator's weights.")
@click.option("--public", metavar="FILE", help="Weights of the public generator, to compare with.")
@click.option(
    "--rendered", required=True, metavar="DIR", help="Output of a stage of kind render, plan changes: figures new to all networks."
)
@click.option("--faces", multiple=True, metavar="DIR", help="Output of a stage of kind faces: sculpture. May be given several times.")
@click.option(
    "--judge", metavar="FILE", help="Weights of `twfer train-faces`, instead of those that ship: none that a generator learned by."
)
@click.option("--beside", metavar="FILE", help="What measures Action Units too: MediaPipe's face_landmarker.task, or other weights.")
@click.option("--identity", required=True, metavar="FILE", help="Weights of a stage of kind identity-network.")
@click.option("--figures", type=click.IntRange(min=20), default=40, show_default=True, help="So many, of each output.")
@json_option
def evaluate_gan_command(rendered: str, faces: tuple[str, ...], as_json: bool, **networks: Any) -> None:
    """A generator on figures whose right picture is known, and on sculpture: nearness, control, identity."""
    from twfer_dist.synthesis.evaluate import evaluate

    scenes, *photographed = (storage.open_finished(storage.absolute(uri)) for uri in (rendered, *faces))
    found = evaluate(rendered=scenes, faces=photographed, **networks)
    _print_facts(found if as_json else _flat(found), as_json)


def _flat(facts: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Facts within facts as one list: their names follow each other."""
    flat: dict[str, Any] = {}
    for key, value in facts.items():
        flat |= _flat(value, f"{before}{key} ") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return flat


@main.group("bench")
def bench_group() -> None:
    """How fast stages and networks are here, in ratios of one run. Minutes."""


images_option = click.option("--images", type=click.IntRange(min=100), default=600, show_default=True, help="Rows of the larger run.")
actors_option = click.option(
    "--actors", type=click.IntRange(min=1), help="Actors, and plain processes; the cluster's CPUs where not given."
)


@bench_group.command("faces")
@images_option
@actors_option
@json_option
def bench_faces_command(images: int, actors: int | None, as_json: bool) -> None:
    """Photographs a second through the faces stage, beside the same code in plain loops; faces a second through the network."""
    from twfer_dist.bench import bench_faces

    _print_facts(bench_faces(images, actors), as_json)


@bench_group.command("animate")
@images_option
@actors_option
@json_option
def bench_animate_command(images: int, actors: int | None, as_json: bool) -> None:
    """Images a second through the animate stage, beside the same code in plain loops; our generator beside the public one."""
    from twfer_dist.bench import bench_animate

    _print_facts(bench_animate(images, actors), as_json)


@bench_group.command("io")
@click.option("--images", type=click.IntRange(min=100), default=20000, show_default=True, help="Rows of the larger run.")
@actors_option
@click.option("--out", metavar="URI", help="Where to, such as s3://bucket/folder; a temporary folder where not given. Nothing stays.")
@json_option
def bench_io_command(images: int, actors: int | None, out: str | None, as_json: bool) -> None:
    """Rows a second through a stage that only writes, beside the same in plain loops; megabytes a second written and read."""
    from twfer_dist.bench import bench_io

    _print_facts(bench_io(images, actors, out), as_json)


@main.group("corpus")
def corpus_group() -> None:
    """Make corpora of rendered clay heads, and look at any corpus."""


@corpus_group.command("head")
@click.argument("folder", metavar="DIR")
@click.option("--out", required=True, metavar="FILE", help="The head model to write, such as head.npz.")
def head_command(folder: str, out: str) -> None:
    """Make the head model from ICT-FaceKit's public distribution (the folder with FaceXModel)."""
    from twfer_dist.corpus.head import make_head

    make_head(folder, out)
    click.echo(f"The head model is {out}. Next: twfer corpus clay jobs/demo-corpus.yaml --head {shlex.quote(out)} --out DIR")


@corpus_group.command("clay")
@click.argument("path", metavar="RECIPE")
@click.option("--head", required=True, metavar="FILE", help="The head model that `twfer corpus head` makes.")
@click.option("--out", required=True, metavar="DIR", help="The folder of corpora to write.")
def clay_command(path: str, head: str, out: str) -> None:
    """Render clay heads with known Action Units: photographs, manifest, votes, points."""
    from twfer_dist.corpus.pipeline import make_corpora

    for folder in make_corpora(path, head, out):
        click.echo(f"made {folder}")
    click.echo(f"Next: look at the sheets in {out}, and name the folders as corpora of a recipe.")


@corpus_group.command("show")
@click.argument("folder", metavar="FOLDER")
@json_option
def show_command(folder: str, as_json: bool) -> None:
    """Say how a corpus is read: its layout, labels, ties, groups, missing files."""
    from twfer_dist.corpus.corpus import open_corpus

    corpus = open_corpus(folder)
    # What was remarked on while the tables were read stands in `left_out` too, as sentences.
    _print_facts(corpus.notes if as_json else {key: value for key, value in corpus.notes.items() if key != "remarks"}, as_json)
    if not as_json:
        click.echo("\n".join([*corpus.left_out, f"Next: twfer study {shlex.quote(folder)} --model RUN"]))


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


def _stage_of_kind(loaded: Recipe, kind: str) -> str:
    names = [s.name for s in loaded.stages if s.kind == kind]
    if not names:
        raise Problem(f"The recipe {loaded.name} has no stage of kind '{kind}': add one, as jobs/demo.yaml has.")
    return names[-1]


def _run(loaded: Recipe, *, until: str | None = None, only_plan: bool = False, retry: bool = False, as_json: bool = False) -> None:
    started = time.monotonic()
    say: Callable[[str], None] = (lambda line: None) if as_json else click.echo
    planned = recipe.plan(loaded)
    to_do = sum(o.state == "to do" for o in planned)
    say(f"{loaded.name}: {len(planned)} stages, {len(planned) - to_do} finished, {to_do} to do, in {loaded.out}")
    for outcome in planned:
        say(f"  {outcome.state:<9} {outcome.stage.name} ({outcome.stage.kind})")
    outcomes = planned
    if not only_plan:
        say("")
        outcomes = []
        for outcome in recipe.run(loaded, until=until, quiet=as_json, retry=retry):
            outcomes.append(outcome)
            if not as_json:
                print_stage(outcome.summary())
                print_results(outcome)
    seconds = round(time.monotonic() - started, 1)
    reports = [storage.join(loaded.out, o.stage.name, "index.html") for o in outcomes if o.stage.kind == "report" and o.finished]
    tracked = loaded.tracking and any(o.stage.kind in TRACKED for o in outcomes)
    interface = loaded.tracking.interface if loaded.tracking and tracked else None
    if as_json:
        summary = {"recipe": loaded.name, "out": loaded.out, "seconds": seconds, "stages": [o.summary() for o in outcomes]}
        click.echo(storage.json_text(summary | {"report": reports[-1] if reports else None, "mlflow": interface}, indent=2))
    elif not only_plan:
        print_end(loaded, reports, interface, seconds)


if __name__ == "__main__":
    sys.exit(main())
