"""Which table of a folder is its manifest."""

from pathlib import Path

from corpus_files import labels, put, read, remarks


def test_the_only_useful_table_is_the_manifest(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "readme.txt").write_text("Photographs by Ms Wang, who named them; see the file")
    corpus = read(tmp_path, "Datei;Expression\na.jpg;Happy\nb.jpg;Sad\n", "Fotos.csv")
    assert labels(corpus) == {
        "a.jpg": "happiness",
        "b.jpg": "sadness",
    } and "Fotos.csv was read as the folder's manifest" in remarks(corpus)
    corpus = read(tmp_path, "path,x_0,x_1\na.jpg,1,2\nb.jpg,1,2\n", "landmarks.csv")
    assert labels(corpus)["a.jpg"] == "happiness" and "landmarks.csv was not read" in remarks(corpus)
    corpus = read(tmp_path, "path,label\na.jpg,fear\nb.jpg,fear\n", "more.csv")
    assert corpus.notes[
        "layout"
    ] == "folder" and "Fotos.csv was not read: other tables describe the photographs too" in remarks(corpus)
    (tmp_path / "more.csv").unlink()
    corpus = read(tmp_path, "Datei;Expression\na.jpg;joyful\n", "Fotos.csv")
    assert corpus.notes["layout"] == "folder" and "'joyful' is not an expression" in remarks(corpus)
    corpus = read(
        tmp_path, "face_id,path,fault,label\nx,a.jpg,,fear\ny,b.jpg,,\n", "Fotos.csv"
    )  # what the page of faces saves
    assert corpus.notes["layout"] == "folder"
