"""The files of a faces output that people open, beside its Parquet tables: CSV tables and a contact sheet."""

from collections.abc import Sequence

import pyarrow as pa

from twfer_dist.core.contact_sheet import FILE as SHEET
from twfer_dist.core.contact_sheet import sheet
from twfer_dist.core.schema import FACES, PHOTOGRAPHS
from twfer_dist.engine import storage
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spreadsheet import write_csv


def write_handout(output: StageOutput, groups: Sequence[str]) -> None:
    """Write photographs.csv, faces.csv and, if there is a face, the contact sheet. groups: the grouping columns."""
    for name, schema in (("photographs", PHOTOGRAPHS), ("faces", FACES)):
        columns = [field.name for field in schema if field.type != pa.binary()]
        plain = pa.schema([schema.field(column) for column in columns])
        write_csv(storage.join(output.directory, f"{name}.csv"), plain, output.pieces(name, columns), groups)
    if image := sheet(output.pieces("faces", FACES.names)):
        output.write_file(SHEET, image)
