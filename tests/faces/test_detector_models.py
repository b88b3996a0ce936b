"""Which detector runs, and where its model comes from."""

import socket
from pathlib import Path

import pytest
from face_files import MALFORMED

from twfer_dist.core.errors import UserError
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.engine.storage import sha256
from twfer_dist.faces import detector_models
from twfer_dist.faces.stage import FacesConfig, faces_spec


def test_auto_without_a_model_says_what_runs_and_why() -> None:
    chosen = detector_models.choose("auto")
    assert chosen.name == "centerface"
    assert "no YuNet model file" in chosen.describe() and chosen.identity in chosen.describe()


def test_a_wrong_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.onnx does not exist"):
        detector_models.choose("yunet", str(tmp_path / "nowhere.onnx"))
    with pytest.raises(UserError, match="takes no model file"):
        detector_models.choose("haar", str(tmp_path / "nowhere.onnx"))
    with pytest.raises(UserError, match="not a face detector: use auto, yunet"):
        detector_models.choose("retina")
    for data in (b"not a model", b"", detector_models.choose("centerface").model):
        file = tmp_path / "face_detection.onnx"
        file.write_bytes(data)
        with pytest.raises(UserError, match=r"face_detection\.onnx is given\) is not a yunet model") as caught:
            faces_spec([open_corpus(str(MALFORMED))], FacesConfig(), model=str(file))
        assert "\n" not in str(caught.value)


def test_a_model_is_downloaded_once_and_checked(tmp_path: Path) -> None:
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


def test_a_failed_download_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as free:  # bound, but not listening
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/x.onnx"
        with pytest.raises(UserError, match="could not be downloaded") as caught:
            detector_models.fetch(address, sha256(b"a model"), tmp_path / "none.onnx")
    assert "\n" not in str(caught.value)


def test_a_damaged_cached_model_is_reported(empty_cache: Path) -> None:
    """Another detector instead would silently change the results."""
    empty_cache.mkdir(parents=True)
    (empty_cache / detector_models.YUNET_FILE).write_bytes(b"half")
    with pytest.raises(UserError, match="delete it"):
        detector_models.choose("auto")
