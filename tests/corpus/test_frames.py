"""Videos to a corpus: real small videos of clay heads are cut into shots, and what is broken is a row."""

import csv
import io
import pickle
import signal
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from PIL import Image
from s3_server import Server

from twfer_dist.cli.main import main
from twfer_dist.core.errors import UserError
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.corpus.frames import take_frames
from twfer_dist.corpus.video_frames import FrameSettings, read_video
from twfer_dist.engine import storage
from twfer_dist.engine.isolated_worker import IsolatedWorker

HEADS = sorted((Path(__file__).parents[2] / "twfer_dist" / "demo" / "postures" / "photographs").glob("*.jpg"))
RATE = 24  # frames a second
SHARP = 30  # the only frame of a shot that is not blurred


def pixels(path: Path) -> np.ndarray:
    """A picture as OpenCV writes it into videos: BGR."""
    return np.ascontiguousarray(np.asarray(Image.open(path))[..., ::-1])


def shot(head: int, frames: int = 48) -> list[np.ndarray]:
    """A pan over one head, blurred but for one frame."""
    picture = cv2.resize(pixels(HEADS[head]), (300, 300))
    views = []
    for k in range(frames):
        x = int(20 + 20 * np.sin(k / 15))
        view = picture[20:260, x : x + 256]
        views.append(view if k == SHARP else cv2.GaussianBlur(view, (0, 0), 2))
    return views


def video(path: Path, frames: list[np.ndarray]) -> Path:
    codec = {".avi": "MJPG", ".webm": "VP80"}.get(path.suffix, "mp4v")
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), RATE, (width, height))  # type: ignore[attr-defined]
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tour of three heads that comes back to the first, in a folder with what is broken."""
    folder = tmp_path_factory.mktemp("videos")
    tour = video(folder / "tour.avi", shot(0) + shot(1) + shot(2) + shot(0)[6:])
    data = tour.read_bytes()
    (folder / "cut off.avi").write_bytes(data[: len(data) * 2 // 5])
    whole = video(folder / "headless.mp4", shot(1))
    whole.write_bytes(whole.read_bytes()[:2000])
    (folder / "playlist.mp4").write_text("#EXTM3U\n#EXTINF:10,\n/etc/hostname\n")
    black = np.zeros((240, 256, 3), np.uint8)
    video(folder / "night.mp4", [black] * RATE)
    return folder


@pytest.fixture(scope="module")
def taken(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("frames") / "out"
    take_frames(str(folder), str(out), FrameSettings(), quiet=True)
    return out


def rows_of(out: Path, video: str) -> list[dict[str, str]]:
    rows = csv.DictReader(io.StringIO((out / "frames.csv").read_text(encoding="utf-8-sig")))
    return [row for row in rows if row["video"] == video]


def test_each_shot_gives_its_sharpest_frame(folder: Path, taken: Path) -> None:
    rows = rows_of(taken, "tour.avi")
    assert [(row["shot"], row["start"], row["status"]) for row in rows] == [
        ("1", "0.00", "ok"), ("2", "2.00", "ok"), ("3", "4.00", "ok"), ("4", "6.00", "repeated")]  # fmt: skip
    assert [row["path"] for row in rows] == [*(f"tour.avi#t={2 * k + SHARP / RATE:.2f}.jpg" for k in range(3)), ""]
    assert rows[3]["error"] == "tour.avi: shot 4 shows what shot 1 shows."
    for head, row in enumerate(rows[:3]):
        frame = pixels(taken / row["path"])
        assert frame.shape == (240, 256, 3) and np.abs(frame.astype(int) - shot(head)[SHARP]).mean() < 3


def test_the_folder_is_a_corpus_whose_figures_are_shots(taken: Path) -> None:
    corpus = open_corpus(str(taken))
    figures = dict(zip(corpus.table["path"].to_pylist(), corpus.table["figure_id"].to_pylist(), strict=True))
    assert figures["tour.avi#t=1.25.jpg"] == "tour.avi, shot 1" and len(figures) == 5
    assert corpus.notes["groups"] == ["video"] and corpus.notes["missing"] == 0


def test_what_is_broken_is_a_row_with_a_sentence(taken: Path) -> None:
    cut, *_ = rows_of(taken, "cut off.avi")
    assert cut["status"] == "ok" and " of 186 frames: it is cut off or damaged." in cut["error"]
    for name in ("headless.mp4", "playlist.mp4"):
        (row,) = rows_of(taken, name)
        assert row["status"] == "unreadable" and row["error"].startswith(f"{name}: it")
    assert [row["status"] for row in rows_of(taken, "night.mp4")] == ["blank"]


def test_a_second_run_takes_nothing_again(folder: Path, taken: Path) -> None:
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in taken.rglob("*.jpg")}
    table = (taken / "frames.csv").read_bytes()
    (taken / "frames.csv").write_bytes(b"".join(line for line in table.splitlines(True) if b"cut off" not in line))
    again = take_frames(str(folder), str(taken), FrameSettings(), quiet=True)
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in taken.rglob("*.jpg")}
    assert {path: data for path, (_, data) in after.items()} == {path: data for path, (_, data) in before.items()}
    assert {path.name for path in after if after[path][0] != before[path][0]} == {
        "cut off.avi#t=1.25.jpg", "cut off.avi#t=2.12.jpg"}  # fmt: skip
    assert again.videos == 5 and again.read == 3
    assert (taken / "frames.csv").read_bytes() == table
    with pytest.raises(UserError, match="other settings"):
        take_frames(str(folder), str(taken), FrameSettings(per_shot=2), quiet=True)


def test_long_shots_are_divided_and_frames_bounded(folder: Path, tmp_path: Path) -> None:
    source, settings = str(folder / "tour.avi"), FrameSettings(per_shot=2, longest=1.0, at_most=3)
    counts = take_frames(source, str(tmp_path / "out"), settings, quiet=True)
    assert counts.shots == 8 and counts.frames["ok"] == 3 and counts.frames["left_out"] > 0


def test_a_video_in_a_bucket_is_read_like_a_file(folder: Path, taken: Path, s3: Server, tmp_path: Path) -> None:
    storage.write_bytes(s3.uri("videos/tour.avi"), (folder / "tour.avi").read_bytes())
    take_frames(s3.uri("videos/tour.avi"), str(tmp_path / "out"), FrameSettings(), quiet=True)
    assert rows_of(tmp_path / "out", "tour.avi") == rows_of(taken, "tour.avi")


def test_a_video_may_have_blanks_or_a_long_name(tmp_path: Path) -> None:
    names = ["my  tour.avi", f"{'像' * 76}.avi", f"{'像' * 75}俑.avi"]
    for head, name in enumerate(names):
        video(tmp_path / "tour.avi", shot(head)).rename(tmp_path / name)
    for _ in range(2):
        counts = take_frames(str(tmp_path), str(tmp_path / "out"), FrameSettings(), quiet=True)
        assert counts.frames == {"ok": 3} and len(list((tmp_path / "out").glob("*.jpg"))) == 3
    assert set(open_corpus(str(tmp_path / "out")).table["figure_id"].to_pylist()) == {f"{n}, shot 1" for n in names}
    for name in ("-tour.avi", " tour.avi", "my\ttour.avi"):
        (tmp_path / "odd" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "my  tour.avi").rename(tmp_path / "odd" / name)
        with pytest.raises(UserError, match="a table cannot hold the name .*: begin it with a letter or a digit"):
            take_frames(str(tmp_path / "odd"), str(tmp_path / "none"), FrameSettings(), quiet=True)
        (tmp_path / "odd" / name).rename(tmp_path / "my  tour.avi")


class Unhurried(FrameSettings):
    """Fails where frames are planned (which reads `longest`) while the decoder's alarm runs."""

    def __getattribute__(self, name: str) -> Any:
        ours = signal.getsignal(signal.SIGALRM) is signal.SIG_DFL  # pytest's own alarm has a handler
        if name == "longest" and ours and signal.getitimer(signal.ITIMER_REAL)[0]:
            raise AssertionError("an alarm runs")
        return super().__getattribute__(name)


def test_planning_a_long_video_is_no_stalled_decoder(folder: Path, tmp_path: Path) -> None:
    words = {"out": str(tmp_path), "settings": Unhurried(), "report": str(tmp_path / "report")}
    with IsolatedWorker(pickle.dumps([(read_video, words)])) as worker:
        made = worker.run(pa.table({"path": [str(folder / "tour.avi")], "video": ["tour.avi"]}))
    assert isinstance(made, pa.Table) and made["status"].to_pylist() == ["ok", "ok", "ok", "repeated"]


def test_the_command_says_what_to_do(folder: Path, tmp_path: Path) -> None:
    def twfer(*words: object) -> tuple[int, str]:
        result = CliRunner().invoke(main, [str(word) for word in words])
        return result.exit_code, result.output

    code, said = twfer("corpus", "frames", folder / "headless.mp4", "--out", tmp_path / "none")
    assert code == 2 and "headless.mp4: it cannot be opened" in said and "Convert it to MP4" in said
    code, said = twfer("corpus", "show", folder)
    assert code == 2 and "twfer corpus frames takes frames from videos" in said
    code, said = twfer("corpus", "show", folder / "tour.avi")
    assert code == 2 and "is a video: run twfer corpus frames" in said
    assert twfer("corpus", "frames", tmp_path, "--out", tmp_path / "x")[0] == 2
