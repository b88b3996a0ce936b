"""Copies of one picture count as one figure: in a folder, in every n, and in every split."""

import csv
import io
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from face_files import TRIALS, saved, seen
from PIL import Image

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.dataset import splits
from twfer_dist.dataset.stage import DatasetConfig, dataset_spec
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.faces import copies
from twfer_dist.faces.stage import FacesConfig, faces_spec
from twfer_dist.study.report import ReportConfig, report_spec

COPIES = TRIALS / "copies"  # eight pictures under three names each
PLAIN = FacesConfig(aligned=True, measure=False, size=48)


def photographs(
    pictures: dict[str, np.ndarray], figure_ids: dict[str, str] | None = None, corpus: str = "c"
) -> pa.Table:
    """PHOTOGRAPHS rows of RGB pictures by path; each is its own figure unless `figure_ids` says otherwise."""
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


def pictures() -> dict[str, np.ndarray]:
    """Eight rendered heads: seven expressions of one figure under one light, and another figure."""
    return {path.name: seen(path.read_bytes()) for path in sorted(COPIES.glob("0?.jpg"))}


def pairs(rows: pa.Table) -> dict[str, str]:
    found = copies.find(rows)
    return dict(zip(found["path"].to_pylist(), found["copy_of"].to_pylist(), strict=True))


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    return seen(saved(Image.fromarray(picture), "JPEG", quality=quality))


def test_a_resized_or_reencoded_picture_is_a_copy() -> None:
    changed = pictures()
    assert pairs(photographs(changed)) == {}
    for name, picture in list(changed.items()):
        small = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        brighter = np.clip(1.1 * picture.astype(float) + 5, 0, 255).astype(np.uint8)
        same = {"a": small, "b": jpeg(picture, 60), "c": jpeg(small, 75), "d": grey, "e": brighter}
        changed |= {f"{name} {mark}": copy for mark, copy in same.items()}
        changed[f"{name} wide"] = cv2.resize(picture, None, fx=1.2, fy=1)
    expected = {name: name[:6] for name in changed if name[6:] and not name.endswith("wide")}
    assert pairs(photographs(changed)) == expected


def test_without_contrast_only_equal_files_are_copies() -> None:
    dark, darker = np.full((40, 40, 3), 9, np.uint8), np.full((40, 40, 3), 8, np.uint8)
    assert pairs(photographs({"a": dark, "b": darker, "c": dark})) == {"c": "a"}
    assert pairs(photographs({})) == {}


def test_equal_files_that_cannot_be_read_are_no_copies() -> None:
    rows = photographs(dict.fromkeys(("a.jpg", "b.jpg"), pictures()["00.jpg"]))
    assert pairs(rows) == {"b.jpg": "a.jpg"}
    index = rows.column_names.index("thumbnail")
    assert pairs(rows.set_column(index, rows.field(index), pa.nulls(2, pa.binary()))) == {}


def test_a_copy_joins_the_figures_of_both_pictures() -> None:
    heads = pictures()
    heads["9.jpg"] = jpeg(heads["03.jpg"], 80)
    named = {
        "00.jpg": "Anna",
        "03.jpg": "Anna",
        "9.jpg": "Berta",
        "05.jpg": "Berta",
        "06.jpg": "Carla",
        "07.jpg": "Carla",
    }
    rows = photographs(heads, named)
    found = copies.find(rows)
    assert copies.count(found) == {"photographs": 2, "pictures": 1, "equal": 0, "near-equal": 1}
    path_of = dict(zip(rows["photo_id"].to_pylist(), rows["path"].to_pylist(), strict=True))
    joined = {path_of[row["photo_id"]]: row["figure_id"] for row in copies.figure_ids(rows, found).to_pylist()}
    assert joined == dict.fromkeys(("00.jpg", "03.jpg", "9.jpg", "05.jpg"), "Anna") | {
        name: named.get(name, name) for name in ("01.jpg", "02.jpg", "04.jpg", "06.jpg", "07.jpg")
    }


def test_copies_in_two_corpora_are_one_figure() -> None:
    rows = pa.concat_tables([photographs(pictures()), photographs(pictures(), corpus="d")])
    joined = copies.figure_ids(rows, copies.find(rows))
    corpus_of = dict(zip(rows["photo_id"].to_pylist(), rows["corpus"].to_pylist(), strict=True))
    corpora = [corpus_of[photo_id] for photo_id in joined["photo_id"].to_pylist()]
    joined = joined.append_column("corpus", pa.array(corpora))
    assert len(set(schema.figures(joined).to_pylist())) == 8


def test_any_number_of_copies_is_chained() -> None:
    picture, random = pictures()["07.jpg"], np.random.default_rng(0)
    noisy = {f"{k:03d}": np.clip(picture + random.normal(0, 3, picture.shape), 0, 255) for k in range(60)}
    rows = photographs({name: image.astype(np.uint8) for name, image in noisy.items()})
    assert copies.count(copies.find(rows))["pictures"] == 1


@pytest.fixture(scope="module")
def faces(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The folder of copies with labels, first some of them and then all, through the stage."""
    folder = tmp_path_factory.mktemp("copies")
    (folder / "heads").mkdir()
    for pattern in ("0[2-9]*.jpg", "*.jpg"):
        for path in COPIES.glob(pattern):
            if not (
                folder / "heads" / path.name
            ).exists():  # an unchanged file keeps its time, and so its row is reused
                shutil.copy(path, folder / "heads" / path.name)
        names = sorted(path.name for path in (folder / "heads").glob("*.jpg"))
        lines = [f"{name},{int(name[:2]) % 7 + 1},{'test' if 'copy' in name else 'train'}" for name in names]
        (folder / "heads" / "manifest.csv").write_text("\n".join(["path,label,split", *lines]))
        output = run_stage(faces_spec([open_corpus(str(folder / "heads"))], PLAIN), str(folder / "out"), quiet=True)
    assert output.manifest.reused is not None and output.manifest.reused.rows == 18
    return output


@pytest.mark.long
def test_copies_count_as_one_figure_and_are_listed(faces: Artifact, tmp_path: Path) -> None:
    rows = faces.table("faces", schema.FACES).to_pylist()
    assert len(rows) == 24 and {row["path"][:2]: row["figure_id"] for row in rows} == {
        f"0{k}": rows[0]["figure_id"][:1] + f"{k} (1).jpg" for k in range(8)
    }
    assert len(set(faces.table("photographs", schema.PHOTOGRAPHS)["figure_id"].to_pylist())) == 24  # unchanged
    assert faces.results["copies"] == {"photographs": 24, "pictures": 8, "equal": 16, "near-equal": 0}
    assert (
        faces.results["summary"][-1]
        == "24 photographs are 8 pictures under several names: they count as 8; copies.csv lists the copies."
    )
    listed = list(csv.DictReader(io.StringIO(storage.read_bytes(faces.path("copies.csv")).decode("utf-8-sig"))))
    assert len(listed) == 16 and listed[0]["path"] == "00 copy.jpg" and listed[0]["copy_of"] == "00 (1).jpg"
    corpus = open_corpus(str(Path(faces.uri).parent.parent / "heads"))
    fresh = run_stage(faces_spec([corpus], PLAIN, actors=2), str(tmp_path), quiet=True)
    assert fresh.manifest.reused is None and fresh.digest == faces.digest  # reused rows were revised too


@pytest.mark.long
def test_copies_are_in_one_part_of_a_split(faces: Artifact, tmp_path: Path) -> None:
    config = DatasetConfig(include=("photographs",), split="by_figure", ratios=(7, 3))
    dataset = run_stage(dataset_spec([faces], [], config), str(tmp_path), quiet=True)
    assert dataset.results["summary"][0].startswith("24 images of 8 figures")
    assert dataset.results["figures_on_several_sides"] == 0
    splits_of: dict[bytes, set[str]] = {}
    for row in dataset.table(".", schema.DATASET).to_pylist():
        splits_of.setdefault(row["image"], set()).add(row["split"])
    assert len(splits_of) == 8 and all(len(names) == 1 for names in splits_of.values())


@pytest.mark.long
def test_copies_in_both_parts_of_a_given_split_are_reported(faces: Artifact, tmp_path: Path) -> None:
    config = DatasetConfig(include=("photographs",), split="given")
    dataset = run_stage(dataset_spec([faces], [], config), str(tmp_path), quiet=True)
    assert dataset.results["summary"][0].startswith("24 images of 8 figures: 16 train + 8 test")
    assert dataset.results["summary"][1].startswith("8 of 8 figures")


@pytest.mark.long
def test_the_report_mentions_copies(faces: Artifact, tmp_path: Path) -> None:
    report = run_stage(report_spec([], faces=[faces], config=ReportConfig(pictures=1)), str(tmp_path), quiet=True)
    page = storage.read_bytes(report.path("index.html")).decode()
    assert "24 photographs are 8 pictures under several names" in page


def test_a_picture_of_two_figures_in_two_parts_is_refused() -> None:
    splits.check_leakage(["a", "b", "c"], ["train", "test", "test"], [None, "x", "x"])
    with pytest.raises(UserError, match=r"1 pictures .*\(a, b\).*one faces stage"):
        splits.check_leakage(["a", "b"], ["train", "test"], ["x", "x"])
