"""Find, resume or make the output of a stage.

The output of a `StageSpec` is the directory `<out>/<stage>-<fingerprint>/`. A stage with many rows calls
`StageOutput.map`, which cuts the plan into shards and carries each through the steps on Ray Data (see `ray_data`).
"""

import functools
from collections.abc import Callable

import pyarrow.fs as pafs

from twfer_dist.core.errors import UserError
from twfer_dist.engine import artifact, intact, lease, reuse, storage, usage
from twfer_dist.engine.artifact import WORK, Artifact
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.tracking import Tracking


def find_output(spec: StageSpec, out: str) -> Artifact | None:
    """The finished output of `spec` under `out`, if it exists and was made from the current builds of its inputs."""
    directory = storage.join(out, spec.name)
    if not _is_finished(directory):
        return None
    output = artifact.open_artifact(directory)
    return output if output.manifest.build_ids == spec.build_ids else None


def run_stage(
    spec: StageSpec, out: str, *, quiet: bool = False, retry: bool = False, tracking: Tracking | None = None
) -> Artifact:
    """The finished output of `spec` under `out`: found, resumed or made. Waits while another run writes it.

    retry: compute the rows with a transient status (`core.status.TRANSIENT`) of a finished output again, and no others;
    the earlier output is moved aside unless nothing changed. Only stages that use `StageOutput.map` have such rows.
    tracking: where the progress is logged besides the terminal.
    """
    out = storage.absolute(out)
    directory = storage.join(out, spec.name)
    if (existing := find_output(spec, out)) and not (retry and reuse.has_transient_rows(existing)):
        storage.delete_folder(storage.join(directory, WORK))  # left where the run was killed after its manifest
        spec.found(existing)
        return existing
    with lease.hold(directory, quiet=quiet) as held:
        retried = storage.join(out, f"{spec.name}.retry")
        _adopt_finished_retry(retried, directory)
        existing = find_output(spec, out)
        if existing and not (retry and reuse.has_transient_rows(existing)):
            return existing
        if existing is None and _is_finished(directory):
            _retire(directory)
        _check_inputs(spec, quiet)
        output = StageOutput(spec, out, retried if existing else directory, quiet, existing, tracking)
        made = _make(output, held.check)
        if existing is None:
            return made
        if made.digest == existing.digest:
            storage.delete_folder(retried)
            return existing
        _retire(directory)
        _move(retried, directory)
        return artifact.open_artifact(directory)


def _make(output: StageOutput, check: Callable[[], None]) -> Artifact:
    with usage.follow(output.scratch()) as used:
        output.spec.do(output)
        return output.finish(used, check)


def _adopt_finished_retry(retried: str, directory: str) -> None:
    """Put a retry into place that was killed after its manifest."""
    if _is_finished(retried):
        if _is_finished(directory):
            _retire(directory)
        _move(retried, directory)


def _check_inputs(spec: StageSpec, quiet: bool) -> None:
    """UserError where a file of an input is missing or changed."""
    for value in spec.inputs.values():
        if isinstance(value, Artifact) and (fault := _fault(value.uri, value.build_id, quiet)):
            raise UserError(f"{fault}: delete {value.uri} and run again to make it from scratch.")


@functools.cache
def _fault(uri: str, build_id: str, quiet: bool) -> str | None:
    """`intact.fault`, checked once for each build of an output."""
    return intact.fault(artifact.open_artifact(uri), quiet=quiet)


def _is_finished(directory: str) -> bool:
    return storage.exists(storage.join(directory, artifact.MANIFEST))


def _retire(directory: str) -> None:
    """Move a finished output aside before it is made again: nothing is overwritten."""
    base, mark, query = directory.partition("?") if "://" in directory else (directory, "", "")
    _move(directory, f"{base}.replaced-{artifact.open_artifact(directory).build_id}{mark}{query}")


def _move(directory: str, to: str) -> None:
    """Move a finished output. Where storage cannot move a directory, the manifest is copied last and deleted first."""
    (fs, path), (_, aside) = storage.resolve(directory), storage.resolve(to)
    if isinstance(fs, pafs.LocalFileSystem):
        return fs.move(path, aside)
    for name in sorted(storage.list_files(directory, recursive=True), key=lambda name: name == artifact.MANIFEST):
        fs.create_dir(f"{aside}/{name}".rpartition("/")[0], recursive=True)
        fs.copy_file(f"{path}/{name}", f"{aside}/{name}")
    fs.delete_file(f"{path}/{artifact.MANIFEST}")
    fs.delete_dir(path)
