"""Render a figure: one z-buffer pass, then light, shadow and material at each pixel (deferred shading)."""

from dataclasses import dataclass

import cv2
import numpy as np

from twfer_dist.core.landmarks import INNER_LIPS_MIDDLE
from twfer_dist.rendering.complexion import Complexion
from twfer_dist.rendering.dress import MOUTH, TEETH
from twfer_dist.rendering.figure import Figure
from twfer_dist.rendering.material import (
    MATERIALS,
    Material,
    albedo,
    box_blur,
    relief,
    textures,
)
from twfer_dist.rendering.raster import rasterise
from twfer_dist.rendering.weathering import tool_marks, weathered

OVERSAMPLE = 2  # rendered pixels per image pixel in each direction
_SHADOW_GRID, _SHADOW_REACH = 176, 14.0  # cells and model units, from the middle of the head
_HEAD = np.array([0, 2, 3], np.float32)  # its middle
_MOUTH_PARTED = 0.12  # gap of the lips in model units from which the inside of the mouth is rendered


@dataclass(frozen=True)
class Scene:
    """Everything in an image but figure and expression."""

    material: str
    colour: tuple[float, float, float]
    stained: float
    shift: tuple[float, float, float]  # of the texture
    pose: tuple[float, float, float]  # yaw (to the figure's left), pitch (up), roll, degrees
    key: tuple[float, float, float]  # unit vector towards the main light, in the camera's frame
    key_strength: float
    fill: tuple[float, float, float]
    fill_strength: float
    ambient: float
    warmth: float  # -1 to 1, of the main light
    # linear colours of the background, top and bottom
    ground: tuple[tuple[float, float, float], tuple[float, float, float]]
    noise_seed: int
    noise: float  # of the camera, standard deviation in grey levels of 255
    clutter: int = 0  # objects in front of the wall
    complexion: Complexion = Complexion()
    distance: float = 75.0  # of the camera from the head, model units
    penumbra: float = 0.12  # model units over which the main light's shadows fade
    softness: float = 0.0  # share of the main light that scatters under the surface
    # of the surroundings, each as (x, y, z, strength, how far it wraps around the surface, 0 to 1)
    windows: tuple[tuple[float, float, float, float, float], ...] = ()
    roughness: float = 1.0  # of the material's grain, pits and cracks
    chisel: float = 0.0  # depth of tool marks and uneven carving in model units


def rotation(pose: tuple[float, float, float]) -> np.ndarray:
    """The matrix (3, 3) float32 that turns a figure by yaw, pitch and roll in degrees."""
    yaw, pitch, roll = np.radians(pose)
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return (about_z @ about_x @ about_y).astype(np.float32)


def project(vertices: np.ndarray, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Turned vertices (N, 3), and where they appear (N, 2): x right, y down, in model units at the head's distance."""
    turned = vertices @ rotation(scene.pose).T
    near = np.float32(scene.distance) / (np.float32(scene.distance) - turned[:, 2:])
    return turned, turned[:, :2] * near * np.array([1, -1], np.float32)


def draw(
    figure: Figure, vertices: np.ndarray, folds: np.ndarray, scene: Scene, view: np.ndarray, size: int
) -> np.ndarray:
    """The image, uint8 (size, size, 3) RGB.

    vertices: float32 (V, 3) of the figure with its expression. folds: (17,), see `material.wrinkles`. view: (2, 3),
    projected model units -> pixels of the image.
    """
    grid = size * OVERSAMPLE
    turned, flat = project(vertices, scene)
    pixels = (flat @ view[:, :2].T + view[:, 2]) * OVERSAMPLE
    keep = _drawn(figure, vertices)
    triangles = figure.triangles[keep]
    seen, which, weights = rasterise(np.column_stack([pixels, turned[:, 2]]).astype(np.float32), triangles, grid)
    corners = triangles[which]
    attributes = np.concatenate([turned, _normals(turned, figure), figure.template], 1).astype(np.float32)
    at = np.einsum("pc,pcn->pn", weights, attributes[corners])
    position, normal, template = at[:, :3], at[:, 3:6], at[:, 6:]
    kind = figure.kind[keep][which]
    footprint = 1 / (np.hypot(view[0, 0], view[1, 0]) * OVERSAMPLE)  # model units per rendered pixel

    material = weathered(MATERIALS[scene.material], scene.roughness)
    texture = textures(template, normal @ rotation(scene.pose), footprint, np.array(scene.shift, np.float32))
    height = relief(figure.dress, material, kind, template, figure.knot, texture, folds)
    if scene.chisel:
        height += scene.chisel * tool_marks(template, texture, scene.shift)
    # Along the outline the surroundings are nearer, which does not make a hollow.
    hollow = _hollows(position[:, 2] + 0.7 * height, seen, grid, footprint) * np.clip(1.8 * normal[:, 2], 0, 1)
    normal = _carved(normal, height, position[:, 2], seen, grid, footprint)
    base = np.array(scene.colour, np.float32)
    colour, clean = albedo(
        material, kind, figure.dress, template, texture, hollow, base, scene.stained, scene.complexion
    )
    shadow = _shadow(turned, triangles, position, normal, scene)
    if scene.softness:
        shadow, normal = _scattered(shadow, normal, scene.softness, 0.3 / footprint, seen, grid)

    canvas = _background(scene, grid)
    canvas.reshape(-1, 3)[seen] = _light(scene, material, colour, clean, normal, hollow, shadow)
    return _photograph(canvas, scene, size)


def _photograph(canvas: np.ndarray, scene: Scene, size: int) -> np.ndarray:
    """The image, uint8 (size, size, 3), of linear light float32 (grid, grid, 3), as film and camera show it."""
    picture = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    grey = (1 - np.exp(-1.35 * np.clip(picture, 0, None))) ** (1 / 2.2) * 255  # highlights keep their shape
    grey += np.random.default_rng(scene.noise_seed).normal(0, scene.noise, grey.shape)
    return np.clip(grey + 0.5, 0, 255).astype(np.uint8)


def _drawn(figure: Figure, vertices: np.ndarray) -> np.ndarray:
    """The triangles to render: all but the inside of a closed mouth."""
    upper, lower = vertices[figure.landmarks[list(INNER_LIPS_MIDDLE)]]
    if upper[1] - lower[1] > _MOUTH_PARTED:
        return np.arange(len(figure.kind))
    return np.flatnonzero((figure.kind != MOUTH) & (figure.kind != TEETH))


def _normals(vertices: np.ndarray, figure: Figure) -> np.ndarray:
    """Unit normals (V, 3) of the vertices."""
    a, b, c = (np.ascontiguousarray(vertices[figure.triangles[:, corner]].T) for corner in range(3))
    (bx, by, bz), (cx, cy, cz) = b - a, c - a
    sums = figure.incidence @ np.stack([by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx], 1)
    return sums / (np.sqrt(np.einsum("vc,vc->v", sums, sums))[:, None] + np.float32(1e-9))


def _spread(values: np.ndarray, seen: np.ndarray, grid: int) -> np.ndarray:
    """Values of the visible pixels as an image, 0 elsewhere."""
    image = np.zeros(grid * grid, np.float32)
    image[seen] = values
    return image.reshape(grid, grid)


def _scattered(
    shadow: np.ndarray, normal: np.ndarray, share: float, radius: float, seen: np.ndarray, grid: int
) -> tuple[np.ndarray, np.ndarray]:
    """Shadow (P,) and normals (P, 3) where a share of the light scatters under the surface, over about `radius`
    pixels.
    """
    blurred = [box_blur(_spread(values, seen, grid), radius).reshape(-1)[seen] for values in (shadow, *normal.T)]
    shadow = shadow + share * (blurred[0] - shadow)
    normal = normal + share * (np.stack(blurred[1:], 1) - normal)
    return shadow, normal / (np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9)


def _carved(
    normal: np.ndarray, height: np.ndarray, depth: np.ndarray, seen: np.ndarray, grid: int, footprint: float
) -> np.ndarray:
    """Normals perturbed by the slope of the relief where it is continuous (Blinn 1978)."""
    image, depths, mask = (_spread(values, seen, grid) for values in (height, depth, np.ones_like(height)))
    slopes = []
    for along in (1, 0):
        step = np.roll(image, -1, along) - np.roll(image, 1, along)
        jump = np.abs(np.roll(depths, -1, along) - np.roll(depths, 1, along)) > 14 * footprint
        edge = (np.roll(mask, -1, along) * np.roll(mask, 1, along) == 0) | jump
        slopes.append(np.where(edge, 0, step / (2 * footprint)).reshape(-1)[seen])
    facing = np.clip(normal[:, 2], 0.25, 1)
    bent = normal.copy()
    bent[:, 0] -= np.clip(slopes[0] * facing, -1.2, 1.2)
    bent[:, 1] += np.clip(slopes[1] * facing, -1.2, 1.2)
    return bent / (np.linalg.norm(bent, axis=1, keepdims=True) + 1e-9)


def _hollows(depth: np.ndarray, seen: np.ndarray, grid: int, footprint: float) -> np.ndarray:
    """How far each pixel lies behind its neighbourhood, 0 to 1 (the depth buffer unsharp-masked; Luft 2006)."""
    mask = _spread(np.ones_like(depth), seen, grid)
    image = _spread(depth, seen, grid)
    total = np.zeros_like(depth)
    for radius, strength in ((0.35, 2.2), (0.9, 0.8), (2.2, 0.22)):
        around = box_blur(image, radius / footprint) / (box_blur(mask, radius / footprint) + 1e-6)
        total += strength * np.clip(around.reshape(-1)[seen] - depth, -0.1, 2.0)
    return np.clip(total, 0, 1)


def _shadow(
    vertices: np.ndarray, triangles: np.ndarray, position: np.ndarray, normal: np.ndarray, scene: Scene
) -> np.ndarray:
    """How much of the main light each pixel is shaded from, 0 to 1, by a depth map seen from the light."""
    key = np.array(scene.key, np.float32)
    across = np.cross((0, 1, 0), key)
    across /= np.linalg.norm(across)
    frame = np.stack([across, np.cross(key, across), key], 1).astype(np.float32)
    cell = 2 * _SHADOW_REACH / _SHADOW_GRID
    middle = _HEAD @ rotation(scene.pose).T
    nearest = _depth_map((vertices - middle) @ frame, triangles, cell)
    lit = (position - middle) @ frame
    at = (lit[:, :2] + _SHADOW_REACH) / cell
    # A slanted surface lies at many depths within one cell: without more room it would shade itself.
    facing = np.clip(normal @ key, 0.25, 1)
    room = 0.22 + cell * np.sqrt(1 - facing**2) / facing
    total, apart = np.zeros(len(lit), np.float32), max(0.7, scene.penumbra / cell)
    for right, down in ((-0.9, -0.4), (0.4, -0.9), (0.9, 0.4), (-0.4, 0.9), (0.0, 0.0)):
        column = np.clip(at[:, 0] + apart * right, 0, _SHADOW_GRID - 1).astype(np.int64)
        row = np.clip(at[:, 1] + apart * down, 0, _SHADOW_GRID - 1).astype(np.int64)
        total += np.clip((nearest[row, column] - lit[:, 2] - room * (1 + 0.5 * apart * cell)) / 0.25, 0, 1)
    inside = (np.abs(lit[:, :2]) < _SHADOW_REACH - cell).all(1)
    return np.where(inside, total / 5, 0)


def _depth_map(vertices: np.ndarray, triangles: np.ndarray, cell: float) -> np.ndarray:
    """The largest z in each cell of a grid around the origin, float32 (G, G), from points on each triangle."""
    a, b, c = (vertices[corner] for corner in triangles.T)
    depth = np.full(_SHADOW_GRID * _SHADOW_GRID, -1e3, np.float32)
    for points in ((a + b + c) / 3, (a + b) / 2, (b + c) / 2, (c + a) / 2):
        column, row = ((points[:, axis] + np.float32(_SHADOW_REACH)) * np.float32(1 / cell) for axis in (0, 1))
        within = np.flatnonzero((np.minimum(column, row) >= 0) & (np.maximum(column, row) < _SHADOW_GRID))
        cells = row[within].astype(np.int32) * _SHADOW_GRID + column[within].astype(np.int32)
        np.maximum.at(depth, cells, points[within, 2])
    return np.asarray(
        cv2.morphologyEx(depth.reshape(_SHADOW_GRID, _SHADOW_GRID), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    )


def _light(
    scene: Scene,
    material: Material,
    colour: np.ndarray,
    clean: np.ndarray,
    normal: np.ndarray,
    hollow: np.ndarray,
    shadow: np.ndarray,
) -> np.ndarray:
    """Linear colour (P, 3): main and fill light, sky light dimmed in hollows, highlight, and reflections on metal."""
    key, fill = np.array(scene.key, np.float32), np.array(scene.fill, np.float32)
    warm = np.array([1 + 0.10 * scene.warmth, 1, 1 - 0.14 * scene.warmth], np.float32)
    open_sky = 1 - 0.85 * hollow

    def lambert(light: np.ndarray) -> np.ndarray:
        return np.clip((normal @ light + material.wrap) / (1 + material.wrap), 0, None)

    def highlight(light: np.ndarray) -> np.ndarray:
        half = light + np.array([0, 0, 1], np.float32)
        return np.clip(normal @ (half / np.linalg.norm(half)), 0, None) ** material.sharp

    lit = scene.key_strength * lambert(key) * (1 - 0.85 * shadow) * (1 - 0.45 * hollow)
    rest = scene.fill_strength * lambert(fill) * open_sky + scene.ambient * (0.65 + 0.35 * normal[:, 1]) * open_sky
    for *direction, strength, wrap in scene.windows:
        rest += strength * np.clip((normal @ np.array(direction, np.float32) + wrap) / (1 + wrap), 0, None) * open_sky
    diffuse = lit[:, None] * warm + rest[:, None]
    shine = scene.key_strength * highlight(key) * (1 - shadow) + 0.5 * scene.fill_strength * highlight(fill) * open_sky
    if not material.metal:
        return colour * diffuse + (material.gloss * shine * clean)[:, None] * 0.35
    bounce = 2 * normal[:, 2:] * normal - np.array([0, 0, 1], np.float32)
    room = (
        0.25
        + 0.55 * np.clip(bounce[:, 1], 0, 1)
        + 0.5 * np.exp(-((bounce[:, 0] - 0.7 * key[0]) ** 2) * 6) * (bounce[:, 1] > -0.3)
    )
    mirror = (scene.ambient + 0.25 * scene.key_strength) * room * open_sky + material.gloss * shine
    metal = np.clip(colour * 1.9, 0, 1) * (0.35 * diffuse + mirror[:, None])
    return metal * clean[:, None] + colour * diffuse * (1.25 - clean)[:, None]


def _background(scene: Scene, grid: int) -> np.ndarray:
    """A plain, slightly uneven wall with clutter: linear float32 (grid, grid, 3)."""
    top, bottom = (np.array(c, np.float32) for c in scene.ground)
    down = np.linspace(0, 1, grid, dtype=np.float32)[:, None, None]
    rng = np.random.default_rng(scene.noise_seed + 1)
    cloud = cv2.resize(rng.normal(0, 1, (6, 6)).astype(np.float32), (grid, grid), interpolation=cv2.INTER_CUBIC)[
        ..., None
    ]
    wall = np.clip((top * (1 - down) + bottom * down) * (1 + 0.07 * cloud), 0, 1).repeat(1, 2)
    for _ in range(scene.clutter):
        corners = (rng.uniform(-0.2, 1.2, (1, 2)) + rng.normal(0, 0.25, (int(rng.integers(3, 7)), 2))) * grid
        thing = np.clip(wall.mean((0, 1)) * rng.uniform(0.2, 2.5) * (1 + rng.normal(0, 0.1, 3)), 0, 1)
        cv2.fillPoly(wall, [corners.astype(np.int32)], thing.tolist())
    return cv2.GaussianBlur(wall, (0, 0), grid / 100) if scene.clutter else wall
