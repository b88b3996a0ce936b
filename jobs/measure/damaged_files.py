"""Find faces in photographs whose bytes were changed, cut off and spliced."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

from twfer_dist.core.schema import PHOTOGRAPHS
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.engine.stage import run_stage
from twfer_dist.faces.stage import FacesConfig, faces_spec

ORIGINALS = Path(__file__).parents[2] / "tests" / "data" / "malformed"


def find_faces(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Rows, lost and duplicated rows, and rows by status of `count` damaged files."""
    chance = random.Random(seed)
    originals = [path for path in sorted(ORIGINALS.iterdir()) if path.suffix not in (".csv", ".md")]
    photographs = folder / "photographs"
    photographs.mkdir(parents=True)
    for number in range(count):
        path = chance.choice(originals)
        damaged = damage(path.read_bytes(), chance.choice(originals), chance)
        (photographs / f"{number:04d}{path.suffix}").write_bytes(damaged)
    spec = faces_spec([open_corpus(str(photographs))], FacesConfig())
    table = run_stage(spec, str(folder / "out"), quiet=True).table(
        "photographs", PHOTOGRAPHS, columns=["path", "status"]
    )
    paths = Counter(table["path"].to_pylist())
    return {
        "rows": len(table),
        "lost": count - len(paths),
        "twice": len(table) - len(paths),
        "differ": 0,
        "status": dict(Counter(table["status"].to_pylist()).most_common()),
    }


def damage(data: bytes, other: Path, chance: random.Random) -> bytes:
    """The bytes of an image with 1 to 40 of them changed, the rest cut off, or bytes of another image spliced in."""
    damaged = bytearray(data)
    match chance.randrange(3):
        case 0:
            for _ in range(chance.randint(1, 40)):
                if damaged:
                    damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        case 1:
            del damaged[chance.randint(0, len(damaged)) :]
        case _:
            foreign = other.read_bytes()
            start, stop = sorted(chance.randint(0, len(damaged)) for _ in range(2))
            first = chance.randint(0, len(foreign))
            damaged[start:stop] = foreign[first : first + chance.randint(0, 4096)]
    return bytes(damaged)
