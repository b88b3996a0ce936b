"""The report: one page that loads nothing and escapes everything, and the same numbers for machines."""

import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest
import study_tables
from study_tables import NASTY, make_faces, make_predictions, make_sweep, make_training, output

from twfer_dist.core.schema import PREDICTIONS
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.recognition.training import TrainConfig
from twfer_dist.study.report import ReportConfig, report_job
from twfer_dist.study.report_data import NEW, SEEN


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return study_tables.make_world(str(tmp_path_factory.mktemp("out")))


def write_report(world: dict, out: str, **given: object) -> Artifact:
    chosen: dict = {"faces": [world["faces"]], "animated": [world["animated"]], "datasets": [world["dataset"]], **given}
    return run_stage(report_job(world["predictions"], **chosen, config=ReportConfig(faces=12, strips=2)), out)


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self._style = False
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.words.append(data)


def test_page_is_whole_and_loads_nothing(world, tmp_path):
    report = write_report(world, str(tmp_path))
    html = storage.read_bytes(report.path("index.html")).decode()
    page = Page(html)
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object", "base", "form")]
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("data:image/jpeg;base64,", "#")), attributes
    assert "url(" not in html and "@import" not in html
    images = [a for tag, a in page.tags if tag == "img"]
    assert len(images) == 12 + 2 * (1 + 7) and all(a["alt"] for a in images)
    for part in (
        "What is not known",
        "The faces",
        "Which expressions",
        "Animated faces",
        "How often",
        "Where this comes from",
    ):
        assert part in page.text
    assert html.index("What is not known") < html.index("The faces")
    assert (
        "drawn 1: by hand. It saw 61 photographs and found 60 faces." in page.text
        and "336 of 336 training images" in page.text
    )


def test_page_escapes_what_strangers_wrote(world, tmp_path):
    html = storage.read_bytes(write_report(world, str(tmp_path)).path("index.html")).decode()
    assert "<script" not in html and "alert(1)" in html
    assert f"{NASTY} ends early" in " ".join(Page(html).words)


def test_no_percentage_without_k_of_n(world, tmp_path):
    text = Page(storage.read_bytes(write_report(world, str(tmp_path)).path("index.html")).decode()).text.replace(
        "\u00a0", " "
    )
    # corrected shares
    ends = r"95 % (interval|of such samples)|[\d.]+ %[);]|[\d.]+ % [\d.]+ to [\d.]+ model|[\d.]+ % \(95 % interval"
    shares = [m for m in re.finditer(r"([\d.]+) %", text) if not re.match(ends, text[m.start() :])]
    assert len(shares) > 150
    for m in shares:
        before, after = text[max(0, m.start() - 40) : m.start()], text[m.end() : m.end() + 40]
        numbers = re.match(r" ([\d,]+) of ([\d,]+) [\d.]+ to [\d.]+", after) or re.search(
            r"([\d,]+) of ([\d,]+) \($", before
        )
        assert numbers, text[m.start() - 60 : m.end() + 60]
        k, n = (int(v.replace(",", "")) for v in numbers.groups())
        assert float(m.group(1)) == pytest.approx(100 * k / n, abs=0.051)


def test_numbers_are_written_for_machines_too(world, tmp_path):
    report = write_report(world, str(tmp_path))
    study = json.loads(storage.read_bytes(report.path("report.json")))
    assert study["model"] == "ARM" and "first by name" in study["model_rule"]
    assert study["photographs"]["status"] == {"no_face": 1, OK: 60, "unreadable": 1}
    on_photographs = {(s["model"], s["split"]): s for s in study["accuracy"][1]["scores"]}
    assert on_photographs["ARM", SEEN]["images"]["n"] == 12 and on_photographs["ARM", NEW]["images"]["n"] == 48
    assert [g["column"] for g in study["groups"] if g["values"]] == ["posture"]
    rows = list(csv.DictReader(io.StringIO(storage.read_bytes(report.path("accuracy.csv")).decode())))
    arm = next(r for r in rows if (r["model"], r["split"], r["of"]) == ("ARM", "test", "share of images"))
    assert int(arm["k"]) / int(arm["n"]) == pytest.approx(float(arm["value"]), abs=1e-6)
    confusion = list(csv.DictReader(io.StringIO(storage.read_bytes(report.path("confusion.csv")).decode())))
    assert sum(
        int(r[name]) for r in confusion for name in EXPRESSIONS if (r["model"], r["split"]) == ("ARM", "test")
    ) == int(arm["n"])


def test_the_model_with_the_best_validation_answers(world, tmp_path):
    out, dataset = str(tmp_path), world["dataset"]
    settings = (
        (TrainConfig(network="arm", size=96, epochs=2), 20),
        (TrainConfig(network="resnet18", size=96, epochs=2), 24),
    )
    trainings = [make_training(out, dataset, config, right) for config, right in settings]
    names = [f"{name} {t.manifest.fingerprint[:6]}" for name, t in zip(("ARM", "ResNet-18"), trainings, strict=True)]
    predictions = [make_predictions(out, [dataset, world["faces"]], name, 0.7) for name in names]
    models = [*trainings, make_sweep(out, dataset)]
    report = run_stage(
        report_job(predictions, faces=[world["faces"]], datasets=[dataset], models=models, config=ReportConfig()), out
    )
    study = json.loads(storage.read_bytes(report.path("report.json")))
    assert study["model"] == names[1] and "best mean of classes on the validation images" in study["model_rule"]
    assert [r["test"] for r in study["recognisers"]] == [{"k": 140, "n": 224}, {"k": 168, "n": 224}]
    best = study["sweeps"][0]["trials"][0]
    assert best["number"] == 2 and (best["images"]["k"], best["images"]["n"]) == (84, 112)
    text = Page(storage.read_bytes(report.path("index.html")).decode()).text
    assert "168 of 224 right" in text and "75.0 % 84 of 112" in text.replace("\u00a0", " ")


def test_report_is_the_same_bytes_again(world, tmp_path):
    first, second = (write_report(world, str(tmp_path / name)) for name in ("a", "b"))
    assert first.digest == second.digest


def test_a_folder_without_truth_gives_a_report(tmp_path):
    out = str(tmp_path)
    faces = make_faces(out, figures=15, labelled=False, action_units=False)
    predictions = make_predictions(out, [faces], "ARM", 0.9)
    report = run_stage(report_job([predictions], faces=[faces], config=ReportConfig()), out)
    text = Page(storage.read_bytes(report.path("index.html")).decode()).text
    assert "How far to believe this is not known" in text and "Small samples" in text
    assert "number has 15 values" in text  # each figure has its own: nothing to compare
    assert "How often the models are right" not in text
    assert (
        storage.read_bytes(report.path("accuracy.csv")).decode() == "\ufeffimages,model,split,of,k,n,value,low,high\n"
    )


def test_a_study_without_labels_tells_the_training_s_own_score(world, tmp_path):
    out = str(tmp_path)
    faces = make_faces(out, figures=9, labelled=False)
    training = make_training(out, world["dataset"], TrainConfig(network="arm", size=96), 20)
    predictions = make_predictions(out, [faces], f"ARM {training.manifest.fingerprint[:6]}", 0.9)
    report = run_stage(report_job([predictions], faces=[faces], models=[training], config=ReportConfig()), out)
    assert report.results["answer"][2].endswith("on the test images of its own training it was right in 140 of 224.")


def test_predictions_alone_and_nothing_at_all(world, tmp_path):
    alone = write_report(world, str(tmp_path), faces=[], animated=[], datasets=[])
    assert "How often the models are right" in Page(storage.read_bytes(alone.path("index.html")).decode()).text
    empty = run_stage(report_job([], config=ReportConfig()), str(tmp_path))
    assert "no answer about any" in Page(storage.read_bytes(empty.path("index.html")).decode()).text


def test_formulas_in_group_names_are_quoted_in_csv(tmp_path):
    rows = [(f"s{k}", "=HYPERLINK(1)" if k % 2 else "-civil", k % 3 + 1) for k in range(12)]
    predictions = [{"image_id": f"i{k:04d}", "model": "m", "figure_id": s, "corpus": "c", "groups":
        [("posture", g)], "predicted": p, "status": OK, "confidence": 0.5, "probabilities": [1 / 7] * 7}
        for k, (s, g, p) in enumerate(rows) ]  # fmt: skip
    finished = output(str(tmp_path), "predictions", {".": (PREDICTIONS, predictions)})
    report = run_stage(report_job([finished], config=ReportConfig()), str(tmp_path))
    found = {
        row["group"] for row in csv.DictReader(io.StringIO(storage.read_bytes(report.path("groups.csv")).decode()))
    }
    assert found == {"'=HYPERLINK(1)", "'-civil"}
