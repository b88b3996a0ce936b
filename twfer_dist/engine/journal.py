"""Entries of MLflow runs that could not be sent yet: a folder for each run, a file for each entry.

Entries are only added and deleted, never rewritten, so the driver and its workers can write at the same time on any
storage.
"""

import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from twfer_dist.engine import storage

FOLDER = "_mlflow"  # in `out`
RUN = "run.json"
ENTRY = ".entry.json"


def without_password(text: str) -> str:
    """The text with user and password removed from each URI."""
    return re.sub(r"(?<=://)[^/?#\s\"']+@", "", text)  # up to the last @: a password may contain one


@dataclass(frozen=True)
class Journal:
    """The folder of one run: which run it is, and its pending entries."""

    uri: str

    def open(self, run: Mapping[str, Any]) -> None:
        """Record which run this is. The folder stays until `close`, so one that the next start finds belongs to a
        process that was killed.
        """
        storage.write_bytes(storage.join(self.uri, RUN), without_password(storage.json_text(run)).encode())

    def run(self) -> dict[str, Any] | None:
        """What `open` recorded; None where the process was killed before."""
        try:
            return json.loads(storage.read_bytes(storage.join(self.uri, RUN)))
        except (FileNotFoundError, ValueError):
            return None

    def add(self, entry: Mapping[str, Any], data: bytes | None) -> None:
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:6]}{ENTRY}"
        if data is not None:
            storage.write_bytes(storage.join(self.uri, _data(name)), data)
        storage.write_bytes(storage.join(self.uri, name), without_password(storage.json_text(entry)).encode())

    def names(self) -> list[str]:
        """The pending entries, oldest first."""
        return [name for name in storage.list_files(self.uri) if name.endswith(ENTRY)]

    def read(self, name: str) -> tuple[dict[str, Any], bytes | None] | None:
        """An entry and its data; None where another process sent it meanwhile."""
        try:
            entry = json.loads(storage.read_bytes(storage.join(self.uri, name)))
            return entry, storage.read_bytes(storage.join(self.uri, _data(name))) if entry["data"] else None
        except FileNotFoundError:
            return None

    def drop(self, name: str) -> None:
        storage.delete_file(storage.join(self.uri, name))
        storage.delete_file(storage.join(self.uri, _data(name)))

    def close(self) -> None:
        storage.delete_folder(self.uri)


def journals(out: str, label: str = "") -> Iterator[Journal]:
    """The journals in an output folder; with a label, those of its runs and of the runs nested under them."""
    folder = storage.join(out, FOLDER)
    for name in storage.list_folders(folder):
        if not label or name.startswith((f"{label}.", f"{label}~")):
            yield Journal(storage.join(folder, name))


def _data(name: str) -> str:
    return name.removesuffix(ENTRY) + ".data"
