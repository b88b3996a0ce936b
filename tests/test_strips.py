"""Pictures of the animation: strips, GIFs, and faces put back into their photographs."""

import io

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image, ImageSequence
from synthesis_tables import SIDE, drawn, faces, finished, png

from twfer_dist.core.crop import warp_crop
from twfer_dist.core.errors import UserError
from twfer_dist.core.prototypes import prototype
from twfer_dist.core.schema import ANIMATED, FACES
from twfer_dist.core.status import OK
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.engine.stage import run_stage
from twfer_dist.synthesis import checkpoints, strips
from twfer_dist.synthesis.networks import WarpingGenerator
from twfer_dist.synthesis.stage import AnimateConfig, animate_job
from twfer_dist.synthesis.strips import StripsConfig, strips_job


def test_a_strip_has_a_row_an_expression_and_a_column_a_level():
    figure_id = np.full((32, 32, 3), 10, np.uint8)
    frames = {1: [np.full_like(figure_id, value) for value in (50, 90, 130)], 4: [np.full_like(figure_id, 200)]}
    picture = strips.strip(figure_id, frames)
    assert picture.shape == (64, 5 * 32, 3)
    assert [picture[16, 32 * column + 16, 0] for column in (1, 2, 3, 4)] == [10, 50, 90, 130]
    assert [picture[48, 32 * column + 16, 0] for column in (1, 2, 3)] == [10, 200, 255]  # one level: the rest is white


def test_a_gif_goes_to_each_expression_and_back():
    figure_id = np.full((16, 16, 3), 10, np.uint8)
    frames = {1: [np.full_like(figure_id, 60), np.full_like(figure_id, 120)], 2: [np.full_like(figure_id, 200)]}
    with Image.open(io.BytesIO(strips.gif(figure_id, frames))) as picture:
        shades = [int(np.asarray(frame.convert("L")).mean()) for frame in ImageSequence.Iterator(picture)]
    assert shades == [10, 60, 120, 60, 10, 200, 10]


def test_an_animated_face_goes_back_into_its_photograph_without_a_seam():
    """The face is turned and small in the photograph; a change in the crop arrives where it belongs, and nowhere
    else.
    """
    photograph = np.random.default_rng(0).integers(60, 200, (300, 400, 3), np.uint8)
    turn = 0.8 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    matrix = np.column_stack([turn, np.array([48, 48]) - turn @ (210, 120)]).astype(np.float32)
    crop = cv2.warpAffine(photograph, matrix, (96, 96))
    face = {
        "image": png(cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)),
        "crop_matrix": matrix.reshape(-1).tolist(),
        "width": 96,
    }
    assert (strips.paste(photograph, face, crop) == photograph).all()
    spotted = crop.astype(int)
    spotted[30:34, 60:64] += 40
    changed = strips.paste(photograph, face, spotted.clip(0, 255).astype(np.uint8)).astype(int) - photograph
    row, column = np.nonzero(changed.sum(2) > 30)
    x, y = cv2.invertAffineTransform(matrix) @ (61.5, 31.5, 1)
    assert abs(column.mean() - x) < 1 and abs(row.mean() - y) < 1 and np.ptp(row) < 12
    all_over = strips.paste(photograph, face, np.full_like(crop, 255)).astype(int) - photograph
    far = np.hypot(*(np.mgrid[0:300, 0:400] - np.array([120, 210])[:, None, None])) > 90
    assert (all_over[far] == 0).all() and all_over[115:125, 205:215].mean() > 50
    # Far out in a panorama: OpenCV warps no side of 32,767 pixels or more.
    long = np.tile(photograph, (1, 100, 1))[:200]
    away = matrix - np.column_stack([np.zeros((2, 2)), turn @ (39_000, -50)])
    wide = strips.paste(long, face | {"crop_matrix": away.ravel().tolist()}, np.full_like(crop, 255)).astype(int) - long
    assert (wide[:, :39_000] == 0).all() and wide[65:75, 39_205:39_215].mean() > 50
    twice = [np.array([[2, 0, -2 * left], [0, 2, 0]], np.float32) for left in (39_500, 300)]
    assert (warp_crop(long, twice[0], 56) == warp_crop(photograph, twice[1], 56)).all()
    even = face | {"image": png(np.full_like(crop, 100))}
    steps = np.abs(
        np.diff(strips.paste(np.full_like(photograph, 100), even, np.full_like(crop, 255)).astype(int), axis=1)
    ).max()
    assert steps < 40  # of 155: the change begins gently


def test_strips_are_named_by_their_photograph() -> None:
    paths = [
        "pit 1/general #2.jpg",
        "PIT 1/General #2.png",
        "兵马俑/脸.jpg",
        "../-rf.png",
        "a" * 300 + ".jpg",
        "q.v1.jpg",
        "St. A/b 1.2",
    ]
    faces = [{"path": path, "rank": 0, "face_id": f"{k:016x}-00"} for k, path in enumerate(paths, 0x12345678 << 32)]
    names = strips.file_names([*faces, {"path": "q.v1.jpg", "rank": 1, "face_id": "ff-01"}])
    assert names[:4] == ["pit-1-general-2-12345678", "PIT-1-General-2-12345678", "兵马俑-脸", "rf"]
    assert len(names[4]) <= 120 and names[5:] == ["q.v1", "St.-A-b-1.2", "q.v1-face-2"]


def test_the_stage_shows_each_figure_once(ray_cluster, tmp_path):
    (tmp_path / "drawn").mkdir()
    photographs = []
    for figure in range(2):
        (tmp_path / "drawn" / str(figure)).mkdir()
        image = drawn(figure, prototype("neutral") * 0)
        cv2.imwrite(str(tmp_path / "drawn" / str(figure) / "neutral.png"), image)
        photographs.append(image)
    rows = faces(str(tmp_path / "tables"), 2).table("faces", FACES).to_pylist()
    for row in rows:
        row["crop_matrix"] = [1.0, 0, 0, 0, 1, 0]
        row["image"] = png(photographs[0]) if row["label"] == 7 and row["image"] else row["image"]
    some = finished(str(tmp_path), "faces", "faces", pa.Table.from_pylist(rows, schema=FACES), FACES)
    torch.manual_seed(1)
    (tmp_path / "g.safetensors").write_bytes(checkpoints.save(WarpingGenerator(4), size=64))
    config = AnimateConfig(size=64, levels=3, references=2)
    animated = run_stage(
        animate_job([some], config, str(tmp_path / "g.safetensors"), actors=1), str(tmp_path), quiet=True
    )
    corpus = open_corpus(str(tmp_path / "drawn"))
    shown = run_stage(
        strips_job([animated], [some], StripsConfig(side=48), corpora=[corpus]), str(tmp_path), quiet=True
    )
    ok = {row["face_id"] for row in animated.table(".", ANIMATED).to_pylist() if row["status"] == OK}
    names = {file.path for file in shown.manifest.files}
    named = {row["face_id"]: strips.file_names([row])[0] for row in rows if row["face_id"] in ok}
    assert {name for name in names if name.endswith(".png")} == {f"{name}.png" for name in named.values()}
    for face in named.values():
        strip = cv2.imread(shown.path(f"{face}.png"))
        assert strip is not None and strip.shape == (7 * 48, 4 * 48, 3)
        pasted = cv2.imread(shown.path(f"{face}-surprise.jpg"))
        assert pasted is not None and pasted.shape == (SIDE, SIDE, 3) and f"{face}.gif" in names
    together = cv2.imread(shown.path("sheet.jpg"))
    assert together is not None and together.shape == (len(ok) * 48, 8 * 48, 3)
    with pytest.raises(UserError, match="is in none of the given faces"):
        run_stage(strips_job([animated], [], StripsConfig()), str(tmp_path), quiet=True)
