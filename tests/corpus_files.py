"""Folders as the tests of corpora need them."""

from pathlib import Path


def put(folder: Path, *names: str) -> Path:
    """Files of these names below a folder, each holding its own name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder
