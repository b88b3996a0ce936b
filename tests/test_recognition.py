"""Recognition end to end on a small synthetic data set: training, resuming, sweeping, answering, wrong checkpoints."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
import safetensors.torch
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from recognition_data import dataset, picture, rows
from torchvision.models import resnet18

from twfer_dist import engine, storage
from twfer_dist.engine import Job, Work
from twfer_dist.errors import Problem
from twfer_dist.recognition import calibration, data, recogniser, training
from twfer_dist.recognition.arm import ARM
from twfer_dist.recognition.pipeline import PredictConfig, predict_job
from twfer_dist.recognition.resnet import ResNet18
from twfer_dist.recognition.sweep import SweepConfig, sweep_job
from twfer_dist.recognition.train import train_job
from twfer_dist.recognition.training import TrainConfig
from twfer_dist.schema import FACES, PREDICTIONS
from twfer_dist.storage import Finished
from twfer_dist.tracking import Tracking

KEYS = json.loads((Path(__file__).parent / "data" / "arm_official_state_keys.json").read_text())
SMALL = TrainConfig(network="resnet18", size=32, epochs=2, batch=14, learning_rate=1e-3)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """42 training, 14 validation and 14 test images."""
    return dataset(str(tmp_path_factory.mktemp("images")), {"train": 6, "validation": 2, "test": 2})


@pytest.fixture(scope="module")
def trained(images, migrated_database, tmp_path_factory: pytest.TempPathFactory) -> tuple[Finished, Tracking]:
    """An ARM trained for two epochs in this process."""
    out = tmp_path_factory.mktemp("trained")
    (out / "mlflow.db").write_bytes(migrated_database.read_bytes())
    tracking = Tracking(f"sqlite:///{out}/mlflow.db", "recognition")
    config = TrainConfig(network="arm", size=96, epochs=2, batch=14, learning_rate=1e-3)
    return engine.run(train_job(images, config, tracking), str(out), quiet=True), tracking


def random_state(layout: str) -> dict[str, torch.Tensor]:
    """Weights with the names and shapes of a public network."""
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(shape, generator=generator) if shape else torch.tensor(0) for name, shape in KEYS[layout].items()}


# Weights


@pytest.mark.parametrize(("layout", "network"), [("ResNet18_ARM___RAF", "arm"), ("ResNet18", "resnet18")])
@pytest.mark.parametrize("wrapped", [False, True])
def test_public_state_dicts_load(tmp_path, layout, network, wrapped):
    state = random_state(layout)
    file = tmp_path / "public.pth"
    torch.save({"iter": 3, "model_state_dict": {f"module.{k}": v for k, v in state.items()}} if wrapped else state, file)
    model = recogniser.build(network, 224)
    recogniser.load_weights(model, str(file))
    own = model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in state.items())
    assert own.keys() - state.keys() == ({"arm.shared"} if network == "arm" else set())


def test_a_trunk_in_torchvisions_layout_starts_either_network(tmp_path):
    public = resnet18(weights=None)
    safetensors.torch.save_file(public.state_dict(), tmp_path / "trunk.safetensors")
    for network in ("resnet18", "arm"):
        model = recogniser.build(network, 96)
        head = model.fc.weight.clone()
        recogniser.load_weights(model, str(tmp_path / "trunk.safetensors"))
        assert torch.equal(model.state_dict()["features.7.1.conv2.weight"], public.state_dict()["layer4.1.conv2.weight"])
        assert torch.equal(model.fc.weight, head)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (lambda: random_state("ResNet18"), "weights of this ARM with 7 expressions: 'arm.alpha' is missing"),
        (lambda: {**random_state("ResNet18_ARM___RAF"), "extra": torch.zeros(1)}, "'extra' is not a part of it"),
        (
            lambda: {**random_state("ResNet18_ARM___RAF"), "fc.weight": torch.zeros(8, 121)},
            r"'fc.weight' is \(8, 121\), expected \(7, 121\)",
        ),
        (lambda: [1, 2], "something else than a network's weights"),
        (lambda: {"model_state_dict": ResNet18()}, "not a file of weights alone"),
    ],
)
def test_a_checkpoint_of_another_model_is_one_clear_problem(tmp_path, state, words):
    torch.save(state(), tmp_path / "other.pth")
    with pytest.raises(Problem, match=words):
        recogniser.load_weights(ARM(224), str(tmp_path / "other.pth"))


def test_missing_and_broken_files_of_weights_are_problems(tmp_path, images):
    (tmp_path / "broken.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{broken")
    for name, words in (("none.pth", "is not there"), ("broken.safetensors", "not a file of weights alone")):
        with pytest.raises(Problem, match=words):
            train_job(images, SMALL, Tracking("sqlite:////nowhere.db", "x"), initial=str(tmp_path / name))
    with pytest.raises(Problem, match="64 pixels: set size to 96"):
        train_job(images, dataclasses.replace(SMALL, network="arm", size=64), Tracking("sqlite:////nowhere.db", "x"))


# Data


def test_shares_of_workers_are_equal_and_together_everything(images):
    ids = data.splits(images, seed=0).ids["train"]
    shares = [data.load(images, ids, rank=rank, world=4) for rank in range(4)]
    assert sorted(i for share in shares for i in share.ids) == ids
    assert sorted(len(share.ids) for share in shares) == [10, 10, 11, 11]
    orders = [data.shuffled(share, 11, 4, seed=0, epoch=3) for share in shares]
    assert {tuple(len(b) for b in order) for order in orders} == {(4, 4, 3)}
    assert all(set(np.concatenate(order)) == set(range(len(share.ids))) for order, share in zip(orders, shares, strict=True))
    label = {row["image_id"]: row["label"] - 1 for row in rows({"train": 6}).to_pylist()}
    assert all(label[i] == k for share in shares for i, k in zip(share.ids, share.labels.tolist(), strict=True))


def test_augmentation_belongs_to_the_image_and_the_epoch(images):
    loaded = data.load(images, data.splits(images, seed=0).ids["train"])

    def pixels(order: list[int], augmentation: tuple[int, int] | None) -> dict[int, np.ndarray]:
        parts = np.array_split(order, 3)
        found = data.batches(loaded, parts, 32, augmentation)
        return {int(i): image for part, (stack, _) in zip(parts, found, strict=True) for i, image in zip(part, stack, strict=True)}

    forwards, backwards = pixels([0, 1, 2, 3, 4], (0, 1)), pixels([4, 3, 2, 1, 0], (0, 1))
    assert all(np.array_equal(forwards[i], backwards[i]) for i in forwards)
    assert not np.array_equal(forwards[0], pixels([0, 1, 2], (0, 2))[0])
    assert not np.array_equal(forwards[0], pixels([0, 1, 2], None)[0])


def test_a_data_set_without_validation_lends_whole_sources(tmp_path):
    table = rows({"train": 20, "test": 2}, sources=20)
    found = data.splits(dataset(str(tmp_path), {"train": 20}, table=table), seed=0)
    assert found.held_out
    source = dict(zip(table["image_id"].to_pylist(), table["source"].to_pylist(), strict=True))
    train, validation, test = ({source[i] for i in found.ids[split]} for split in ("train", "validation", "test"))
    assert len(validation) == 2 and not validation & (train | test)
    assert sum(map(len, found.ids.values())) == len(table)


def test_bad_data_sets_are_problems(tmp_path, images):
    table = rows({"train": 1, "validation": 1})
    broken = table.set_column(table.column_names.index("image"), "image", pa.array([b"no image"] * len(table), pa.binary()))
    loaded = dataset(str(tmp_path), {"broken": 1}, table=broken)
    part = data.load(loaded, data.splits(loaded, seed=0).ids["train"])
    with pytest.raises(Problem, match="The image train-1-000 of the data set cannot be decoded"):
        list(data.batches(part, data.in_order(part, 4), 32))
    with pytest.raises(Problem, match="no images for train"):
        data.splits(dataset(str(tmp_path), {"none": 1}, table=rows({"test": 1})), seed=0)
    no_label = table.set_column(table.column_names.index("label"), "label", pa.nulls(len(table), pa.int8()))
    with pytest.raises(Problem, match="images without a label"):
        data.splits(dataset(str(tmp_path), {"no label": 1}, table=no_label), seed=0)


def test_pictures_that_are_too_large_are_not_decoded():
    header = bytearray(picture(1, 0))
    at = header.index(b"\xff\xc0") + 5  # height and width in the frame header
    header[at : at + 4] = (60000).to_bytes(2, "big") * 2
    assert data.decode(bytes(header), 32) is None
    whole = data.decode(picture(1, 0), 32)
    assert whole is not None and whole.shape == (32, 32, 3)


# Calibration


def test_the_temperature_is_found():
    random = np.random.default_rng(0)
    logits = 2 * random.normal(size=(20000, 7))
    p = calibration.probabilities(logits, 1)
    labels = (p.cumsum(1) > random.random((20000, 1))).argmax(1)
    assert calibration.temperature(3 * logits, labels) == pytest.approx(3, rel=0.05)


def test_the_threshold_follows_its_rule():
    confidence = np.array([0.95, 0.9, 0.8, 0.7, 0.6, 0.6, 0.3])
    right = np.array([True, True, False, True, True, False, False])
    found = calibration.threshold(confidence, right, 0.75)  # down to 0.7: 3 of 4; down to 0.6: 4 of 6
    assert (found.confidence, found.kept, found.right, found.n) == (0.7, 4, 3, 7)
    assert calibration.threshold(confidence, right, 0.5).confidence == 0.3
    assert calibration.threshold(confidence, np.zeros(7, bool), 0.5).confidence is None


def test_novelty_tells_strangers_from_the_family():
    random = np.random.default_rng(0)
    labels = np.arange(700) % 7
    mix = random.normal(size=(20, 20))
    family = ((random.normal(size=(700, 20)) + 4 * np.eye(7, 20)[labels]) @ mix).astype(np.float32)
    novelty = calibration.novelty(family, labels)
    assert (novelty.distances(family) > novelty.limit).mean() == pytest.approx(0.01, abs=0.002)
    strangers = ((random.normal(size=(100, 20)) + 12 * np.eye(20)[9]) @ mix).astype(np.float32)
    assert (novelty.distances(strangers) > novelty.limit).mean() > 0.9


# Training


def test_a_training_writes_a_model_scores_and_history(trained, images):
    finished, _ = trained
    results = finished.results
    assert {f["path"] for f in finished.manifest["files"]} == {"model.safetensors", "model.json", "novelty.safetensors", "history.jsonl"}
    assert results["images"] == {"train": 42, "validation": 14, "test": 14}
    for split, score in results["scores"].items():
        confusion = np.array(score["confusion"])
        assert confusion.sum() == score["n"] == results["images"][split]
        assert score["accuracy"] == pytest.approx(np.trace(confusion) / confusion.sum())
        assert score["class_mean_accuracy"] == pytest.approx((np.diag(confusion) / confusion.sum(1)).mean())
    history = [json.loads(line) for line in storage.read_bytes(finished.path("history.jsonl")).splitlines()]
    assert [line["epoch"] for line in history] == [1, 2]
    assert history[1]["learning_rate"] == pytest.approx(0.9e-3)
    best = history[results["best_epoch"] - 1]
    assert (
        best["accuracy/validation"] == max(line["accuracy/validation"] for line in history) == results["scores"]["validation"]["accuracy"]
    )
    description = json.loads(storage.read_bytes(finished.path("model.json")))
    assert description["dataset"] == images.digest and description["network"] == "arm" and description["size"] == 96


def test_mlflow_holds_parameters_metrics_data_set_confusion_and_model(trained, images):
    finished, tracking = trained
    client = MlflowClient(tracking.uri)
    run = client.get_run(finished.results["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["network"] == "arm" and run.data.params["gamma"] == "2.0"
    for name in ("loss/train", "accuracy/train", "class_mean_accuracy/validation", "accuracy/validation"):
        assert [m.step for m in client.get_metric_history(run.info.run_id, name)] == [1, 2]
    assert run.data.metrics["accuracy/test"] == pytest.approx(finished.results["scores"]["test"]["accuracy"])
    assert logged_digests(run) == [images.digest]
    assert {"confusion.html", "scores.json"} <= {f.path for f in client.list_artifacts(run.info.run_id)}
    models = client.search_logged_models(experiment_ids=[run.info.experiment_id])
    assert [m.source_run_id for m in models] == [run.info.run_id]


def logged_digests(run: Run) -> list[str]:
    return [d.dataset.digest for d in run.inputs.dataset_inputs] if run.inputs else []


def test_an_answer_does_not_depend_on_the_rest_of_the_batch(trained, images):
    model = recogniser.open_recogniser(trained[0])
    loaded = data.load(images, data.splits(images, seed=0).ids["test"])
    pixels = next(data.batches(loaded, [np.arange(7)], 96))[0]
    together, distances = model.answer(pixels)
    alone = [model.answer(image[None]) for image in pixels]
    np.testing.assert_allclose(np.concatenate([p for p, _ in alone]), together, atol=1e-5)
    np.testing.assert_allclose(np.concatenate([d for _, d in alone]), distances, rtol=1e-3)
    np.testing.assert_allclose(together.sum(1), 1, atol=1e-5)


def test_a_killed_training_goes_on_and_ends_as_if_nothing_had_happened(images, mlflow_uri, tmp_path):
    config = dataclasses.replace(SMALL, epochs=6, loss="softmax")
    tracking = Tracking(mlflow_uri, "resumed")
    job = train_job(images, config, tracking, checkpoint_seconds=0)
    script = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from twfer_dist import engine, storage\n"
        "from twfer_dist.recognition.train import train_job\n"
        "from twfer_dist.recognition.training import TrainConfig\n"
        "from twfer_dist.tracking import Tracking\n"
        f"job = train_job(storage.open_finished(sys.argv[1]), {config!r}, {tracking!r}, checkpoint_seconds=0)\n"
        "engine.run(job, sys.argv[2], quiet=True)\n"
    )
    directory = tmp_path / f"train-{job.fingerprint}"
    process = subprocess.Popen([sys.executable, "-c", script, images.uri, str(tmp_path)])
    wait_for(directory / "_work" / "checkpoint.pt", process)
    process.kill()
    process.wait()
    assert not (directory / storage.MANIFEST).exists()
    state = training.new_state(config)
    state.load((directory / "_work" / "checkpoint.pt").read_bytes())
    done = len(state.history)
    assert 1 <= done < config.epochs
    resumed = engine.run(job, str(tmp_path), quiet=True)
    whole = engine.run(train_job(images, config, tracking), str(tmp_path / "whole"), quiet=True)
    for name in ("history.jsonl", "model.safetensors", "model.json"):
        assert storage.read_bytes(resumed.path(name)) == storage.read_bytes(whole.path(name)), name
    steps = MlflowClient(mlflow_uri).get_metric_history(resumed.results["run_id"], "loss/train")
    assert [m.step for m in steps] == [1, 2, 3, 4, 5, 6]  # the epochs before the kill too


def wait_for(file: Path, process: subprocess.Popen | None = None, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < until and (process is None or process.poll() is None), f"{file} did not come"
        time.sleep(0.02)


def test_two_workers_train_together_and_outlive_the_death_of_one(ray_cluster, images, mlflow_uri, tmp_path):
    config = dataclasses.replace(SMALL, epochs=8)
    job = train_job(images, config, Tracking(mlflow_uri, "workers"), workers=2, cpus=0.5, checkpoint_seconds=0)
    killed: list[int] = []

    def kill_one() -> None:
        wait_for(tmp_path / f"train-{job.fingerprint}" / "_work" / "checkpoint.pt")
        workers = [p for p in psutil.Process().children(recursive=True) if "RayTrainWorker" in p.name() + " ".join(p.cmdline())]
        killed.append(workers[-1].pid)
        os.kill(workers[-1].pid, 9)

    killer = threading.Thread(target=kill_one)
    killer.start()
    finished = engine.run(job, str(tmp_path), quiet=True)
    killer.join()
    assert killed
    history = [json.loads(line) for line in storage.read_bytes(finished.path("history.jsonl")).splitlines()]
    assert [line["epoch"] for line in history] == list(range(1, 9))
    assert history[-1]["loss/train"] < history[0]["loss/train"]
    assert {split: score["n"] for split, score in finished.results["scores"].items()} == {"train": 42, "validation": 14, "test": 14}
    params = MlflowClient(mlflow_uri).get_run(finished.results["run_id"]).data.params
    assert params["workers"] == "2"


def test_a_sweep_nests_its_trials_under_its_run(ray_cluster, images, mlflow_uri, tmp_path):
    config = SweepConfig(train=SMALL, trials=2, patience=1)
    job = sweep_job(images, config, Tracking(mlflow_uri, "sweep"), concurrency=1, cpus=0.5)
    results = engine.run(job, str(tmp_path), quiet=True).results
    assert [(t["alpha"], t["learning_rate"]) for t in results["trials"]] == [(c.alpha, c.learning_rate) for c in config.points()]
    assert results["trials"][0]["epochs"] == 2
    best = results["trials"][results["best"]]
    assert best["accuracy/validation"] == max(t["accuracy/validation"] for t in results["trials"])
    assert results["best_config"] == dataclasses.asdict(config.points()[results["best"]])
    client = MlflowClient(mlflow_uri)
    experiment = client.get_run(results["run_id"]).info.experiment_id
    nested = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{results['run_id']}'")
    assert sorted(run.info.run_name for run in nested) == ["trial-000", "trial-001"]
    for run in nested:
        trial = results["trials"][int(run.info.run_name[-3:])]
        assert run.info.status == "FINISHED" and run.data.params["gamma"] == str(trial["gamma"])
        assert logged_digests(run) == [images.digest]
        told = client.get_metric_history(run.info.run_id, "accuracy/validation")
        assert [m.step for m in told][: trial["epochs"]] == list(range(1, trial["epochs"] + 1))
        assert {"loss/train", "loss/validation", "class_mean_accuracy/validation"} <= run.data.metrics.keys()


def test_sweeps_that_measure_noise_are_refused():
    with pytest.raises(ValueError, match="sigmoid"):
        SweepConfig(train=TrainConfig(loss="softmax"))
    points = SweepConfig(trials=50).points()
    assert all(0.1 <= p.alpha <= 0.9 and 0 <= p.gamma <= 4 and 3e-5 <= p.learning_rate <= 1e-3 for p in points)
    assert sorted(int((p.alpha - 0.1) / 0.8 * 50) for p in points) == pytest.approx(list(range(50)), abs=1)


# Answers


def faces(out: str) -> Finished:
    """A table of faces: three good crops, a crop that is broken, and a face that was lost before."""
    table = pa.Table.from_pylist(
        [
            {
                "face_id": f"face-{k}",
                "photo_id": f"photo-{k}",
                "rank": 0,
                "corpus": "photographs",
                "path": f"{k}.jpg",
                "source": f"figure-{k}",
                "label": k + 1 if k < 2 else None,
                "split": "test",
                "groups": [("posture", "kneeling")],
                "action_units": None,
                "detector": "none",
                "score": 1.0,
                "box": [0.0] * 4,
                "crop_matrix": [0.0] * 6,
                "image": b"broken" if k == 3 else None if k == 4 else picture(k + 1, 77, 96),
                "width": 96,
                "height": 96,
                "status": "no_crop" if k == 4 else "ok",
                "error": "the face lies outside" if k == 4 else "",
            }
            for k in range(5)
        ],
        FACES,
    )

    def do(work: Work) -> None:
        work.write_table("faces", table)

    return engine.run(Job("faces", 1, {}, {}, {}, {"faces": FACES}, do), out, quiet=True)


def test_answers_are_the_same_for_one_actor_and_two(ray_cluster, trained, images, tmp_path):
    model, _ = trained
    inputs = [faces(str(tmp_path)), images]
    found = []
    for actors, given in ((1, inputs), (2, inputs[::-1])):
        job = predict_job(given, model, PredictConfig(batch=8), actors=actors)
        found.append(engine.run(job, str(tmp_path / str(actors)), quiet=True))
    assert found[0].digest == found[1].digest and found[0].manifest["fingerprint"] == found[1].manifest["fingerprint"]
    table = found[0].table(".", PREDICTIONS)
    by_id = {row["image_id"]: row for row in table.to_pylist()}
    assert len(by_id) == len(table) == 75

    assert by_id["face-4"]["status"] == "no_crop" and by_id["face-4"]["error"] == "the face lies outside"
    assert by_id["face-3"]["status"] == "unreadable"
    assert all(by_id[f"face-{k}"][name] is None for k in (3, 4) for name in ("probabilities", "predicted", "confidence"))
    face = by_id["face-0"]
    assert (face["label"], face["split"], face["source"], face["groups"]) == (1, "test", "figure-0", [("posture", "kneeling")])
    assert face["model"] == f"ARM {model.manifest['fingerprint'][:6]}"

    answered = [row for row in by_id.values() if row["predicted"]]
    opened = recogniser.open_recogniser(model)
    for row in answered:
        assert row["predicted"] == int(np.argmax(row["probabilities"])) + 1
        assert row["confidence"] == max(row["probabilities"])
        if row["status"] == "not_readable":
            assert opened.threshold.confidence is None or row["confidence"] < opened.threshold.confidence
        if row["status"] == "ok":
            assert opened.threshold.confidence is not None and row["confidence"] >= opened.threshold.confidence
    # The training's own scores and these answers are of the same images and the same network.
    for split, score in model.results["scores"].items():
        rows_of = [row for row in answered if row["split"] == split and row["corpus"] == "synthetic"]
        assert sum(row["label"] == row["predicted"] for row in rows_of) / len(rows_of) == pytest.approx(score["accuracy"])


def test_wrong_inputs_of_answers_are_problems(ray_cluster, trained, images, tmp_path):
    model, _ = trained
    with pytest.raises(Problem, match="holds no recogniser: it is the output of stage 'dataset'"):
        predict_job([images], images, PredictConfig())
    with pytest.raises(Problem, match="output of stage 'train': images come from faces, animated, dataset"):
        predict_job([model], model, PredictConfig())
    with pytest.raises(Problem, match="the same images twice"):
        engine.run(predict_job([images, images], model, PredictConfig()), str(tmp_path), quiet=True)
