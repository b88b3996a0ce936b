"""What of a folder is no photograph: other files, folders of machines, links, and outputs of this program."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.fs as pafs
import pytest
from click.testing import CliRunner
from corpus_files import put
from s3_server import Server

from twfer_dist.cli.main import main
from twfer_dist.core.errors import UserError
from twfer_dist.corpus.corpus import Corpus, open_corpus
from twfer_dist.corpus.files import list_folder, list_remote
from twfer_dist.engine import artifact, storage
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import find_output, run_stage
from twfer_dist.recipe.run import plan_recipe
from twfer_dist.recipe.study import faces_recipe

PICTURE = Path(__file__).parent / "data" / "trials" / "endings" / "face.jfif"


def paths(corpus: Corpus) -> list[str]:
    return sorted(corpus.table["path"].to_pylist())


def both(folder: Path) -> dict[str, tuple[int, int]]:
    """The files of a folder, listed as this machine's and as those of storage far away, which must agree."""
    near = list_folder(str(folder))
    far = list_remote(pafs.SubTreeFileSystem(str(folder.parent), pafs.LocalFileSystem()), folder.name)
    assert list(near.files.items()) == list(far.files.items())
    assert (near.hidden, near.folders_left_out) == (far.hidden, far.folders_left_out)
    return dict(near.files)


def test_pictures_are_found_under_every_ending(tmp_path: Path) -> None:
    endings = [".jpg", ".JPG", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".png", ".webp",
        ".gif", ".tif", ".tiff", ".bmp", ".dib", ".ppm", ".pgm", ".jp2", ".j2k", ".avif", ".heic",
        ".heif", ".jxl", ]  # fmt: skip
    folder = put(tmp_path / "c", *(f"{k:02d}{ending}" for k, ending in enumerate(endings)))
    assert len(paths(open_corpus(str(folder)))) == len(endings)


def test_files_without_an_ending_are_looked_into(tmp_path: Path) -> None:
    folder = put(tmp_path / "c", "LICENSE", "notes 1.2", "deep/README")
    for name in ("K9901", "St. Peter", "deep/head 1.2"):
        shutil.copy(PICTURE, folder / name)
    corpus = open_corpus(str(folder))
    assert paths(corpus) == ["K9901", "St. Peter", "deep/head 1.2"]
    assert corpus.notes["passed_over"] == {"without an ending": 3}


def test_what_is_passed_over_is_counted_and_said(tmp_path: Path) -> None:
    folder = put(
        tmp_path / "c",
        "a.jpg",
        "1.psd",
        "2.PSD",
        "b/3.psd",
        "notes.txt",
        "x.nef",
        ".DS_Store",
        "b/._a.jpg",
        ".cache/b.jpg",
    )
    corpus = open_corpus(str(folder))
    assert corpus.notes["passed_over"] == {".psd": 3, "hidden": 3, "notes.txt": 1, "x.nef": 1}
    remedy = "(save them as JPEG, PNG or TIFF)"
    said = f"c: 8 files passed over: 3 .psd {remedy}, 3 hidden, 1 notes.txt, 1 x.nef {remedy}"
    assert corpus.left_out == [said]
    shown = CliRunner().invoke(main, ["corpus", "show", str(folder)])
    assert shown.exit_code == 0 and said in shown.output
    put(folder, *(f"{k}.e{k}x" for k in range(30)), "31.e0x")
    assert (
        open_corpus(str(folder))
        .left_out[0]
        .endswith("2 .e0x, 1 1.e1x, 1 10.e10x, 1 11.e11x, 1 12.e12x, 1 13.e13x, 26 of other kinds")
    )


def test_a_table_and_the_images_it_names_are_not_passed_over(tmp_path: Path) -> None:
    folder = put(tmp_path / "c", "a.jpg", "b.jpg", "catalogue.docx", "openface.txt")
    (folder / "manifest.csv").write_text("path\na.jpg\n")
    corpus = open_corpus(str(folder))
    assert (
        corpus.notes["passed_over"] == {"catalogue.docx": 1, "openface.txt": 1}
        and corpus.notes["images_not_named"] == 1
    )
    assert corpus.left_out[0] == "c: 1 image is in the folder and not in its table"


WITHOUT_PLUGINS = """
import sys
sys.modules["pillow_heif"] = sys.modules["pillow_jxl"] = None  # importing them fails, as where they are not installed
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.errors import Problem
from twfer_dist.faces.decode import Refused, decode
try:
    print(*open_corpus(sys.argv[1]).left_out)
    open_corpus(sys.argv[1] + "/heic")
except Problem as problem:
    print(problem)
try:
    decode(bytes(4) + b"ftypheic" + bytes(99), 10**6)
except Refused as refused:
    print(refused)
"""


def test_pictures_without_a_reader_are_passed_over(tmp_path: Path) -> None:
    put(tmp_path / "c", "a.jpg", "b.avif", "heic/1.heic", "heic/2.HEIC", "3.jxl")
    command = [sys.executable, "-c", WITHOUT_PLUGINS, str(tmp_path / "c")]
    said, problem, refused = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    how = "(run pip install pillow-heif pillow-jxl-plugin)"
    assert said == f"c: 3 files passed over: 2 .heic {how}, 1 3.jxl {how}"
    assert f"no picture that is read here (2 files passed over: 2 .heic {how}): name a folder" in problem
    assert refused == "nothing here reads HEIF pictures: run pip install pillow-heif pillow-jxl-plugin."


def test_folders_of_machines_are_left_out(tmp_path: Path) -> None:
    folder = put(tmp_path / "c", "a.jpg", "b/c.jpg", "@eaDir/a.jpg/SYNOFILE_THUMB_M.jpg",
        "b/@eaDir/c.jpg/T.jpg", "#recycle/b.jpg", "$RECYCLE.BIN/c.jpg", "__MACOSX/._a.jpg",
        ".thumbnails/a.jpg", "lost+found/d.jpg", "System Volume Information/e.jpg", "Thumbs.db",
        "@eaDir.jpg", )  # fmt: skip
    assert list(both(folder)) == ["@eaDir.jpg", "Thumbs.db", "a.jpg", "b/c.jpg"]
    corpus = open_corpus(str(folder))
    assert paths(corpus) == ["@eaDir.jpg", "a.jpg", "b/c.jpg"]
    assert corpus.notes["passed_over"] == {
        "hidden": 1, "Thumbs.db": 1, "@eaDir/": 2, "#recycle/": 1, "$RECYCLE.BIN/": 1, "__MACOSX/": 1, "lost+found/": 1,
        "System Volume Information/": 1,
    }  # fmt: skip


def test_links_and_names_without_text_do_no_harm(tmp_path: Path) -> None:
    folder = put(tmp_path / "c", "a.jpg")
    (folder / "away").symlink_to(tmp_path)
    (folder / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"")
    corpus = open_corpus(str(folder))
    assert corpus.left_out == [
        "c: 1 link was not followed: copy the originals into the folder",
        r"c: 1 file or folder was left out, as its name is not valid UTF-8: rename caf\xe9.txt",
    ]


# Outputs of this program


def pictures(corpus: Corpus, stops: bool = False) -> StageSpec:
    """A stage whose output holds pictures and nothing else, as strips do."""

    def do(work: StageOutput) -> None:
        work.write_file("sheet.jpg", b"a picture")
        if stops:
            raise UserError("it was stopped")

    return StageSpec("pictures", 1, {"c": corpus}, None, {}, {}, do)


@pytest.mark.parametrize("where", [".", "runs/study-c", "b", "b/deep/er"])
def test_outputs_are_no_photographs_wherever_they_lie(tmp_path: Path, where: str) -> None:
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
    assert after.left_out == ["c: 1 folder left out: earlier outputs"]
    both(folder)


def test_unfinished_outputs_are_no_photographs(tmp_path: Path) -> None:
    folder = put(tmp_path / "c", "a.jpg", "figure-0123456789ab/b.jpg")
    corpus = open_corpus(str(folder))
    with pytest.raises(UserError):
        run_stage(pictures(corpus, stops=True), str(folder / "runs"), quiet=True)
    put(folder, "runs/other-0123456789ab/_work/plan/x", "runs/other-0123456789ab/sheet.png", f"runs/{artifact.INDEX}")
    put(
        folder,
        "more/pictures-0123456789ab/sheet.jpg",
        "more/pictures-0123456789ab.1f.lease",
        "runs/mlartifacts/1/a.png",
    )
    assert open_corpus(str(folder)).digest == corpus.digest
    assert len([path for path in both(folder) if path.endswith((".jpg", ".png"))]) == 2


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


def test_a_second_run_in_the_folder_finds_the_first(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c").mkdir()
    shutil.copy(PICTURE, tmp_path / "c" / "a.jfif")
    monkeypatch.chdir(tmp_path / "c")
    said = [CliRunner().invoke(main, ["faces", ".", "--aligned", "--out", "runs/faces"]).output for _ in range(2)]
    assert "1 photographs, 1 faces" in said[0] and "1 stages, 1 finished, 0 to do" in said[1]
    assert list(Path().rglob("sheet.jpg")) and paths(open_corpus(".")) == ["a.jfif"]
    assert [
        outcome.state
        for outcome in plan_recipe(faces_recipe(".", {"aligned": True, "keep": "all"}, "runs/faces", None))
    ] == ["finished"]
