"""Tables as people have them: programs' forms of text, Excel, other words, other spellings of names, several
annotators.
"""

import shutil
import unicodedata
from pathlib import Path

import openpyxl
import pytest
from click.testing import CliRunner

from twfer_dist.cli.main import main
from twfer_dist.core.errors import UserError
from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS
from twfer_dist.corpus import tables
from twfer_dist.corpus.agreement import agreement
from twfer_dist.corpus.corpus import Corpus, open_corpus
from twfer_dist.corpus.names import match, tidy

TRIALS = Path(__file__).parent / "data" / "trials" / "tables"


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def read(folder: Path, text: str | bytes, name: str = "manifest.csv") -> Corpus:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return open_corpus(str(folder))


def labels(corpus: Corpus) -> dict[str, str]:
    return {row["path"]: EXPRESSIONS[row["label"] - 1] if row["label"] else "" for row in corpus.table.to_pylist()}


def said(corpus: Corpus) -> str:
    return "\n".join(corpus.left_out)


# Forms of text, and words


@pytest.mark.parametrize(
    ("table", "first", "second", "groups", "words"),
    [
        ("annotators_long", "happiness", "sadness", [], "rows of one photograph were read as votes"),
        ("annotators_wide", "happiness", "anger", [], "annotator 1, annotator 2, annotator 3 were read as votes"),
        ("chinese_gb18030", "happiness", "sadness", ["posture"], "was read as GB18030"),
        ("commas_below", "happiness", "sadness", [], ""),
        ("excel_utf16", "anger", "neutral", ["posture"], "was read as UTF-16"),
        ("semicolons", "happiness", "sadness", ["posture"], ""),
        ("upper_case", "happiness", "sadness", ["posture"], ""),
    ],
)
def test_tables_that_people_sent(tmp_path, table, first, second, groups, words):
    shutil.copyfile(TRIALS / f"{table}.csv", tmp_path / "manifest.csv")
    corpus = open_corpus(str(put(tmp_path, "a.jpg", "b.jpg")))
    assert labels(corpus) == {"a.jpg": first, "b.jpg": second}
    assert (corpus.notes["missing"], corpus.notes["groups"]) == (0, groups)
    assert words in said(corpus) and (words or not said(corpus))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_form_of_text_is_one_table(tmp_path, encoding, separator, end):
    lines = ["path,label,musée", "a.jpg,Happy,Besançon", ",,", 'b.jpg,"Sad",x,,', ",,"]
    text = end.join(line.replace(",", separator) for line in ["", *lines, ""])
    corpus = read(put(tmp_path, "a.jpg", "b.jpg"), text.encode(encoding))
    assert labels(corpus) == {"a.jpg": "happiness", "b.jpg": "sadness"}
    assert {dict(row["groups"])["musée"] for row in corpus.table.to_pylist()} == {"Besançon", "x"}


@pytest.mark.parametrize(
    ("encoding", "words", "text", "files"),
    [
        ("gb18030", "GB18030", "path,label,posture\na.jpg,happiness,跪射\nb.jpg,anger,立射\n", []),
        ("cp1252", "Windows-1252", "path;figure;museum\na.jpg;Kopf 1;München\nb.jpg;K2;Köln\n", []),
        ("cp1252", "Windows-1252", "path,note\na.jpg,café\nb.jpg,élève\n", []),
        ("mac_roman", "Mac Roman", "path;label\nBüste.jpg;Happy\n", ["Büste.jpg"]),
        ("mac_roman", "Mac Roman", "path;label\nBüste.jpg;Happy\n", [unicodedata.normalize("NFD", "Büste.jpg")]),
        ("cp1250", "Windows-1250", "path,figure\nŁódź.jpg,głowa\n", ["Łódź.jpg"]),
        ("cp932", "Shift JIS", "ファイル名,表情\nが像.jpg,4\n", []),
        ("big5", "Big5", "檔案名稱,標籤\na.jpg,驚訝\nb.jpg,憤怒\n", []),
    ],
)
def test_other_encodings_are_told(tmp_path, encoding, words, text, files):
    corpus = read(put(tmp_path, *(files or ["a.jpg", "b.jpg", "が像.jpg"])), text.encode(encoding))
    assert f"manifest.csv was read as {words}" in said(corpus)
    assert corpus.notes["missing"] == 0
    values = {v for row in corpus.table.to_pylist() for v in (row["figure_id"], *dict(row["groups"]).values())}
    assert values & {
        "跪射",
        "München",
        "café",
        "Büste.jpg",
        unicodedata.normalize("NFD", "Büste.jpg"),
        "głowa",
        "が像.jpg",
        "a.jpg",
    }
    for row in corpus.table.to_pylist():
        for value in dict(row["groups"]).values():
            assert value in text


def test_excels_first_line_titles_and_empty_columns(tmp_path):
    text = (
        "sep=;\r\nInventory of 2024;;;;\r\n\r\nFile name ; Label;Figure;;\r\na.jpg;4.0;K1;;\r\nb.jpg;?;;;\r\n;;;;\r\n"
    )
    corpus = read(put(tmp_path, "a.jpg", "b.jpg"), text)
    assert labels(corpus) == {"a.jpg": "happiness", "b.jpg": ""}
    assert {row["figure_id"] for row in corpus.table.to_pylist()} == {"K1", "b.jpg"}
    assert corpus.notes["columns_read_as"] == {"File name": "path", "Figure": "figure_id"}
    for words in (
        "named in line 4",
        "File name as path, Figure as figure",
        "1 of 2 rows give no label",
        "1 of 2 rows give no figure",
    ):
        assert words in said(corpus)
    with pytest.raises(UserError, match="manifest.csv, line 5: 'joy' is no expression"):
        read(tmp_path, text.replace("4.0", "joy"))


def test_the_command_says_how_a_table_was_read(tmp_path):
    read(put(tmp_path, "a.jpg", "b.jpg"), "Inventory,2024\nphoto,rater 1,rater 2\nA.jpg,sad,sad\nb.jpg,sad,fear\n")
    found = CliRunner().invoke(main, ["corpus", "show", str(tmp_path)])
    lines = [line.strip() for line in found.stdout.splitlines()]
    for remark in ("columns were read as: photo as path", "1 name was matched without regard to case"):
        assert f"{tmp_path.name}: {remark}" in lines
    assert "agreement  kappa -0.333333, photographs 2, annotators 2" in lines


def test_which_column_names_the_files(tmp_path):
    put(tmp_path, "a.jpg", "b.jpg")
    corpus = read(tmp_path, "name,image,set\nKneeling archer,a.jpg,first pit\nGeneral,b.jpg,second pit\n")
    assert (corpus.notes["missing"], corpus.notes["groups"]) == (0, ["name", "set"])
    corpus = read(tmp_path, "Aufnahme,emotion,partition\nA,Surprised,train\nb,无表情,测试集\n")
    assert labels(corpus) == {"a.jpg": "surprise", "b.jpg": "neutral"}
    assert {row["split"] for row in corpus.table.to_pylist()} == {"train", "test"}
    with pytest.raises(UserError, match=r"'calm' is no expression.*rename the column 'emotion'"):
        read(tmp_path, "file,emotion\na.jpg,calm\n")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500, "older Excel .* save it as .xlsx"),
        (b"PK\x03\x04nothing", "no Excel workbook that can be read"),
        (b"<html><table><tr><td>path</td></tr></table></html>", "is a web page"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01", "is no text table"),
        (
            "path,museum\na.jpg,Köln\nb.jpg,Rhône, Saône, café\n".encode() + b"c.jpg,K\xf6ln\n",
            "line 4: a character is not UTF-8",
        ),
    ],
)
def test_what_is_no_table_is_one_sentence(tmp_path, data, words):
    with pytest.raises(UserError, match=f"manifest.csv.*{words}"):
        read(put(tmp_path, "a.jpg"), data)


# Excel, and which table of a folder


def workbook(place: Path, *rows: list, sheet: str = "photographs") -> openpyxl.Workbook:
    book = openpyxl.Workbook()
    book.active.append(["What this is", "of whom"])
    table = book.create_sheet(sheet)
    for row in rows:
        table.append(row)
    book.save(place)
    return book


def test_a_workbook_is_a_manifest(tmp_path):
    put(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    book = workbook(
        tmp_path / "Manifest.XLSX",
        ["文件名", "标签", "俑号", "年代"],
        [1, 4.0, "K1"],
        ["2.jpg", "愤怒"],
        [None],
        ["3.jpg", "-", "K2", -210],
    )
    corpus = open_corpus(str(tmp_path))
    assert labels(corpus) == {"1.jpg": "happiness", "2.jpg": "anger", "3.jpg": ""}
    assert corpus.notes["groups"] == ["年代"] and corpus.name == tmp_path.name
    assert {row["figure_id"] for row in corpus.table.to_pylist()} == {"K1", "2.jpg", "K2"}
    assert open_corpus(str(tmp_path / "Manifest.XLSX")).digest == corpus.digest
    book["photographs"].merge_cells("C2:C3")  # one figure of two photographs, as people write it
    book.save(tmp_path / "Manifest.XLSX")
    assert {row["figure_id"] for row in open_corpus(str(tmp_path)).table.to_pylist()} == {"K1", "K2"}
    book["photographs"]["B3"] = "joy"
    book.save(tmp_path / "Manifest.XLSX")
    with pytest.raises(UserError, match="Manifest.XLSX, sheet 'photographs', line 3: 'joy' is no expression"):
        open_corpus(str(tmp_path))
    corpus = read(tmp_path, "path,label\n1.jpg,fear\n")
    assert labels(corpus) == {"1.jpg": "fear"} and "Manifest.XLSX was not read: manifest.csv was" in said(corpus)


def test_a_workbook_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    workbook(put(tmp_path, "a.jpg") / "manifest.xlsx", ["path"], *(["a.jpg"] for _ in range(500)))
    monkeypatch.setattr(tables, "_MAX_UNPACKED", 20_000)
    with pytest.raises(UserError, match="manifest.xlsx unpacks to 0 MB, 0 are allowed: save it as CSV"):
        open_corpus(str(tmp_path))


def test_the_one_table_of_another_name_counts(tmp_path):
    put(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "readme.txt").write_text("Photographs by Ms Wang, who named them; see the file")
    corpus = read(tmp_path, "Datei;Expression\na.jpg;Happy\nb.jpg;Sad\n", "Fotos.csv")
    assert labels(corpus) == {
        "a.jpg": "happiness",
        "b.jpg": "sadness",
    } and "Fotos.csv was read as the folder's manifest" in said(corpus)
    corpus = read(tmp_path, "path,x_0,x_1\na.jpg,1,2\nb.jpg,1,2\n", "landmarks.csv")
    assert labels(corpus)["a.jpg"] == "happiness" and "landmarks.csv was not read" in said(corpus)
    corpus = read(tmp_path, "path,label\na.jpg,fear\nb.jpg,fear\n", "more.csv")
    assert corpus.notes[
        "layout"
    ] == "folder" and "Fotos.csv was not read: other tables describe the photographs too" in said(corpus)
    (tmp_path / "more.csv").unlink()
    corpus = read(tmp_path, "Datei;Expression\na.jpg;joyful\n", "Fotos.csv")
    assert corpus.notes["layout"] == "folder" and "'joyful' is no expression" in said(corpus)
    corpus = read(
        tmp_path, "face_id,path,fault,label\nx,a.jpg,,fear\ny,b.jpg,,\n", "Fotos.csv"
    )  # what the page of faces saves
    assert corpus.notes["layout"] == "folder"


# Names of files


def nfd(name: str) -> str:
    return unicodedata.normalize("NFD", name)


@pytest.mark.parametrize(
    ("written", "files", "found", "words"),
    [
        ("Büste.jpg", [nfd("Büste.jpg")], nfd("Büste.jpg"), "1 name was matched in another form of Unicode"),
        (nfd("が像.jpg"), ["が像.jpg"], "が像.jpg", "in another form of Unicode"),
        ("photos/a1.jpg", ["Photos/A1.JPG"], "Photos/A1.JPG", "without regard to case"),
        (r"C:\Users\wang\photos\a.jpg", ["a.jpg", "b.jpg"], "a.jpg", "by file name, in another folder"),
        (r"\\nas\share\pit 1\a.jpg", ["pit 1/a.jpg", "pit 2/a.jpg"], "pit 1/a.jpg", "in another folder"),
        ("file:///C:/Fotos/B%C3%BCste%201.jpg", ["Büste 1.jpg"], "Büste 1.jpg", "in another folder"),
        ("a.jpg", ["deep/er/a.jpg"], "deep/er/a.jpg", "in another folder"),
        ("K9901", ["K9901.jpg", "K9902.jpg"], "K9901.jpg", "without regard to the ending"),
        ("a.tif", ["a.jpg"], "a.jpg", "without regard to the ending"),
        ("Kopf 1.5", ["Kopf 1.5.jpg", "Kopf 1.jpg"], "Kopf 1.5.jpg", "without regard to the ending"),
        ("HERE/a.jpg", ["a.jpg"], "a.jpg", ""),
    ],
)
def test_names_are_matched_and_said(tmp_path, written, files, found, words):
    corpus = read(put(tmp_path, *files), f"path,label\n{written.replace('HERE', str(tmp_path))},fear\n")
    assert labels(corpus) == {found: "fear"}
    assert corpus.notes["missing"] == 0 and words in said(corpus) and ("matched" in said(corpus)) == bool(words)


def test_a_missing_photograph_never_becomes_another(tmp_path):
    files = ["fig2/front.jpg", "fig3/front.jpg", "b.jpg", "b.png", "c.jpg", ".hidden/d.jpg"]
    names = [
        "fig1/front.jpg",
        "fig2/front.jpg",
        "b.tif",
        "c.jpg",
        "c.png",
        "../../c.jpg",
        ".other/b.jpg",
        "x/e.jpg",
        "y/e.jpg",
    ]
    found = match(names, [*files, "e.jpg"])
    assert {name: m.path for name, m in found.items() if m.path} == {
        "fig2/front.jpg": "fig2/front.jpg",
        "c.jpg": "c.jpg",
    }
    assert not any(m.several for m in found.values())
    corpus = read(put(tmp_path, *files), "path\nfig1/front.jpg\n../secret.jpg\n/etc/passwd\n")
    assert corpus.notes["missing"] == 3 and "no name in the table is that of a file" in said(corpus)


@pytest.mark.parametrize(
    ("text", "files", "words"),
    [
        ("path\na\n", ["a.jpg", "a.png"], "line 2: a may be a.jpg, a.png; write the path"),
        ("path\nb.jpg\na.jpg\n", ["b.jpg", "x/a.jpg", "y/a.jpg"], "line 3: a.jpg may be x/a.jpg, y/a.jpg"),
        ("path\nA.JPG\n", ["a.jpg", "a.JPG"], "line 2: A.JPG may be a.JPG, a.jpg"),
        ("path\na.jpg\nA.jpg\n", ["a.jpg"], "line 3: a.jpg is there already in line 2"),
    ],
)
def test_a_name_of_two_files_is_one_sentence(tmp_path, text, files, words):
    with pytest.raises(UserError, match=f"manifest.csv, {words}"):
        read(put(tmp_path, *files), text)


def test_tidy_paths():
    for written in (r".\a\.\b.jpg", "./a//b.jpg", "a/c/../b.jpg", "file:a/b.jpg"):
        assert tidy(written) == "a/b.jpg"
    assert [tidy(p) for p in ("../a.jpg", "a/../../b", "/x/a", "file://host/x/a#1.jpg")] == [
        "../a.jpg",
        "../b",
        "/x/a",
        "/x/a#1.jpg",
    ]


@pytest.mark.parametrize("first", ["sep=\r\n", 'sep="\n'])
def test_a_first_line_that_names_no_separator(tmp_path, first):
    assert labels(read(put(tmp_path, "a.jpg"), f"{first}path,label\na.jpg,Happy\n")) == {"a.jpg": "happiness"}


# Several annotators


def test_annotators_in_columns(tmp_path):
    put(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    head = "path,标注者1,标注者2,标注者3,pit 1,pit 2\n"
    corpus = read(tmp_path, head + "a.jpg,高兴,高兴,中性,1,2\nb.jpg,害怕,惊讶,-,1,1\nc.jpg,4+1,4,1,7,7\n")
    assert labels(corpus) == {"a.jpg": "happiness", "b.jpg": "", "c.jpg": ""}
    assert corpus.notes["groups"] == ["pit 1", "pit 2"]  # numbers of something else
    assert (
        corpus.notes["tied"] == ["b.jpg: surprise, fear", "c.jpg: surprise, happiness"]
        and corpus.notes["annotators"] == 3
    )
    assert "annotators tie on 2 photographs (2 left without a label): b.jpg (surprise, fear)" in said(corpus)
    with pytest.raises(UserError, match="line 2: '高行' is no expression"):
        read(tmp_path, head + "a.jpg,高行,高兴,中性,1,2\n")
    for first, second in (
        ("Annotator_A", "Annotator_B"),
        ("rater 1", "Rater 2"),
        ("vote1", "vote2"),
        ("Wang A", "Wang B"),
    ):
        corpus = read(tmp_path, f"path,{first},{second}\na.jpg,fear,Fearful\n")
        assert labels(corpus) == {"a.jpg": "fear"} and corpus.notes["groups"] == []


def test_annotators_in_rows(tmp_path):
    put(tmp_path, "a.jpg", "b.jpg")
    head = "photo,rater,emotion,figure,date,material\n"
    rows = (
        "a.jpg,Li,happy,K1,May,clay\nA.JPG,Wu,sad,K1,June,clay\na.jpg,Wu,happy,K1,June,clay\n"
        "b.jpg,Li,fear,K2,May,stone\n"
    )
    corpus = read(tmp_path, head + rows)
    assert labels(corpus) == {"a.jpg": "happiness", "b.jpg": "fear"}
    assert {row["figure_id"] for row in corpus.table.to_pylist()} == {"K1", "K2"} and corpus.notes["groups"] == [
        "material"
    ]
    assert "date differ between the rows of one photograph" in said(corpus)
    for more, words in (
        ("b.jpg,Li,fear,K2,May,stone\n", "line 6: Li named this label of b.jpg in an earlier line too"),
        ("b.jpg,Wu,fear,K1,May,stone\n", "line 6: the figure of b.jpg is 'K1' here and 'K2' in line 5"),
        ("b.jpg,Wu,joy,K2,May,stone\n", "line 6: 'joy' is no expression"),
    ):
        with pytest.raises(UserError, match=words):
            read(tmp_path, head + rows + more)


def test_annotators_votes_in_rows(tmp_path):
    corpus = read(
        put(tmp_path, "a.jpg", "b.jpg"), "path,rater,vote\na.jpg,Li,happy\na.jpg,Wu,sad+happy\nb.jpg,Li,fear\n"
    )
    assert labels(corpus) == {"a.jpg": "happiness", "b.jpg": "fear"} and corpus.notes["annotators"] == 2


FLEISS = """0 0 0 6 0; 0 3 0 0 3; 0 1 4 0 1; 0 0 0 0 6; 0 3 0 3 0; 2 0 4 0 0; 0 0 4 0 2; 2 0 3 1 0; 2 0 0 4 0; 0 0 0 0 6
    1 0 0 5 0; 1 1 0 4 0; 0 3 3 0 0; 1 0 0 5 0; 0 2 0 3 1; 0 0 5 0 1; 3 0 0 1 2; 5 1 0 0 0; 0 2 0 4 0; 1 0 2 0 3
    0 0 0 0 6; 0 1 0 5 0; 0 2 0 1 3; 2 0 0 4 0; 1 0 0 4 1; 0 5 0 1 0; 4 0 0 0 2; 0 2 0 4 0; 1 0 5 0 0; 0 0 0 0 6"""


def test_fleiss_own_example():
    """Thirty patients, six psychiatrists, five diagnoses: Fleiss (1971), table 1, kappa 0.430."""
    counts = [[int(n) for n in row.split()] for line in FLEISS.splitlines() for row in line.split(";")]
    votes = [[frozenset([k + 1]) for k, n in enumerate(row) for _ in range(n)] for row in counts]
    found = agreement(votes, [str(k) for k in range(30)])
    assert found and round(found.kappa, 3) == 0.430 and (found.photographs, found.annotators) == (30, 6)
    assert found.low is not None and found.high is not None and 0.25 < found.low < 0.43 < found.high < 0.60
    of_one_figure = agreement([v for v in votes for _ in range(2)], [str(k) for k in range(30) for _ in range(2)])
    assert of_one_figure and (of_one_figure.low, of_one_figure.high) == pytest.approx((found.low, found.high))


def test_agreement_of_few_or_unequal_annotators():
    one, two = frozenset([1]), frozenset([2])
    assert agreement([[one], [two]], ["a", "b"]) is None and agreement([[one, one]], ["a"]) is None
    found = agreement([[one, one], [two, two, two], [one]], ["a", "b", "c"])
    assert found and (found.kappa, found.low, found.photographs, found.annotators) == (1.0, None, 2, 3)
    # Who names two labels names one of them at random: the other annotator agrees half the time.
    split = agreement([[one | two, one], [two, two]], ["a", "b"])
    assert split and split.kappa == pytest.approx((0.75 - 0.53125) / (1 - 0.53125), abs=1e-6)


# OpenFace


def test_openface_as_it_writes_and_as_people_save_it(tmp_path):
    put(tmp_path, "Deep/A.JPG", "b.jpg")
    units = ";".join(f" {unit.lower()}_R" for unit in ACTION_UNITS)
    row = ";".join("1.5" for _ in ACTION_UNITS)
    image = r"C:\x\deep\a.jpg"
    lines = [
        "sep=;",
        f"File; FACE; Success;{units}",
        f"{image};1;1;{row.replace('1', '2')}",
        f"{image};0;1;{row}",
        ";;",
        f"B;0;1;{row}",
    ]
    text = "\r\n".join(lines)
    corpus = read(tmp_path, text.encode("utf-16"), "OpenFace.CSV")
    assert corpus.notes["openface_unmatched"] == 0 and "passed over" not in said(corpus)
    assert [row["action_units"] for row in corpus.table.to_pylist()] == [[1.5] * 17] * 2
