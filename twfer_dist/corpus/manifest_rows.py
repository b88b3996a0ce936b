"""Which column of a table is which of ours, and which file each of its rows means."""

import functools
from collections import Counter
from pathlib import Path

import pyarrow.fs as pafs

from twfer_dist.core.errors import UserError
from twfer_dist.corpus import names
from twfer_dist.corpus.columns import NAMES, columns_named, normalised
from twfer_dist.corpus.files import Listing
from twfer_dist.corpus.formats import IMAGE_ENDINGS
from twfer_dist.corpus.raters import Row
from twfer_dist.corpus.tables import Table
from twfer_dist.corpus.votes import is_blank
from twfer_dist.engine import storage

_SPLITS = {
    "train": ("train", "training", "训练", "训练集", "訓練", "訓練集"),
    "validation": ("validation", "val", "valid", "dev", "验证", "验证集", "驗證", "驗證集"),
    "test": ("test", "testing", "测试", "测试集", "測試", "測試集"),
}
_SAMPLE = 200  # rows that decide which column holds the paths


def parse_split(text: str) -> str | None:
    """The split that a word means, None for a blank field. ValueError, with a sentence, for any other word."""
    if is_blank(text):
        return None
    for split, words in _SPLITS.items():
        if text.strip().lower() in words:
            return split
    raise ValueError(f"'{text}' is not a split (use {', '.join(_SPLITS)})")


def find_columns(table: Table, listing: Listing) -> dict[str, str]:
    """Each column of the table, by our name for it or else its own; `path` is always among them."""
    if any(column.lower().endswith(IMAGE_ENDINGS) for column in table.columns):
        raise UserError(
            f"{table.location}, line {table.line}: this line names a photograph instead of columns: put a line such as "
            "path,label above it."
        )
    ours = {"path": _path_column(table, listing)}
    for name in NAMES:
        rest = [column for column in table.columns if column not in ours.values()]
        columns = columns_named(name, rest)
        if name == "source_text" and {"credit", "licence"} & ours.keys():
            columns += [c for c in rest if normalised(c) == "source"]  # beside a licence; elsewhere it is a figure
        if name not in ours and columns:
            ours[name] = columns[0]
    if normalised(split := ours.get("split", "split")) != "split" and not _holds_splits(table, split):
        del ours["split"]  # its name, such as "set", means something else
    by_column = {column: name for name, column in ours.items()}
    return {by_column.get(column, column): column for column in table.columns}


def _path_column(table: Table, listing: Listing) -> str:
    images = _images(listing)
    sample = [row for _, row in table.rows[:_SAMPLE]]

    @functools.cache
    def files(column: str) -> int:
        values = {names.tidy(row[column]) for row in sample}
        return sum(match.path is not None for match in names.match(values, images).values())

    paths = columns_named("path", table.columns)
    if not paths or (len(paths) > 1 or normalised(paths[0]) != "path") and not any(map(files, paths)):
        # Whatever it is called: the only column that names files of the folder.
        naming = [column for column in table.columns if 2 * files(column) >= len(sample) > 0]
        paths = naming if len(naming) == 1 else paths
    if not paths:
        raise UserError(
            f"{table.location}, line {table.line}: there is no column 'path' among "
            f"{', '.join(table.columns) or 'no columns'}; give the column that names the photographs this name "
            "(or file, filename, image, 文件名)."
        )
    return max(paths, key=files) if len(paths) > 1 else paths[0]


def _holds_splits(table: Table, column: str) -> bool:
    try:
        for _, row in table.rows:
            parse_split(row[column])
    except ValueError:
        return False
    return True


def _images(listing: Listing) -> list[str]:
    return [path for path in listing.files if path.lower().endswith(IMAGE_ENDINGS)]


def match_rows(root: str, listing: Listing, table: Table, columns: dict[str, str]) -> tuple[list[Row], list[str]]:
    """The rows with the paths as the folder has them, and sentences on names that are spelled differently."""
    written: list[str] = []
    prefixes = _prefixes(root)
    for line, row in table.rows:
        if not row[columns["path"]]:
            raise UserError(f"{table.location}, line {line}: the path is empty; name the image, or remove the line.")
        name = names.tidy(row[columns["path"]])
        written.append(next((name[len(prefix) :] for prefix in prefixes if name.startswith(prefix)), name))
    exact = {name for name in written if name in listing.files}
    matches = names.match(written, sorted(exact.union(_images(listing))))
    rows = []
    for name, (line, row) in zip(written, table.rows, strict=True):
        match = matches[name]
        if match.several:
            files = ", ".join(match.several[:3])
            raise UserError(f"{table.location}, line {line}: {name} may be {files}; write the path of the right one.")
        rows.append(Row(match.path or name, line, {ours: row[column] for ours, column in columns.items()}))
    how = Counter(match.how for match in matches.values() if match.path and match.how)
    remarks = [f"{count} {'name was' if count == 1 else 'names were'} matched {words}" for words, count in how.items()]
    if not any(match.path for match in matches.values()):
        remarks.append(f"no name in the table is that of a file in the folder; the first is {written[0]}")
    return rows, remarks


def _prefixes(root: str) -> set[str]:
    """The ways in which an absolute path of a file in the folder begins."""
    fs, base = storage.resolve(root)
    bases = {base, names.tidy(root.partition("?")[0] if "://" in root else root)}
    if isinstance(fs, pafs.LocalFileSystem):
        bases.add(str(Path(base).resolve()))
    return {f"{base.rstrip('/')}/" for base in bases}
