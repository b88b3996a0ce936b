"""What people open of an output of faces, beside its Parquet tables: CSV tables and a sheet of the first faces."""

from collections.abc import Sequence

from twfer_dist.core.contact_sheet import FILE as SHEET
from twfer_dist.core.contact_sheet import sheet
from twfer_dist.core.schema import FACES, PHOTOGRAPHS
from twfer_dist.engine import storage
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spreadsheet import write_csv


def write_handout(work: StageOutput, groups: Sequence[str]) -> None:
    """Write photographs.csv, faces.csv and, where there is a face, the sheet. groups: the names of the grouping
    columns.
    """
    for name, schema in (("photographs", PHOTOGRAPHS), ("faces", FACES)):
        write_csv(storage.join(work.directory, f"{name}.csv"), schema, work.pieces(name), groups)
    if picture := sheet(work.pieces("faces")):
        work.write_file(SHEET, picture)
