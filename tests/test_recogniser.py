"""A recogniser's parts: public weights, the images of workers, calibration."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import safetensors.torch
import torch
from recognition_data import SMALL, dataset, picture, rows
from torchvision.models import resnet18

from twfer_dist.core.errors import UserError
from twfer_dist.dataset import loader
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.recognition import calibration, recogniser
from twfer_dist.recognition.arm import ARM
from twfer_dist.recognition.resnet import ResNet18
from twfer_dist.recognition.train_stage import train_job

KEYS = json.loads((Path(__file__).parent / "data" / "arm_official_state_keys.json").read_text())


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """42 training, 14 validation and 14 test images."""
    return dataset(str(tmp_path_factory.mktemp("images")), {"train": 6, "validation": 2, "test": 2})


def random_state(layout: str) -> dict[str, torch.Tensor]:
    """Weights with the names and shapes of a public network."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(shape, generator=generator) if shape else torch.tensor(0)
        for name, shape in KEYS[layout].items()
    }


# Weights


@pytest.mark.parametrize(("layout", "network"), [("ResNet18_ARM___RAF", "arm"), ("ResNet18", "resnet18")])
@pytest.mark.parametrize("wrapped", [False, True])
def test_public_state_dicts_load(tmp_path, layout, network, wrapped):
    state = random_state(layout)
    file = tmp_path / "public.pth"
    torch.save(
        {"iter": 3, "model_state_dict": {f"module.{k}": v for k, v in state.items()}} if wrapped else state, file
    )
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
        assert torch.equal(
            model.state_dict()["features.7.1.conv2.weight"], public.state_dict()["layer4.1.conv2.weight"]
        )
        assert torch.equal(model.fc.weight, head)


def test_a_training_starts_from_the_trunk_of_another(images, mlflow_uri, tmp_path):
    tracking = Tracking(mlflow_uri, "trunk")
    first = run_stage(train_job(images, dataclasses.replace(SMALL, epochs=1), tracking), str(tmp_path), quiet=True)
    arm = dataclasses.replace(SMALL, network="arm", size=96, epochs=1, learning_rate=1e-9)
    second = train_job(images, arm, tracking, trunk=first)
    assert second.fingerprint != train_job(images, arm, tracking).fingerprint
    found = recogniser.open_recogniser(run_stage(second, str(tmp_path), quiet=True)).network.state_dict()
    given = recogniser.open_recogniser(first).network.state_dict()
    for name in ("features.0.weight", "features.7.1.conv2.weight"):
        torch.testing.assert_close(found[name], given[name], atol=1e-6, rtol=0)
    with pytest.raises(UserError, match="from 'initial' or from a 'trunk'"):
        train_job(images, arm, tracking, initial="weights.pth", trunk=first)


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
    with pytest.raises(UserError, match=words):
        recogniser.load_weights(ARM(224), str(tmp_path / "other.pth"))


def test_missing_and_broken_files_of_weights_are_problems(tmp_path, images):
    (tmp_path / "broken.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{broken")
    for name, words in (("none.pth", "is not there"), ("broken.safetensors", "not a file of weights alone")):
        with pytest.raises(UserError, match=words):
            train_job(images, SMALL, Tracking("sqlite:////nowhere.db", "x"), initial=str(tmp_path / name))
    with pytest.raises(ValueError, match="size is 64, and ARM needs 96 or more"):
        dataclasses.replace(SMALL, network="arm", size=64)


# Data


def test_shares_of_workers_are_equal_and_together_everything(images):
    ids = loader.splits(images, seed=0).ids["train"]
    shares = [loader.load(images, ids, rank=rank, world=4) for rank in range(4)]
    assert sorted(i for share in shares for i in share.ids) == ids
    assert sorted(len(share.ids) for share in shares) == [10, 10, 11, 11]
    orders = [loader.shuffled(share, 11, 4, seed=0, epoch=3) for share in shares]
    assert {tuple(len(b) for b in order) for order in orders} == {(4, 4, 3)}
    assert all(
        set(np.concatenate(order)) == set(range(len(share.ids))) for order, share in zip(orders, shares, strict=True)
    )
    label = {row["image_id"]: row["label"] - 1 for row in rows({"train": 6}).to_pylist()}
    assert all(label[i] == k for share in shares for i, k in zip(share.ids, share.labels.tolist(), strict=True))


def test_augmentation_belongs_to_the_image_and_the_epoch(images):
    loaded = loader.load(images, loader.splits(images, seed=0).ids["train"])

    def pixels(order: list[int], augmentation: tuple[int, int] | None) -> dict[int, np.ndarray]:
        parts = np.array_split(order, 3)
        found = loader.batches(loaded, parts, 32, augmentation)
        return {
            int(i): image
            for part, (stack, _) in zip(parts, found, strict=True)
            for i, image in zip(part, stack, strict=True)
        }

    forwards, backwards = pixels([0, 1, 2, 3, 4], (0, 1)), pixels([4, 3, 2, 1, 0], (0, 1))
    assert all(np.array_equal(forwards[i], backwards[i]) for i in forwards)
    assert not np.array_equal(forwards[0], pixels([0, 1, 2], (0, 2))[0])
    assert not np.array_equal(forwards[0], pixels([0, 1, 2], None)[0])


def test_a_data_set_without_validation_lends_whole_sources(tmp_path):
    table = rows({"train": 20, "test": 2}, figure_ids=20)
    found = loader.splits(dataset(str(tmp_path), {"train": 20}, table=table), seed=0)
    assert found.held_out
    figure_id = dict(zip(table["image_id"].to_pylist(), table["figure_id"].to_pylist(), strict=True))
    train, validation, test = ({figure_id[i] for i in found.ids[split]} for split in ("train", "validation", "test"))
    assert len(validation) == 2 and not validation & (train | test)
    assert sum(map(len, found.ids.values())) == len(table)


def test_bad_data_sets_are_problems(tmp_path, images):
    table = rows({"train": 1, "validation": 1})
    broken = table.set_column(
        table.column_names.index("image"), "image", pa.array([b"no image"] * len(table), pa.binary())
    )
    loaded = dataset(str(tmp_path), {"broken": 1}, table=broken)
    part = loader.load(loaded, loader.splits(loaded, seed=0).ids["train"])
    with pytest.raises(UserError, match="The image train-1-000 of the data set cannot be decoded"):
        list(loader.batches(part, loader.in_order(part, 4), 32))
    with pytest.raises(UserError, match="has no training images, only test"):
        loader.splits(dataset(str(tmp_path), {"none": 1}, table=rows({"test": 1})), seed=0)
    no_label = table.set_column(table.column_names.index("label"), "label", pa.nulls(len(table), pa.int8()))
    with pytest.raises(UserError, match="images without a label"):
        loader.splits(dataset(str(tmp_path), {"no label": 1}, table=no_label), seed=0)


def test_pictures_that_are_too_large_are_not_decoded():
    header = bytearray(picture(1, 0))
    at = header.index(b"\xff\xc0") + 5  # height and width in the frame header
    header[at : at + 4] = (60000).to_bytes(2, "big") * 2
    assert loader.decode(bytes(header), 32) is None
    whole = loader.decode(picture(1, 0), 32)
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
    assert (found.confidence, found.accepted, found.right, found.n) == (0.7, 4, 3, 7)
    assert calibration.threshold(confidence, right, 0.5).confidence == 0.3
    assert calibration.threshold(confidence, np.zeros(7, bool), 0.5).confidence is None


def test_novelty_tells_strangers_from_the_family():
    random = np.random.default_rng(0)
    labels = np.arange(700) % 7
    mix = random.normal(size=(300, 300))

    def relatives() -> np.ndarray:
        return ((random.normal(size=(700, 300)) + 4 * np.eye(7, 300)[labels]) @ mix).astype(np.float32)

    novelty = calibration.novelty(relatives(), labels, relatives())
    # 700 relatives span hardly more than the 300 dimensions, so those that were learned from seem nearer than new ones.
    assert (novelty.distances(relatives()) > novelty.limit).mean() == pytest.approx(0.01, abs=0.01)
    strangers = ((random.normal(size=(100, 300)) + 12 * np.eye(300)[9]) @ mix).astype(np.float32)
    assert (novelty.distances(strangers) > novelty.limit).mean() > 0.9
