"""One figure: an identity of the head model, dressed with hair, headgear, beard and clothing as simple solids."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from twfer_dist.rendering import eyes, facial_hair
from twfer_dist.rendering.dress import BEARD, EYE, MOUTH, SKIN, TEETH, Dress, clothing
from twfer_dist.rendering.head import Head
from twfer_dist.rendering.headgear import headgear, knot
from twfer_dist.rendering.proportions import restyle
from twfer_dist.rendering.solids import Skull
from twfer_dist.rendering.unrolled import Attached, Unrolled

_SKIN_PARTS = ("face", "head_and_neck", "eye_socket_left", "eye_socket_right")
_EYE_FRONT = 5.0  # eyeball triangles behind this z are never visible


@dataclass(frozen=True)
class Figure:
    """The neutral head of one identity with its solids: V vertices, the head model's N first, then those of the solids
    that hold on to the skin, and T triangles.
    """

    dress: Dress
    vertices: np.ndarray  # float32 (V, 3), neutral
    template: np.ndarray  # float32 (V, 3): the position on the model's mean head, for carving and texture
    triangles: np.ndarray  # int32 (T, 3)
    kind: np.ndarray  # uint8 (T,)
    knot: np.ndarray  # float32 (3,): where the hair is tied
    landmarks: np.ndarray  # int32 (68,): vertices
    attached: tuple[Attached, ...]  # moustache and beard, which move with the skin
    mobility: np.ndarray  # float32 (N, 3): how far expressions move a vertex, relative to the head model
    incidence: sparse.csr_matrix  # float32 (V, T): 1 where a triangle has a vertex


class Workshop:
    """A head model prepared for sculpting figures."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self.identities = head.identity_deltas.astype(np.float32).reshape(len(head.identity_names), -1)
        self.shapes = head.expression_deltas.astype(np.float32).reshape(len(head.expression_names), -1)
        eyes = head.part_faces("eyeball_left", "eyeball_right")
        self.parts = (
            (head.part_faces(*_SKIN_PARTS), SKIN),
            (eyes[head.neutral_vertices[eyes, 2].min(1) > _EYE_FRONT], EYE),
            (head.part_faces("mouth_socket"), MOUTH),
            (head.part_faces("teeth"), TEETH),
        )
        self.skull = Skull(head)
        self.template = head.template_vertices
        self.unrolled = Unrolled(self.template, head.part_faces("face", "head_and_neck"))
        self.names = [str(name) for name in head.expression_names]

    def figure(self, dress: Dress, rng: np.random.Generator, stylised: float = 0.0) -> Figure:
        """A figure of a random identity (normal weights of 0.8 standard deviations, as the model's authors advise),
        dressed. stylised: how far its proportions leave the scanned people's (`proportions.restyle`).
        """
        head = self.head
        weights = rng.normal(0, 0.8, len(self.identities)).astype(np.float32)
        skin = head.neutral_vertices + (weights @ self.identities).reshape(-1, 3)
        if dress.lids.open:
            skin = skin + self._opened(dress.lids)
        mobility = np.ones_like(skin)
        if stylised:
            skin, mobility = restyle(skin, self.template, stylised, rng)
        tied = knot(self.skull, skin, dress, rng)
        attached = (
            *facial_hair.moustache(dress.moustache, self.unrolled, rng),
            *facial_hair.beard(dress.beard, self.unrolled, rng),
        )
        pieces = [(solid.on(skin), solid.template, solid.faces, BEARD) for solid in attached]
        for (points, faces), kind in [*headgear(self.skull, skin, dress, tied, rng), *clothing(dress, rng)]:
            pieces.append((points, points, faces, kind))
        bodies = [(faces, kind) for faces, kind in self.parts if kind != TEETH or dress.teeth]
        count = len(skin)
        for points, _, faces, kind in pieces:
            bodies.append((faces + count, kind))
            count += len(points)
        triangles = np.concatenate([faces for faces, _ in bodies]).astype(np.int32)
        corners, numbers = triangles.T.reshape(-1), np.tile(np.arange(len(triangles)), 3)
        return Figure(
            dress,
            np.concatenate([skin, *(points for points, *_ in pieces)]).astype(np.float32),
            np.concatenate([self.template, *(template for _, template, *_ in pieces)]).astype(np.float32),
            triangles,
            np.concatenate([np.full(len(faces), kind, np.uint8) for faces, kind in bodies]),
            tied,
            head.landmarks_68_jawline,
            attached,
            mobility,
            sparse.csr_matrix((np.ones(len(corners), np.float32), (corners, numbers)), (count, len(triangles))),
        )

    def posed(self, figure: Figure, weights: np.ndarray) -> np.ndarray:
        """The figure's vertices (V, 3) with expression shapes of these weights (E,)."""
        offset = np.zeros(self.shapes.shape[1], np.float32)
        for shape in np.flatnonzero(weights):
            offset += weights[shape] * self.shapes[shape]
        moved = offset.reshape(-1, 3) * figure.mobility
        vertices = figure.vertices.copy()
        count = len(moved)
        vertices[:count] += moved
        for solid in figure.attached:
            vertices[count : count + len(solid.offset)] += solid.moved(moved)
            count += len(solid.offset)
        return vertices

    def _opened(self, lids: eyes.Lids) -> np.ndarray:
        """Offset (N, 3) of the skin with eyes that stand wider or narrower than the model's at rest."""
        name, most = ("eyeWide", 0.35) if lids.open > 0 else ("eyeBlink", 0.18)
        shapes = self.shapes[[self.names.index(f"{name}_{side}") for side in "LR"]]
        return (most * abs(lids.open) * shapes.sum(0)).reshape(-1, 3)
