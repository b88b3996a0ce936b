"""docs/data-dictionary.md says what the schemas say, and no stored file holds any of it."""

from pathlib import Path

import pyarrow as pa

from twfer_dist.core import dictionary, schema
from twfer_dist.core.dictionary import COMMAND, TABLES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data-dictionary.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == dictionary.markdown(), f"run: {COMMAND}"


def test_every_schema_is_in_the_dictionary() -> None:
    schemas = [value for value in vars(schema).values() if isinstance(value, pa.Schema)]
    assert [schema.stamped(*table.columns) for table in TABLES] == schemas


def test_descriptions_are_not_stored() -> None:
    for table in TABLES:
        stored = schema.stamped(*table.columns)
        assert list(stored.metadata) == [b"twfer_schema"]
        assert not any(field.metadata for field in stored)
        assert all(column.description.endswith(".") for column in table.columns)
