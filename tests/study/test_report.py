"""The report: one page that loads nothing and escapes everything, and the same numbers for machines."""

import re
from pathlib import Path

import pytest
from report_pages import Page, csv_of, html_of, json_of, report_on, words_of, write_report
from study_tables import (
    NASTY,
    World,
    answer_to,
    make_animated,
    make_faces,
    make_predictions,
    make_sweep,
    make_training,
    output,
)

from twfer_dist.core.schema import ANIMATED, FACES, PREDICTIONS
from twfer_dist.core.status import LOW_QUALITY, OK
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.recognition.recogniser import name_of
from twfer_dist.recognition.train_config import TrainConfig
from twfer_dist.study.figures import animated_strips
from twfer_dist.study.inputs import NEW, SEEN
from twfer_dist.study.report import ReportConfig, report_spec


def test_page_is_complete_and_loads_nothing(report: Artifact) -> None:
    html, words = html_of(report), words_of(report)
    page = Page(html)
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object", "base", "form")]
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("data:image/jpeg;base64,", "#")), attributes
    assert "url(" not in html and "@import" not in html
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 12 + 2 * (1 + 7) + 17 * 12 and all(attributes["alt"] for attributes in images)
    for heading in ("The faces", "Which expressions", "Animated faces", "How often", "Where this comes from"):
        assert heading in words
    article = [html.index(f'id="{part}"') for part in ("answer", "faces", "unknown", "animated", "made")]
    assert article == sorted(article)
    assert "Face detector drawn 1: by hand. It examined 61 photographs and found 60 faces." in words
    assert "336 of 336 training images" in words


def test_page_escapes_what_strangers_wrote(report: Artifact) -> None:
    html = html_of(report)
    assert "<script" not in html and "alert(1)" in html
    assert f"{NASTY} ends early" in " ".join(Page(html).words)


def test_no_percentage_without_k_of_n(report: Artifact) -> None:
    words = words_of(report)
    interval = r"95 % (interval|confidence)|[\d.]+ %\)|[\d.]+ % [\d.]+ to [\d.]+ model"
    corrected = r"|[\d.]+ % of the faces \(95 % interval"
    shares = [m for m in re.finditer(r"([\d.]+) %", words) if not re.match(interval + corrected, words[m.start() :])]
    assert len(shares) > 150
    for m in shares:
        before, after = words[max(0, m.start() - 40) : m.start()], words[m.end() : m.end() + 40]
        numbers = re.match(r" ([\d,]+) of ([\d,]+) [\d.]+ to [\d.]+", after)
        numbers = numbers or re.search(r"([\d,]+) of ([\d,]+)(?: faces| figures)? \($", before)
        assert numbers, words[m.start() - 60 : m.end() + 60]
        k, n = (int(v.replace(",", "")) for v in numbers.groups())
        assert float(m.group(1)) == pytest.approx(100 * k / n, abs=0.051)


def test_numbers_are_written_for_machines_too(report: Artifact) -> None:
    study = json_of(report)
    assert study["model"] == "ARM" and "first by name" in study["model_rule"]
    assert study["photographs"]["status"] == {"no_face": 1, OK: 60, "unreadable": 1}
    on_photographs = {(s["model"], s["split"]): s for s in study["accuracy"][1]["scores"]}
    assert on_photographs["ARM", SEEN]["accuracy"]["n"] == 12 and on_photographs["ARM", NEW]["accuracy"]["n"] == 48
    assert [g["column"] for g in study["groups"] if g["values"]] == ["posture"]
    scores = {(r["model"], r["split"], r["of"]): r for r in csv_of(report, "accuracy.csv")}
    arm = scores["ARM", "test", "accuracy"]
    assert int(arm["k"]) / int(arm["n"]) == pytest.approx(float(arm["value"]), abs=1e-6)
    assert float(scores["ARM", "test", "balanced accuracy"]["value"]) > 0
    confusion = [r for r in csv_of(report, "confusion.csv") if (r["model"], r["split"]) == ("ARM", "test")]
    assert sum(int(row[name]) for row in confusion for name in EXPRESSIONS) == int(arm["n"])


def test_the_model_with_the_best_validation_is_shown(world: World, tmp_path: Path) -> None:
    out, networks = str(tmp_path), {"arm": 20, "resnet18": 24}
    trainings = [
        make_training(out, world.dataset, TrainConfig(network=network, size=96, epochs=2), right)  # type: ignore[arg-type]
        for network, right in networks.items()
    ]
    predictions = [make_predictions(out, [world.dataset, world.faces], name_of(t), 0.7) for t in trainings]
    models = [*trainings, make_sweep(out, world.dataset)]
    report = report_on(out, world.faces, *predictions, datasets=[world.dataset], models=models)
    study = json_of(report)
    assert study["model"] == name_of(trainings[1]) and "best balanced accuracy" in study["model_rule"]
    assert [r["test"] for r in study["recognisers"]] == [{"k": 140, "n": 224}, {"k": 168, "n": 224}]
    best = study["sweeps"][0]["trials"][0]
    assert best["number"] == 2 and (best["accuracy"]["k"], best["accuracy"]["n"]) == (84, 112)
    words = words_of(report)
    assert "168 of 224 correct" in words and "75.0 % 84 of 112" in words


def test_the_same_inputs_give_the_same_bytes(world: World, report: Artifact, tmp_path: Path) -> None:
    assert write_report(world, str(tmp_path)).digest == report.digest


def test_formulas_in_group_names_are_quoted_in_csv(tmp_path: Path) -> None:
    rows = [
        {
            "image_id": f"i{k:04d}",
            "model": "m",
            "figure_id": f"s{k}",
            "corpus": "c",
            "groups": [("posture", "=HYPERLINK(1)" if k % 2 else "-civil")],
            "predicted": k % 3 + 1,
            "status": OK,
            "confidence": 0.5,
            "probabilities": [1 / 7] * 7,
        }
        for k in range(12)
    ]
    predictions = output(str(tmp_path), "predict", {".": (PREDICTIONS, rows)})
    report = run_stage(report_spec([predictions], config=ReportConfig()), str(tmp_path), quiet=True)
    assert {row["group"] for row in csv_of(report, "groups.csv")} == {"all", "'=HYPERLINK(1)", "'-civil"}


def test_every_link_leads_to_a_section(tmp_path: Path) -> None:
    faces = make_faces(str(tmp_path), figures=9, labelled=False)
    report = report_on(str(tmp_path), faces, make_predictions(str(tmp_path), [faces], "ARM", 0.9))
    html = html_of(report)
    links = set(re.findall(r'href="#([^"]+)"', html))
    assert links and links <= set(re.findall(r' id="([^"]+)"', html))
    assert "no interval is claimed for what the faces show" in words_of(report)
    assert "<summary>AU09 nose wrinkled 4.0</summary>" in html  # the Action Unit of one of the faces, with its name


def test_refused_faces_look_refused_and_get_no_answer(tmp_path: Path) -> None:
    faces = make_faces(str(tmp_path), figures=9)
    rows = []
    for number, face in enumerate(faces.table("faces", FACES).to_pylist()):
        status = [LOW_QUALITY, "out_of_distribution", OK][number % 3]
        answer = {} if status == LOW_QUALITY else answer_to(face["label"], number, 1.0)
        error = f"{face['path']}: The face is too small." if status == LOW_QUALITY else ""
        kept = {key: face[key] for key in ("figure_id", "corpus", "label", "groups")}
        rows.append({**kept, **answer, "image_id": face["face_id"], "model": "ARM", "status": status, "error": error})
    predictions = output(str(tmp_path), "predict", {".": (PREDICTIONS, rows)}, [faces])
    html = html_of(report_on(str(tmp_path), faces, predictions))
    accepted, uncertain, refused = (
        re.findall(rf'<figure class="{kind}">.*?</figure>', html, re.DOTALL)
        for kind in ("accepted", "uncertain", "refused")
    )
    assert (len(accepted), len(uncertain), len(refused)) == (3, 3, 3)
    assert all(' first"><span>' in card and "lip corner" not in card.partition("<details")[0] for card in accepted)
    assert not any(' first"><span>' in card for card in uncertain)  # no bar stands out as if it were the answer
    assert all('class="units"' not in card and "The face is too small." in card for card in refused)


def test_animated_figures_of_two_corpora_may_share_an_id(tmp_path: Path) -> None:
    faces = [make_faces(str(tmp_path / corpus), corpus=corpus, figures=2) for corpus in ("a", "b")]
    rows = [row for one in faces for row in make_animated(one.uri, one).table(".", ANIMATED).to_pylist()]
    animated = output(str(tmp_path), "animate", {".": (ANIMATED, sorted(rows, key=lambda row: row["image_id"]))}, faces)
    assert len(animated_strips([animated], faces, 6)) == 4
