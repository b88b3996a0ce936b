"""Photographs to faces: decoding, detectors, crops, and the stage on Ray."""

import csv
import dataclasses
import os
import shutil
import socket
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image

from twfer_dist.core import schema
from twfer_dist.core.crop import SPAN, crop_matrix, full_frame_matrix, warp_crop
from twfer_dist.core.errors import UserError
from twfer_dist.core.images import encode_jpeg
from twfer_dist.core.status import MISSING, OK, OUTSIDE, TOO_LARGE, TOO_SMALL, UNREADABLE
from twfer_dist.corpus.corpus import Corpus, open_corpus
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.storage import sha256
from twfer_dist.faces import detector_models
from twfer_dist.faces.decode import DecodeError, decode, on_grey, read
from twfer_dist.faces.detector import Detector
from twfer_dist.faces.stage import FaceFinder, FacesConfig, faces_job
from twfer_dist.measurement.analyzer import SHIPPED

MALFORMED = Path(__file__).parent / "data" / "malformed"
MANY = 100_000_000
EXPECTED = {
    row["file"]: row["expected"] for row in csv.DictReader((MALFORMED / "malformed.csv").open(encoding="utf-8"))
}
STATUS = {
    "truncated.jpg": UNREADABLE,
    "truncated.png": UNREADABLE,
    "empty.jpg": UNREADABLE,
    "wrong_crc.png": UNREADABLE,
    "text.jpg": UNREADABLE,
    "one_pixel.png": TOO_SMALL,
    "bomb_20000x20000.png": TOO_LARGE,
    "huge_header.jpg": TOO_LARGE,
}


def picture(name: str) -> np.ndarray:
    return on_grey(decode((MALFORMED / name).read_bytes(), MANY).pixels)


def refusal(data: bytes, max_pixels: int = MANY) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode(data, max_pixels)
    return caught.value


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test looks into, or writes to, the cache of the person who tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "twfer"


def test_the_list_of_malformed_files_is_whole() -> None:
    assert set(EXPECTED) == {f.name for f in MALFORMED.iterdir()} - {"README.md", "malformed.csv"}
    assert set(STATUS) == {name for name, expected in EXPECTED.items() if expected == "error"}


@pytest.mark.parametrize("name", [name for name, expected in EXPECTED.items() if expected == "ok"])
def test_awkward_files_are_read(name: str) -> None:
    upright = picture(name)
    assert upright.dtype == np.uint8
    assert upright.shape == ((240, 220, 3) if name.startswith("exif") else (240, 240, 3))


@pytest.mark.parametrize("name", [name for name, status in STATUS.items() if status != TOO_SMALL])
def test_broken_files_are_refused_with_a_sentence(name: str) -> None:
    refused = refusal((MALFORMED / name).read_bytes())
    assert refused.status == STATUS[name]
    assert str(refused).endswith(".") and "0x" not in str(refused)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientations_give_the_same_upright_picture(orientation: int) -> None:
    difference = picture(f"exif_{orientation}.jpg").astype(int) - picture("exif_1.jpg")
    assert np.abs(difference).mean() < 1


def test_colour_kinds_of_one_picture_agree() -> None:
    plain = picture("脸 兵马俑 face 1.jpg").astype(int)
    assert np.abs(picture("cmyk.jpg") - plain).mean() < 3
    assert np.abs(picture("animated.gif") - plain).mean() < 6  # 256 colours; the first frame
    grey = picture("gray.jpg")
    assert (grey == grey[..., :1]).all()


def test_pixels_are_counted_before_decoding() -> None:
    damaged = (MALFORMED / "truncated.jpg").read_bytes()
    assert refusal(damaged, 1000).status == TOO_LARGE  # decoding it would have said: unreadable


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_scaled_not_clipped(channels: int) -> None:
    ramp = np.repeat(np.linspace(0, 65535, 64 * 64).reshape(64, 64, 1).astype(np.uint16), channels, 2)
    ramp[..., 3:] = 65535
    read_back = decode(cv2.imencode(".png", ramp)[1].tobytes(), MANY).pixels
    assert read_back.shape[2] == max(channels, 3)
    assert (read_back[..., 0] == ramp[..., 0] >> 8).all()


def test_transparent_pixels_are_drawn_on_grey() -> None:
    pixels = np.full((2, 2, 4), (200, 100, 0, 255), np.uint8)
    pixels[0, 0, 3], pixels[0, 1, 3] = 0, 51
    assert on_grey(pixels)[0, 0].tolist() == [128, 128, 128]
    assert on_grey(pixels)[0, 1].tolist() == [142, 122, 102]
    assert on_grey(pixels)[1, 1].tolist() == [200, 100, 0]


def test_no_path_leads_out_of_the_corpus(tmp_path: Path) -> None:
    root, outside = tmp_path / "corpus", tmp_path / "outside"
    (root / "in").mkdir(parents=True)
    outside.mkdir()
    shutil.copy(MALFORMED / "gray.jpg", outside / "secret.jpg")
    shutil.copy(MALFORMED / "gray.jpg", root / "in" / "fine.jpg")
    (root / "link.jpg").symlink_to(outside / "secret.jpg")
    (root / "folder").symlink_to(outside)
    (root / "near.jpg").symlink_to(root / "in" / "fine.jpg")
    os.mkfifo(root / "pipe.jpg")  # opening it would wait for ever

    def status(path: str) -> str:
        with pytest.raises(DecodeError) as caught:
            read(str(root), path, MANY)
        return caught.value.status

    for path in (
        "../outside/secret.jpg",
        "in/../../outside/secret.jpg",
        str(outside / "secret.jpg"),
        "link.jpg",
        "folder/secret.jpg",
    ):
        assert status(path) == OUTSIDE, path
    assert status("nothing.jpg") == MISSING
    assert status("in") == UNREADABLE
    assert status("pipe.jpg") == UNREADABLE
    for path in ("in/fine.jpg", "near.jpg"):
        assert read(str(root), path, MANY) == (MALFORMED / "gray.jpg").read_bytes()
    with pytest.raises(DecodeError, match="more than a picture of 100 pixels"):
        read(str(root), "in/fine.jpg", 100)


def test_auto_without_a_model_says_what_runs_and_why() -> None:
    chosen = detector_models.choose("auto")
    assert chosen.name == "centerface"
    assert "no YuNet model file" in chosen.describe() and chosen.identity in chosen.describe()


@pytest.mark.parametrize("name", ["centerface", "haar"])
def test_a_detector_finds_the_one_face(name: str) -> None:
    detector = Detector(detector_models.choose(name))
    upright = picture("exif_6.jpg")
    (face,) = detector(upright)
    assert face.dtype == np.float32
    x, y, width, height = detector.points_box(face[:4])
    # The picture is a frontal rendering: brows about a third down, chin at five sixths, face in the middle.
    assert abs(x + width / 2 - 110) < 12 and 55 < y < 100 and 175 < y + height < 230 and 80 < width < 160
    # The same face in a photograph three times as large, and on a wide page.
    (large,) = detector(cv2.resize(upright, None, fx=3, fy=3))
    assert np.abs(large[:4] / 3 - face[:4]).max() < 12
    page = np.full((300, 700, 3), 128, np.uint8)
    page[30:270, 400:620] = upright
    (moved,) = detector(page)
    assert np.abs(moved[:4] - face[:4] - (400, 30, 0, 0)).max() < 24
    # And no answer depends on the picture before.
    assert (detector(upright)[0] == face).all()
    assert len(detector(np.random.default_rng(5).integers(0, 255, (400, 300, 3), np.uint8))) == 0


def two_faces() -> np.ndarray:
    """A page with one face twice: the small one on the left."""
    page = np.full((300, 500, 3), 128, np.uint8)
    page[20:140, 20:140] = cv2.resize(picture("cmyk.jpg"), (120, 120), interpolation=cv2.INTER_AREA)
    page[30:270, 220:460] = picture("cmyk.jpg")
    return page


def test_the_largest_face_comes_first() -> None:
    large, small = Detector(detector_models.choose("centerface"))(two_faces())
    assert large[0] > 220 and small[0] < 140 and large[2] > 1.7 * small[2]


def test_a_wrong_model_is_one_clear_problem(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.onnx is not there"):
        detector_models.choose("yunet", str(tmp_path / "nowhere.onnx"))
    with pytest.raises(UserError, match="takes none"):
        detector_models.choose("haar", str(tmp_path / "nowhere.onnx"))
    with pytest.raises(UserError, match="no face detector: say auto, yunet"):
        detector_models.choose("retina")
    for data in (b"no model", b"", detector_models.choose("centerface").model):
        file = tmp_path / "face_detection.onnx"
        file.write_bytes(data)
        with pytest.raises(UserError, match=r"face_detection\.onnx is given\), and it is no yunet model") as caught:
            faces_job([open_corpus(str(MALFORMED))], FacesConfig(), model=str(file))
        assert "\n" not in str(caught.value)


def test_a_model_is_fetched_once_and_checked(tmp_path: Path) -> None:
    offered, kept = tmp_path / "offered.onnx", tmp_path / "cache" / "kept.onnx"
    offered.write_bytes(b"a model")
    with pytest.raises(UserError, match="sha256 is not"):
        detector_models.fetch(offered.as_uri(), sha256(b"another"), kept)
    assert not kept.exists()
    assert detector_models.fetch(offered.as_uri(), sha256(b"a model"), kept) == b"a model"
    offered.unlink()
    assert detector_models.fetch(offered.as_uri(), sha256(b"a model"), kept) == b"a model"
    kept.write_bytes(b"half")
    with pytest.raises(UserError, match="damaged"):
        detector_models.fetch(offered.as_uri(), sha256(b"a model"), kept)
    with socket.socket() as free:  # nobody listens there
        free.bind(("127.0.0.1", 0))
        with pytest.raises(UserError, match="could not be fetched") as caught:
            detector_models.fetch(
                f"http://127.0.0.1:{free.getsockname()[1]}/x.onnx", sha256(b"a model"), tmp_path / "none.onnx"
            )
    assert "\n" not in str(caught.value)


def test_a_damaged_model_in_the_cache_is_no_reason_to_step_down(empty_cache: Path) -> None:
    empty_cache.mkdir(parents=True)
    (empty_cache / detector_models.YUNET_FILE).write_bytes(b"half")
    with pytest.raises(UserError, match="delete it"):
        detector_models.choose("auto")


def test_a_crop_is_where_its_matrix_says() -> None:
    row, column = np.mgrid[0:200, 0:240]
    ramps = np.stack([row, column, np.full_like(row, 7)], 2).astype(np.uint8)
    for scale, right, down in ((1.0, -20, -30), (0.31, -12.4, -9.7), (2.3, -100, -120.5), (0.5, 3, 5)):
        matrix = np.array([[scale, 0, right], [0, scale, down]], np.float32)
        crop = warp_crop(ramps, matrix, 56).astype(float)
        at = np.arange(56)
        for value, shift, most in ((crop[:, 20, 0], down, 199), (crop[20, :, 1], right, 239)):
            expected = np.clip((at - shift) / scale, 0, most)
            near_edge = (expected < 4 / scale) | (expected > most - 4 / scale)
            assert np.abs(value - expected)[~near_edge].max() <= 1
            assert np.abs(value - expected).max() <= 3 / scale


def test_reducing_averages() -> None:
    chess = np.indices((400, 400)).sum(0) % 2 * 255
    crop = warp_crop(
        np.repeat(chess[..., None], 3, 2).astype(np.uint8), np.array([[0.2, 0, 0], [0, 0.2, 0]], np.float32), 80
    )
    assert np.abs(crop[2:-2, 2:-2].astype(int) - 127).max() <= 3


def test_a_crop_of_a_box_has_the_framing() -> None:
    photograph = np.zeros((500, 400, 3), np.uint8)
    photograph[200:300, 120:200] = 255
    crop = warp_crop(photograph, crop_matrix(np.array([120, 200, 80, 100]), 224), 224)[..., 0] > 127
    rows, columns = np.flatnonzero(crop.any(1)), np.flatnonzero(crop.any(0))
    assert abs(len(rows) - SPAN * 224) < 2 and abs(len(columns) - SPAN * 224 * 0.8) < 2
    assert abs(rows.mean() - 111.5) < 2 and abs(columns.mean() - 111.5) < 2


def test_an_aligned_photograph_is_its_own_crop() -> None:
    upright = picture("cmyk.jpg")
    assert (warp_crop(upright, full_frame_matrix(upright, 240), 240) == upright).all()
    for size, interpolation in ((60, cv2.INTER_AREA), (480, cv2.INTER_CUBIC)):
        other = warp_crop(upright, full_frame_matrix(upright, size), size).astype(int)
        assert np.abs(other - cv2.resize(upright, (size, size), interpolation=interpolation))[2:-2, 2:-2].mean() < 3
    narrow = upright[:, 40:200]
    matrix = full_frame_matrix(narrow, 224)
    assert abs(matrix[0, 2] - (224 - 160 * 224 / 240) / 2) < 1
    filled = warp_crop(narrow, matrix, 224)
    assert (np.abs(filled[:, :30].astype(int) - filled[:, 29:30]) <= 1).all()  # the edge, repeated


@pytest.fixture(scope="module")
def found(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The malformed set, and a manifest's rows that name no file of the corpus, through the stage."""
    folder = tmp_path_factory.mktemp("faces") / "malformed"
    shutil.copytree(MALFORMED, folder)
    shutil.copy(MALFORMED / "gray.jpg", folder.parent / "outside.jpg")
    (folder / "link.jpg").symlink_to(folder.parent / "outside.jpg")
    with (folder / "malformed.csv").open("a", encoding="utf-8") as table:
        table.write("gone.jpg,-,-\n../outside.jpg,-,-\n/outside.jpg,-,-\nlink.jpg,-,-\n")
    return run_stage(faces_job([open_corpus(str(folder))], FacesConfig()), str(folder.parent / "out"), quiet=True)


def test_every_planned_photograph_is_one_row_with_its_status(found: Artifact) -> None:
    rows = {row["path"]: row for row in found.table("photographs", schema.PHOTOGRAPHS).to_pylist()}
    outside = dict.fromkeys(("../outside.jpg", "/outside.jpg", "link.jpg"), OUTSIDE)
    wanted = dict.fromkeys(EXPECTED, OK) | STATUS | outside | {"gone.jpg": MISSING}
    assert {path: row["status"] for path, row in rows.items()} == wanted
    for path, row in rows.items():
        good = row["status"] == OK
        assert row["faces"] == int(good), path
        assert row["error"] == "" if good else row["error"].startswith(f"{path}: ") and row["error"].endswith(".")
        assert (row["content_sha256"] == "") == (path in outside or path == "gone.jpg"), path
        assert row["photo_id"] == schema.photo_id("malformed", path)
    assert rows["gray.jpg"]["content_sha256"] == sha256((MALFORMED / "gray.jpg").read_bytes())
    assert (rows["exif_8.jpg"]["width"], rows["exif_8.jpg"]["height"]) == (220, 240)
    assert found.manifest.counts["photographs"] == {
        "ok": 16, MISSING: 1, OUTSIDE: 3, TOO_LARGE: 2, TOO_SMALL: 1, UNREADABLE: 5,
    }  # fmt: skip


def test_faces_carry_what_the_corpus_knows(found: Artifact) -> None:
    faces = found.table("faces", schema.FACES).to_pylist()
    assert len(faces) == 16
    for face in faces:
        assert face["face_id"] == f"{face['photo_id']}-00" and face["rank"] == 0 and face["status"] == OK
        assert dict(face["groups"])["expected"] == "ok"
        assert face["detector"] == detector_models.choose("auto").identity
        crop = decode(face["image"], MANY).pixels
        assert crop.shape == (224, 224, 3) and (face["width"], face["height"]) == (224, 224)
        x, y, width, height = face["box"]
        assert 0 <= x < 220 and 0 <= y < 240 and min(width, height) > 60 and 0.35 <= face["score"] <= 1
        matrix = np.reshape(face["crop_matrix"], (2, 3))
        assert (
            np.abs(matrix @ (x + width / 2, y + height / 2, 1) - 112)[0] < 16
        )  # it is the still points that are centred
    assert "no YuNet model file" in found.results["detector"]


def test_exif_orientations_give_the_same_face(found: Artifact) -> None:
    faces = {
        row["path"]: row for row in found.table("faces", schema.FACES).to_pylist() if row["path"].startswith("exif")
    }
    first = decode(faces["exif_1.jpg"]["image"], MANY).pixels.astype(int)
    for row in faces.values():
        assert np.abs(np.subtract(row["box"], faces["exif_1.jpg"]["box"])).max() < 3
        assert np.abs(decode(row["image"], MANY).pixels - first).mean() < 6


def crowd(folder: Path) -> Corpus:
    """66 photographs with a label, which is more than one part, one of them with two faces and Action Units."""
    folder.mkdir()
    (folder / "two.jpg").write_bytes(encode_jpeg(two_faces()))
    for number in range(65):
        (folder / f"{number:02d}.jpg").write_bytes(
            encode_jpeg(cv2.resize(picture(f"exif_{1 + number % 8}.jpg"), (100 + number % 9, 120)))
        )
    corpus = open_corpus(str(folder))
    units = [
        [float(k % 6) for k in range(17)] if path == "two.jpg" else None for path in corpus.table["path"].to_pylist()
    ]
    table = corpus.table
    for name, values in (("action_units", units), ("label", [4] * len(table))):
        place = schema.CORPUS.get_field_index(name)
        field = schema.CORPUS.field(place)
        table = table.set_column(place, field, pa.array(values, field.type))
    return dataclasses.replace(corpus, table=table)


def test_one_worker_and_two_give_the_same_bytes(ray_cluster: None, tmp_path: Path) -> None:
    corpus = crowd(tmp_path / "crowd")
    config = FacesConfig(keep="all", side=320)
    one, two = (
        run_stage(
            faces_job([corpus], config, detector="centerface", actors=actors),
            str(tmp_path / f"out{actors}"),
            quiet=True,
        )
        for actors in (1, 2)
    )
    assert one.digest == two.digest and one.manifest.fingerprint == two.manifest.fingerprint
    photographs, faces = one.table("photographs", schema.PHOTOGRAPHS), one.table("faces", schema.FACES)
    assert len(photographs) == 66 and pc.sum(photographs["faces"]).as_py() == len(faces) == 67
    large, small = (row for row in faces.to_pylist() if row["path"] == "two.jpg")
    assert large["rank"] == 0 and small["rank"] == 1 and large["box"][2] > small["box"][2]
    assert large["action_units"] == [float(k % 6) for k in range(17)] and large["action_units_from"] == "openface"
    assert len(small["action_units"]) == 17 and small["action_units_from"] == "network"
    assert large["label"] == 4 and small["label"] is None
    assert (
        np.abs(decode(large["image"], MANY).pixels.astype(int) - decode(small["image"], MANY).pixels).mean() < 12
    )  # one face, drawn twice

    largest = FaceFinder({"crowd": corpus.root}, FacesConfig(side=320), detector_models.choose("centerface"), SHIPPED)
    again = largest(corpus.table.filter(pc.equal(corpus.table["path"], "two.jpg")))
    assert again["photographs"]["faces"].to_pylist() == [2]
    assert again["faces"]["image"].to_pylist() == [large["image"]]


def test_aligned_photographs_are_taken_as_they_are(ray_cluster: None, tmp_path: Path) -> None:
    folder = tmp_path / "aligned"
    folder.mkdir()
    noise = np.random.default_rng(3).integers(0, 255, (100, 100, 3), np.uint8)  # no detector finds a face here
    Image.fromarray(noise).save(folder / "a.png")
    Image.fromarray(noise[:10]).save(folder / "b.png")
    finished = run_stage(
        faces_job([open_corpus(str(folder))], FacesConfig(aligned=True)), str(tmp_path / "out"), quiet=True
    )
    photographs = finished.table("photographs", schema.PHOTOGRAPHS).to_pylist()
    assert {row["path"]: row["status"] for row in photographs} == {"a.png": OK, "b.png": TOO_SMALL}
    (face,) = finished.table("faces", schema.FACES).to_pylist()
    assert (face["detector"], face["score"], face["width"], face["height"], face["box"]) == (
        "aligned",
        None,
        100,
        100,
        [0, 0, 100, 100],
    )
    assert face["image"] == encode_jpeg(noise)


def test_what_decides_the_faces_is_in_the_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    shutil.copy(MALFORMED / "gray.jpg", tmp_path / "a")
    corpus = open_corpus(str(tmp_path / "a"))
    config = FacesConfig()
    jobs = [
        faces_job([corpus], config),
        faces_job([corpus], config, detector="haar"),
        faces_job([corpus], dataclasses.replace(config, aligned=True)),
        faces_job([corpus], dataclasses.replace(config, threshold=0.5)),
        faces_job([open_corpus(str(MALFORMED))], config),
    ]
    assert len({job.fingerprint for job in jobs}) == len(jobs)
    assert faces_job([corpus], config, detector="centerface", actors=3).fingerprint == jobs[0].fingerprint
    with pytest.raises(UserError, match="two corpora have the name 'a'"):
        faces_job([corpus, corpus], config)
    for wrong in ({"keep": "some"}, {"size": 0}, {"side": 333}, {"smallest": 0}, {"max_pixels": 10**12}):
        with pytest.raises(ValueError):
            dataclasses.replace(config, **wrong)
