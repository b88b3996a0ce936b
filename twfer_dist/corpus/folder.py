"""A folder of images as a corpus: no labels, every photograph its own figure."""

from concurrent.futures import ThreadPoolExecutor

from twfer_dist.core.errors import UserError
from twfer_dist.corpus.entry import Entry
from twfer_dist.corpus.files import Listing, locate, passed_over, say_not_utf8, say_passed_over
from twfer_dist.corpus.formats import HEAD, IMAGE_ENDINGS, ending_of, format_of
from twfer_dist.engine import storage

_AT_ONCE = 16  # files that are looked into: storage far away answers late


def read_folder(root: str, listing: Listing) -> tuple[list[Entry], dict]:
    """Every picture under `root`, by its ending, and where it has none by its content, and notes on what was passed
    over.

    Where pictures lie in sub-folders, the grouping column "folder" names the sub-folder of each. Problem where there is
    no picture.
    """
    without_ending = [path for path in listing.files if not ending_of(path)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        pictures = {
            path
            for path, head in zip(without_ending, pool.map(lambda p: _head(root, p), without_ending), strict=True)
            if format_of(head)
        }
    images = [path for path in listing.files if path.lower().endswith(IMAGE_ENDINGS) or path in pictures]
    if not images:
        there = (
            "; ".join(say_not_utf8(listing.names_not_utf8) + say_passed_over(passed_over(listing, ()))) or "it is empty"
        )
        raise UserError(
            f"{root} holds no picture that is read here ({there}): name a folder of photographs, or a table of them."
        )
    entries = []
    for path in images:
        folder = path.rpartition("/")[0]
        entries.append(Entry(path, figure_id=path, groups={"folder": folder} if folder else {}))
    notes = {
        "layout": "folder",
        "other_files": len(listing.files) - len(images),
    }
    return entries, notes


def _head(root: str, path: str) -> bytes:
    """The first bytes of a file; none where reading it is not allowed."""
    fs, place = locate(root, path)

    def read() -> bytes:
        with fs.open_input_stream(place) as stream:
            return stream.read(HEAD)

    try:
        return storage.with_retries(read)
    except (PermissionError, FileNotFoundError):
        return b""
    except OSError as error:
        raise UserError(
            f"{root}: {path} cannot be read ({error}): see that its storage answers, and start again."
        ) from None
