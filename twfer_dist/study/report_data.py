"""Everything the report says, as JSON-like data: what `report.json` holds and the page shows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twfer_dist.core.intervals import as_dict, share
from twfer_dist.core.schema import DATASET, FACES, PHOTOGRAPHS, PREDICTIONS, figures
from twfer_dist.core.status import NO_FACE, OK
from twfer_dist.engine.artifact import Artifact
from twfer_dist.recognition.recogniser import NAMES, name_of
from twfer_dist.study import baselines, correction, groups, metrics
from twfer_dist.study.metrics import Evaluation

NEW, SEEN, ALL = "figures new to the model", "figures seen in training", "all labelled photographs"
"""What photographs are counted under: is a photograph's figure on the training side of a data set that is given?"""

Given = Mapping[str, Sequence[Artifact]]
"""predictions, faces, animated, datasets, models, validity: the finished outputs that a report is made from."""


def collect(given: Given, images: pa.Table, *, columns: Sequence[str], examples: int) -> dict[str, Any]:
    """The numbers of a study. images: `photographs(given)`. columns: those that faces are compared by, all where empty.
    examples: about how many photographs that were not read are listed.

    Keys: model (the one that answers, None without predictions), model_rule, photographs, detectors, faces, answers,
    training, accuracy, validity, correction (see `correction.choose`), overall, groups, recognisers, sweeps, made_from.
    """
    counts = metrics.count(_made_from(given["predictions"], given["faces"]), images, columns)
    accuracy = [_on_dataset(d, given) for d in given["datasets"]] + [_on_photographs(counts, given)]
    accuracy = [entry for entry in accuracy if entry["scores"]]
    trainings = [m for m in given["models"] if m.manifest.stage == "train"]
    recognisers = [_recogniser(m, trainings) for m in trainings]
    model, rule = _which_model(counts, accuracy, recognisers)
    asked = counts.filter(pc.equal(counts["model"], model)) if model else counts
    corrected, confusion = correction.choose(
        asked, next((r["held_out"] for r in recognisers if r["model"] == model), None)
    )
    return {
        "model": model,
        "model_rule": rule,
        "photographs": _photographs(given["faces"], examples),
        "detectors": _detectors(given["faces"]),
        "faces": _statuses(given["faces"], "faces"),
        "answers": _sum_by(asked, "status"),
        "training": [_training(d) for d in given["datasets"]],
        "accuracy": accuracy,
        "validity": [{"output": name(v), "scores": v.results["scores"]} for v in given["validity"]],
        "correction": corrected,
        "overall": groups.overall(asked, confusion) if len(asked) else None,
        "groups": groups.distributions(asked, confusion, columns) if len(asked) else [],
        "recognisers": recognisers,
        "sweeps": [_sweep(m) for m in given["models"] if m.manifest.stage == "sweep"],
        "made_from": [_provenance(kind, finished) for kind, several in given.items() for finished in several],
    }


def name(finished: Artifact) -> str:
    """What the directory of an output is called; where it lies is nobody's business."""
    return f"{finished.manifest.stage}-{finished.manifest.fingerprint}"


def photographs(given: Given) -> pa.Table:
    """image_id and split (NEW, SEEN or ALL) of the faces of photographs, sorted by id.

    Where no output of `faces` is given these are all images that were asked about and are in no data set.
    """
    if given["faces"]:
        found = [f.scan("faces", FACES).to_table(columns=["face_id", "corpus", "figure_id"]) for f in given["faces"]]
    else:
        found = [
            p.scan(".", PREDICTIONS).to_table(columns=["image_id", "corpus", "figure_id"]) for p in given["predictions"]
        ]
    empty = pa.table({column: pa.array([], pa.string()) for column in ("image_id", "corpus", "figure_id")})
    rows = pa.concat_tables([empty, *(t.rename_columns(empty.column_names) for t in found)])
    rows = rows.group_by(rows.column_names).aggregate([]).sort_by("image_id")
    if not given["faces"]:
        for dataset in given["datasets"]:
            rows = rows.filter(
                pc.invert(pc.is_in(rows["image_id"], _dataset_images(dataset)["image_id"].combine_chunks()))
            )
    return pa.table({"image_id": rows["image_id"], "split": _seen_or_new(rows, given)})


def _made_from(predictions: Sequence[Artifact], images: Sequence[Artifact]) -> Sequence[Artifact]:
    """The predictions that name one of `images` as their input, so that no image counts twice that lies in several
    tables; all of them where none does (faces of photographs are also a data set's images).
    """
    digests = {finished.digest for finished in images}
    return [p for p in predictions if digests & set(p.manifest.inputs.values())] or predictions


# Accuracy


def _dataset_images(dataset: Artifact) -> pa.Table:
    return dataset.scan(".", DATASET).to_table(columns=["image_id", "split"])


def _on_dataset(dataset: Artifact, given: Given) -> dict[str, Any]:
    counts = metrics.count(_made_from(given["predictions"], [dataset]), _dataset_images(dataset))
    linear = baselines.fit(dataset)
    answers = baselines.on_dataset(linear, dataset) if linear and len(counts) else None
    return {"images": f"data set {name(dataset)}", "kind": "data set", **_accuracy(counts, answers)}


def _on_photographs(counts: pa.Table, given: Given) -> dict[str, Any]:
    """Scores on labelled faces of photographs, apart for figures that the training images were made from."""
    labelled = counts.filter(pc.is_valid(counts["label"]))
    linear = baselines.fit(given["datasets"][0]) if given["datasets"] and len(labelled) else None
    answers = None
    if linear and given["faces"]:
        answers = pa.concat_tables(baselines.on_faces(linear, f) for f in given["faces"])
        answers = answers.filter(pc.is_in(answers["corpus"], pc.unique(labelled["corpus"])))
        answers = answers.set_column(answers.column_names.index("split"), "split", _seen_or_new(answers, given))
    return {"images": "labelled photographs", "kind": "photographs", **_accuracy(labelled, answers)}


def _accuracy(counts: pa.Table, linear: pa.Table | None) -> dict[str, Any]:
    """Scores of the models, and of the baselines on the same splits; confusion matrices of the models."""
    found = metrics.evaluate(counts)
    first = {e.split: e for e in reversed(found)}
    constant = [baselines.always(first[split]) for split in sorted(first, key=metrics.split_order)]
    beside: list[Evaluation] = [e for e in metrics.evaluate(linear) if e.split in first] if linear is not None else []
    confusion = [{"model": e.model, "split": e.split, "matrix": e.confusion.tolist()} for e in found]
    scores = (
        metrics.scores(found)
        + metrics.scores(constant, baseline="constant")
        + metrics.scores(beside, baseline="linear")
    )
    return {"scores": scores, "confusion": confusion, "linear": bool(beside)}


def _seen_or_new(rows: pa.Table, given: Given) -> pa.Array:
    """For each of `rows` (corpus, figure): NEW or SEEN on the training side of the data sets, ALL where there is
    none.
    """
    if not given["datasets"]:
        return pa.array([ALL] * len(rows), pa.string())
    seen: set[str] = set()
    for dataset in given["datasets"]:
        for batch in dataset.scan(".", DATASET).to_batches(
            columns=["corpus", "figure_id"], filter=pc.field("split") == "train"
        ):
            seen.update(figures(batch).to_pylist())
    return pc.if_else(pc.is_in(figures(rows), pa.array(sorted(seen), pa.string())), SEEN, NEW)


def _which_model(
    counts: pa.Table, accuracy: Sequence[Mapping], recognisers: Sequence[Mapping]
) -> tuple[str | None, str]:
    """The model whose answers the page shows first, and why it is this one. Never chosen by its test score."""
    models = sorted(
        set(counts["model"].to_pylist()) or {s["model"] for e in accuracy for s in e["scores"] if not s["baseline"]}
    )
    if not models:
        return None, "No model was asked."
    if len(models) == 1:
        return models[0], f"{models[0]} is the only model that was asked."
    validation = {r["model"]: r["scores"]["validation"]["balanced_accuracy"] for r in recognisers}
    if not validation.keys() >= set(models):
        return (
            models[0],
            (
                f"{models[0]} is the first by name: the trainings were not given, so there are no validation scores to "
                "choose by."
            ),
        )
    best = max(models, key=lambda m: validation[m])
    return best, f"{best} has the best mean of classes on the validation images of its training."


def _recogniser(finished: Artifact, trainings: Sequence[Artifact]) -> dict[str, Any]:
    """A training as the page tells it; its name is the one that tables of predictions use. trainings: all of the
    page.
    """
    config, results = finished.manifest.config, finished.results
    kept = ("scores", "best_epoch", "temperature", "threshold", "novelty", "images", "validation_held_out")
    confusion = results["scores"].get("test", {}).get("confusion")
    test = {"k": sum(row[k] for k, row in enumerate(confusion)), "n": sum(map(sum, confusion))} if confusion else None
    manifest = finished.manifest
    trunk = next((name(t) for t in trainings if t.digest == manifest.inputs.get("trunk")), None)
    file = manifest.models.get("initial")
    start = (
        f"the trunk of {trunk or 'another training'}"
        if "trunk" in manifest.inputs
        else f"a file, {file[:12]}"
        if file
        else "random weights"
    )
    return (
        {"model": name_of(finished), "output": name(finished), "config": config, "start": start, "test": test}
        | {key: results[key] for key in kept}
        | {"held_out": results.get("held_out")}
    )


def _sweep(finished: Artifact) -> dict[str, Any]:
    """The trials of a sweep, the best first."""
    train = finished.manifest.config["train"]
    n = finished.results["validation_images"]
    trials = []
    for number, trial in enumerate(finished.results["trials"]):
        if "diverged" in trial:
            continue
        accuracy = trial["accuracy/validation"]
        right = (np.arange(n) < round(accuracy * n)).astype(int)
        kept = {key: trial[key] for key in ("alpha", "gamma", "learning_rate", "epochs", "best_epoch")}
        scores = {"accuracy": accuracy, "balanced_accuracy": trial["balanced_accuracy/validation"]}
        trials.append({"number": number, **kept, **scores, "images": as_dict(share(right, np.ones(n, int)))})
    trials.sort(key=lambda t: (t["number"] != finished.results["best"], -t["accuracy"], t["number"]))
    diverged = len(finished.results["trials"]) - len(trials)
    return {"output": name(finished), "network": NAMES[train["network"]], "size": train["size"],
        "trials": trials, "diverged": diverged, }  # fmt: skip


# What went in, and what was lost on the way


def _photographs(faces: Sequence[Artifact], examples: int) -> dict[str, Any]:
    """Counts by status, about `examples` photographs without a face, as many of each status, and how many are copies of
    how many pictures.
    """
    counts = _statuses(faces, "photographs")
    bad = [status for status in counts["status"] if status != OK]
    listed: list[dict] = []
    for status in sorted(bad, key=lambda s: counts["status"][s]):
        wanted = {"columns": ["photo_id", "corpus", "path", "status", "error"], "filter": pc.field("status") == status}
        limit = -(-examples // len(bad))
        rows = [row for f in faces for row in f.scan("photographs", PHOTOGRAPHS).head(limit, **wanted).to_pylist()]
        listed += sorted(rows, key=lambda row: row["photo_id"])[:limit]
    copies = Counter[str]()
    for finished in faces:
        copies.update(finished.results.get("copies", {}))
    return {**counts, "examples": listed, "copies": dict(copies)}


def _statuses(several: Sequence[Artifact], table: str) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    for finished in several:
        counts.update(finished.manifest.counts[table])
    return {"rows": sum(counts.values()), "status": dict(sorted(counts.items()))}


def _detectors(faces: Sequence[Artifact]) -> list[dict[str, Any]]:
    """For each detector that ran, and why: the photographs that it saw, the faces that it found, and those that were
    kept.
    """
    told: dict[str, Counter[str]] = {}
    for finished in faces:
        found = finished.scan("photographs", PHOTOGRAPHS).to_table(columns=["faces"])["faces"]
        saw = sum(finished.manifest.counts["photographs"].get(status, 0) for status in (OK, NO_FACE))
        counted = {"photographs": saw, "found": pc.sum(found).as_py() or 0, "kept": finished.manifest.rows["faces"]}
        told.setdefault(finished.results["detector"], Counter()).update(counted)
    return [{"detector": detector, **counted} for detector, counted in told.items()]


def _sum_by(counts: pa.Table, column: str) -> dict[str, int]:
    return {
        row[column]: row["n_sum"]
        for row in counts.group_by(column).aggregate([("n", "sum")]).sort_by(column).to_pylist()
    }


def _training(dataset: Artifact) -> dict[str, Any]:
    """Of each split of a data set: images, how many of them were generated, figures, and those that are in training
    too.
    """
    columns = ["split", "origin", "corpus", "figure_id"]
    batches = dataset.scan(".", DATASET).to_batches(columns=columns)
    rows = pa.concat_tables(pa.table(b).group_by(columns).aggregate([([], "count_all")]) for b in batches)
    parts = {split: rows.filter(pc.equal(rows["split"], split)) for split in pc.unique(rows["split"]).to_pylist()}
    figure_ids = {split: set(figures(part).to_pylist()) for split, part in parts.items()}
    found = {}
    for split, part in sorted(parts.items(), key=lambda item: metrics.split_order(item[0])):
        generated = part.filter(pc.equal(part["origin"], "animated"))
        found[split] = {
            "images": pc.sum(part["count_all"]).as_py(),
            "generated": pc.sum(generated["count_all"]).as_py() or 0,
            "figures": len(figure_ids[split]),
            "figures_in_training": len(figure_ids[split] & figure_ids.get("train", set())),
        }
    return {"name": name(dataset), "splits": found}


def _provenance(kind: str, finished: Artifact) -> dict[str, Any]:
    manifest = finished.manifest
    kept = (
        "stage",
        "fingerprint",
        "version",
        "schema",
        "digest",
        "rows",
        "counts",
        "config",
        "models",
        "versions",
        "inputs",
        "results",
    )
    return {"kind": kind, "name": name(finished), **{key: getattr(manifest, key) for key in kept}}
