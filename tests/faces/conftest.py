"""What the tests of faces share."""

from pathlib import Path

import numpy as np
import pytest
from face_files import TW58, true_points, truth
from PIL import Image

HEADS = [f"expressions58-{figure:05d}-0-{state:02d}.jpg" for figure, state in ((3, 0), (11, 3), (20, 6), (35, 5))]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tests neither read nor write the user's cache of detector models."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "twfer"


@pytest.fixture(scope="session")
def heads() -> list[tuple[np.ndarray, np.ndarray]]:
    """Four rendered heads, RGB, each with its true points."""
    rows = truth("landmarks.csv")
    pictures = [np.array(Image.open(TW58 / "photographs" / name).convert("RGB")) for name in HEADS]
    return [(picture, true_points(rows[name])) for name, picture in zip(HEADS, pictures, strict=True)]
