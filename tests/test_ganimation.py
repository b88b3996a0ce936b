"""GANimation's networks, checkpoints, losses and training steps, in plain PyTorch."""

import contextlib
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from synthesis_tables import faces, rendered
from torch.nn import functional as F

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.synthesis import checkpoints, losses, training
from twfer_dist.synthesis.evaluation.scores import score, ssim
from twfer_dist.synthesis.networks import Critic, Generator, WarpingGenerator, conditioning, fuse, warp
from twfer_dist.synthesis.pairs import Pairs, load_faces, load_pairs
from twfer_dist.synthesis.training import GeneratorConfig
from twfer_dist.training.checkpoint import unpack

DATA = Path(__file__).parent / "data"
SMALL = GeneratorConfig(width=4, critic_width=2, batch=4, supervised_steps=4, adversarial_steps=2, scored_pairs=4)


@pytest.fixture(scope="module")
def official() -> dict[str, torch.Tensor]:
    with np.load(DATA / "ganimation_official.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return load_pairs(rendered(str(tmp_path_factory.mktemp("rendered"))), 64, 0.25)


def both(pairs: Pairs) -> dict[str, Pairs]:
    return {"supervised": pairs, "adversarial": pairs}


def states(official: dict[str, torch.Tensor], network: str) -> dict[str, torch.Tensor]:
    start = f"{network}/state/"
    return {name.removeprefix(start): value for name, value in official.items() if name.startswith(start)}


def saved(path: Path, value: object) -> str:
    torch.save(value, path)
    return str(path)


def test_generator_and_critic_equal_the_public_ones(official, tmp_path):
    generator = checkpoints.load_generator(saved(tmp_path / "g.pth", states(official, "G"))).network
    critic = checkpoints.load_critic(saved(tmp_path / "d.pth", states(official, "D")))
    with torch.no_grad():
        colour, attention = generator(official["image"], official["aus"])
        score, units = critic(official["image"])
    found = {"color": colour, "attention": attention, "fused": fuse(official["image"], colour, attention)}
    found |= {"critic_score": score, "critic_aus": units}
    for name, value in found.items():
        assert value.shape == official[name].shape
        assert (value - official[name]).abs().max() <= 1e-5, name


@pytest.mark.parametrize("prefix", ["", "module."])
def test_public_key_layouts_load(tmp_path, prefix):
    layouts = json.loads((DATA / "ganimation_official_state_keys.json").read_text())
    shapes = {name.split()[0]: layout for name, layout in layouts.items()}
    for network, load in (
        ("generator", lambda path: checkpoints.load_generator(path).network),
        ("critic", checkpoints.load_critic),
    ):
        state = {prefix + name: torch.full(shape, 0.5) for name, shape in shapes[network].items()}
        module = load(saved(tmp_path / f"{network}.pth", {"state_dict": state} if prefix else state))
        assert {name: list(value.shape) for name, value in module.state_dict().items()} == shapes[network]
        assert all((value == 0.5).all() for value in module.state_dict().values())


def test_half_precision_file_keeps_size_and_weights_and_the_other_spelling_loads(tmp_path):
    generator = Generator(4)
    (tmp_path / "g.safetensors").write_bytes(checkpoints.save(generator, size=64, half=True))
    loaded = checkpoints.load_generator(str(tmp_path / "g.safetensors"))
    assert loaded.size == 64
    assert loaded.sha256 == storage.sha256((tmp_path / "g.safetensors").read_bytes())
    torch.testing.assert_close(loaded.network.state_dict(), generator.state_dict(), atol=1e-3, rtol=1e-3)
    respelt = {name.replace("attetion", "attention"): value for name, value in generator.state_dict().items()}
    again = checkpoints.load_generator(saved(tmp_path / "g.pth", respelt))
    torch.testing.assert_close(again.network.state_dict(), generator.state_dict())
    assert again.size == 128


def test_pixels_are_fetched_from_where_the_flow_says_at_any_size():
    """A flow of a quarter of the side to the right shows, at each place, what was a quarter of the side to its
    right.
    """
    for side in (32, 96):
        image = torch.rand(1, 3, side, side)
        flow = torch.zeros(1, 2, side, side)
        flow[:, 0] = 0.5
        torch.testing.assert_close(warp(image, flow)[..., : -side // 4], image[..., side // 4 :], atol=1e-5, rtol=0)
        torch.testing.assert_close(warp(image, torch.zeros_like(flow)), image, atol=1e-5, rtol=0)
        torch.testing.assert_close(fuse(image, image * 0, torch.ones(1, 1, side, side), flow), warp(image, flow))


def test_our_generator_is_told_the_change_moves_nothing_at_first_and_is_known_again_in_its_file(tmp_path):
    own, wanted = torch.rand(2, 17), torch.rand(2, 17)
    ours, public = WarpingGenerator(4), Generator(4)
    torch.testing.assert_close(conditioning(ours, own, wanted), wanted - own)
    torch.testing.assert_close(conditioning(public, own, wanted), wanted)
    image = torch.rand(2, 3, 32, 32)
    colour, attention, flow = ours(image, wanted - own)
    assert (
        colour.shape == (2, 3, 32, 32)
        and attention.shape == (2, 1, 32, 32)
        and flow.shape == (2, 2, 32, 32)
        and (flow == 0).all()
    )
    (tmp_path / "g.safetensors").write_bytes(checkpoints.save(ours, size=64))
    loaded = checkpoints.load_generator(str(tmp_path / "g.safetensors"))
    assert isinstance(loaded.network, WarpingGenerator)
    torch.testing.assert_close(loaded.network.state_dict(), ours.state_dict())


class Foreign:
    """Not weights: unpickling it would run code of ours."""

    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not there"),
        (b"", "not a checkpoint of weights alone"),
        (b"\x10\0\0\0\0\0\0\0{broken json.....", "not a checkpoint of weights alone"),
        (Foreign(), "not a checkpoint of weights alone"),
        ([1, 2], "holds something else"),
        (Critic(64, 2).state_dict(), "does not hold a GANimation generator"),
        (Generator(4, units=5).state_dict(), "for 5 Action Units"),
        ({**Generator(4).state_dict(), "main.1.running_mean": torch.zeros(4)}, "does not hold a GANimation generator"),
    ],
)
def test_another_file_is_one_clear_problem(tmp_path, capsys, content, message):
    path = tmp_path / "g.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=message) as problem:
        checkpoints.load_generator(str(path))
    assert str(path) in str(problem.value) and "\n" not in str(problem.value)
    assert "executed" not in capsys.readouterr().out


def test_critic_checkpoint_of_another_model_is_a_problem(tmp_path):
    with pytest.raises(UserError, match="does not hold a GANimation critic"):
        checkpoints.load_critic(saved(tmp_path / "d.pth", Generator(4).state_dict()))


def test_gradient_penalty_of_a_critic_whose_gradient_is_known():
    """D(x) = 3 sum x_0 over 4 patches of an 8x8 image: the gradient is 3 on 64 pixels, its norm 24, the penalty
    23^2.
    """

    def critic(x: torch.Tensor) -> torch.Tensor:
        return 3 * F.avg_pool2d(x[:, 0], 4) * 16

    real, fake = torch.rand(5, 3, 8, 8), torch.rand(5, 3, 8, 8)
    assert losses.gradient_penalty(critic, real, fake, torch.rand(5, 1, 1, 1)).item() == pytest.approx(23**2, rel=1e-5)


def test_gradient_penalty_looks_between_real_and_fake_and_trains_the_critic():
    """D(x) = a |x|^2 / 2 has the gradient a x: with mix 0.25 the penalty is (a |0.25 real + 0.75 fake| - 1)^2."""
    a = torch.tensor(0.7, requires_grad=True)
    real, fake = torch.full((2, 3, 4, 4), 0.8), torch.full((2, 3, 4, 4), 0.4)
    penalty = losses.gradient_penalty(
        lambda x: a * x.square().sum((1, 2, 3)) / 2, real, fake, torch.full((2, 1, 1, 1), 0.25)
    )
    norm = 0.5 * 48**0.5
    assert penalty.item() == pytest.approx((0.7 * norm - 1) ** 2, rel=1e-5)
    penalty.backward()
    assert a.grad is not None and a.grad.item() == pytest.approx(2 * (0.7 * norm - 1) * norm, rel=1e-5)


def test_losses_of_a_split_batch_average_to_those_of_the_whole():
    rng = torch.Generator().manual_seed(0)
    image, truth, fused = (torch.rand(20, 3, 16, 16, generator=rng) * 2 - 1 for _ in range(3))
    attention, seen, wanted = (
        torch.rand(20, 1, 16, 16, generator=rng),
        torch.rand(20, 17, generator=rng),
        torch.rand(20, 17, generator=rng),
    )
    values = {
        "action units": lambda part: losses.action_unit_loss(seen[part], wanted[part]),
        "smoothness": lambda part: losses.smoothness(attention[part]),
        "paired": lambda part: torch.stack(
            [*losses.paired_loss(image[part], truth[part], fused[part], attention[part]).values()]
        ).sum(),
    }
    for name, value in values.items():
        for size in (1, 4, 10):
            split = torch.stack([value(slice(k, k + size)) for k in range(0, 20, size)]).mean()
            torch.testing.assert_close(split, value(slice(0, 20)), msg=name)
    assert losses.ACTION_UNITS == 160


def test_attention_is_asked_for_paint_where_paint_is_nearer_than_what_was_moved():
    image, still = torch.zeros(1, 3, 16, 16), torch.zeros(1, 2, 16, 16)
    truth = image.clone()
    truth[:, :, 4:12, 4:12] = -0.9  # a mouth opens
    painted, kept = torch.full((1, 1, 16, 16), 0.95), torch.full((1, 1, 16, 16), 0.95)
    painted[:, :, 4:12, 4:12] = 0.05
    asked = [losses.paired_loss(image, truth, truth, attention, still)["attention"] for attention in (painted, kept)]
    assert asked[0] < 0.5 * asked[1]
    refused = [losses.paired_loss(image, truth, image, attention, still)["attention"] for attention in (painted, kept)]
    assert refused[1] < 0.5 * refused[0]  # paint that is no nearer is not asked for


def test_smoothness_is_the_public_sum_at_its_batch():
    attention = torch.rand(25, 1, 8, 8)
    public = (attention[:, :, :-1] - attention[:, :, 1:]).abs().sum() + (
        attention[:, :, :, :-1] - attention[:, :, :, 1:]
    ).abs().sum()
    torch.testing.assert_close(losses.SMOOTHNESS * losses.smoothness(attention), 1e-5 * public)


def test_pairs_keep_figures_apart_and_differ_in_action_units_alone(pairs):
    learn, held_out = pairs
    assert (len(learn.scenes), len(held_out.scenes)) == (3, 1)
    assert all(learn.units[scene[0]].sum() == 0 for scene in learn.scenes)
    draw = learn.draw(np.random.default_rng(0), 32)
    image, truth, own, wanted = learn.batch(draw)
    assert image.shape == truth.shape == (32, 3, 64, 64) and image.abs().max() <= 1
    same = draw.source == draw.target
    assert (image[same] == truth[same]).all() and (own[same] == wanted[same]).all()
    corner = (image - truth)[:, :, :8, :8].abs().max()
    assert corner == 0 and (image - truth)[~same].abs().max() > 0.1
    left, right = learn.batch(draw.share(0, 2))[0], learn.batch(draw.share(1, 2))[0]
    torch.testing.assert_close(torch.cat([left, right]), image)


def test_a_draw_can_take_away_colour_and_the_detail_of_single_pixels():
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    grain = Pairs(noise, np.zeros((3, 17), np.float32), np.zeros(3, int), [np.arange(3)])
    plain = grain.neutral_batch(2)
    image = grain.batch(plain)[0]
    grey = grain.batch(dataclasses.replace(plain, grey=np.ones(2, np.float32)))[0]
    torch.testing.assert_close(grey, image.mean(1, keepdim=True).expand_as(image))
    soft = grain.batch(dataclasses.replace(plain, soft=np.ones(2, np.float32)))[0]
    detail, kept = ((x[..., 1:] - x[..., :-1]).abs().mean() for x in (image, soft))
    assert kept < 0.5 * detail and (F.avg_pool2d(soft, 16) - F.avg_pool2d(image, 16)).abs().max() < 0.1


def test_faces_lend_their_action_units_to_each_other(tmp_path):
    loaded = load_faces([faces(str(tmp_path), 1)], 64)
    assert loaded.images.shape == (7, 64, 64, 3) and len(loaded.scenes) == 1


def test_one_figure_is_too_few(tmp_path):
    with pytest.raises(UserError, match="no two figures"):
        load_pairs(rendered(str(tmp_path), figures=1), 64, 0.25)


def test_ssim_is_one_for_equal_images_and_the_known_value_for_constants():
    image = torch.rand(1, 3, 16, 16) * 2 - 1
    torch.testing.assert_close(ssim(image, image), torch.ones(1, 1, 16, 16))
    a, b = torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.25)
    expected = (2 * 0.5 * 0.25 + 4e-4) / (0.5**2 + 0.25**2 + 4e-4)
    torch.testing.assert_close(ssim(a, b), torch.full((1, 1, 16, 16), expected), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("network", training.NETWORKS)
def test_both_phases_run_and_a_resumed_training_equals_an_unbroken_one(pairs, network):
    learn, _ = pairs
    config = dataclasses.replace(SMALL, network=network)

    def run(state: training.State, until: tuple[int, int] | None = None) -> list[dict[str, float]]:
        seen = []

        class Stop(Exception):
            pass

        def observe(state, values):
            seen.append(values)
            if (state.phase, state.step) == until:
                raise Stop

        with contextlib.suppress(Stop):
            training.fit(state, both(learn), config, observe)
        return seen

    unbroken = training.new_state(config)
    before = {name: value.clone() for name, value in unbroken.generator.state_dict().items()}
    all_losses = run(unbroken)
    assert len(all_losses) == 6 and all(np.isfinite(list(values.values())).all() for values in all_losses)
    assert any((value != before[name]).any() for name, value in unbroken.generator.state_dict().items())
    for until in ((0, 3), (1, 1)):
        broken = training.new_state(config)
        first = run(broken, until)
        resumed = training.new_state(config)
        resumed.load(broken.to_bytes())
        assert first + run(resumed) == all_losses
        torch.testing.assert_close(resumed.generator.state_dict(), unbroken.generator.state_dict(), atol=0, rtol=0)
        torch.testing.assert_close(resumed.critic.state_dict(), unbroken.critic.state_dict(), atol=0, rtol=0)


def first_losses(rank: int, workers: int, folder: str, learn: Pairs, config: GeneratorConfig) -> list[dict[str, float]]:
    """What one worker does: all losses of the whole batch, step by step; the first of several writes them down."""
    torch.set_num_threads(1)
    if workers > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=workers)
    seen: list[dict[str, float]] = []
    training.fit(training.new_state(config), both(learn), config, lambda state, values: seen.append(values))
    if workers > 1:
        dist.destroy_process_group()
        if rank == 0:
            (Path(folder) / "losses.json").write_text(json.dumps(seen))
    return seen


def test_two_workers_and_one_agree_on_the_first_steps_losses(pairs, tmp_path):
    config = GeneratorConfig(width=8, critic_width=4, batch=24, supervised_steps=3, adversarial_steps=2)
    torch.multiprocessing.spawn(first_losses, (2, str(tmp_path), pairs[0], config), nprocs=2)
    two = json.loads((tmp_path / "losses.json").read_text())
    threads = torch.get_num_threads()
    one = first_losses(0, 1, "", pairs[0], config)
    torch.set_num_threads(threads)
    assert len(one) == len(two) == 5
    for step in (*one, *two):
        if "smoothness" in step:  # a sum over an image's pixels: as it enters the loss
            step["smoothness"] *= losses.SMOOTHNESS
    for ours, theirs in zip(one, two, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("network", training.NETWORKS)
def test_supervision_learns(pairs, network):
    """Sixty steps of a narrow network on three drawn figures halve nothing yet, but the loss on the training pairs
    falls.
    """
    learn, _ = pairs
    config = GeneratorConfig(
        network=network, width=8, critic_width=2, batch=8, supervised_steps=60, supervised_rate=2e-3
    )
    seen: list[float] = []
    training.fit(training.new_state(config), both(learn), config, lambda state, values: seen.append(values["loss"]))
    assert np.mean(seen[-10:]) < 0.85 * np.mean(seen[:5])


def test_loss_that_is_not_finite_stops_at_once(pairs):
    state = training.new_state(SMALL)
    with torch.no_grad():
        state.generator.get_parameter("img_reg.0.weight").fill_(float("nan"))
    with pytest.raises(UserError, match="supervised step 1: its loss is nan"):
        training.fit(state, both(pairs[0]), SMALL, lambda state, values: None)
    assert unpack(state.to_bytes())["step"] == 0


def test_gradient_that_is_not_finite_leaves_the_weights_as_they_were(pairs):
    """A finite loss whose gradient overflows: its own weight is so small that float32 cannot hold what comes back
    through it.
    """
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(network.weight, 1e-30)
    optimizer = torch.optim.Adam(network.parameters())
    loss = network(torch.ones(1, 1)).abs().sqrt().sqrt().sqrt().sum() * 1e20
    with pytest.raises(UserError, match="diverged at here: its gradient is inf"):
        training._update(loss, network, optimizer, ("here", "supervised_rate", 1e-4))
    assert network.weight.item() == pytest.approx(1e-30)


def test_minutes_end_a_phase(pairs):
    config = GeneratorConfig(width=4, critic_width=2, batch=4, supervised_steps=10**6, supervised_minutes=0.01)
    state = training.new_state(config)
    training.fit(state, both(pairs[0]), config, lambda state, values: None)
    assert state.phase == 1


def test_copying_scores_as_copying(pairs):
    class Copies(Generator):
        def forward(self, image, units):
            return torch.zeros_like(image), torch.ones_like(image[:, :1])

    scores = score(Copies(), pairs[1], 5)
    for measure in ("psnr", "ssim", "l1"):
        for region in ("all", "changed", "rest"):
            assert scores[f"output_{measure}_{region}"] == pytest.approx(scores[f"copy_{measure}_{region}"])
    assert 0 < scores["changed_share"] < 0.6
    assert scores["copy_l1_changed"] > 10 > scores["copy_l1_rest"]
