"""Whether a table is what its schema says: before it is written, and when it is read back."""

import pyarrow as pa

from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import SCHEMA_VERSION


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` in the column order and types of `schema`. A missing or unexpected column is a bug: KeyError."""
    names, expected = set(table.column_names), set(schema.names)
    if names != expected:
        raise KeyError(
            f"columns differ from the schema: missing {sorted(expected - names)}, unexpected {sorted(names - expected)}"
        )
    return table.select(schema.names).cast(schema)


def check_schema(actual: pa.Schema, expected: pa.Schema, uri: str) -> None:
    """Raise UserError where the schema of the file at `uri` is not `expected`, naming column and versions."""
    version = (actual.metadata or {}).get(b"twfer_schema", b"none").decode()
    if version != str(SCHEMA_VERSION):
        raise UserError(
            f"{uri} has schema version {version} and this program reads version {SCHEMA_VERSION}: "
            "rerun the stage that made it, or use the version of twfer_dist that wrote it."
        )
    for field in expected:
        index = actual.get_field_index(field.name)
        if index < 0:
            raise UserError(
                f"{uri} has no column '{field.name}', so it is not a table of this stage: name another directory."
            )
        if actual.field(index).type != field.type:
            raise UserError(
                f"{uri}: column '{field.name}' is {actual.field(index).type}, expected {field.type}: rerun the stage "
                "that made it."
            )
