"""A folder of images as a corpus: no labels, every photograph its own figure."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from twfer_dist.core.errors import UserError
from twfer_dist.corpus.entry import Entry
from twfer_dist.corpus.files import Listing, locate
from twfer_dist.corpus.formats import HEAD, IMAGE_ENDINGS, ending_of, format_of
from twfer_dist.corpus.ignored import count_ignored, describe_ignored, describe_not_utf8
from twfer_dist.engine import storage

_THREADS = 16  # remote storage answers slowly


def read_folder(root: str, listing: Listing) -> tuple[list[Entry], dict[str, Any]]:
    """Every image under `root`, with notes. An image is recognised by its ending; if it has none, by its content.

    The grouping column "folder" names the sub-folder of each image that is in one. UserError if there is no image.
    """
    without_ending = [path for path in listing.files if not ending_of(path)]
    with ThreadPoolExecutor(_THREADS) as pool:
        heads = pool.map(lambda path: _read_head(root, path), without_ending)
        recognised = {path for path, head in zip(without_ending, heads, strict=True) if format_of(head)}
    images = [path for path in listing.files if path.lower().endswith(IMAGE_ENDINGS) or path in recognised]
    if not images:
        contents = describe_not_utf8(listing.names_not_utf8) + describe_ignored(count_ignored(listing, ()))
        raise UserError(
            f"{root} holds no image that can be read ({'; '.join(contents) or 'it is empty'}): name a folder of "
            "photographs, or a table of them."
        )
    entries = []
    for path in images:
        folder = path.rpartition("/")[0]
        entries.append(Entry(path, figure_id=path, groups={"folder": folder} if folder else {}))
    return entries, {"layout": "folder", "other_files": len(listing.files) - len(images)}


def _read_head(root: str, path: str) -> bytes:
    """The first bytes of a file; none if reading it is not allowed."""
    fs, location = locate(root, path)

    def read() -> bytes:
        with fs.open_input_stream(location) as stream:
            return stream.read(HEAD)

    try:
        return storage.with_retries(read)
    except (PermissionError, FileNotFoundError):
        return b""
    except OSError as error:
        raise UserError(
            f"{root}: {path} cannot be read ({error}): check that the storage responds, and run again."
        ) from None
