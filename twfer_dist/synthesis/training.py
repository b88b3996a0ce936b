"""Train the generator in plain PyTorch: on pairs whose truth is known, then adversarially as GANimation (arXiv
1807.09251).

Both phases draw the whole batch of step k from (seed, phase, k), and each worker takes its share: the result does not
depend on the number of workers, and a resumed training draws what an unbroken one draws. Gradients are averaged over
the workers explicitly, because the gradient penalty differentiates the critic twice, which data-parallel wrappers do
not support.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twfer_dist.engine.config import Range, Settings
from twfer_dist.synthesis import losses
from twfer_dist.synthesis.networks import AnyGenerator, Critic, Generator, WarpingGenerator, conditioning, fuse
from twfer_dist.synthesis.pairs import PairBatch, Pairs
from twfer_dist.training.distributed import mean_gradients, rank_and_world_size
from twfer_dist.training.loop import Observe, Schedule, check_converging, run_steps
from twfer_dist.training.precision import Precision, agree_on_bfloat16
from twfer_dist.training.state import SteppedState, build_seeded

NETWORKS: dict[str, type[Generator] | type[WarpingGenerator]] = {"ganimation": Generator, "warping": WarpingGenerator}
CRITIC_STEPS = 5  # for each step of the generator
PAIRED = {"pixels": 1.0, "edges": 0.5, "attention": 0.1, "colour": 1.0, "bend": 0.1}
"""The weights of `losses.paired_loss`."""


@dataclass(frozen=True)
class GeneratorConfig(Settings):
    """How a generator is trained: a supervised phase, then an adversarial one; a phase of 0 steps is skipped.

    A phase ends with its steps or, if given, its minutes; the learning rate falls to zero towards whichever ends first.
    The paper: size 128, width 64, batch 25, no supervised phase, 30 epochs.
    """

    network: Literal["ganimation", "warping"] = "ganimation"  # the public generator, or this project's
    size: Annotated[int, Range(64, 1024, multiple_of=64)] = 64  # pixels of the images; the critic halves them six times
    width: Annotated[int, Range(1, 512)] = 32  # channels of the generator's first layer
    critic_width: Annotated[int, Range(1, 512)] = 32  # channels of the critic's first layer
    batch: Annotated[int, Range(1, 4096)] = 16  # pictures of a step, over all workers
    supervised_steps: Annotated[int, Range(0, 10**9)] = 10000  # updates of the weights in the supervised phase, at most
    # length of the supervised phase, at most; null: its steps decide
    supervised_minutes: Annotated[float, Range(0, 10**6, above=True)] | None = None
    supervised_rate: Annotated[float, Range(0, 1, above=True)] = 5e-4  # learning rate at the start of that phase
    # updates of the weights in the adversarial phase, at most
    adversarial_steps: Annotated[int, Range(0, 10**9)] = 0
    # length of the adversarial phase, at most; null: its steps decide
    adversarial_minutes: Annotated[float, Range(0, 10**6, above=True)] | None = None
    adversarial_rate: Annotated[float, Range(0, 1, above=True)] = 1e-4  # learning rate at the start of that phase
    # of the generator's convolutions; bfloat16 is twice as fast. The critic computes in float32
    precision: Precision = "float32"
    keep_at: tuple[Annotated[int, Range(1, 10**9)], ...] = ()  # steps of the last phase whose weights are kept
    held_out: Annotated[float, Range(0, 0.9, above=True)] = 0.05  # share of the figures held out for scores
    scored_pairs: Annotated[int, Range(1, 10**6)] = 256  # pairs of held-out pictures that are scored
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0  # of the first weights and of what each step draws

    def agree(self) -> None:
        if not self.phases():
            raise ValueError("a generator is trained for 0 steps; set supervised_steps or adversarial_steps")
        last = self.phases()[-1]
        if self.keep_at and max(self.keep_at) > last.steps:
            raise ValueError(
                f"keep_at names step {max(self.keep_at)}, and the {last.name} phase has {last.steps}; use 1 to "
                f"{last.steps}"
            )

    def phases(self) -> list["Phase"]:
        """The phases that have steps."""
        phases = [
            Phase("supervised", self.supervised_steps, self.supervised_minutes, self.supervised_rate),
            Phase("adversarial", self.adversarial_steps, self.adversarial_minutes, self.adversarial_rate),
        ]
        return [phase for phase in phases if phase.steps > 0]


class Phase(NamedTuple):
    """One phase of a training."""

    name: str
    steps: int
    minutes: float | None
    rate: float

    def schedule(self) -> Schedule:
        """Constant for two thirds of the phase, then linearly falling, as in the paper's 20 + 10 epochs."""
        return Schedule(self.steps, self.minutes, lambda progress: self.rate * min(1.0, 3 * (1 - progress)))


@dataclass
class State(SteppedState):
    """A generator and its critic in training. Steps and seconds count within the phase."""

    generator: AnyGenerator
    critic: Critic
    generator_optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer
    phase: int = 0  # index into `GeneratorConfig.phases`


def new_state(
    config: GeneratorConfig, device: torch.device | str = "cpu", initial: AnyGenerator | None = None
) -> State:
    """The state before the first step, the same on all workers. initial: a generator to start from."""

    def build() -> tuple[AnyGenerator, Critic]:
        generator = initial or NETWORKS[config.network](config.width)
        return generator, Critic(config.size, config.critic_width)

    def adam(network: nn.Module) -> torch.optim.Adam:
        return torch.optim.Adam(network.parameters(), betas=(0.5, 0.999))

    generator, critic = build_seeded(config.seed, build)
    generator.to(device)
    critic.to(device)
    return State(generator, critic, adam(generator), adam(critic))


def fit(
    state: State, data: Mapping[str, Pairs], config: GeneratorConfig, observe: Observe[State] | None = None
) -> None:
    """Run the phases from `state` to their end, each on its images in `data`, on this worker's share of each batch.

    observe: see `Observe`; its progress is that of the phase. The batch is a multiple of the workers. Raises Diverged
    if a loss or a gradient is not finite.
    """
    device = next(state.generator.parameters()).device
    bfloat16 = agree_on_bfloat16(config.precision, device, state.precisions)
    state.generator.train()
    while state.phase < len(config.phases()):
        phase = config.phases()[state.phase]
        step = partial(_step, state, data[phase.name], config, phase.name == "adversarial", bfloat16)
        optimizers = [state.generator_optimizer, state.critic_optimizer]
        run_steps(state, phase.schedule(), optimizers, device, step, observe)
        state.phase, state.step, state.seconds = state.phase + 1, 0, 0.0


def _step(
    state: State, pairs: Pairs, config: GeneratorConfig, adversarial: bool, bfloat16: bool, rate: float
) -> dict[str, float]:
    rank, workers = rank_and_world_size()
    draws = [
        pairs.draw(np.random.default_rng([config.seed, state.phase, state.step, number]), config.batch)
        for number in range(CRITIC_STEPS if adversarial else 1)
    ]
    shares = [draw.share(rank, workers) for draw in draws]
    return (adversarial_step if adversarial else supervised_step)(state, pairs, shares, rate, bfloat16)


def supervised_step(
    state: State, pairs: Pairs, draws: list[PairBatch], rate: float, bfloat16: bool
) -> dict[str, float]:
    """One step of the generator on pairs, along `losses.paired_loss` weighted by PAIRED. rate: the learning rate, for
    the message if the step diverges. bfloat16: precision of the generator's convolutions.
    """
    device = next(state.generator.parameters()).device
    image, truth, own, wanted = pairs.batch(draws[0], device)
    colour, attention, *flow = _generate(state.generator, image, conditioning(state.generator, own, wanted), bfloat16)
    terms = losses.paired_loss(image, truth, colour, attention, *flow)
    loss = torch.stack([PAIRED[name] * term for name, term in terms.items()]).sum()
    if not state.step:
        state.initial_loss = max(1.0, loss.item())
    context = f"supervised step {state.step + 1}", "supervised_rate", rate
    _update(loss, state.generator, state.generator_optimizer, context, state.initial_loss)
    return {"loss": loss.item(), **{name: term.item() for name, term in terms.items()}}


def adversarial_step(
    state: State, pairs: Pairs, draws: list[PairBatch], rate: float, bfloat16: bool
) -> dict[str, float]:
    """GANimation's step: the critic on each draw, then the generator once on the last (section 4.2, equations 2 to 7).

    The wanted Action Units are those of another image of the figure, whose pixels are not used. rate, bfloat16: as in
    `supervised_step`.
    """
    device = next(state.generator.parameters()).device
    generator = state.generator
    context = f"adversarial step {state.step + 1}", "adversarial_rate", rate

    def generate(image: Tensor, own: Tensor, wanted: Tensor) -> tuple[Tensor, ...]:
        return _generate(generator, image, conditioning(generator, own, wanted), bfloat16)

    for draw in draws:
        image, _, own, wanted = pairs.batch(draw, device)
        with torch.no_grad():
            fake = fuse(image, *generate(image, own, wanted))
        mix = torch.from_numpy(draw.mix).to(device)[:, None, None, None]
        critic_loss, critic_terms = _critic_loss(state.critic, image, fake, mix, own)
        _update(critic_loss, state.critic, state.critic_optimizer, context)
    loss, terms = _generator_loss(generate, state.critic, image, own, wanted)
    _update(loss, generator, state.generator_optimizer, context)
    named = {"critic_loss": critic_loss, **critic_terms, "generator_loss": loss, **terms}
    return {name: value.item() for name, value in named.items()}


def _critic_loss(
    critic: Critic, image: Tensor, fake: Tensor, mix: Tensor, own: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The critic's loss, and its terms: it tells images from fakes, and regresses the images' own Action Units."""
    score, units = critic(image)
    penalty = losses.gradient_penalty(lambda x: critic(x)[0], image, fake, mix)
    distance = score.mean() - critic(fake)[0].mean()
    units_real = losses.action_unit_loss(units, own)
    loss = -distance + losses.GRADIENT_PENALTY * penalty + losses.ACTION_UNITS * units_real
    return loss, {"wasserstein_distance": distance, "gradient_penalty": penalty, "action_units_real": units_real}


def _generator_loss(
    generate: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]],
    critic: Critic,
    image: Tensor,
    own: Tensor,
    wanted: Tensor,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The generator's loss, and its terms: the fake looks real, shows the wanted units, and can be changed back."""
    parts = generate(image, own, wanted)
    fake = fuse(image, *parts)
    score, units = critic(fake)
    parts_back = generate(fake, wanted, own)
    attention, attention_back = parts[1], parts_back[1]
    units_fake = losses.action_unit_loss(units, wanted)
    cycle = F.l1_loss(fuse(fake, *parts_back), image)
    masks = attention.mean() + attention_back.mean()
    smooth = losses.smoothness(attention) + losses.smoothness(attention_back)
    loss = (
        -score.mean()
        + losses.ACTION_UNITS * units_fake
        + losses.CYCLE * cycle
        + losses.ATTENTION * masks
        + losses.SMOOTHNESS * smooth
    )
    return loss, {
        "action_units_fake": units_fake,
        "cycle": cycle,
        "attention": attention.mean(),
        "smoothness": smooth,
    }


def _generate(generator: AnyGenerator, image: Tensor, units: Tensor, bfloat16: bool) -> tuple[Tensor, ...]:
    """The generator's output in float32, whatever its convolutions compute in."""
    with torch.autocast(image.device.type, torch.bfloat16, enabled=bfloat16):
        parts = generator(image, units)
    return tuple(part.float() for part in parts)


def _update(
    loss: Tensor,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    context: tuple[str, str, float],
    limit: float = math.inf,
) -> None:
    """One optimizer step of `network` along the mean over workers of the gradient of `loss`.

    Raises Diverged if the loss or its gradient is not finite, or the loss is far above `limit`: before the weights
    change, so that the last checkpoint remains usable. context: where, setting and rate of `check_converging`.
    """
    updates = len(optimizer.state)
    check_converging(loss.item(), limit, *context, updates=updates)
    parameters = list(network.parameters())
    gradients = mean_gradients(torch.autograd.grad(loss, parameters))
    norm = nn.utils.get_total_norm(gradients).item()
    check_converging(norm, math.inf, *context, updates=updates, what="gradient")
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
