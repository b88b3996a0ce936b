"""The study: intervals, tables, baselines, groups, and the page, on small tables of known content."""

import csv
import io
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw
from scipy import stats

from twfer_dist import engine, storage
from twfer_dist.schema import ANIMATED, DATASET, FACES, OK, PHOTOGRAPHS, PREDICTIONS, photo_id
from twfer_dist.storage import Finished
from twfer_dist.study import baselines, groups, tables
from twfer_dist.study.examine import NEW, SEEN, photographs
from twfer_dist.study.intervals import effective_size, mean_of_classes, share, simultaneous, wilson
from twfer_dist.study.report import ReportConfig, report_job
from twfer_dist.taxonomy import EXPRESSIONS, POSTURES

NOTHING: dict = {"predictions": [], "faces": [], "animated": [], "datasets": [], "models": []}
NASTY = '"><script>alert(1)</script>&lt;脸.jpg'


def output(
    out: str, stage: str, rows: dict[str, tuple[pa.Schema, list[dict]]], inputs: Sequence[Finished] = (), **results: object
) -> Finished:
    """A finished stage with these tables, made by the engine."""

    def do(work: engine.Work) -> None:
        work.results = results
        for name, (schema, several) in rows.items():
            work.write_table(name, pa.Table.from_pylist([{key: row.get(key) for key in schema.names} for row in several], schema=schema))

    given = {f"input-{k}": finished for k, finished in enumerate(inputs)}
    config = storage.digest([[str(row) for row in several] for _, several in rows.values()])
    return engine.run(engine.Job(stage, 1, given, {"rows": config}, {}, {name: schema for name, (schema, _) in rows.items()}, do), out)


def face_picture(number: int, label: int) -> bytes:
    """A drawn face: the mouth follows the label."""
    picture = Image.new("RGB", (96, 96), (150 + number % 40, 110, 80))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((12, 6, 84, 92), fill=(196, 150, 112))
    for x in (34, 62):
        draw.ellipse((x - 5, 36, x + 5, 44), fill=(60, 40, 30))
    bend = (label - 4) * 4
    draw.line([(32, 68), (48, 68 + bend), (64, 68)], fill=(90, 40, 30), width=4)
    sink = io.BytesIO()
    picture.save(sink, "PNG")
    return sink.getvalue()


def answer_to(truth: int, number: int, skill: float) -> dict:
    """What a model of this skill says: the truth, or its neighbour, from the number alone."""
    random = np.random.default_rng(number)
    predicted = truth if random.random() < skill else truth % 7 + 1
    probabilities = random.dirichlet(np.ones(7)).astype(np.float32) * 0.4
    probabilities[predicted - 1] += 0.6
    return {"predicted": predicted, "probabilities": probabilities.tolist(), "confidence": float(probabilities[predicted - 1])}


def make_faces(out: str, *, corpus: str = "warriors", figures: int = 60, labelled: bool = True, action_units: bool = True) -> Finished:
    """A faces stage: `figures` photographs with one face each in five postures, one broken file, one without a face."""
    photographs, faces = [], []
    for k in range(figures):
        label = k % 7 + 1
        path = NASTY if k == 3 else f"figure {k:03d}.jpg"
        identity = photo_id(corpus, path)
        shared = {
            "photo_id": identity, "corpus": corpus, "path": path, "source": f"figure-{k:03d}", "label": label if labelled else None,
            "groups": [("posture", POSTURES[min(k // 12, 4)]), ("number", str(k))],
            "action_units": (np.eye(17)[label] * 4).tolist() if action_units else None,
        }  # fmt: skip
        photographs.append({**shared, "status": OK, "faces": 1, "width": 96, "height": 96})
        found = {"detector": "drawn", "score": 1.0, "image": face_picture(k, label), "width": 96, "height": 96, "status": OK}
        faces.append({**shared, "face_id": f"{identity}-0", "rank": 0, **found})
    for path, status, error in (("broken.jpg", "unreadable", f"{NASTY} ends early"), ("vase.jpg", "no_face", "no face was found")):
        photographs.append({"photo_id": photo_id(corpus, path), "corpus": corpus, "path": path, "status": status, "error": error})
    return output(out, "faces", {"photographs": (PHOTOGRAPHS, photographs), "faces": (FACES, faces)}, detector="drawn 1: by hand")


def make_animated(out: str, faces: Finished, figures: int = 20) -> Finished:
    rows = []
    for number, face in enumerate(faces.table("faces", FACES).to_pylist()[:figures]):
        for label in range(1, 8):
            for level in range(1, 5):
                units = np.eye(17)[label] * level
                identity = {"image_id": f"{face['face_id']}-{EXPRESSIONS[label - 1]}-1-{level}", "label": label, "level": level}
                kept = {key: face[key] for key in ("face_id", "corpus", "source", "groups")}
                asked = {"intensity": level / 5, "reference_id": "r", "action_units": units.tolist()}
                image = {"image": face_picture(number + 10 * level, label), "width": 96, "height": 96, "status": OK}
                rows.append({**identity, **kept, **asked, **image})
    return output(out, "animated", {".": (ANIMATED, rows)}, [faces])


def make_dataset(out: str, animated: Finished) -> Finished:
    """The animated images, split by source."""
    rows = animated.table(".", ANIMATED).to_pylist()
    sources = sorted({row["source"] for row in rows})
    split = {s: "test" if k % 5 == 0 else "validation" if k % 5 == 1 else "train" for k, s in enumerate(sources)}
    rows = [{**row, "split": split[row["source"]], "origin": "animated"} for row in rows]
    return output(out, "dataset", {".": (DATASET, rows)}, [animated])


def make_predictions(out: str, of: Sequence[Finished], model: str, skill: float) -> Finished:
    """A model's answers to data sets and to faces, in one table; every ninth face is not readable."""
    rows = []
    for finished in of:
        of_faces = finished.manifest["stage"] == "faces"
        for number, row in enumerate(finished.table("faces", FACES).to_pylist() if of_faces else finished.table(".", DATASET).to_pylist()):
            kept = {key: row[key] for key in ("source", "corpus", "split", "label", "groups")}
            status = {"status": "not_readable", "error": "confidence 0.2 is under 0.5"} if of_faces and number % 9 == 0 else {"status": OK}
            answer = answer_to(row["label"] or number % 7 + 1, number, skill)
            rows.append({**kept, **status, **answer, "image_id": row["face_id"] if of_faces else row["image_id"], "model": model})
    return output(out, "predictions", {".": (PREDICTIONS, rows)}, of)


def images_of(*predictions: Finished) -> pa.Table:
    """All images that were asked about, under their own split."""
    empty = pa.table({"image_id": pa.array([], pa.string()), "split": pa.array([], pa.string())})
    return pa.concat_tables([empty, *(p.table(".", PREDICTIONS, columns=["image_id", "split"]) for p in predictions)])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Two models, a data set of animated faces, and photographs of which a third are sources of the data set."""
    out = str(tmp_path_factory.mktemp("out"))
    faces = make_faces(out)
    animated = make_animated(out, faces)
    dataset = make_dataset(out, animated)
    predictions = [make_predictions(out, [dataset, faces], model, skill) for model, skill in (("ARM", 0.8), ("ResNet-18", 0.6))]
    return {"out": out, "faces": faces, "animated": animated, "dataset": dataset, "predictions": predictions}


def write_report(world: dict, out: str, **given: object) -> Finished:
    chosen: dict = {"faces": [world["faces"]], "animated": [world["animated"]], "datasets": [world["dataset"]], **given}
    return engine.run(report_job(world["predictions"], **chosen, config=ReportConfig(faces=12, strips=2)), out)


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


# Intervals


def test_wilson_intervals_have_known_values():
    assert wilson(5, 6) == pytest.approx((0.436, 0.970), abs=5e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=5e-4)
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-4)  # Newcombe 1998, table I
    low, high = wilson(17, 58)
    exact = stats.binomtest(17, 58).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((exact.low, exact.high))
    assert wilson(0, 0) == (0.0, 1.0)


def test_images_of_one_source_count_for_less():
    alone = share(np.array([1, 0, 1, 1, 1, 1]), np.ones(6, int))
    assert (alone.k, alone.n, alone.low, alone.high) == pytest.approx((5, 6, *wilson(5, 6)))
    alike = share(np.array([10, 0, 10, 10, 10, 10]), np.full(6, 10))  # ten equal images of each of six figures
    assert (alike.k, alike.n, alike.sources) == (50, 60, 6)
    assert (alike.low, alike.high) == pytest.approx(wilson(5, 6), abs=1e-9)
    assert effective_size(np.full(6, 10), np.full(6, 10)) == 6  # all right: nothing says that images of a figure differ
    mixed = effective_size(np.array([5, 6, 4, 5, 5, 5]), np.full(6, 10))
    assert mixed == 60  # sources alike: every image counts


def test_interval_by_source_covers_the_truth():
    """Eight images of each of 40 figures, some figures easy and some hard: the truth is inside about 95 times in 100."""
    random = np.random.default_rng(1)
    draws = [share(random.binomial(8, random.beta(0.6, 0.4, 40)), np.full(40, 8)) for _ in range(1000)]
    assert 0.925 <= np.mean([s.low <= 0.6 <= s.high for s in draws]) <= 0.975
    as_if_independent = [wilson(s.k, s.n) for s in draws]
    assert np.mean([low <= 0.6 <= high for low, high in as_if_independent]) < 0.75


def test_mean_of_classes_weighs_expressions_alike():
    one = share(np.array([90]), np.array([100]))
    shares = [share(np.ones(90, int), np.ones(90, int)), share(np.array([1, 0]), np.array([1, 1])), share(np.array([]), np.array([]))]
    mean = mean_of_classes(shares)
    assert mean is not None and mean.value == pytest.approx(0.75) and (mean.classes, mean.n) == (2, 92)
    assert mean.low < 0.75 - 0.15 and mean.high <= 1
    single = mean_of_classes([one])
    assert single is not None and (single.low, single.high) == pytest.approx((one.low, one.high))
    assert mean_of_classes([]) is None
    assert simultaneous(7) == pytest.approx(2.690, abs=1e-3)


# Tables


def test_accuracy_and_confusion_are_those_of_the_rows(world):
    images = world["dataset"].table(".", DATASET, columns=["image_id", "split"])
    found = {(e.model, e.split): e for e in tables.evaluate(tables.count(world["predictions"], images))}
    assert list(found) == [(m, s) for m in ("ARM", "ResNet-18") for s in ("train", "validation", "test")]
    for (model, split), evaluation in found.items():
        rows = [row for p in world["predictions"] for row in p.table(".", PREDICTIONS).to_pylist()]
        rows = [r for r in rows if (r["model"], r["split"]) == (model, split)]
        assert evaluation.images.n == len(rows) and evaluation.images.k == sum(r["label"] == r["predicted"] for r in rows)
        assert evaluation.images.sources == len({r["source"] for r in rows})
        for truth in range(7):
            own = [r for r in rows if r["label"] == truth + 1]
            assert evaluation.classes[truth].k == sum(r["predicted"] == truth + 1 for r in own)
            assert evaluation.confusion[truth].tolist() == [sum(r["predicted"] == p + 1 for r in own) for p in range(7)]
        assert evaluation.mean is not None and evaluation.mean.value == pytest.approx(np.mean([c.value for c in evaluation.classes]))


def test_images_without_an_answer_are_counted_apart(tmp_path):
    rows = [
        {"image_id": f"i{k}", "model": "m", "source": f"s{k}", "corpus": "c", "split": "test", "label": 1, "predicted": p, "status": s}
        for k, (p, s) in enumerate([(1, OK), (2, "not_readable"), (None, "unreadable")])
    ]
    finished = output(str(tmp_path), "predictions", {".": (PREDICTIONS, rows)})
    (found,) = tables.evaluate(tables.count([finished], images_of(finished)))
    assert (found.images.k, found.images.n, found.unanswered) == (1, 2, 1)
    assert (found.readable_right, found.readable) == (1, 1)


def test_no_predictions_give_no_tables():
    counts = tables.count([], images_of())
    assert tables.evaluate(counts) == [] and len(counts) == 0


# Baselines


def test_linear_model_reads_the_action_units(world):
    linear = baselines.fit(world["dataset"])
    assert linear is not None
    scores = {e.split: e for e in tables.evaluate(baselines.on_dataset(linear, world["dataset"]))}
    assert scores["test"].images.k == scores["test"].images.n == 4 * 7 * 4  # the drawn faces have one Action Unit for each label
    (faces,) = tables.evaluate(baselines.on_faces(linear, world["faces"]))
    assert faces.images.n == 60 and faces.images.k == 60


def test_no_action_units_no_linear_model(tmp_path):
    rows = [{"image_id": f"i{k}", "split": "train", "label": k + 1, "source": "s", "corpus": "c", "origin": "photograph"} for k in range(3)]
    assert baselines.fit(output(str(tmp_path), "dataset", {".": (DATASET, rows)})) is None


def test_majority_class_is_the_best_constant_answer(world):
    counts = tables.count(world["predictions"][:1], photographs({**NOTHING, "faces": [world["faces"]]}))
    (evaluation,) = tables.evaluate(counts)
    constant = baselines.always(evaluation)
    assert constant.model == "always surprise" and (constant.images.k, constant.images.n) == (9, 60)
    assert constant.mean is not None and constant.mean.value == pytest.approx(1 / 7)


# Groups


def group_counts(tmp_path, rows: list[tuple[str, str, int]]) -> pa.Table:
    predictions = [
        {"image_id": f"i{k:04d}", "model": "m", "source": s, "corpus": "c", "groups": [("posture", g)], "predicted": p, "status": OK}
        for k, (s, g, p) in enumerate(rows)
    ]
    finished = output(str(tmp_path), "predictions", {".": (PREDICTIONS, predictions)})
    return tables.count([finished], images_of(finished))


def test_groups_have_shares_intervals_and_a_warning(tmp_path):
    rows = [(f"a{k}", "general", 4 if k < 20 else 5) for k in range(40)] + [(f"b{k}", "cavalry", 5 if k else 6) for k in range(6)]
    (entry,) = groups.distributions(group_counts(tmp_path, rows))
    assert (entry["column"], [v["value"] for v in entry["values"]]) == ("posture", ["general", "cavalry"])  # the paper's order
    general, cavalry = entry["values"]
    assert (general["readable"], general["small"], cavalry["readable"], cavalry["small"]) == (40, False, 6, True)
    sadness = cavalry["expressions"][4]
    assert (sadness["expression"], sadness["k"], sadness["n"]) == ("sadness", 5, 6)
    assert (sadness["low"], sadness["high"]) == pytest.approx(wilson(5, 6, simultaneous(7)), abs=1e-5)
    assert sadness["low"] < wilson(5, 6)[0]  # seven intervals together are wider than one


def test_difference_counts_figures_not_faces(tmp_path):
    apart = [(f"a{k}", "general", 4) for k in range(15)] + [(f"b{k}", "civil", 5) for k in range(15)]
    assert groups.distributions(group_counts(tmp_path, apart))[0]["test"]["p"] == 0.001
    copies = 50 * [("a0", "general", 4), ("a1", "general", 5), ("b0", "civil", 4), ("b1", "civil", 4)]
    test = groups.distributions(group_counts(tmp_path, copies))[0]["test"]
    assert test["sources"] == 4 and test["p"] > 0.3  # 200 faces, but four figures prove nothing
    asymptotic = stats.chi2_contingency([[50, 50], [100, 0]], correction=False)
    assert test["chi_squared"] == pytest.approx(asymptotic.statistic, abs=1e-3) and asymptotic.pvalue < 1e-9


def test_no_difference_where_chance_explains_it(tmp_path):
    random = np.random.default_rng(5)
    p = []
    for _ in range(40):
        rows = [(f"s{k}", "general" if k < 12 else "civil", int(random.integers(1, 4))) for k in range(24)]
        p.append(groups.distributions(group_counts(tmp_path, rows))[0]["test"]["p"])
    assert np.mean(np.array(p) < 0.05) < 0.2 and np.mean(p) > 0.3


# The page


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
    for part in ("What is not known", "The faces", "Which expressions", "Animated faces", "How often", "Where this comes from"):
        assert part in page.text
    assert html.index("What is not known") < html.index("The faces")
    assert "drawn 1: by hand. In 62 photographs it found 60 faces." in page.text and "336 of 336 training images" in page.text


def test_page_escapes_what_strangers_wrote(world, tmp_path):
    html = storage.read_bytes(write_report(world, str(tmp_path)).path("index.html")).decode()
    assert "<script" not in html and "alert(1)" in html
    assert f"{NASTY} ends early" in " ".join(Page(html).words)


def test_no_percentage_without_k_of_n(world, tmp_path):
    text = Page(storage.read_bytes(write_report(world, str(tmp_path)).path("index.html")).decode()).text.replace("\u00a0", " ")
    ends = r"95 % (interval|of such samples)|[\d.]+ %\)"  # of intervals
    shares = [m for m in re.finditer(r"([\d.]+) %", text) if not re.match(ends, text[m.start() :])]
    assert len(shares) > 150
    for m in shares:
        before, after = text[max(0, m.start() - 40) : m.start()], text[m.end() : m.end() + 40]
        numbers = re.match(r" ([\d,]+) of ([\d,]+) [\d.]+ to [\d.]+", after) or re.search(r"([\d,]+) of ([\d,]+) \($", before)
        assert numbers, text[m.start() - 60 : m.end() + 60]
        k, n = (int(v.replace(",", "")) for v in numbers.groups())
        assert float(m.group(1)) == pytest.approx(100 * k / n, abs=0.051)


def test_numbers_are_written_for_machines_too(world, tmp_path):
    report = write_report(world, str(tmp_path))
    study = json.loads(storage.read_bytes(report.path("report.json")))
    assert study["model"] in ("ARM", "ResNet-18") and "validation" in study["model_rule"]
    assert study["photographs"]["status"] == {"no_face": 1, OK: 60, "unreadable": 1}
    on_photographs = {(s["model"], s["split"]): s for s in study["accuracy"][1]["scores"]}
    assert on_photographs["ARM", SEEN]["images"]["n"] == 12 and on_photographs["ARM", NEW]["images"]["n"] == 48
    assert [g["column"] for g in study["groups"] if g["values"]] == ["posture"]
    rows = list(csv.DictReader(io.StringIO(storage.read_bytes(report.path("accuracy.csv")).decode())))
    arm = next(r for r in rows if (r["model"], r["split"], r["of"]) == ("ARM", "test", "share of images"))
    assert int(arm["k"]) / int(arm["n"]) == pytest.approx(float(arm["value"]), abs=1e-6)
    confusion = list(csv.DictReader(io.StringIO(storage.read_bytes(report.path("confusion.csv")).decode())))
    assert sum(int(r[name]) for r in confusion for name in EXPRESSIONS if (r["model"], r["split"]) == ("ARM", "test")) == int(arm["n"])


def test_report_is_the_same_bytes_again(world, tmp_path):
    first, second = (write_report(world, str(tmp_path / name)) for name in ("a", "b"))
    assert first.digest == second.digest


def test_a_folder_without_truth_gives_a_report(tmp_path):
    out = str(tmp_path)
    faces = make_faces(out, figures=9, labelled=False, action_units=False)
    predictions = make_predictions(out, [faces], "ARM", 0.9)
    report = engine.run(report_job([predictions], faces=[faces], config=ReportConfig()), out)
    text = Page(storage.read_bytes(report.path("index.html")).decode()).text
    assert "How far to believe this is not known" in text and "Small samples" in text
    assert "How often the models are right" not in text
    assert storage.read_bytes(report.path("accuracy.csv")) == b""


def test_predictions_alone_and_nothing_at_all(world, tmp_path):
    alone = write_report(world, str(tmp_path), faces=[], animated=[], datasets=[])
    assert "How often the models are right" in Page(storage.read_bytes(alone.path("index.html")).decode()).text
    empty = engine.run(report_job([], config=ReportConfig()), str(tmp_path))
    assert "no answer about any" in Page(storage.read_bytes(empty.path("index.html")).decode()).text


def test_formulas_in_group_names_are_quoted_in_csv(tmp_path):
    rows = [(f"s{k}", "=HYPERLINK(1)" if k % 2 else "-civil", k % 3 + 1) for k in range(12)]
    predictions = [
        {"image_id": f"i{k:04d}", "model": "m", "source": s, "corpus": "c", "groups": [("posture", g)], "predicted": p, "status": OK,
         "confidence": 0.5, "probabilities": [1 / 7] * 7}
        for k, (s, g, p) in enumerate(rows)
    ]  # fmt: skip
    finished = output(str(tmp_path), "predictions", {".": (PREDICTIONS, predictions)})
    report = engine.run(report_job([finished], config=ReportConfig()), str(tmp_path))
    found = {row["group"] for row in csv.DictReader(io.StringIO(storage.read_bytes(report.path("groups.csv")).decode()))}
    assert found == {"'=HYPERLINK(1)", "'-civil"}
