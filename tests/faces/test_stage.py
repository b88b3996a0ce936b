"""The faces stage on Ray: a row for every planned photograph, and rows that do not depend on shards or workers."""

import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from face_files import EXPECTED, MALFORMED, STATUS, TRIALS, malformed, seen

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.images import encode_jpeg
from twfer_dist.core.status import MISSING, OK, OUTSIDE, TOO_LARGE, TOO_SMALL, UNREADABLE
from twfer_dist.corpus.corpus import Corpus, open_corpus
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.storage import sha256
from twfer_dist.faces import detector_models
from twfer_dist.faces.finder import FaceFinder
from twfer_dist.faces.stage import FacesConfig, faces_spec
from twfer_dist.measurement.analyzer import SHIPPED


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The malformed files, and rows of a manifest that name no file of the corpus."""
    folder = tmp_path_factory.mktemp("faces") / "malformed"
    shutil.copytree(MALFORMED, folder)
    shutil.copy(MALFORMED / "gray.jpg", folder.parent / "outside.jpg")
    (folder / "link.jpg").symlink_to(folder.parent / "outside.jpg")
    with (folder / "malformed.csv").open("a", encoding="utf-8") as table:
        table.write("gone.jpg,-,-\n../outside.jpg,-,-\n/outside.jpg,-,-\nlink.jpg,-,-\n")
    return open_corpus(str(folder))


@pytest.fixture(scope="module")
def output(ray_cluster: None, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return run_stage(faces_spec([corpus], FacesConfig()), str(tmp_path_factory.mktemp("out")), quiet=True)


def test_every_planned_photograph_is_one_row(output: Artifact) -> None:
    rows = {row["path"]: row for row in output.table("photographs", schema.PHOTOGRAPHS).to_pylist()}
    outside = dict.fromkeys(("../outside.jpg", "/outside.jpg", "link.jpg"), OUTSIDE)
    expected = dict.fromkeys(EXPECTED, OK) | STATUS | outside | {"gone.jpg": MISSING}
    assert {path: row["status"] for path, row in rows.items()} == expected
    for path, row in rows.items():
        good = row["status"] == OK
        assert row["faces"] == int(good), path
        assert row["error"] == "" if good else row["error"].startswith(f"{path}: ") and row["error"].endswith(".")
        assert (row["content_sha256"] == "") == (path in outside or path == "gone.jpg"), path
        assert row["photo_id"] == schema.photo_id("malformed", path)
    assert rows["gray.jpg"]["content_sha256"] == sha256((MALFORMED / "gray.jpg").read_bytes())
    assert (rows["exif_8.jpg"]["width"], rows["exif_8.jpg"]["height"]) == (220, 240)
    assert output.manifest.counts["photographs"] == {
        OK: 16, MISSING: 1, OUTSIDE: 3, TOO_LARGE: 2, TOO_SMALL: 1, UNREADABLE: 5,
    }  # fmt: skip


def test_faces_carry_what_the_corpus_knows(output: Artifact) -> None:
    faces = output.table("faces", schema.FACES).to_pylist()
    assert len(faces) == 16
    for face in faces:
        assert face["face_id"] == f"{face['photo_id']}-00" and face["rank"] == 0 and face["status"] == OK
        assert dict(face["groups"])["expected"] == "ok"
        assert face["detector"] == detector_models.choose("auto").identity
        assert seen(face["image"]).shape == (224, 224, 3) and (face["width"], face["height"]) == (224, 224)
        x, y, width, height = face["box"]
        assert 0 <= x < 220 and 0 <= y < 240 and min(width, height) > 60 and 0.35 <= face["score"] <= 1
        centre = np.reshape(face["crop_matrix"], (2, 3)) @ (x + width / 2, y + height / 2, 1)
        assert abs(centre[0] - 112) < 16
    assert "no YuNet model file" in output.results["detector"]


def test_exif_orientations_give_the_same_face(output: Artifact) -> None:
    rows = {row["path"]: row for row in output.table("faces", schema.FACES).to_pylist()}
    first = rows["exif_1.jpg"]
    for number in range(2, 9):
        row = rows[f"exif_{number}.jpg"]
        assert np.abs(np.subtract(row["box"], first["box"])).max() < 3
        assert np.abs(seen(row["image"]).astype(int) - seen(first["image"])).mean() < 6


def test_a_row_does_not_depend_on_its_neighbours(output: Artifact, corpus: Corpus) -> None:
    """A worker that gets some of the photographs in another order finds the same faces, to the last bit."""
    finder = FaceFinder({corpus.name: corpus.root}, FacesConfig(), detector_models.choose(), SHIPPED)
    alone = finder(corpus.table.take(list(range(len(corpus.table) - 1, 0, -5))))["faces"].to_pylist()
    rows = {row["face_id"]: row for row in output.table("faces", schema.FACES).to_pylist()}
    assert alone
    for face in alone:
        assert face | {"figure_id": ""} == rows[face["face_id"]] | {"figure_id": ""}  # copies share their figure


def test_the_row_of_a_photograph_has_the_note() -> None:
    corpus, config = open_corpus(str(TRIALS / "kinds")), FacesConfig(aligned=True, measure=False)
    photographs = FaceFinder({"kinds": corpus.root}, config, None, None)(corpus.table)["photographs"].to_pylist()
    notes = {row["path"]: row["note"] for row in photographs}
    assert notes["tiff_first_page_thumbnail.tif"] == "The largest of 2 pages was read."
    assert list(notes.values()).count("") == 2 and {row["status"] for row in photographs} == {OK}


def test_what_decides_the_faces_is_in_the_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    shutil.copy(MALFORMED / "gray.jpg", tmp_path / "a")
    corpus, config = open_corpus(str(tmp_path / "a")), FacesConfig()
    jobs = [
        faces_spec([corpus], config),
        faces_spec([corpus], config, detector="haar"),
        faces_spec([corpus], dataclasses.replace(config, aligned=True)),
        faces_spec([corpus], dataclasses.replace(config, threshold=0.5)),
        faces_spec([open_corpus(str(MALFORMED))], config),
    ]
    assert len({spec.fingerprint for spec in jobs}) == len(jobs)
    assert faces_spec([corpus], config, detector="centerface", actors=3).fingerprint == jobs[0].fingerprint
    # Another decoder may read otherwise.
    assert jobs[0].models.keys() >= {"pillow", "pillow-heif", "pillow-jxl-plugin"}


def test_wrong_requests_are_refused(tmp_path: Path) -> None:
    corpus, config = open_corpus(str(MALFORMED)), FacesConfig()
    with pytest.raises(UserError, match="Two corpora are called 'malformed'"):
        faces_spec([corpus, corpus], config)
    with pytest.raises(UserError, match=r"other.safetensors"):
        faces_spec([corpus], config, network=str(tmp_path / "other.safetensors"))
    for wrong in ({"keep": "some"}, {"size": 0}, {"side": 333}, {"smallest": 0}, {"max_pixels": 10**12}):
        with pytest.raises(ValueError):
            dataclasses.replace(config, **wrong)


@pytest.mark.long
def test_one_worker_and_two_give_the_same_bytes(ray_cluster: None, tmp_path: Path) -> None:
    """On 66 photographs, which are more than one shard."""
    folder = tmp_path / "crowd"
    folder.mkdir()
    for number in range(66):
        small = cv2.resize(malformed(f"exif_{1 + number % 8}.jpg"), (100 + number % 9, 120))
        (folder / f"{number:02d}.jpg").write_bytes(encode_jpeg(small))
    corpus = open_corpus(str(folder))
    index = schema.CORPUS.get_field_index("label")
    corpus = dataclasses.replace(
        corpus, table=corpus.table.set_column(index, schema.CORPUS.field(index), pa.array([4] * 66, pa.int8()))
    )
    one, two = (
        run_stage(faces_spec([corpus], FacesConfig(side=320), actors=n), str(tmp_path / f"out{n}"), quiet=True)
        for n in (1, 2)
    )
    assert one.digest == two.digest and one.manifest.fingerprint == two.manifest.fingerprint
    assert len(one.table("photographs", schema.PHOTOGRAPHS)) == len(one.table("faces", schema.FACES)) == 66
    assert set(one.table("faces", schema.FACES)["label"].to_pylist()) == {4}
