"""Training the generator in plain PyTorch: on pairs whose truth is known, then as GANimation trains (arXiv 1807.09251).

Both phases draw step k's whole batch from (seed, phase, k), and each worker takes its share: what is learnt does not
hang on the number of workers, and a resumed training draws what an unbroken one would have drawn. Gradients are
averaged over the workers by hand, because the gradient penalty differentiates the critic twice.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from twfer_dist.engine.config import Range, Settings
from twfer_dist.synthesis import losses
from twfer_dist.synthesis.networks import AnyGenerator, Critic, Generator, WarpingGenerator, conditioning, fuse
from twfer_dist.synthesis.pairs import PairBatch, Pairs
from twfer_dist.training.checkpoint import pack, unpack
from twfer_dist.training.loop import agree_on_bfloat16, check_converging
from twfer_dist.training.precision import Precision

NETWORKS: dict[str, type[Generator] | type[WarpingGenerator]] = {"ganimation": Generator, "warping": WarpingGenerator}
CRITIC_STEPS = 5  # per step of the generator
PAIRED = {"pixels": 1.0, "edges": 0.5, "attention": 0.1, "colour": 1.0, "bend": 0.1}
"""The weights of `losses.paired_loss`."""


@dataclass(frozen=True)
class GeneratorConfig(Settings):
    """How a generator is trained: first `supervised`, then `adversarial`; a phase of 0 steps is left out.

    A phase ends with its steps or, where minutes are given, with its minutes; the learning rate falls to zero towards
    whichever comes first. The paper: size 128, width 64, batch 25, no supervised phase, 30 epochs.
    """

    network: Literal["ganimation", "warping"] = "ganimation"  # the public generator, or ours
    size: Annotated[int, Range(64, 1024, multiple_of=64)] = 64  # pixels of the images; the critic halves them six times
    width: Annotated[int, Range(1, 512)] = 32
    critic_width: Annotated[int, Range(1, 512)] = 32
    batch: Annotated[int, Range(1, 4096)] = 16  # over all workers
    supervised_steps: Annotated[int, Range(0, 10**9)] = 10000
    supervised_minutes: Annotated[float, Range(0, 10**6, above=True)] | None = None
    supervised_rate: Annotated[float, Range(0, 1, above=True)] = 5e-4
    adversarial_steps: Annotated[int, Range(0, 10**9)] = 0
    adversarial_minutes: Annotated[float, Range(0, 10**6, above=True)] | None = None
    adversarial_rate: Annotated[float, Range(0, 1, above=True)] = 1e-4
    # of the generator's convolutions, bfloat16 is twice as fast; the critic stays at float32
    precision: Precision = "float32"
    keep_at: tuple[
        Annotated[int, Range(1, 10**9)], ...
    ] = ()  # steps of the last phase after which the weights are kept beside
    held_out: Annotated[float, Range(0, 0.9, above=True)] = 0.05  # share of the figures kept for the scores
    scored_pairs: Annotated[int, Range(1, 10**6)] = 256
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0

    def agree(self) -> None:
        if not self.phases():
            raise ValueError("a generator is trained for no steps; set supervised_steps or adversarial_steps")
        last, steps, *_ = self.phases()[-1]
        if self.keep_at and max(self.keep_at) > steps:
            raise ValueError(
                f"keep_at names step {max(self.keep_at)}, and the {last} phase has {steps}; use 1 to {steps}"
            )

    def phases(self) -> list[tuple[str, int, float | None, float]]:
        """Name, steps, minutes and learning rate of the phases that have steps."""
        every = [
            ("supervised", self.supervised_steps, self.supervised_minutes, self.supervised_rate),
            ("adversarial", self.adversarial_steps, self.adversarial_minutes, self.adversarial_rate),
        ]
        return [phase for phase in every if phase[1] > 0]


@dataclass
class State:
    """All that a training is between two steps.

    The schedule hangs on the step and the seconds alone, and every draw on the seed, the phase and the step: no
    generator of random numbers has a state of its own that would have to be kept.
    """

    generator: AnyGenerator
    critic: Critic
    generator_optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer
    phase: int = 0  # index into `GeneratorConfig.phases`
    step: int = 0  # in the phase
    seconds: float = 0.0  # in the phase
    log: list[dict[str, float | str]] = field(default_factory=list)
    run_id: str = ""  # the MLflow run that knows the log
    precisions: list[str] = field(
        default_factory=list
    )  # in which convolutions were computed; several where the hardware changed
    begun: float = math.inf  # the loss of the first supervised step

    def to_bytes(self) -> bytes:
        parts = {name: getattr(self, name).state_dict() for name in _STATEFUL}
        return pack({**parts, **{name: getattr(self, name) for name in _PLAIN}})

    def load(self, data: bytes) -> None:
        """Become the state that `to_bytes` saved."""
        saved = unpack(data)
        for name in _STATEFUL:
            getattr(self, name).load_state_dict(saved[name])
        for name in _PLAIN:
            setattr(self, name, saved[name])


_STATEFUL = ("generator", "critic", "generator_optimizer", "critic_optimizer")
_PLAIN = ("phase", "step", "seconds", "log", "run_id", "precisions", "begun")


def new_state(
    config: GeneratorConfig, device: torch.device | str = "cpu", initial: AnyGenerator | None = None
) -> State:
    """The state before the first step, the same on all workers; `initial` is a generator to go on from."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        generator = (initial or NETWORKS[config.network](config.width)).to(device)
        critic = Critic(config.size, config.critic_width).to(device)
    of_generator, of_critic = (
        torch.optim.Adam(network.parameters(), betas=(0.5, 0.999)) for network in (generator, critic)
    )
    return State(generator, critic, of_generator, of_critic)


def fit(
    state: State, data: Mapping[str, Pairs], config: GeneratorConfig, observe: Callable[[State, dict[str, float]], None]
) -> None:
    """Run the phases from where `state` stands to their end, each on its images in `data`, on this worker's share of
    each batch.

    observe(state, losses) is called after each step with that step's losses of the whole batch. The
    batch is a multiple of the workers. Diverged where a loss or a gradient is not finite.
    """
    rank, workers = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    device = next(state.generator.parameters()).device
    half = agree_on_bfloat16(config.precision, device, state.precisions)
    state.generator.train()
    while state.phase < len(config.phases()):
        name, steps, minutes, rate = config.phases()[state.phase]
        pairs = data[name]
        progress = _progress(state, steps, minutes, device)
        while progress < 1:
            started = time.monotonic()
            faded = rate * min(1.0, 3 * (1 - progress))
            for optimizer in (state.generator_optimizer, state.critic_optimizer):
                for group in optimizer.param_groups:
                    group["lr"] = faded
            draws = [
                _draw(pairs, config, state, k).share(rank, workers)
                for k in range(CRITIC_STEPS if name == "adversarial" else 1)
            ]
            values = (adversarial_step if name == "adversarial" else supervised_step)(state, pairs, draws, faded, half)
            state.step += 1
            state.seconds += time.monotonic() - started
            progress = _progress(state, steps, minutes, device)
            observe(state, {"progress": progress, "learning_rate": faded, **_mean_over_workers(values, device)})
        state.phase, state.step, state.seconds = state.phase + 1, 0, 0.0


def _progress(state: State, steps: int, minutes: float | None, device: torch.device) -> float:
    """How much of the phase is done, 0 to 1: of its steps or its minutes, whichever is more; the slowest worker's clock
    counts.

    The learning rate is constant for two thirds and then falls linearly, as in the paper's 20 + 10 epochs.
    """
    done = max(state.step / steps, state.seconds / 60 / minutes if minutes else 0.0)
    if minutes and dist.is_initialized():
        shared = torch.tensor(done, device=device)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        done = shared.item()
    return done


def _mean_over_workers(values: dict[str, float], device: torch.device) -> dict[str, float]:
    if not dist.is_initialized():
        return values
    shared = torch.tensor(list(values.values()), device=device)
    dist.all_reduce(shared)
    return dict(zip(values, (shared / dist.get_world_size()).tolist(), strict=True))


def _draw(pairs: Pairs, config: GeneratorConfig, state: State, number: int) -> PairBatch:
    return pairs.draw(np.random.default_rng([config.seed, state.phase, state.step, number]), config.batch)


def supervised_step(state: State, pairs: Pairs, draws: list[PairBatch], rate: float, half: bool) -> dict[str, float]:
    """One step of the generator on pairs: L1 and edges weighted to what changes, and the attention that this asks for.
    rate: the learning rate, to be told where the step fails. half: whether the generator's convolutions compute in
    bfloat16.
    """
    device = next(state.generator.parameters()).device
    image, truth, own, wanted = pairs.batch(draws[0], device)
    colour, attention, *flow = _made(state.generator, image, conditioning(state.generator, own, wanted), half)
    parts = losses.paired_loss(image, truth, colour, attention, *flow)
    loss = torch.stack([PAIRED[name] * part for name, part in parts.items()]).sum()
    if not state.step:
        state.begun = max(1.0, loss.item())
    place = f"supervised step {state.step + 1}", "supervised_rate", rate
    _step(loss, state.generator, state.generator_optimizer, place, state.begun)
    return {"loss": loss.item(), **{name: value.item() for name, value in parts.items()}}


def adversarial_step(state: State, pairs: Pairs, draws: list[PairBatch], rate: float, half: bool) -> dict[str, float]:
    """GANimation's step: the critic on each draw, then the generator once on the last (section 4.2, equations 2 to 7).

    The wanted Action Units are those of another image of the figure; its pixels are not used.
    """
    place = f"adversarial step {state.step + 1}", "adversarial_rate", rate
    device = next(state.generator.parameters()).device
    generator, critic = state.generator, state.critic
    for draw in draws:
        image, _, own, wanted = pairs.batch(draw, device)
        with torch.no_grad():
            fake = fuse(image, *_made(generator, image, conditioning(generator, own, wanted), half))
        score, seen = critic(image)
        mix = torch.from_numpy(draw.mix).to(device)[:, None, None, None]
        penalty = losses.gradient_penalty(lambda x: critic(x)[0], image, fake, mix)
        distance = score.mean() - critic(fake)[0].mean()
        units_real = losses.action_unit_loss(seen, own)
        critic_loss = -distance + losses.GRADIENT_PENALTY * penalty + losses.ACTION_UNITS * units_real
        _step(critic_loss, critic, state.critic_optimizer, place)
    made = _made(generator, image, conditioning(generator, own, wanted), half)
    fake = fuse(image, *made)
    score, seen = critic(fake)
    back = _made(generator, fake, conditioning(generator, wanted, own), half)
    attention, attention_back = made[1], back[1]
    units_fake = losses.action_unit_loss(seen, wanted)
    cycle = F.l1_loss(fuse(fake, *back), image)
    masks = attention.mean() + attention_back.mean()
    smooth = losses.smoothness(attention) + losses.smoothness(attention_back)
    loss = (
        -score.mean()
        + losses.ACTION_UNITS * units_fake
        + losses.CYCLE * cycle
        + losses.ATTENTION * masks
        + losses.SMOOTHNESS * smooth
    )
    _step(loss, generator, state.generator_optimizer, place)
    named: dict[str, Tensor] = {
        "critic_loss": critic_loss,
        "wasserstein_distance": distance,
        "gradient_penalty": penalty,
        "action_units_real": units_real,
        "generator_loss": loss,
        "action_units_fake": units_fake,
        "cycle": cycle,
        "attention": attention.mean(),
        "smoothness": smooth,
    }
    return {name: value.item() for name, value in named.items()}


def _made(generator: AnyGenerator, image: Tensor, units: Tensor, half: bool) -> tuple[Tensor, ...]:
    """What the generator makes, in float32, whatever its convolutions compute in."""
    with torch.autocast(image.device.type, torch.bfloat16, enabled=half):
        made = generator(image, units)
    return tuple(part.float() for part in made)


def _step(
    loss: Tensor,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    place: tuple[str, str, float],
    limit: float = math.inf,
) -> None:
    """One optimizer step of `network` on the mean over workers of `loss`.

    Diverged where the loss or its gradient is not finite, or the loss far beyond `limit`, before the weights are: the
    last checkpoint stays one to go on from. place: what `trainings.converging` says of it.
    """
    updates = len(optimizer.state)
    check_converging(loss.item(), limit, *place, updates=updates)
    parameters = list(network.parameters())
    gradients = torch.autograd.grad(loss, parameters)
    if dist.is_initialized() and dist.get_world_size() > 1:
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        pieces = (flat / dist.get_world_size()).split([p.numel() for p in parameters])
        gradients = tuple(piece.view_as(p) for piece, p in zip(pieces, parameters, strict=True))
    check_converging(nn.utils.get_total_norm(gradients).item(), math.inf, *place, updates=updates, what="gradient")
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
