"""A folder of images as a corpus: no labels, every photograph its own source."""

from twfer_dist.corpus.entry import Entry
from twfer_dist.corpus.files import IMAGE_ENDINGS, Listing
from twfer_dist.errors import Problem


def read_folder(root: str, listing: Listing) -> tuple[list[Entry], dict]:
    """Every image under `root`, by its ending, and notes on what was passed over.

    Where images lie in sub-folders, the grouping column "folder" names the sub-folder of each. Problem where there is no image.
    """
    images = [path for path in listing.files if path.lower().endswith(IMAGE_ENDINGS)]
    if not images:
        raise Problem(
            f"{root} holds no image ({len(listing.files)} other files; image endings are {', '.join(IMAGE_ENDINGS)}): "
            "name a folder of photographs, or a table of them."
        )
    entries = []
    for path in images:
        folder = path.rpartition("/")[0]
        entries.append(Entry(path, source=path, groups={"folder": folder} if folder else {}))
    notes = {
        "layout": "folder",
        "other_files": len(listing.files) - len(images),
        "hidden": listing.hidden,
        "links_not_followed": listing.links_not_followed,
    }
    return entries, notes
