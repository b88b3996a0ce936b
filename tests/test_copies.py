"""Copies of one picture count as one figure: found in a folder, in every n, and on one side of every split."""

import csv
import io
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.dataset import splits
from twfer_dist.dataset.stage import DatasetConfig, dataset_job
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.faces import copies
from twfer_dist.faces.decode import decode, on_grey
from twfer_dist.faces.stage import FacesConfig, faces_job
from twfer_dist.study.report import ReportConfig, report_job

COPIES = Path(__file__).parent / "data" / "trials" / "copies"  # eight pictures under three names each
PLAIN = FacesConfig(aligned=True, measure=False, size=48)


def photographs(
    pictures: dict[str, np.ndarray], figure_ids: dict[str, str] | None = None, corpus: str = "c"
) -> pa.Table:
    """PHOTOGRAPHS rows of these RGB pictures by path, each its own figure where no other is named."""
    rows = []
    for path, picture in pictures.items():
        shape = {"height": picture.shape[0], "width": picture.shape[1], "thumbnail": copies.thumbnail(picture)}
        identity = {
            "photo_id": schema.photo_id(corpus, path),
            "corpus": corpus,
            "path": path,
            "figure_id": (figure_ids or {}).get(path, path),
        }
        rows.append({**identity, "content_sha256": storage.sha256(picture.tobytes()), **shape})
    return pa.Table.from_pylist(
        [{name: row.get(name) for name in schema.PHOTOGRAPHS.names} for row in rows], schema=schema.PHOTOGRAPHS
    )


def heads() -> dict[str, np.ndarray]:
    files = sorted(path for path in COPIES.glob("0?.jpg"))
    return {path.name: on_grey(decode(path.read_bytes(), 1 << 20).pixels) for path in files}


def pairs(rows: pa.Table) -> dict[str, str]:
    found = copies.find(rows)
    return dict(zip(found["path"].to_pylist(), found["copy_of"].to_pylist(), strict=True))


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    sink = io.BytesIO()
    Image.fromarray(picture).save(sink, "JPEG", quality=quality)
    return decode(sink.getvalue(), 1 << 20).pixels


def test_resized_and_encoded_again_a_picture_is_a_copy() -> None:
    pictures = heads()
    assert pairs(photographs(pictures)) == {}  # seven expressions of one head under one light, and another head
    for name, picture in list(pictures.items()):
        small = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        brighter = np.clip(1.1 * picture.astype(float) + 5, 0, 255).astype(np.uint8)
        changed = {"a": small, "b": jpeg(picture, 60), "c": jpeg(small, 75), "d": grey, "e": brighter}
        pictures |= {f"{name} {mark}": copy for mark, copy in changed.items()}
        pictures[f"{name} wide"] = cv2.resize(picture, None, fx=1.2, fy=1)
    found = pairs(photographs(pictures))
    assert found == {name: name[:6] for name in pictures if name[6:] and not name.endswith("wide")}


def test_a_picture_without_contrast_is_a_copy_of_an_equal_file_alone() -> None:
    dark, darker = np.full((40, 40, 3), 9, np.uint8), np.full((40, 40, 3), 8, np.uint8)
    assert pairs(photographs({"a": dark, "b": darker, "c": dark})) == {"c": "a"}
    assert pairs(photographs({})) == {}


def test_equal_files_that_show_no_picture_are_no_copies() -> None:
    rows = photographs(dict.fromkeys(("a.jpg", "b.jpg"), heads()["00.jpg"]))
    assert pairs(rows) == {"b.jpg": "a.jpg"}
    place = rows.column_names.index("thumbnail")
    assert pairs(rows.set_column(place, rows.field(place), pa.nulls(2, pa.binary()))) == {}


def test_a_copy_joins_the_sources_of_both_pictures() -> None:
    pictures = heads()
    pictures["9.jpg"] = jpeg(pictures["03.jpg"], 80)
    given = {
        "00.jpg": "Anna",
        "03.jpg": "Anna",
        "9.jpg": "Berta",
        "05.jpg": "Berta",
        "06.jpg": "Carla",
        "07.jpg": "Carla",
    }
    rows = photographs(pictures, given)
    found = copies.find(rows)
    assert copies.summary(found) == {"photographs": 2, "pictures": 1, "equal": 0, "near-equal": 1}
    of = dict(zip(rows["photo_id"].to_pylist(), rows["path"].to_pylist(), strict=True))
    joined = {of[row["photo_id"]]: row["figure_id"] for row in copies.figure_ids(rows, found).to_pylist()}
    assert joined == dict.fromkeys(("00.jpg", "03.jpg", "9.jpg", "05.jpg"), "Anna") | {
        name: given.get(name, name) for name in ("01.jpg", "02.jpg", "04.jpg", "06.jpg", "07.jpg")
    }


def test_copies_in_two_corpora_are_one_figure() -> None:
    rows = pa.concat_tables([photographs(heads()), photographs(heads(), corpus="d")])
    of = copies.figure_ids(rows, copies.find(rows))
    place = {photo: k for k, photo in enumerate(rows["photo_id"].to_pylist())}
    of = of.append_column(
        "corpus", rows["corpus"].take(pa.array([place[photo] for photo in of["photo_id"].to_pylist()]))
    )
    assert len(set(schema.figures(of).to_pylist())) == 8


def test_any_number_of_copies_is_chained_up() -> None:
    picture = heads()["07.jpg"]
    random = np.random.default_rng(0)
    many = {
        f"{k:03d}": np.clip(picture + random.normal(0, 3, picture.shape), 0, 255).astype(np.uint8) for k in range(60)
    }
    assert copies.summary(copies.find(photographs(many)))["pictures"] == 1


@pytest.fixture(scope="module")
def found(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Artifact]:
    """The folder of copies with labels, first a part of it and then all of it, through the stage."""
    folder = tmp_path_factory.mktemp("copies")
    (folder / "heads").mkdir()
    for pattern in ("0[2-9]*.jpg", "*.jpg"):
        for path in COPIES.glob(pattern):
            if not (folder / "heads" / path.name).exists():  # one that is there keeps its time, and with it its row
                shutil.copy(path, folder / "heads" / path.name)
        names = sorted(path.name for path in (folder / "heads").glob("*.jpg"))
        lines = [f"{name},{int(name[:2]) % 7 + 1},{'test' if 'copy' in name else 'train'}" for name in names]
        (folder / "heads" / "manifest.csv").write_text("\n".join(["path,label,split", *lines]))
        faces = run_stage(faces_job([open_corpus(str(folder / "heads"))], PLAIN), str(folder / "out"), quiet=True)
    assert faces.manifest.reused and faces.manifest.reused.rows == 18
    return folder, faces


def test_copies_count_as_one_figure_and_are_listed(found: tuple[Path, Artifact], tmp_path: Path) -> None:
    folder, faces = found
    rows = faces.table("faces", schema.FACES).to_pylist()
    assert len(rows) == 24 and {row["path"][:2]: row["figure_id"] for row in rows} == {
        f"0{k}": rows[0]["figure_id"][:1] + f"{k} (1).jpg" for k in range(8)
    }
    assert (
        len({row["figure_id"] for row in faces.table("photographs", schema.PHOTOGRAPHS).to_pylist()}) == 24
    )  # as given
    assert faces.results["copies"] == {"photographs": 24, "pictures": 8, "equal": 16, "near-equal": 0}
    assert (
        faces.results["summary"][-1]
        == "24 photographs are 8 pictures under several names: they count as 8; copies.csv lists the copies."
    )
    listed = list(csv.DictReader(io.StringIO(storage.read_bytes(faces.path("copies.csv")).decode("utf-8-sig"))))
    assert len(listed) == 16 and listed[0]["path"] == "00 copy.jpg" and listed[0]["copy_of"] == "00 (1).jpg"
    again = run_stage(faces_job([open_corpus(str(folder / "heads"))], PLAIN, actors=2), str(tmp_path), quiet=True)
    assert (
        again.manifest.reused is None and again.digest == faces.digest
    )  # rows of another output were revised as these


def test_copies_lie_on_one_side_of_a_split(found: tuple[Path, Artifact], tmp_path: Path) -> None:
    config = DatasetConfig(include=("photographs",), split="by_figure", ratios=(7, 3))
    dataset = run_stage(dataset_job([found[1]], [], config), str(tmp_path), quiet=True)
    assert (
        dataset.results["summary"][0].startswith("24 images of 8 figures")
        and dataset.results["figures_on_several_sides"] == 0
    )
    sides: dict[bytes, set[str]] = {}
    for row in dataset.table(".", schema.DATASET).to_pylist():
        sides.setdefault(row["image"], set()).add(row["split"])
    assert len(sides) == 8 and all(len(found) == 1 for found in sides.values())


def test_copies_on_both_sides_of_a_given_split_are_said(found: tuple[Path, Artifact], tmp_path: Path) -> None:
    dataset = run_stage(
        dataset_job([found[1]], [], DatasetConfig(include=("photographs",), split="given")), str(tmp_path), quiet=True
    )
    assert dataset.results["summary"][0] == "24 images of 8 figures: 16 train + 8 test as asked"
    assert dataset.results["summary"][1].startswith(
        "8 of 8 figures (a figure, or a picture with its copies) are on more than one side"
    )


def test_the_report_tells_of_copies(found: tuple[Path, Artifact], tmp_path: Path) -> None:
    report = run_stage(report_job([], faces=[found[1]], config=ReportConfig(faces=1)), str(tmp_path), quiet=True)
    page = storage.read_bytes(report.path("index.html")).decode()
    assert "24 photographs are 8 pictures under several names. They count as 8 in every number of figures" in page


def test_a_picture_under_two_sources_is_refused_on_two_sides() -> None:
    splits.check_leakage(["a", "b", "c"], ["train", "test", "test"], [None, "x", "x"])
    with pytest.raises(UserError, match=r"1 pictures lie on more than one side .*\(a, b\).*one faces stage"):
        splits.check_leakage(["a", "b"], ["train", "test"], ["x", "x"])
