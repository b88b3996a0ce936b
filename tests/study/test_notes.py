"""Notes on how photographs were found and read."""

import re
from pathlib import Path

from report_pages import report_on, words_of
from study_tables import make_faces, make_predictions, output

from twfer_dist.core.schema import FACES, PHOTOGRAPHS


def test_notes_are_on_the_page(tmp_path: Path) -> None:
    drawn = make_faces(str(tmp_path), figures=9)
    photographs, rows = drawn.table("photographs", PHOTOGRAPHS).to_pylist(), drawn.table("faces", FACES).to_pylist()
    for row in photographs[:2]:
        row["note"] = "The first of 3 pages was read."
    rows[0]["note"] = "Found in the photograph turned by 90 degrees."
    tables = {"photographs": (PHOTOGRAPHS, photographs), "faces": (FACES, rows)}
    remark = "warriors: 13 files were ignored: notes.txt and 12 of other kinds"
    corpora = {"warriors": {"remarks": [remark]}, "others": {}}
    faces = output(str(tmp_path), "faces", tables, detector="drawn", corpora=corpora)
    words = words_of(report_on(str(tmp_path), faces, make_predictions(str(tmp_path), [faces], "ARM", 0.9)))
    assert remark + "." in words
    assert re.search(r"The first of 3 pages was read\. \(warriors: [^)]* and 1 more\)", words)
    assert "Found in the photograph turned by 90 degrees. (warriors:" in words
