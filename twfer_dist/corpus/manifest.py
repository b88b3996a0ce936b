"""A table as a corpus: what its rows say of each photograph, in the words of whoever made it."""

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from twfer_dist.core.errors import UserError
from twfer_dist.corpus import names
from twfer_dist.corpus.agreement import Agreement, agreement
from twfer_dist.corpus.columns import NAMES, called, normalised
from twfer_dist.corpus.entry import Entry
from twfer_dist.corpus.files import Listing
from twfer_dist.corpus.formats import IMAGE_ENDINGS
from twfer_dist.corpus.raters import Row, columns_of_people, one_row_each, votes_of
from twfer_dist.corpus.tables import Table, read_table
from twfer_dist.corpus.votes import is_blank, label_from_votes, parse_label, parse_votes
from twfer_dist.engine import storage

_NO_GROUPS = ("path", "figure_id", "label", "votes", "split")
_SPLITS = {
    "train": ("train", "training", "训练", "训练集", "訓練", "訓練集"),
    "validation": ("validation", "val", "valid", "dev", "验证", "验证集", "驗證", "驗證集"),
    "test": ("test", "testing", "测试", "测试集", "測試", "測試集"),
}
_WITHOUT = {"figure_id": ": each of their photographs counts as a figure of its own", "label": ""}
_SAMPLE = 200  # rows by which the column of the paths is told
_TIES_KEPT, _TIES_SAID = 10, 3  # photographs that are named


def read_manifest(root: str, listing: Listing, place: str) -> tuple[list[Entry], dict[str, Any]]:
    """A photograph for each file that the table at `place` names, whether it is there or not, and notes on how the
    table was read.

    Columns, by these names or those of `columns.NAMES`: `path` (of a file of the folder `root`, see `names.match`);
    `figure` (each photograph its own where there is no such column, or its field is empty); `label` (a word or 1 to 7);
    `votes` (see `label_from_votes`; a label that is given wins), or a column or a row for each annotator; `split`; any
    other column is a grouping column. Problem, with the line, where a row is not like this.
    """
    table = read_table(place, NAMES["path"], listing.files)
    columns = _columns(table, listing)
    if not table.rows:
        raise UserError(f"{table.place} has a header and no rows: add a row for each photograph.")
    rows, spelt = _rows(root, listing, table, columns)
    vote = next((name for name in ("label", "votes") if name in columns), "")
    by_row = "annotator" in columns and bool(vote) and len({row.path for row in rows}) < len(rows)
    dropped: list[str] = []
    if by_row:
        rows, dropped = one_row_each(table.place, rows, vote)
    else:
        _once(table.place, rows)
    people = [] if by_row or "votes" in columns else columns_of_people(rows)
    groups = [name for name in rows[0].fields if name not in _NO_GROUPS and name not in people]
    entries = []
    for row in rows:
        try:
            entries.append(_entry(row, people, groups))
        except ValueError as error:
            label = columns.get("label", "label")
            hint = (
                ""
                if normalised(label) == "label"
                else f" (or rename the column '{label}' where it says something else)"
            )
            raise UserError(
                f"{table.place}, line {row.line}: {error}; correct the field or leave it empty{hint}."
            ) from None
    read_as = {
        column: name for name, column in columns.items() if name in NAMES and normalised(column) != normalised(name)
    }
    ties = sorted((e for e in entries if e.label_rule.startswith("tie")), key=lambda e: e.label is not None)
    agreeing = agreement([row.votes for row in rows], [entry.figure_id for entry in entries])
    asked = ["figure_id"] if people or "votes" in columns else ["figure_id", "label"]
    blank = {name: sum(is_blank(row.fields[name]) for row in rows) for name in asked if name in rows[0].fields}
    remarks = [
        *table.said,
        "columns were read as: " + ", ".join(f"{column} as {name}" for column, name in read_as.items())
        if read_as
        else "",
        f"the columns {', '.join(people)} were read as votes, one annotator each" if people else "",
        "the rows of one photograph were read as votes, one annotator each" if by_row else "",
        f"{', '.join(dropped)} differ between the rows of one photograph and were not read" if dropped else "",
        *spelt,
        *(
            f"{n} of {len(rows)} rows give no {name} (the field is empty, -, ?, n/a or unknown){_WITHOUT[name]}"
            for name, n in blank.items()
            if n
        ),
        *_of_votes(ties, agreeing),
    ]
    notes = {
        "layout": "manifest",
        "read_from": storage.name_of(place),
        "groups": groups,
        "columns_read_as": read_as,
        "annotators": max(len(row.votes) for row in rows),
        "ties": len(ties),
        "ties_without_label": sum(entry.label is None for entry in ties),
        "tied": [f"{entry.path}: {entry.label_rule.removeprefix('tie: ')}" for entry in ties[:_TIES_KEPT]],
        "remarks": [line for line in remarks if line],
    }
    return entries, notes | ({"agreement": asdict(agreeing)} if agreeing else {})


def _columns(table: Table, listing: Listing) -> dict[str, str]:
    """Each column of the table by our name for it, or its own; that of the path is there."""
    if any(column.lower().endswith(IMAGE_ENDINGS) for column in table.columns):
        raise UserError(
            f"{table.place}, line {table.line}: this line names a photograph, not columns: put a line such as "
            "path,label above."
        )
    images = _images(listing)
    sample = [row for _, row in table.rows[:_SAMPLE]]

    @functools.cache
    def files(column: str) -> int:
        values = {names.tidy(row[column]) for row in sample}
        return sum(match.path is not None for match in names.match(values, images).values())

    paths = called("path", table.columns)
    if not paths or (len(paths) > 1 or normalised(paths[0]) != "path") and not any(map(files, paths)):
        # Whatever it is called: the one column that names files of the folder.
        naming = [column for column in table.columns if 2 * files(column) >= len(sample) > 0]
        paths = naming if len(naming) == 1 else paths
    if not paths:
        raise UserError(
            f"{table.place}, line {table.line}: there is no column 'path' among "
            f"{', '.join(table.columns) or 'no columns'}; "
            "give the column that names the photographs this name (or file, filename, image, 文件名)."
        )
    ours = {"path": max(paths, key=files) if len(paths) > 1 else paths[0]}
    for name in NAMES:
        rest = [column for column in table.columns if column not in ours.values()]
        if name not in ours and (columns := called(name, rest)):
            ours[name] = columns[0]
    if normalised(split := ours.get("split", "split")) != "split" and any(
        _split(row[split]) is None for _, row in table.rows
    ):
        del ours["split"]  # a set of something else
    by_column = {column: name for name, column in ours.items()}
    return {by_column.get(column, column): column for column in table.columns}


def _images(listing: Listing) -> list[str]:
    return [path for path in listing.files if path.lower().endswith(IMAGE_ENDINGS)]


def _rows(root: str, listing: Listing, table: Table, columns: dict[str, str]) -> tuple[list[Row], list[str]]:
    """The rows with the paths as the folder has them, and in sentences how names were matched that are spelt
    otherwise.
    """
    written: list[str] = []
    bases = _bases(root)
    for line, row in table.rows:
        if not row[columns["path"]]:
            raise UserError(f"{table.place}, line {line}: the path is empty; name the image, or remove the line.")
        name = names.tidy(row[columns["path"]])
        written.append(next((name[len(base) :] for base in bases if name.startswith(base)), name))
    exact = {name for name in written if name in listing.files}
    matches = names.match(written, sorted(exact.union(_images(listing))))
    rows = []
    for name, (line, row) in zip(written, table.rows, strict=True):
        match = matches[name]
        if match.several:
            files = ", ".join(match.several[:3])
            raise UserError(
                f"{table.place}, line {line}: {name} may be {files}; write the path of the one that is meant."
            )
        rows.append(Row(match.path or name, line, {ours: row[column] for ours, column in columns.items()}))
    how = Counter(match.how for match in matches.values() if match.path and match.how)
    spelt = [f"{count} {'name was' if count == 1 else 'names were'} matched {words}" for words, count in how.items()]
    if not any(match.path for match in matches.values()):
        spelt.append(f"no name in the table is that of a file in the folder; the first is {written[0]}")
    return rows, spelt


def _bases(root: str) -> set[str]:
    """How an absolute path of a file in the folder begins."""
    fs, base = storage.resolve(root)
    bases = {base, names.tidy(root.partition("?")[0] if "://" in root else root)}
    if isinstance(fs, pafs.LocalFileSystem):
        bases.add(str(Path(base).resolve()))
    return {f"{base.rstrip('/')}/" for base in bases}


def _once(place: str, rows: Sequence[Row]) -> None:
    lines: dict[str, int] = {}
    for row in rows:
        if row.path in lines:
            raise UserError(
                f"{place}, line {row.line}: {row.path} is there already in line {lines[row.path]}; remove one of "
                "the lines, "
                "or name who labelled it in a column 'annotator'."
            )
        lines[row.path] = row.line


def _entry(row: Row, people: Sequence[str], groups: Sequence[str]) -> Entry:
    """The photograph of a row, whose votes are kept in the row; ValueError, with a sentence, for a word that is not
    known.
    """
    if people:
        row.votes = votes_of(row, people)
    elif row.fields.get("votes") and not row.votes:
        row.votes = parse_votes(row.fields["votes"])
    label, rule = label_from_votes(row.votes)
    if not is_blank(given := row.fields.get("label", "")):
        label, rule = parse_label(given), "given"
    split = _split(row.fields.get("split", ""))
    if split is None:
        raise ValueError(f"'{row.fields['split']}' is no split (these are: {', '.join(_SPLITS)})")
    figure_id = row.fields.get("figure_id", "")
    shown = {name: row.fields[name] for name in groups if row.fields[name]}
    return Entry(row.path, row.path if is_blank(figure_id) else figure_id, label, rule, split or None, shown)


def _split(text: str) -> str | None:
    """The split that a word stands for, "" for none; None where it is no such word."""
    if is_blank(text):
        return ""
    return next((split for split, words in _SPLITS.items() if text.strip().lower() in words), None)


def _of_votes(ties: Sequence[Entry], agreeing: Agreement | None) -> list[str]:
    """What there is to say of annotators."""
    said = []
    if ties:
        left = sum(entry.label is None for entry in ties)
        shown = ", ".join(f"{entry.path} ({entry.label_rule.removeprefix('tie: ')})" for entry in ties[:_TIES_SAID])
        more = f" and {len(ties) - _TIES_SAID} more" if len(ties) > _TIES_SAID else ""
        photographs = "1 photograph" if len(ties) == 1 else f"{len(ties)} photographs"
        said.append(f"annotators tie on {photographs} ({left} left without a label): {shown}{more}")
    if agreeing:
        interval = (
            " (too few figures for an interval)"
            if agreeing.low is None
            else f" ({agreeing.low:.2f} to {agreeing.high:.2f})"
        )
        what = f"on {agreeing.photographs} photographs"
        said.append(f"{agreeing.annotators} annotators agree with Fleiss' kappa {agreeing.kappa:.2f}{interval} {what}")
    return said
