"""Two recognisers on the same photographs, and groups of figures as one recogniser reads them; the page in Chinese."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from paper_data import CONFIG, Made, answers, inputs_in, make_tables, read_warriors
from report_pages import Page

from twfer_dist.recognition.recogniser import name_of
from twfer_dist.study.paper.numbers import PaperInputs
from twfer_dist.study.paper.paired import same_photographs


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    out = str(tmp_path_factory.mktemp("out"))
    return make_tables(out, inputs_in(out))


def test_both_recognisers_are_compared_on_the_same_photographs(made: Made) -> None:
    """ARM-1 beside ARM of people, on what neither has seen; the difference from every photograph's two answers."""
    told = made.content["same_photographs"]
    new = [{row["image_id"]: row for row in read_warriors(made, role)[False] if row["label"]}
        for role in ("arm_people", "arm_1")]  # fmt: skip
    ids = sorted(new[0].keys() & new[1].keys())
    people, animated = (np.array([rows[i]["predicted"] == rows[i]["label"] for i in ids]) for rows in new)
    figures = [f"{new[0][i]['corpus']}/{new[0][i]['figure_id']}" for i in ids]
    assert told["right_people"]["k"] == people.sum() and told["right_animated"]["k"] == animated.sum()
    assert told["right_people"]["n"] == len(ids) and told["right_people"]["figures"] == len(set(figures))
    gained = animated.astype(float) - people
    assert told["difference"] == pytest.approx(gained.mean(), abs=1e-6)
    spread = np.std([gained[np.array(figures) == name].sum() for name in set(figures)], ddof=1)
    half = 2 * spread * np.sqrt(len(set(figures))) / len(ids)
    assert told["high"] - told["low"] == pytest.approx(2 * half, rel=0.15)
    assert f"{100 * told['difference']:+.1f} points" in made.page
    assert "does harm here." in made.page  # the drawn recogniser of people is the better one


def test_a_recogniser_without_warriors_is_not_compared(made: Made) -> None:
    inputs = made.inputs
    assert inputs.faces
    warriors = inputs.faces["warriors"]

    def without(*roles: str) -> PaperInputs:
        left_out = [answer for role in roles for answer in inputs.answers(inputs.models[role], warriors)]
        return replace(inputs, predictions=[p for p in inputs.predictions if p not in left_out])

    told = same_photographs(without("arm_1"))
    assert told and told.animated == name_of(inputs.models["arm_2"])
    assert same_photographs(without("arm_people", "resnet18_people")) is None


def test_groups_of_figures_are_compared_as_one_reader_sees_them(made: Made) -> None:
    """ARM-1's answers to warriors and to Han figures: counts from Parquet, in every format, and on the page."""
    faces = made.inputs.faces
    assert faces and (told := made.content["compared"])
    assert told["groups"] == ["Warriors", "Han figures"] and 0 < told["test"]["p"] <= 1
    read = [[row["predicted"] for row in answers(made, "arm_1", faces[name], "faces")] for name in ("warriors", "han")]
    (pair,) = told["effect"]["pairs"]
    for number, found in enumerate(pair["expressions"], start=1):
        k = [predicted.count(number) for predicted in read]
        assert (found["first_k"], found["first_n"]) == (k[0], 60) and (found["second_k"], found["second_n"]) == (
            k[1],
            21,
        )
        assert found["difference"] == pytest.approx(k[0] / 60 - k[1] / 21, abs=1e-6)
    folder = Path(made.tables.path("tables"))
    stored = pq.read_table(folder / "differences.parquet").to_pylist()
    assert [row["difference"] for row in stored] == [found["difference"] for found in pair["expressions"]]
    assert "\\toprule" in (folder / "differences.tex").read_text() and (folder / "tables.xlsx").is_file()
    assert "Han figures" in made.page.split("all read by ARM")[0][-60:] and "Cramér’s V" in made.page


def test_the_chinese_page_says_the_same_in_chinese(made: Made, tmp_path: Path) -> None:
    config = replace(CONFIG, language="zh", people_are="人", warriors_are="俑")
    chinese = make_tables(str(tmp_path), made.inputs, config)
    assert chinese.content["tables"] == made.content["tables"] and chinese.content["answer"] == made.content["answer"]
    shares = [re.findall(r"<b>([\d.]+)\s*%</b>", one.page) for one in (made, chinese)]
    assert shares[0] == shares[1] and len(shares[0]) > 100
    text = re.sub(r"<(pre|code|style|td class=\"path\").*?</", "", chinese.page, flags=re.DOTALL)
    assert not re.findall(r"[a-z]{2,}(?: [a-z]{2,}){2,}", "".join(Page(text).words))
