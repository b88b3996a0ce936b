"""The synthesis room on Ray: training a generator, choosing references, animating faces."""

import dataclasses
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from synthesis_tables import faces, finished, rendered

from twfer_dist.core import schema
from twfer_dist.core.errors import UserError
from twfer_dist.core.prototypes import prototype
from twfer_dist.core.schema import ANIMATED, FACES
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import EXPRESSIONS, NEUTRAL
from twfer_dist.engine import artifact, storage
from twfer_dist.engine.config import package_path
from twfer_dist.engine.stage import run_stage
from twfer_dist.engine.tracking import Tracking
from twfer_dist.synthesis import animate, checkpoints, references, stage, train_stage
from twfer_dist.synthesis.networks import Generator
from twfer_dist.synthesis.stage import AnimateConfig, Animator, animate_job
from twfer_dist.synthesis.training import GeneratorConfig
from twfer_dist.training import precision

SMALL = GeneratorConfig(width=4, critic_width=2, batch=4, supervised_steps=3, adversarial_steps=1, scored_pairs=4)


@pytest.fixture(scope="module")
def generator(tmp_path_factory) -> str:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("generator") / "generator.safetensors"
    path.write_bytes(checkpoints.save(Generator(4), size=64))
    return str(path)


@pytest.fixture(scope="module")
def some_faces(tmp_path_factory) -> artifact.Artifact:
    return faces(str(tmp_path_factory.mktemp("faces")))


def opened(data: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def shas(finished: artifact.Artifact) -> list[str]:
    return [file.sha256 for file in finished.manifest.files if file.table]


def test_every_neutral_face_to_seven_expressions_at_graded_intensities(ray_cluster, some_faces, generator, tmp_path):
    finished = run_stage(
        animate_job([some_faces], AnimateConfig(size=80), generator, actors=1), str(tmp_path), quiet=True
    )
    table = finished.table(".", ANIMATED)
    assert len(table) == 3 * 7 * 4
    names = {f"drawn{f}neutral-0-{e}-1-{k}" for f in range(3) for e in EXPRESSIONS for k in range(1, 5)}
    assert set(table["image_id"].to_pylist()) == names
    rows = {row["image_id"]: row for row in table.to_pylist()}
    row = rows["drawn0neutral-0-surprise-1-3"]
    assert (row["label"], row["level"], row["reference_id"]) == (1, 3, "drawn2surprise-0")
    assert row["groups"] == [("posture", "civil")] and row["figure_id"] == "drawn-figure0"
    np.testing.assert_allclose(row["intensity"], 0.6)
    np.testing.assert_allclose(row["action_units"], 0.6 * 0.8 * prototype("surprise"), atol=1e-5)
    for name, found in rows.items():
        if name.startswith("drawn1neutral"):
            assert (found["status"], found["image"], found["width"]) == ("unreadable", None, None) and found["error"]
        else:
            image = opened(found["image"])
            assert (
                found["status"] == OK and image.shape == (80, 80, 3) and (found["width"], found["height"]) == (80, 80)
            )
    assert finished.results["faces"] == 3 and finished.results["faces_without_own_action_units"] == 0
    assert finished.results["intensities"] == [0.2, 0.4, 0.6, 0.8]
    assert [r["reference_id"] for r in finished.results["references"]] == [
        *(f"drawn2{expression}-0" for expression in EXPRESSIONS[:-1]),
        "drawn0neutral-0",
    ]


@pytest.mark.parametrize(("rows", "expected"), [(602, 16), (10**6, 256), (10, 16)])
def test_a_small_study_has_parts_enough_to_keep_many_workers_busy(rows, expected):
    assert stage._rows_per_shard(rows, 16) == expected


def test_an_image_does_not_depend_on_the_rows_beside_it(some_faces, generator):
    animator = Animator(generator, batch=16, gpus=0, bfloat16=False)
    rng = np.random.default_rng(0)
    pixels = [cv2.GaussianBlur(rng.integers(0, 256, (80, 80, 3), np.uint8), (0, 0), 2).tobytes() for _ in range(20)]
    units = rng.uniform(0, 5, (2, 20, 17)).astype(np.float32)

    def animated(rows: list[int]) -> list[bytes]:
        columns = {"pixels": pa.array([pixels[k] for k in rows], pa.large_binary())}
        columns |= {
            name: pa.array(list(values[rows])) for name, values in zip(("action_units", "own"), units, strict=True)
        }
        return animator(pa.table(columns))["pixels"].to_pylist()

    together = animated(list(range(20)))
    for rows in ([7], [19, 7, 3], [0, 0, 0, 7, 7]):
        assert animated(rows) == [together[k] for k in rows]


def test_same_bytes_with_one_actor_and_with_two(ray_cluster, some_faces, generator, tmp_path):
    config = AnimateConfig(size=64, batch=5)
    one = run_stage(animate_job([some_faces], config, generator, actors=1), str(tmp_path / "one"), quiet=True)
    two = run_stage(animate_job([some_faces], config, generator, actors=2), str(tmp_path / "two"), quiet=True)
    assert one.manifest.fingerprint == two.manifest.fingerprint
    assert shas(one) == shas(two) and shas(one)


def test_planned_counts_are_exact_and_spread_evenly(ray_cluster, some_faces, generator, tmp_path):
    config = AnimateConfig(size=64, references=2, per_expression=19)
    finished = run_stage(animate_job([some_faces], config, generator, actors=1), str(tmp_path), quiet=True)
    table = finished.table(".", ANIMATED)
    assert len(table) == 7 * 19 and pc.count_distinct(table["image_id"]).as_py() == 7 * 19
    for label in range(1, 8):
        rows = table.filter(pc.equal(table["label"], label))
        faces_taken = Counter(rows["face_id"].to_pylist())
        ways = Counter(zip(rows["reference_id"].to_pylist(), rows["level"].to_pylist(), strict=True))
        assert len(faces_taken) == 3 and max(faces_taken.values()) - min(faces_taken.values()) <= 1
        assert len(ways) == 8 and max(ways.values()) - min(ways.values()) <= 1
    too_many = AnimateConfig(size=64, per_expression=13)
    with pytest.raises(UserError, match="13 images of surprise are asked for, and 3 faces, 4 ways each, give 12"):
        run_stage(animate_job([some_faces], too_many, generator, actors=1), str(tmp_path), quiet=True)


@pytest.mark.parametrize(
    ("figure_ids", "ways", "count"), [(58, 46, 2670 // 7), (6, 4, 24), (4, 6, 17), (1, 5, 5), (7, 1, 3)]
)
def test_combinations_are_each_taken_once_and_evenly(figure_ids, ways, count):
    face, way = stage._combinations(figure_ids, np.full(ways, 3), count)
    assert len(set(zip(face.tolist(), way.tolist(), strict=True))) == count
    for taken, of in ((face, figure_ids), (way, ways)):
        counts = np.bincount(taken, minlength=of)
        assert counts.max() - counts.min() <= 1


def test_more_gpus_than_there_are_is_a_problem(ray_cluster, some_faces, generator, tmp_path):
    with pytest.raises(UserError, match="asks for 3 GPU per actor and the cluster has 1"):
        run_stage(animate_job([some_faces], AnimateConfig(), generator, gpus=3), str(tmp_path), quiet=True)


def test_unlabelled_faces_start_from_zeros_and_references_come_from_the_named_corpus(
    ray_cluster, some_faces, generator, tmp_path
):
    warriors = faces(str(tmp_path / "warriors"), 2, corpus="warriors", expressions=False, units=False)
    config = AnimateConfig(size=64, levels=2, drop_last=False, references=2, reference_corpora=("drawn",))
    finished = run_stage(
        animate_job([some_faces, warriors], config, generator, actors=1), str(tmp_path / "out"), quiet=True
    )
    table = finished.table(".", ANIMATED)
    assert len(table) == 5 * 7 * 2 * 2
    assert finished.results["faces_without_own_action_units"] == 2
    assert {r["reference_id"].split("-")[0][:5] for r in finished.results["references"]} == {"drawn"}
    row = table.filter(pc.equal(table["image_id"], "warriors0neutral-0-anger-2-1")).to_pylist()[0]
    reference = next(r for r in finished.results["references"] if r["label"] == 6 and r["number"] == 2)
    np.testing.assert_allclose(row["action_units"], 0.5 * np.array(reference["action_units"]), atol=1e-5)


def test_no_face_to_animate_is_a_problem(ray_cluster, some_faces, generator, tmp_path):
    only = some_faces.table("faces", FACES).filter(pc.field("label") == 1)
    surprised = finished(str(tmp_path), "surprised", "faces", only, FACES)
    with pytest.raises(UserError, match="No face to animate"):
        run_stage(animate_job([surprised], AnimateConfig(), generator), str(tmp_path), quiet=True)
    everything = AnimateConfig(size=64, levels=1, drop_last=False, select="all")
    assert (
        len(
            run_stage(animate_job([surprised], everything, generator, actors=1), str(tmp_path), quiet=True).table(
                ".", ANIMATED
            )
        )
        == 3 * 7
    )


def test_auto_computes_in_what_all_nodes_have_and_says_so(ray_cluster, some_faces, generator, tmp_path):
    config = AnimateConfig(size=64, levels=1, drop_last=False, precision="auto")
    finished = run_stage(animate_job([some_faces], config, generator, actors=1), str(tmp_path), quiet=True)
    chosen = precision.choose_precision("auto", [precision.device_without_bfloat16("cpu")])
    assert finished.results["precision"] == chosen
    named = dataclasses.replace(config, precision=chosen)
    same = run_stage(animate_job([some_faces], named, generator, actors=1), str(tmp_path), quiet=True)
    assert same.table(".", schema.ANIMATED).equals(finished.table(".", schema.ANIMATED))


def test_another_generator_is_another_fingerprint(some_faces, generator, tmp_path):
    other = tmp_path / "other.safetensors"
    other.write_bytes(checkpoints.save(Generator(8), size=64))
    config = AnimateConfig()
    same = tmp_path / "copy.safetensors"
    same.write_bytes(storage.read_bytes(generator))
    prints = [animate_job([some_faces], config, str(path)).fingerprint for path in (generator, same, other)]
    assert prints[0] == prints[1] != prints[2]


def test_references_are_the_clearest_and_of_different_sources():
    fear = prototype("fear")
    noise = np.zeros(17, np.float32)
    noise[[6, 8, 9]] = 4
    rows = [
        ("a-0", "x", 2, 0.9 * fear),
        ("b-0", "x", 2, 0.8 * fear),  # of the same figure as a better one
        ("c-0", "y", 2, 0.5 * fear),
        ("d-0", "z", 2, 0.9 * fear + noise),  # strong, but of a smile too
        ("e-0", "w", None, fear),
        ("n-0", "x", NEUTRAL, 0 * fear),
        ("m-0", "y", NEUTRAL, 0.1 * fear),
    ]
    table = pa.table(
        {
            "face_id": [r[0] for r in rows],
            "corpus": ["k"] * len(rows),
            "figure_id": [r[1] for r in rows],
            "label": pa.array([r[2] for r in rows], pa.int8()),
            "action_units": pa.array([list(map(float, r[3])) for r in rows], pa.list_(pa.float32(), 17)),
            "status": [OK] * len(rows),
        }
    )
    chosen = references.choose([table], 2)
    assert [r.reference_id for r in chosen if r.label == 2] == ["a-0", "c-0"]
    assert [r.reference_id for r in chosen if r.label == NEUTRAL] == ["n-0", "m-0"]
    assert [r.reference_id for r in chosen if r.label == 1] == ["prototype-surprise"]
    assert {r.reference_id.split("-")[0] for r in references.choose([table], 1, ("elsewhere",))} == {"prototype"}


def test_animation_keeps_the_source_pixel_for_pixel_where_attention_is_one_at_any_size():
    class Half(Generator):
        """Keeps the upper half, paints the lower half white."""

        def forward(self, image, units):
            attention = torch.ones_like(image[:, :1])
            attention[:, :, 32:] = 0
            return torch.ones_like(image), attention

    loaded = checkpoints.LoadedGenerator(Half(4), 64, "")
    crops = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    answer = animate.animate(loaded, crops, *np.zeros((2, 2, 17), np.float32))
    assert (answer[:, :54] == crops[:, :54]).all()
    assert (answer[:, 58:] == 255).all()


def test_bfloat16_changes_the_shipped_generators_pictures_as_good_as_not_at_all():
    loaded = checkpoints.load_generator(package_path("package:weights/generator.safetensors"))
    photographs = sorted(Path(package_path("package:demo/tw58")).rglob("*.jpg"))[:8]
    pictures = [np.asarray(cv2.imread(str(place))) for place in photographs]
    crops = np.stack([cv2.resize(picture, (128, 128), interpolation=cv2.INTER_AREA)[..., ::-1] for picture in pictures])
    wanted = np.stack([prototype(name) for name in EXPRESSIONS] + [prototype("surprise")]).astype(np.float32)
    plain, fast = (
        animate.animate(loaded, crops, np.zeros_like(wanted), wanted, bfloat16=kind).astype(int)
        for kind in (False, True)
    )
    apart = np.abs(plain - fast)
    assert apart.mean() < 0.5 and np.quantile(apart, 0.999) <= 2
    assert apart.any()  # it was computed otherwise


def test_intensities_leave_out_the_strongest():
    assert animate.intensities(5, True) == [0.2, 0.4, 0.6, 0.8]
    assert animate.intensities(2, False) == [0.5, 1.0]


def test_training_writes_weights_log_scores_and_a_run_and_goes_on_after_a_kill(tmp_path, mlflow_uri, monkeypatch):
    scenes = rendered(str(tmp_path))
    tracking = Tracking(mlflow_uri, "synthesis")
    monkeypatch.setattr(train_stage, "LOG_EVERY", -1.0)
    kept = dataclasses.replace(SMALL, keep_at=(1,))
    whole = run_stage(train_stage.train_generator_job(scenes, kept, tracking), str(tmp_path / "whole"))
    assert storage.read_bytes(whole.path("generator-000001.safetensors")) == storage.read_bytes(
        whole.path(train_stage.GENERATOR)
    )
    with pytest.raises(ValueError, match="keep_at names step 2, and the adversarial phase has 1"):
        dataclasses.replace(SMALL, keep_at=(2,))
    log = [json.loads(line) for line in storage.read_bytes(whole.path(train_stage.LOG)).decode().splitlines()]
    assert [(line["phase"], line["step"]) for line in log] == [
        *(("supervised", k) for k in (1, 2, 3)),
        ("adversarial", 1),
    ]
    generator = checkpoints.load_generator(whole.path(train_stage.GENERATOR))
    assert generator.size == 64 and checkpoints.load_critic(whole.path(train_stage.CRITIC))
    assert opened(storage.read_bytes(whole.path(train_stage.SHEET))).shape == (128, 512, 3)
    run = tracking.client.get_run(whole.results["run_id"])
    assert run.info.status == "FINISHED" and run.data.params["width"] == "4"
    assert run.data.metrics["held_out_output_l1_changed"] == pytest.approx(whole.results["scores"]["output_l1_changed"])
    assert run.inputs and run.inputs.dataset_inputs[0].dataset.digest == scenes.digest

    keep = train_stage._Observer.keep

    def keep_and_die(self, state):
        keep(self, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train_stage, "LOOK_EVERY", -1.0)
        patch.setattr(train_stage._Observer, "keep", keep_and_die)
        with pytest.raises(KeyboardInterrupt):
            run_stage(train_stage.train_generator_job(scenes, SMALL, tracking), str(tmp_path / "killed"))
    resumed = run_stage(train_stage.train_generator_job(scenes, SMALL, tracking), str(tmp_path / "killed"))
    assert storage.read_bytes(resumed.path(train_stage.GENERATOR)) == storage.read_bytes(
        whole.path(train_stage.GENERATOR)
    )
    client, (killed,) = (
        tracking.client,
        [r for r in tracking.client.search_runs([run.info.experiment_id]) if r.info.status == "FAILED"],
    )
    assert [f.path for f in client.list_artifacts(killed.info.run_id, "samples")] == ["samples/supervised-000001.png"]
    told = {m.step: m.value for m in client.get_metric_history(resumed.results["run_id"], "supervised_loss")}
    assert told == pytest.approx(
        {line["step"]: line["loss"] for line in log if line["phase"] == "supervised"}, rel=1e-4
    )


def test_faces_alone_train_adversarially_from_a_given_generator(generator, tmp_path, mlflow_uri):
    learnt = faces(str(tmp_path), 1)
    tracking = Tracking(mlflow_uri, "synthesis")
    config = dataclasses.replace(SMALL, supervised_steps=0)
    finished = run_stage(
        train_stage.train_generator_job(None, config, tracking, faces=[learnt], initial=generator),
        str(tmp_path / "out"),
    )
    assert finished.results["scores"] == {} and finished.results["last"]["phase"] == "adversarial"
    before, after = (
        checkpoints.load_generator(path).network.state_dict()
        for path in (generator, finished.path(train_stage.GENERATOR))
    )
    step = max((after[name] - before[name]).abs().max() for name in before)
    assert 0 < step < 5e-3  # one step of Adam from the given weights, not from new ones
    with pytest.raises(UserError, match="learns from nothing"):
        train_stage.train_generator_job(None, SMALL, tracking, faces=[learnt])
    with pytest.raises(UserError, match="of width 4 and width is 8"):
        train_stage.train_generator_job(
            None, dataclasses.replace(config, width=8), tracking, faces=[learnt], initial=generator
        )
    with pytest.raises(UserError, match="does not hold a generator of the kind 'warping'"):
        train_stage.train_generator_job(
            None, dataclasses.replace(config, network="warping"), tracking, faces=[learnt], initial=generator
        )
    with pytest.raises(UserError, match="A batch of 4 images cannot be dealt to 3 workers"):
        train_stage.train_generator_job(None, config, tracking, faces=[learnt], workers=3)
    with pytest.raises(ValueError, match="size is 100; use a multiple of 64 from 64 to 1024"):
        dataclasses.replace(config, size=100)


def test_two_workers_learn_what_one_learns(ray_cluster, tmp_path, mlflow_uri):
    scenes = rendered(str(tmp_path))
    tracking = Tracking(mlflow_uri, "synthesis")
    one = run_stage(train_stage.train_generator_job(scenes, SMALL, tracking), str(tmp_path / "one"))
    two = run_stage(train_stage.train_generator_job(scenes, SMALL, tracking, workers=2), str(tmp_path / "two"))
    assert one.manifest.fingerprint == two.manifest.fingerprint
    logs = [
        [json.loads(line) for line in storage.read_bytes(run.path(train_stage.LOG)).splitlines()] for run in (one, two)
    ]
    assert (
        len(logs[0]) == len(logs[1]) == 2
    )  # the mean losses of three supervised steps, and those of an adversarial one
    for ours, theirs in zip(*logs, strict=True):
        for name in ours.keys() - {"phase", "seconds"}:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-4), name
    weights = [checkpoints.load_critic(run.path(train_stage.CRITIC)).state_dict() for run in (one, two)]
    torch.testing.assert_close(weights[0], weights[1], atol=1e-4, rtol=0)
    weights = [checkpoints.load_generator(run.path(train_stage.GENERATOR)).network.state_dict() for run in (one, two)]
    # Adam takes whole steps along gradients near zero, whose sign hangs on the order of a sum: single weights may part.
    assert max((weights[0][name] - weights[1][name]).abs().mean() for name in weights[0]) < 1e-4


def test_problem_of_a_worker_reaches_the_user(ray_cluster, tmp_path, mlflow_uri):
    broken = Generator(4)
    torch.nn.init.constant_(broken.get_parameter("img_reg.0.weight"), float("nan"))
    path = tmp_path / "broken.safetensors"
    path.write_bytes(checkpoints.save(broken, size=64))
    job = train_stage.train_generator_job(
        rendered(str(tmp_path)), SMALL, Tracking(mlflow_uri, "x"), initial=str(path), workers=1
    )
    with pytest.raises(
        UserError, match="diverged at supervised step 1: its loss is nan; the weights it starts from are to blame"
    ):
        run_stage(job, str(tmp_path / "out"))
