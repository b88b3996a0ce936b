"""The scenes of a rendered corpus: material, pose, light and surroundings, seeded from ids."""

import dataclasses

import numpy as np

from twfer_dist.rendering.complexion import Complexion
from twfer_dist.rendering.material import MATERIALS
from twfer_dist.rendering.plan import VARIED, ClayConfig, seeded
from twfer_dist.rendering.render import Scene

_TRANSLUCENT = ("marble", "skin")


def scene(config: ClayConfig, name: str) -> Scene:
    """Material, pose and light of a scene."""
    rng = seeded("scene", config.seed, name)
    kind = str(rng.choice(config.materials))
    colours = np.array(MATERIALS[kind].colours)
    colour = rng.dirichlet(np.full(len(colours), 0.6)) @ colours * rng.uniform(0.85, 1.15)
    side = rng.choice((-1, 1))
    wall = rng.choice((0.015, 0.05, 0.16, 0.42)) * rng.uniform(0.7, 1.3)
    tint = 1 + rng.normal(0, 0.03, 3)
    museum = Scene(
        material=kind,
        colour=_floats(colour),
        stained=float(rng.uniform(0.2, 1)),
        shift=_floats(rng.uniform(0, 64, 3)),
        pose=_floats(rng.normal(0, 1, 3) * (config.yaw, config.yaw / 2, config.yaw / 4)),
        key=_direction(side * rng.uniform(12, 62), rng.uniform(22, 62)),
        key_strength=float(rng.uniform(0.85, 1.2)),
        fill=_direction(-side * rng.uniform(20, 80), rng.uniform(-5, 25)),
        fill_strength=float(rng.uniform(0.06, 0.30)),
        ambient=float(rng.uniform(0.09, 0.26)),
        warmth=float(rng.uniform(-0.5, 1)),
        ground=(_floats(wall * tint), _floats(wall * tint * rng.uniform(0.45, 1.1))),
        noise_seed=int(rng.integers(1 << 31)),
        noise=float(rng.uniform(0.5, 2.0)),
    )
    return _with_variety(museum, rng) if config.plan in VARIED else museum


def _with_variety(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene as it may be outside a museum too: clutter behind the head, a random complexion, and, in most
    scenes, light from any direction.
    """
    complexion = Complexion(
        sclera=float(rng.uniform(0.2, 0.75)),
        iris=float(rng.uniform(0.03, 0.6)),
        pupil=float(rng.uniform(0.15, 0.38)),
        brows=float(rng.uniform(0.2, 0.95)),
        lips=float(rng.uniform(0, 0.6)),
        lashes=float(rng.uniform(0, 0.9)),
        hair=float(rng.uniform(0.01, 0.5)),
        lip_tone=float(np.exp(rng.normal(0, 0.2))),
        stubble=float(rng.uniform(0, 0.5) * (rng.random() < 0.35)),
        rings=float(rng.uniform(-0.1, 0.4) * (rng.random() < 0.5)),
        flush=float(rng.normal(0, 0.12)),
        spots=float(rng.uniform(0, 0.15)),
    )
    scene = dataclasses.replace(
        scene,
        clutter=int(rng.integers(0, 12)),
        complexion=complexion,
        distance=float(np.exp(rng.uniform(np.log(40), np.log(150)))),
        penumbra=float(np.exp(rng.uniform(np.log(0.08), np.log(1.2)))),
        softness=float(rng.uniform(0.2, 0.8)) if scene.material in _TRANSLUCENT else 0.0,
        windows=tuple(_window(rng) for _ in range(rng.integers(0, 4))),
        roughness=float(np.exp(rng.normal(0, 0.5))),
        chisel=float(rng.uniform(0, 0.09) * (rng.random() < 0.4)) if not MATERIALS[scene.material].living else 0.0,
    )
    if rng.random() < 0.4:
        return scene
    return dataclasses.replace(
        scene,
        key=_direction(rng.uniform(-75, 75), rng.uniform(-25, 70)),
        key_strength=float(rng.uniform(0.3, 1.4)),
        fill=_direction(rng.uniform(-80, 80), rng.uniform(-30, 45)),
        fill_strength=float(rng.uniform(0.05, 0.6)),
        ambient=float(rng.uniform(0.05, 0.5)),
    )


def _window(rng: np.random.Generator) -> tuple[float, float, float, float, float]:
    """A window, lamp or bright wall of the surroundings (`Scene.windows`)."""
    direction = _direction(rng.uniform(-130, 130), rng.uniform(-40, 80))
    return (*direction, float(rng.uniform(0.05, 0.4)), float(rng.uniform(0, 1)))


def _floats(values: np.ndarray) -> tuple[float, float, float]:
    a, b, c = (float(value) for value in values)
    return a, b, c


def _direction(azimuth: float, elevation: float) -> tuple[float, float, float]:
    a, e = np.radians(azimuth), np.radians(elevation)
    return _floats(np.array((np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e))))
