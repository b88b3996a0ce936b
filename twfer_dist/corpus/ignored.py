"""The files and folders of a corpus that are not photographs of it, in counts and in words."""

from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence

from twfer_dist.corpus.files import Listing
from twfer_dist.corpus.formats import ending_of, remedy_for

_MOST_KINDS = 8  # of files that are named


def count_ignored(listing: Listing, used: Container[str]) -> dict[str, int]:
    """How many files and folders are ignored, by ending; a file that is the only one with its ending, by its name.

    used: the paths of all other files. The names of folders end with a slash.
    """
    by_ending: dict[str, list[str]] = defaultdict(list)
    for path in listing.files:
        if path not in used:
            by_ending[ending_of(path)].append(path.rpartition("/")[2])
    counts = {
        names[0] if len(names) == 1 else ending or "without an ending": len(names)
        for ending, names in by_ending.items()
    }
    if listing.hidden:
        counts["hidden"] = counts.get("hidden", 0) + listing.hidden
    return dict(Counter(counts).most_common()) | dict(listing.folders_left_out)


def describe_ignored(counts: Mapping[str, int]) -> list[str]:
    """The counts of `count_ignored` as one sentence about files and one about folders, if there are any."""
    files = [(name, count) for name, count in counts.items() if not name.endswith("/")]
    folders = [(name.rstrip("/"), count) for name, count in counts.items() if name.endswith("/")]
    return [_describe(kinds, what) for kinds, what in ((files, "file"), (folders, "folder")) if kinds]


def _describe(kinds: Sequence[tuple[str, int]], what: str) -> str:
    total = sum(count for _, count in kinds)
    words = []
    for name, count in kinds[:_MOST_KINDS]:
        remedy = remedy_for(ending_of(f"x{name}"))
        words.append((f"{count} " if total > 1 else "") + name + (f" ({remedy})" if remedy else ""))
    if others := sum(count for _, count in kinds[_MOST_KINDS:]):
        words.append(f"{others} of other kinds")
    return f"{total} {what}{' was' if total == 1 else 's were'} ignored: {', '.join(words)}"


def describe_not_utf8(names: Sequence[str]) -> list[str]:
    """A sentence on files and folders that are ignored for their names, if there are any."""
    if not names:
        return []
    shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
    if len(names) == 1:
        return [f"1 file or folder was ignored because its name is not valid UTF-8: rename {shown}"]
    return [f"{len(names)} files or folders were ignored because their names are not valid UTF-8: rename {shown}"]
