"""The head model: a neutral mesh with identity modes and expression shapes, as arrays in one `.npz` file.

`make_head` packs ICT-FaceKit's public distribution (Li et al., "Learning Formation of Physically-Based Face
Attributes", CVPR 2020; MIT) into that file (`anny` packs another model), `load_head` reads it. Lengths are the model's:
about one centimetre. x points to the subject's left, y up, z out of the face.
"""

import io
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from twfer_dist.core.errors import UserError
from twfer_dist.engine.storage import read_bytes, sha256_file

PARTS = {"face": (9409, 9230), "head_and_neck": (11248, 11144), "mouth_socket": (13294, 13226),
    "eye_socket_left": (13678, 13630), "eye_socket_right": (14062, 14034), "gums_and_tongue": (17039,
    17006), "teeth": (21451, 21496), "eyeball_left": (23021, 23094), "eyeball_right": (24591, 24692),
    "lacrimal_fluid_left": (24795, 24855), "lacrimal_fluid_right": (24999, 25018), "eye_blend_left":
    (25023, 25033), "eye_blend_right": (25047, 25048), "eye_occlusion_left": (25199, 25176),
    "eye_occlusion_right": (25351, 25304), "eyelashes_left": (26035, 25844), "eyelashes_right": (26719,
    26384), }  # fmt: skip
"""ICT-FaceKit's 17 parts in order: the end of each one's range of vertices and of polygons (the table of its
README).
"""

LANDMARKS_68 = (1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272,
    4088, 3443, 268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140,
    2075, 1147, 4269, 3360, 1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732, 5708,
    5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470,
    5517, 5966, )  # fmt: skip
"""The vertex of each of the 68 iBUG points, from ICT-FaceKit's README."""

JAW_LINE = (1278, 1272, 12, 1834, 243, 781, 2199, 1447, 966, 3661, 4390, 3022, 2484, 4036, 2253, 3490, 3496)
"""The README's other vertices for points 0 to 16, on the visible edge of the jaw."""

NARROW_FACE_VERTICES = 6706
NEUTRAL_MESH = "generic_neutral_mesh.obj"

EXPRESSION_SHAPES = tuple(sorted([f"{name}_{side}" for name in ("PupilDilate", "browDown", "browInnerUp",
    "browOuterUp", "cheekPuff", "cheekRaiser", "cheekSquint", "eyeBlink", "eyeLookDown", "eyeLookIn",
    "eyeLookOut", "eyeLookUp", "eyeSquint", "eyeWide", "mouthDimple", "mouthFrown", "mouthLowerDown",
    "mouthPress", "mouthSmile", "mouthStretch", "mouthUpperUp", "noseSneer", ) for side in "LR" ] +
    ["jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthFunnel", "mouthLeft",
    "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower",
    "mouthShrugUpper", ] ) )  # fmt: skip


@dataclass(frozen=True)
class Head:
    """N vertices, M triangles, E expression shapes, I identity modes, U texture coordinates."""

    neutral_vertices: np.ndarray  # float32 (N, 3)
    faces: np.ndarray  # int32 (M, 3), counted from 0
    face_polygon: np.ndarray  # int32 (M,): the polygon of the distribution that a triangle is part of
    face_part: np.ndarray  # uint8 (M,): index into part_names
    vertex_part: np.ndarray  # uint8 (N,)
    part_names: np.ndarray  # str (17,)
    expression_names: np.ndarray  # str (E,)
    expression_deltas: np.ndarray  # float16 (E, N, 3): offset from neutral at weight 1
    identity_names: np.ndarray  # str (I,)
    identity_deltas: np.ndarray  # float16 (I, N, 3)
    landmarks_68: np.ndarray  # int32 (68,): vertices
    landmarks_68_jawline: np.ndarray  # int32 (68,)
    uv: np.ndarray  # float32 (U, 2)
    face_uv: np.ndarray  # int32 (M, 3)
    narrow_face_vertex_count: np.ndarray  # int32 ()
    # float32 (N, 3): where each vertex lies on ICT-FaceKit's mean head, to which carving, texture and hair refer
    template_vertices: np.ndarray

    def part_faces(self, *names: str) -> np.ndarray:
        """The triangles (K, 3) of the parts with these names."""
        wanted = np.flatnonzero(np.isin(self.part_names, names))
        return self.faces[np.isin(self.face_part, wanted)]

    def landmark(self, *numbers: int) -> np.ndarray:
        """Mean position (3,) of some of the 68 points on the neutral head."""
        return self.neutral_vertices[self.landmarks_68[list(numbers)]].mean(0)


def load_head(path: str) -> Head:
    """Read a head model file (a path or URI). UserError where the file is missing, is not an `.npz` archive, or its
    arrays are inconsistent.
    """
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        # Files of ICT-FaceKit from before there were others lack it.
        arrays.setdefault("template_vertices", arrays.get("neutral_vertices"))
        missing = [f.name for f in fields(Head) if f.name not in arrays]
        if missing:
            raise UserError(
                f"{path} is not a head model: array '{missing[0]}' is missing; make one with `twfer corpus head DIR`."
            )
        head = Head(**{f.name: arrays[f.name] for f in fields(Head)})
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: make a head model with `twfer corpus head DIR`.") from None
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise UserError(
            f"{path} is not a head model (no readable .npz archive): make one with `twfer corpus head DIR`."
        ) from error
    fault = _fault(head)
    if fault:
        raise UserError(f"{path} is not a head model: {fault}; make one with `twfer corpus head DIR`.")
    return head


def _fault(head: Head) -> str:
    count, triangles = len(head.neutral_vertices), len(head.faces)
    shapes = {"neutral_vertices": (count, 3), "faces": (triangles, 3), "face_part": (triangles,),
        "face_polygon": (triangles,), "vertex_part": (count,), "expression_deltas":
        (len(head.expression_names), count, 3), "identity_deltas": (len(head.identity_names), count, 3),
        "landmarks_68": (68,), "landmarks_68_jawline": (68,), "face_uv": (triangles, 3),
        "template_vertices": (count, 3), }  # fmt: skip
    for name, shape in shapes.items():
        if getattr(head, name).shape != shape:
            return f"array '{name}' has shape {getattr(head, name).shape}, expected {shape}"
    for name, limit in {
        "faces": count,
        "landmarks_68": count,
        "face_part": len(head.part_names),
        "face_uv": len(head.uv),
    }.items():
        values = getattr(head, name)
        if values.size and not (0 <= values.min() and values.max() < limit):
            return f"array '{name}' has indices outside 0 to {limit - 1}"
    for name in ("neutral_vertices", "expression_deltas", "identity_deltas", "template_vertices"):
        if not np.isfinite(getattr(head, name)).all():
            return f"array '{name}' has values that are not finite"
    return ""


def head_digest(path: str) -> str:
    """The sha256 of a head model file."""
    try:
        return sha256_file(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: make a head model with `twfer corpus head DIR`.") from None


def make_head(distribution: str, out: str) -> Head:
    """Pack ICT-FaceKit's distribution into the file `out` and return the head.

    distribution: a checkout of ICT-FaceKit or its `FaceXModel` folder, with `generic_neutral_mesh.obj`,
    `identity000.obj` and so on, and an OBJ file per expression shape. Quads are split into two triangles. UserError
    where a file is missing or holds another mesh.
    """
    folder = Path(distribution)
    folder = folder / "FaceXModel" if (folder / "FaceXModel").is_dir() else folder
    vertices, uv, triangles, polygon_of = _read_neutral(folder)
    identities = sorted(path.stem for path in folder.glob("identity[0-9][0-9][0-9].obj"))
    if not identities:
        raise UserError(f"{folder} has no identity000.obj: use the FaceXModel folder of the public repository.")
    ends = np.array(list(PARTS.values()))
    jaw_line = np.array(LANDMARKS_68, np.int32)
    jaw_line[: len(JAW_LINE)] = JAW_LINE
    head = Head(
        neutral_vertices=vertices,
        faces=triangles[..., 0],
        face_polygon=polygon_of,
        face_part=np.searchsorted(ends[:, 1], polygon_of, side="right").astype(np.uint8),
        vertex_part=np.searchsorted(ends[:, 0], np.arange(len(vertices)), side="right").astype(np.uint8),
        part_names=np.array(list(PARTS)),
        expression_names=np.array(EXPRESSION_SHAPES),
        expression_deltas=_deltas(folder, EXPRESSION_SHAPES, vertices),
        identity_names=np.array(identities),
        identity_deltas=_deltas(folder, identities, vertices),
        landmarks_68=np.array(LANDMARKS_68, np.int32),
        landmarks_68_jawline=jaw_line,
        uv=uv,
        face_uv=triangles[..., 1],
        narrow_face_vertex_count=np.array(NARROW_FACE_VERTICES, np.int32),
        template_vertices=vertices,
    )
    save_head(head, out)
    return head


def _read_neutral(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The neutral mesh: vertices (N, 3), texture coordinates (U, 2), triangles int32 (M, 3, 2) of vertex and texture
    coordinate, and the polygon of each triangle, int32 (M,).
    """
    file = folder / NEUTRAL_MESH
    vertices, uv, polygons = _read_obj(file)
    expected = list(PARTS.values())[-1]
    if (len(vertices), len(polygons)) != expected:
        raise UserError(
            f"{file} has {len(vertices)} vertices and {len(polygons)} polygons, but ICT-FaceKit's light model has "
            f"{expected[0]} and {expected[1]}: use the FaceXModel folder of the public repository."
        )
    corners, polygon_of = [], []
    for number, polygon in enumerate(polygons):
        for second in range(1, len(polygon) - 1):
            corners.append((polygon[0], polygon[second], polygon[second + 1]))
            polygon_of.append(number)
    return vertices, uv, np.array(corners, np.int32), np.array(polygon_of, np.int32)


def save_head(head: Head, out: str) -> None:
    """Write a head model file."""
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    with open(out, "wb") as stream:
        np.savez_compressed(stream, **{f.name: getattr(head, f.name) for f in fields(Head)})


def _deltas(folder: Path, names: tuple[str, ...] | list[str], neutral: np.ndarray) -> np.ndarray:
    deltas = np.empty((len(names), *neutral.shape), np.float16)
    for row, name in enumerate(names):
        vertices = _read_obj(folder / f"{name}.obj", vertices_only=True)[0]
        if vertices.shape != neutral.shape:
            raise UserError(
                f"{folder / name}.obj has {len(vertices)} vertices, the neutral mesh has {len(neutral)}: use files "
                "of one version."
            )
        deltas[row] = vertices - neutral
    return deltas


def _read_obj(path: Path, vertices_only: bool = False) -> tuple[np.ndarray, np.ndarray, list[list[tuple[int, int]]]]:
    """Vertices (N, 3), texture coordinates (U, 2), and polygons as lists of (vertex, texture coordinate), counted from
    0.
    """
    try:
        lines = path.read_text().splitlines()
        vertices = _numbers([line for line in lines if line.startswith("v ")], 3)
        if vertices_only:
            return vertices, np.empty((0, 2), np.float32), []
        uv = _numbers([line for line in lines if line.startswith("vt ")], 2)
        corners = ([corner.split("/") for corner in line.split()[1:]] for line in lines if line.startswith("f "))
        return vertices, uv, [[(int(c[0]) - 1, int(c[1]) - 1) for c in polygon] for polygon in corners]
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist: use the FaceXModel folder of ICT-FaceKit's public repository."
        ) from None
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} is not an OBJ mesh with texture coordinates ({error}): download it from ICT-FaceKit again."
        ) from error


def _numbers(lines: list[str], columns: int) -> np.ndarray:
    """float32 (lines, columns): the numbers after each line's first word."""
    if not lines:
        raise ValueError("it has no vertices")
    return np.loadtxt(lines, np.float32, usecols=range(1, columns + 1), ndmin=2)
