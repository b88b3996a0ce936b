"""A head model that is an egg with eyes and a mouth: the arrays of the real one, small enough to make in a test."""

import numpy as np

from twfer_dist.core.schema import RENDERED
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import run_stage
from twfer_dist.rendering import plan
from twfer_dist.rendering.head import EXPRESSION_SHAPES, PARTS, Head, save_head
from twfer_dist.rendering.stage import Studio

_CENTRE, _RADII = np.array((0.0, 2.5, 0.0)), np.array((7.5, 11.0, 10.0))
_COLUMNS, _ROWS = 72, 60


def _egg(centre: np.ndarray, radii: np.ndarray, columns: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    around, up = np.meshgrid(
        np.linspace(-np.pi, np.pi, columns, endpoint=False), np.linspace(np.pi / 2, -np.pi / 2, rows)
    )
    unit = np.stack([np.cos(up) * np.sin(around), np.sin(up), np.cos(up) * np.cos(around)], -1).reshape(-1, 3)
    column, row = np.meshgrid(np.arange(columns), np.arange(rows - 1))
    a, b = row * columns + column, row * columns + (column + 1) % columns
    c, d = a + columns, b + columns
    faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    return unit * radii + centre, faces


def _landmarks_68() -> np.ndarray:
    """x, y of 68 points on the egg's front."""
    turn = np.radians(np.linspace(-100, 100, 17))
    jaw = np.stack([7.0 * np.sin(turn), 1.5 - 9.0 * np.cos(turn)], 1)
    brows = [
        (side * x, 6.0) for side, xs in ((-1, (5.8, 4.9, 3.8, 2.4, 1.2)), (1, (1.2, 2.4, 3.8, 4.9, 5.8))) for x in xs
    ]
    nose = [(0, y) for y in (3.7, 2.6, 1.6, 0.4)] + [(x, -1.1) for x in (-1.2, -0.6, 0, 0.6, 1.2)]
    eyes = [
        (side * 3.1 + 1.3 * np.cos(a), 3.5 + 0.45 * np.sin(a))
        for side in (-1, 1)
        for a in np.radians((180, 120, 60, 0, -60, -120))
    ]
    outer = [(2.5 * np.cos(a), -3.4 + 1.0 * np.sin(a)) for a in np.radians(np.arange(180, -180, -30))]
    inner = [(2.1 * np.cos(a), -3.4 + 0.3 * np.sin(a)) for a in np.radians(np.arange(180, -180, -45))]
    return np.array([*jaw, *brows, *nose, *eyes, *outer, *inner])


def tiny_head() -> Head:
    skin, skin_faces = _egg(_CENTRE, _RADII, _COLUMNS, _ROWS)
    pieces = [("face", skin, skin_faces)]
    for name, x in (("eyeball_left", 3.1), ("eyeball_right", -3.1)):
        pieces.append((name, *_egg(np.array((x, 3.5, 7.6)), np.array((1.4, 1.0, 1.6)), 16, 10)))
    pieces.append(("mouth_socket", *_egg(np.array((0, -3.4, 7.0)), np.array((2.2, 0.6, 1.0)), 16, 10)))
    pieces.append(("teeth", *_egg(np.array((0, -3.2, 7.4)), np.array((1.8, 0.3, 0.8)), 16, 10)))
    names = list(PARTS)
    counts = np.cumsum([0] + [len(vertices) for _, vertices, _ in pieces])
    vertices = np.concatenate([v for _, v, _ in pieces]).astype(np.float32)
    faces = np.concatenate([f + start for (_, _, f), start in zip(pieces, counts, strict=False)]).astype(np.int32)
    front = np.flatnonzero((skin[:, 2] > 0) | (np.abs(skin[:, 0]) > 6.5))
    wanted = _landmarks_68()
    landmarks = np.array([front[np.hypot(*(skin[front, :2] - point).T).argmin()] for point in wanted], np.int32)
    expressions = np.zeros((len(EXPRESSION_SHAPES), len(vertices), 3), np.float16)
    x, y, z = vertices.T
    lower = (y < -3.4) & (y > -9) & (z > 3)
    expressions[EXPRESSION_SHAPES.index("jawOpen"), lower, 1] = -3
    for side, name in ((1, "mouthSmile_L"), (-1, "mouthSmile_R")):
        corner = np.exp(-((x - side * 2.5) ** 2) - (y + 3.4) ** 2) * (z > 3)
        expressions[EXPRESSION_SHAPES.index(name)] = corner[:, None] * np.array((side * 0.6, 1.2, 0))
    identities = np.zeros((3, len(vertices), 3), np.float16)
    identities[0] = (vertices - _CENTRE) * 0.05
    identities[1, :, 0] = x * 0.08
    identities[2, :, 1] = (y - 2.5) * 0.06
    return Head(
        neutral_vertices=vertices,
        faces=faces,
        face_polygon=np.arange(len(faces), dtype=np.int32),
        face_part=np.repeat([names.index(n) for n, _, _ in pieces], [len(f) for _, _, f in pieces]).astype(np.uint8),
        vertex_part=np.repeat([names.index(n) for n, _, _ in pieces], [len(v) for _, v, _ in pieces]).astype(np.uint8),
        part_names=np.array(names),
        expression_names=np.array(EXPRESSION_SHAPES),
        expression_deltas=expressions,
        identity_names=np.array(["identity000", "identity001", "identity002"]),
        identity_deltas=identities,
        landmarks_68=landmarks,
        landmarks_68_jawline=landmarks,
        uv=np.zeros((1, 2), np.float32),
        face_uv=np.zeros_like(faces),
        narrow_face_vertex_count=np.array(len(skin), np.int32),
        template_vertices=vertices,
    )


def mean_points() -> np.ndarray:
    """The 68 points (68, 2) of the upright head, x right and y down."""
    head = tiny_head()
    return head.neutral_vertices[head.landmarks_68_jawline][:, :2] * (1, -1)


def turned(points: np.ndarray, degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    """Points after a similarity."""
    cosine, sine = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    return points @ np.array([[cosine, sine], [-sine, cosine]]) + shift


def rendered(out: str, config: plan.ClayConfig) -> Artifact:
    """The output of a render stage on the tiny head, rendered in this process."""
    save_head(tiny_head(), storage.join(out, "head.npz"))
    table = Studio(storage.join(out, "head.npz"), config)(plan.plan(config))
    job = StageSpec("render", 1, {}, config, {}, {".": RENDERED}, lambda output: output.write_table(".", table))
    return run_stage(job, out, quiet=True)
