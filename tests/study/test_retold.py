"""Sentences of earlier stages in another language: known ones are told, their values kept, and none has gone astray."""

import ast
import re
from pathlib import Path

import pytest

import twfer_dist
from twfer_dist.core.language import use_language
from twfer_dist.study.retold import SENTENCES, retold

PACKAGE = Path(twfer_dist.__file__).parent


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("a: b.jpg: The face is too blurred: its sharpness is 0.1, and 0.2 is needed.", "清晰度为0.1，至少需要0.2。"),
        ("No Action Units are given. The face's points were not found.", "未给出动作单元。未找到该面孔的特征点。"),
        (
            "yale: 29 of 88 rows give no label (the field is empty, -, ?, n/a or unknown)",
            "yale: 88行中有29行未给出label",
        ),
        ("x: 3 files were ignored: 2 .csv, 1 README.md", "x: 忽略了3个文件：2 .csv, 1 README.md"),
        ("ours 1.5 (no YuNet model file is given or cached; the best that a package carries)", "ours 1.5 (未提供"),
    ],
)
def test_known_sentences_are_told_with_their_values(written: str, told: str) -> None:
    assert retold(written) == written
    with use_language("zh"):
        assert told in retold(written)


def test_other_sentences_stay_as_they_are() -> None:
    with use_language("zh"):
        assert retold("a museum's own words: 3 files.") == "a museum's own words: 3 files."


def test_every_sentence_is_still_written_by_a_stage() -> None:
    """All the words of each sentence stand in the string literals of one module."""
    modules = [strings(path) for path in PACKAGE.rglob("*.py") if path.name != "retold.py"]
    for sentence in SENTENCES:
        words = re.findall(r"[A-Za-z']{4,}", re.sub(r"\{\w+\}", "", sentence))
        assert any(all(word in text for word in words) for text in modules), sentence


def strings(path: Path) -> str:
    nodes = ast.walk(ast.parse(path.read_text()))
    return " ".join(n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str))
