"""The contract between stages as code: plan, work on Ray Data, finish; fingerprints; resume.

A stage is a `Job`. `run` finds its finished output or makes it in `<out>/<stage>-<fingerprint>/`. A stage with many
rows calls `Work.map`: the plan is cut into parts, and Ray Data carries each part through the steps (see `parts`).
"""

import functools
import time

import pyarrow.fs as pafs

from twfer_dist.core.errors import UserError
from twfer_dist.core.status import TRANSIENT
from twfer_dist.engine import artifact, lease, storage
from twfer_dist.engine.artifact import WORK, Artifact
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.tracking import Tracking


def find_output(job: StageSpec, out: str) -> Artifact | None:
    """The finished output of `job` under `out`, if it is there and was made from the inputs as they are now."""
    directory = storage.join(out, f"{job.stage}-{job.fingerprint}")
    if not storage.exists(storage.join(directory, artifact.MANIFEST)):
        return None
    finished = artifact.open_artifact(directory)
    return finished if finished.manifest.build_ids == job.build_ids else None


def run_stage(
    job: StageSpec, out: str, *, quiet: bool = False, retry: bool = False, tracking: Tracking | None = None
) -> Artifact:
    """The finished output of `job` under `out`: found, resumed or made. Waits where another run is making it.

    retry: the rows of a finished output that may come out otherwise (`schema.PASSING`) are done again, and no others.
    The output before is moved aside, unless nothing came out differently. Only a stage that works through `Work.map`
    has such rows. tracking: where the figures of its progress go, beside the terminal.
    """
    out = storage.absolute(out)
    directory = storage.join(out, f"{job.stage}-{job.fingerprint}")
    if (found := find_output(job, out)) and not (retry and _failed(found)):
        storage.delete_folder(storage.join(directory, WORK))  # where the start that finished it came to no end
        return found
    with lease.hold(directory, quiet=quiet) as claimed:
        retried = storage.join(out, f"{job.stage}-{job.fingerprint}.retry")
        if _is_finished(retried):  # a start before this one came to its end but for this
            if _is_finished(directory):
                _retire(directory)
            _move(retried, directory)
        found = find_output(job, out)
        if found and not (retry and _failed(found)):
            return found
        if found is None and _is_finished(directory):
            _retire(directory)
        for finished in job.inputs.values():
            if isinstance(finished, Artifact) and (fault := _fault(finished.uri, finished.build_id)):
                raise UserError(f"{fault}: delete {finished.uri} and run again, and it is made anew.")
        started = time.monotonic()
        work = StageOutput(job, out, retried if found else directory, quiet, found, tracking)
        job.do(work)
        finished = work.finish(time.monotonic() - started, claimed.check)
        if found is None:
            return finished
        if finished.digest == found.digest:
            storage.delete_folder(retried)
            return found
        _retire(directory)
        _move(retried, directory)
        return artifact.open_artifact(directory)


@functools.cache
def _fault(uri: str, stamp: str) -> str | None:
    """`Finished.fault` of this making of an output, looked for once."""
    return artifact.open_artifact(uri).fault()


def _is_finished(directory: str) -> bool:
    return storage.exists(storage.join(directory, artifact.MANIFEST))


def _failed(finished: Artifact) -> bool:
    """Whether there are rows to be done again."""
    planned = finished.manifest.planned_table
    return planned is not None and bool(finished.manifest.counts[planned].keys() & set(TRANSIENT))


def _retire(directory: str) -> None:
    """Move a finished output aside that is made again: nothing is overwritten."""
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
