"""What of a folder is listed, and where a photograph may be read."""

import os
import shutil
from pathlib import Path

import pyarrow.fs as pafs
import pytest
from click.testing import CliRunner
from corpus_files import PICTURE, paths, put, rows
from s3_server import Server

from twfer_dist.cli.main import main
from twfer_dist.core.errors import UserError
from twfer_dist.corpus.corpus import Corpus, open_corpus
from twfer_dist.corpus.files import list_folder, list_remote, locate
from twfer_dist.engine import artifact, storage
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import find_output, run_stage
from twfer_dist.recipe.run import plan_recipe
from twfer_dist.recipe.study import faces_recipe


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "secret.jpg")
    folder = put(tmp_path / "figures", "a.jpg")
    (folder / "inside.jpg").symlink_to("a.jpg")
    (folder / "out.jpg").symlink_to(tmp_path / "elsewhere" / "secret.jpg")
    (folder / "gone.jpg").symlink_to("nothing.jpg")
    (folder / "loop").symlink_to(folder)
    (folder / "away").symlink_to(tmp_path / "elsewhere")
    corpus = open_corpus(str(folder))
    assert sorted(rows(corpus)) == ["a.jpg", "inside.jpg"]
    assert corpus.notes["links_not_followed"] == 4


def test_names_that_are_not_utf8_lose_only_their_files(tmp_path: Path) -> None:
    folder = put(tmp_path / "figures", "a.jpg")
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"")
    (folder / os.fsdecode(b"\xff")).mkdir()
    put(folder / os.fsdecode(b"\xff"), "b.jpg")
    corpus = open_corpus(str(folder))
    assert list(rows(corpus)) == ["a.jpg"]
    assert corpus.remarks == [
        r"figures: 2 files or folders were ignored because their names are not valid UTF-8: rename \xff, caf\xe9.jpg"
    ]
    (folder / "a.jpg").unlink()
    with pytest.raises(UserError, match="names are not valid UTF-8"):
        open_corpus(str(folder))


def test_listing_of_another_file_system_is_the_same(tmp_path: Path) -> None:
    put(tmp_path / "figures", "a.jpg", "deep/脸.png", ".hidden.jpg", ".git/d.jpg", "notes.txt")
    other = list_remote(pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()), "figures")
    assert dict(other.files) == dict(list_folder(str(tmp_path / "figures")).files)
    assert list(other.files) == ["a.jpg", "deep/脸.png", "notes.txt"]


def test_locate_never_leaves_the_corpus(tmp_path: Path) -> None:
    put(tmp_path, "secret.jpg")
    folder = put(tmp_path / "figures", "a.jpg", "deep/b.jpg")
    (folder / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "up").symlink_to(tmp_path)
    (folder / "self.jpg").symlink_to("self.jpg")
    fs, place = locate(str(folder), "deep/b.jpg")
    assert fs.open_input_stream(place).read() == b"deep/b.jpg"
    locate(str(folder), "missing.jpg")
    locate(str(folder), "self.jpg")
    for path in (
        "../secret.jpg",
        "deep/../../secret.jpg",
        str(tmp_path / "secret.jpg"),
        "out.jpg",
        "up/secret.jpg",
        "a\0.jpg",
    ):
        with pytest.raises(ValueError):
            locate(str(folder), path)
    for path in ("../secret.jpg", "/secret.jpg"):
        with pytest.raises(ValueError):
            locate("mock:///figures", path)
    assert locate("mock:///figures", "a.jpg")[1].endswith("figures/a.jpg")


def list_both_ways(folder: Path) -> dict[str, tuple[int, int]]:
    """The files of a folder, listed as local and as remote storage, which must agree."""
    near = list_folder(str(folder))
    far = list_remote(pafs.SubTreeFileSystem(str(folder.parent), pafs.LocalFileSystem()), folder.name)
    assert list(near.files.items()) == list(far.files.items())
    assert (near.hidden, near.folders_left_out) == (far.hidden, far.folders_left_out)
    return dict(near.files)


def test_machine_folders_are_left_out(tmp_path: Path) -> None:
    folder = put(tmp_path / "c", "a.jpg", "b/c.jpg", "@eaDir/a.jpg/SYNOFILE_THUMB_M.jpg",
        "b/@eaDir/c.jpg/T.jpg", "#recycle/b.jpg", "$RECYCLE.BIN/c.jpg", "__MACOSX/._a.jpg",
        ".thumbnails/a.jpg", "lost+found/d.jpg", "System Volume Information/e.jpg", "Thumbs.db",
        "@eaDir.jpg", )  # fmt: skip
    assert list(list_both_ways(folder)) == ["@eaDir.jpg", "Thumbs.db", "a.jpg", "b/c.jpg"]
    corpus = open_corpus(str(folder))
    assert paths(corpus) == ["@eaDir.jpg", "a.jpg", "b/c.jpg"]
    assert corpus.notes["passed_over"] == {
        "hidden": 1, "Thumbs.db": 1, "@eaDir/": 2, "#recycle/": 1, "$RECYCLE.BIN/": 1, "__MACOSX/": 1, "lost+found/": 1,
        "System Volume Information/": 1,
    }  # fmt: skip


def pictures(corpus: Corpus, fails: bool = False) -> StageSpec:
    """A stage whose output holds pictures and nothing else, as strips do."""

    def do(output: StageOutput) -> None:
        output.write_file("sheet.jpg", b"a picture")
        if fails:
            raise UserError("it was interrupted")

    return StageSpec("pictures", 1, {"c": corpus}, None, {}, {}, do)


@pytest.mark.parametrize("where", [".", "runs/study-c", "b", "b/deep/er"])
def test_outputs_in_any_subfolder_are_not_photographs(tmp_path: Path, where: str) -> None:
    folder = put(tmp_path / "c", "a.jpg", "b/c.jpg", "b/figure-0123456789ab/d.jpg")
    before = open_corpus(str(folder))
    out = str(folder / where)
    made = run_stage(pictures(before), out, quiet=True)
    after = open_corpus(str(folder))
    assert (
        paths(after) == paths(before) == ["a.jpg", "b/c.jpg", "b/figure-0123456789ab/d.jpg"]
        and after.digest == before.digest
    )
    assert find_output(pictures(after), out) == made
    assert after.remarks == ["c: 1 folder was ignored: earlier outputs"]
    list_both_ways(folder)


def test_unfinished_outputs_are_not_photographs(tmp_path: Path) -> None:
    folder = put(tmp_path / "c", "a.jpg", "figure-0123456789ab/b.jpg")
    corpus = open_corpus(str(folder))
    with pytest.raises(UserError):
        run_stage(pictures(corpus, fails=True), str(folder / "runs"), quiet=True)
    put(folder, "runs/other-0123456789ab/_work/plan/x", "runs/other-0123456789ab/sheet.png", f"runs/{artifact.INDEX}")
    put(
        folder,
        "more/pictures-0123456789ab/sheet.jpg",
        "more/pictures-0123456789ab.1f.claim",
        "runs/mlartifacts/1/a.png",
    )
    assert open_corpus(str(folder)).digest == corpus.digest
    assert len([path for path in list_both_ways(folder) if path.endswith((".jpg", ".png"))]) == 2


def test_a_bucket_is_read_like_a_folder(s3: Server) -> None:
    uri = s3.uri("c")
    for name in ("a.jpg", "b/c.heic", "@eaDir/a.jpg/T.jpg", ".thumbnails/a.jpg", "notes.txt"):
        storage.write_bytes(storage.join(uri, name), b"anything")
    storage.write_bytes(storage.join(uri, "b", "K9901 front"), PICTURE.read_bytes())
    before = open_corpus(uri)
    assert paths(before) == ["a.jpg", "b/K9901 front", "b/c.heic"]
    assert before.notes["passed_over"] == {"notes.txt": 1, "hidden": 1, "@eaDir/": 1}
    run_stage(pictures(before), storage.join(uri, "b", "runs"), quiet=True)
    after = open_corpus(uri)
    assert after.digest == before.digest and after.notes["passed_over"]["earlier outputs/"] == 1


@pytest.mark.long
def test_a_second_run_in_the_folder_finds_the_first(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c").mkdir()
    shutil.copy(PICTURE, tmp_path / "c" / "a.jfif")
    monkeypatch.chdir(tmp_path / "c")
    command = ["faces", ".", "--aligned", "--out", "runs/faces"]
    first, second = (CliRunner().invoke(main, command).output for _ in range(2))
    assert "1 photographs, 1 faces" in first and "1 stages, 1 finished, 0 to do" in second
    assert list(Path().rglob("sheet.jpg")) and paths(open_corpus(".")) == ["a.jfif"]
    outcomes = plan_recipe(faces_recipe(".", {"aligned": True, "keep": "all"}, "runs/faces", None))
    assert [outcome.state for outcome in outcomes] == ["finished"]
