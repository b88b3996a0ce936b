"""The tables of a report: every column described, and the same numbers as the page and report.json."""

import openpyxl
import pyarrow.parquet as pq
from report_pages import csv_of, json_of
from study_tables import World

from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS
from twfer_dist.engine.artifact import Artifact


def test_every_table_is_in_the_workbook_and_described(report: Artifact) -> None:
    book = openpyxl.load_workbook(report.path("tables/tables.xlsx"), read_only=True)
    names = [file.path[7:-8] for file in report.manifest.files if file.path.endswith(".parquet")]
    filled = [name for name in names if len(pq.read_table(report.path(f"tables/{name}.parquet")))]
    assert book.sheetnames[0] == "About" and set(book.sheetnames[1:]) == set(filled) and "faces" in filled
    assert {"two_readings", "validity", "annotators", "similarities", "sources"} <= set(names) - set(filled)
    for name in filled:
        header, *rows = book[name].iter_rows(values_only=True)
        data = pq.read_table(report.path(f"tables/{name}.parquet"))
        assert list(header) == data.column_names and len(rows) == len(data) == len(csv_of(report, f"{name}.csv"))
        assert all(field.metadata[b"meaning"] for field in data.schema), name
    about = [row[:2] for row in book["About"].iter_rows(values_only=True)]
    assert ("title", json_of(report)["title"]) in about and ("model shown first", "ARM") in about


def test_group_tables_hold_the_numbers_of_the_page(report: Artifact) -> None:
    study = json_of(report)
    shares = pq.read_table(report.path("tables/groups.parquet")).to_pylist()
    posture = next(column for column in study["groups"] if column["column"] == "posture")
    for group in [study["overall"], *posture["values"]]:
        rows = [row for row in shares if (row["column"] or "") in ("", "posture") and row["group"] == group["value"]]
        assert [row["expression"] for row in rows] == list(EXPRESSIONS)
        assert [row["share"] for row in rows] == [e["corrected"] for e in group["expressions"]]
        assert [(row["answered"], row["of"]) for row in rows] == [(e["k"], e["n"]) for e in group["expressions"]]
    (test,) = (row for row in csv_of(report, "group_tests.csv") if row["column"] == "posture")
    assert float(test["p"]) == posture["test"]["p"] and float(test["level"]) == 0.05
    units = pq.read_table(report.path("tables/units_by_group.parquet")).to_pylist()
    means = [unit["mean"] for unit in study["profile"]["overall"]["units"]]
    assert [row["mean"] for row in units[: len(ACTION_UNITS)]] == means


def test_statuses_and_training_are_counted(report: Artifact, world: World) -> None:
    statuses = {(row["table"], row["status"]): int(row["rows"]) for row in csv_of(report, "statuses.csv")}
    assert statuses["photographs", "no_face"] == 1 and statuses["faces", "ok"] == world.faces.manifest.rows["faces"]
    training = {row["split"]: row for row in csv_of(report, "training.csv")}
    assert training["train"]["images"] == training["train"]["generated"] == "336"
