"""`twfer bench faces`: the faces stage, and the network that measures faces alone."""

import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from twfer_dist.bench.compare import compare, even_size
from twfer_dist.corpus.corpus import Corpus, open_corpus
from twfer_dist.engine.config import package_path
from twfer_dist.engine.spec import StageSpec
from twfer_dist.faces import stage
from twfer_dist.measurement.analyzer import SHIPPED
from twfer_dist.measurement.evaluate import bench

CORPUS = package_path("package:demo/tw58")


def bench_faces(images: int, actors: int | None) -> dict[str, Any]:
    """A `compare.Comparison` of the faces stage on at least `images` photographs of the demo corpus, repeated as often
    as needed; and the faces a second of the network on one core (`measurement.evaluate.bench`).
    """
    size = even_size(images, actors, lambda rows: stage.ROWS_PER_SHARD)
    with tempfile.TemporaryDirectory() as folder:

        def job(count: int) -> StageSpec:
            return stage.faces_spec([copy_photographs(folder, count)], stage.FacesConfig(), actors=actors)

        return bench(SHIPPED) | asdict(compare(job, size, folder))


def copy_photographs(folder: str, count: int) -> Corpus:
    """A corpus of `count` photographs of the demo corpus in `folder`, without labels."""
    photographs = Path(folder) / f"photographs-{count}"
    if not photographs.exists():
        photographs.mkdir()
        originals = sorted(Path(CORPUS).rglob("*.jpg"))
        for number in range(count):
            shutil.copyfile(originals[number % len(originals)], photographs / f"{number:06d}.jpg")
    return open_corpus(str(photographs))
