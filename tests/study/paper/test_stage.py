"""The paper's tables on outputs of known content: each number of the page is computed again from Parquet."""

import html
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from paper_data import CONFIG, HELD_OUT, SKILLS, Made, answers, inputs_in, make_tables, read_warriors
from scipy import optimize

from twfer_dist.core.errors import UserError
from twfer_dist.core.intervals import Z, share, simultaneous
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine.stage import run_stage
from twfer_dist.study.paper.numbers import PaperInputs
from twfer_dist.study.paper.stage import KIND, paper_spec


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    out = str(tmp_path_factory.mktemp("out"))
    return make_tables(out, inputs_in(out))


def shown_as(hits: list[bool], rows: list[dict[str, Any]], z: float = Z) -> str:
    """A share as a cell shows it: counts, and the interval over figures."""
    figures = [f"{row['corpus']}/{row['figure_id']}" for row in rows]
    names = sorted(set(figures))
    k, n = (np.array([sum(h for h, f in zip(values, figures, strict=True) if f == name) for name in names])
        for values in (hits, [True] * len(rows)))  # fmt: skip
    found = share(k, n, z)
    return f"{found.k:,} of {found.n:,}: {100 * found.low:.1f} to {100 * found.high:.1f}"


def scores_of(rows: list[dict[str, Any]]) -> list[tuple[str, float]]:
    """The cells of a column: the accuracy on each expression, then on all images, with their values."""
    labelled = [row for row in rows if row["label"]]
    parts = [*([row for row in labelled if row["label"] == label] for label in range(1, 8)), labelled]
    hits = [[row["predicted"] == row["label"] for row in part] for part in parts]
    return [(shown_as(h, part), sum(h) / len(h)) for h, part in zip(hits, parts, strict=True) if part]


def of_tables(made: Made) -> list[list[tuple[str, float]]]:
    """The scores of each column of Tables 1 to 6, computed from the Parquet tables."""
    columns = []
    for role in SKILLS:
        rows = answers(made, role, made.inputs.dataset_of(role), ".")
        columns += [
            scores_of([row for row in rows if row["split"] == split])
            for split in ("train", "validation", "test")
            if any(row["split"] == split for row in rows)
        ]
    for role in SKILLS:
        columns += [scores_of(rows) for rows in read_warriors(made, role).values() if rows]
    return columns


def of_intensities(made: Made) -> list[str]:
    """The accuracy on the animated test images of each intensity, for Tables 4 to 6."""
    cells = []
    for role in SKILLS:
        rows = [row for row in answers(made, role, made.inputs.dataset_of(role), ".") if row["split"] == "test"]
        for step in sorted({row["intensity"] for row in rows if row["intensity"]}):
            of_step = [row for row in rows if row["intensity"] == step]
            cells.append(shown_as([row["predicted"] == row["label"] for row in of_step], of_step))
    return cells


def of_groups(made: Made) -> list[str]:
    """The answers of ARM-1 and the labels by group: all warriors, then each posture; Han figures have no labels."""
    assert made.inputs.faces
    rows = answers(made, "arm_1", made.inputs.faces["warriors"], "faces")
    by_posture: dict[str, list[dict[str, Any]]] = {"": rows}
    for row in rows:
        by_posture.setdefault(dict(row["groups"])["posture"], []).append(row)
    cells = [(group, column) for group in by_posture.values() for column in ("predicted", "label")]
    cells.append((answers(made, "arm_1", made.inputs.faces["han"], "faces"), "predicted"))
    return [
        shown_as([row[column] == label for row in group], group, simultaneous(7))
        for group, column in cells
        for label in range(1, 8)
    ]


def test_every_share_on_the_page_is_computed_again(made: Made) -> None:
    cells = re.findall(r"<span>([\d,]+ of [\d,]+)</span> <span>([\d.]+ to [\d.]+)</span>", made.page)
    shown = [f"{counts}: {interval}" for counts, interval in cells]
    expected = [cell for column in of_tables(made) for cell, _ in column] + of_groups(made)
    expected += of_intensities(made)
    assert Counter(shown) == Counter(expected) and len(shown) > 150
    shares = re.findall(r"<b>([\d.]+)\xa0%</b> <span>(\d+) of (\d+)</span>", made.page)
    assert all(abs(float(share) - 100 * int(k) / int(n)) < 0.051 for share, k, n in shares)


def shares_behind(answers: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """The shares (7,) of expressions that most nearly give these shares of answers (7,), by errors of these counts."""
    rates = errors / errors.sum(1, keepdims=True)
    found = optimize.minimize(
        lambda p: (((answers - rates.T @ p) ** 2) / np.maximum(answers, 1e-3)).sum(),
        np.full(7, 1 / 7),
        bounds=[(0, 1)] * 7,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
        options={"ftol": 1e-12, "maxiter": 1000},
    )
    assert found.success
    return found.x


def test_corrected_shares_are_computed_again(made: Made) -> None:
    (warriors,) = (group for group in made.content["shares"] if group["group"] == "warriors")
    assert made.inputs.faces and warriors["corrected_by"] == "held-out images and labelled faces"
    rows = answers(made, "arm_1", made.inputs.faces["warriors"], "faces")
    errors = np.array(HELD_OUT["confusion"])
    np.add.at(errors, tuple(np.array([(row["label"] - 1, row["predicted"] - 1) for row in rows]).T), 1)
    answered = np.bincount([row["predicted"] - 1 for row in rows], minlength=7) / len(rows)
    expected = shares_behind(answered, errors)
    assert [e["corrected"]["corrected"] for e in warriors["expressions"]] == pytest.approx(expected, abs=5e-4)
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", made.page)).split())
    for expression in warriors["expressions"]:
        share, low, high = (100 * expression["corrected"][key] for key in ("corrected", "low", "high"))
        assert low <= share <= high and f"{share:.1f} % {low:.1f} to {high:.1f}" in text


def test_both_averages_are_computed_again(made: Made) -> None:
    shown = [float(value) for value in re.findall(r"<b>([\d.]+)</b> <span>\d expressions", made.page)]
    means = [np.mean([value for _, value in column[:-1]]) for column in of_tables(made)]
    assert sorted(shown) == pytest.approx(sorted(means), abs=0.0006)


def test_confusion_matrices_are_computed_again(made: Made) -> None:
    for table in made.content["tables"]:
        rows = answers(made, table["role"], made.inputs.dataset_of(table["role"]), ".")
        counts = Counter((row["label"], row["predicted"]) for row in rows if row["split"] == "test")
        assert table["confusion"] == [[counts[truth, given] for given in range(1, 8)] for truth in range(1, 8)]


def test_the_papers_figures_stand_where_they_belong(made: Made) -> None:
    by_number = {table["number"]: table for table in made.content["tables"]}
    assert set(by_number) == {1, 2, 4, 5, 6}
    assert by_number[2]["paper"]["test"] == dict.fromkeys(EXPRESSIONS) | {"average": 0.901, "class_mean": 0.824}
    assert [made.page.count(f"<b>{figure}</b>") for figure in ("90.1\xa0%", "0.824", "21.6\xa0%")] == [1, 1, 1]
    accuracy, balanced = (
        next(line for line in made.page.split("<tr") if name in line and figure in line)
        for name, figure in (("share of images", "90.1"), ("mean of the expressions", "0.824"))
    )
    assert (
        "not transcribed" not in accuracy + balanced
    )  # of Table 2, which has figures; its other columns have one cell


def test_unknown_cells_say_so_and_absent_tables_too(made: Made) -> None:
    text = html.unescape(re.sub(r"<[^>]+>", " ", made.page))
    assert text.count("not transcribed") > 20
    assert text.count("This run has no such table.") == 2  # Table 7 and fine-tuning
    assert "In their place stand drawn faces (for RAF-DB)" in text and "60 warriors" not in text
    for sentence in ("2,670 or 2,690", "15,730 and 2,960 images (84 and 16\xa0%)", "Three kinds of average"):
        assert sentence in text


def test_a_completed_copy_of_the_figures_is_shown(made: Made, tmp_path: Path) -> None:
    file = tmp_path / "figures.yaml"
    file.write_text(yaml.safe_dump({"source": "my reading", "tables": {"table_5": {"test": {"fear": 0.123}}}}))
    own = run_stage(paper_spec(made.inputs, CONFIG, str(file)), str(tmp_path), quiet=True)
    page = Path(own.path("paper.html")).read_text()
    assert "12.3\xa0%" in page and "my reading" in page and own.digest != made.tables.digest


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            {"tabels": {}},
            "there is no 'tabels'; it has source, tables, shares, finetuned_below; did you mean 'tables'?",
        ),
        ({"tables": {"table_5": {"tset": {}}}}, "table_5: there is no 'tset'"),
        ({"tables": {"table_5": {"test": {"fear": 12.3}}}}, "'fear' is 12.3; write a number from 0 to 1, or nothing"),
        ({"shares": {"han": {"fear": True}}}, "'fear' is True"),
        ({"shares": ["han"]}, "write `name: value` lines"),
    ],
)
def test_a_wrong_figure_is_one_sentence(made: Made, tmp_path: Path, content: dict, sentence: str) -> None:
    file = tmp_path / "figures.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=re.escape(sentence)) as caught:
        paper_spec(made.inputs, CONFIG, str(file))
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)


def test_answers_and_data_sets_that_are_missing_are_named(made: Made, tmp_path: Path) -> None:
    without = PaperInputs(made.inputs.models, made.inputs.datasets, made.inputs.predictions[3:], made.inputs.faces)
    with pytest.raises(UserError, match="no answers of 'resnet18_people' to its own data set"):
        run_stage(paper_spec(without, CONFIG), str(tmp_path), quiet=True)
    without = PaperInputs(made.inputs.models, made.inputs.datasets[:1], made.inputs.predictions)
    with pytest.raises(UserError, match="The data set of 'resnet18_animated', .* is not among 'datasets'"):
        run_stage(paper_spec(without, CONFIG), str(tmp_path), quiet=True)
    assert {key.name for key in KIND.inputs} >= {*SKILLS, "finetuned", "warriors", "postures", "han", "american"}
