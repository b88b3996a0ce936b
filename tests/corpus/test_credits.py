"""What a manifest says about photographers, licences and sources; it groups nothing and decides the digest."""

from pathlib import Path

from corpus_files import put, read, rows

from twfer_dist.core.credit import Credit
from twfer_dist.core.schema import photo_id
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.engine.config import package_path


def test_credits_are_read_by_usual_names(tmp_path: Path) -> None:
    folder = put(tmp_path / "c", "a.jpg", "b.jpg")
    table = "path,Photographer,License,source,URL,posture\na.jpg,A. N.,CC BY 4.0,The book,https://x.org/a,kneeling\nb.jpg,-,,,,civil\n"
    corpus = read(folder, table)
    assert corpus.credits == {photo_id("c", "a.jpg"): Credit("A. N.", "CC BY 4.0", "The book", "https://x.org/a")}
    assert corpus.notes["groups"] == ["posture"] and corpus.notes["credited"] == 1
    assert {row["figure_id"] for row in rows(corpus).values()} == {"a.jpg", "b.jpg"}  # a source is no figure here
    assert read(folder, table.replace("A. N.", "B. N.")).digest != corpus.digest


def test_a_source_without_rights_is_a_figure(tmp_path: Path) -> None:
    corpus = read(put(tmp_path / "c", "a.jpg", "b.jpg"), "path,source\na.jpg,G8\nb.jpg,G8\n")
    assert {row["figure_id"] for row in rows(corpus).values()} == {"G8"} and not corpus.credits
    corpus = read(put(tmp_path / "d", "a.jpg"), "path,figure,source,照片来源,许可\na.jpg,G8,book,x,CC0\n")
    assert next(iter(corpus.credits.values())) == Credit("", "CC0", "book") and corpus.notes["figures"] == 1


def test_the_terracottas_of_the_package_are_credited() -> None:
    corpus = open_corpus(package_path("package:demo/terracottas"))
    assert corpus.notes["credited"] == corpus.notes["photographs"] == corpus.notes["figures"] == 12
    (credit,) = set(corpus.credits.values())
    assert credit.is_demanded and "Ferruzza" in credit.line and "CC BY 4.0" in credit.line and credit.link
