"""What lies in the output folder of a recipe."""

import json
from typing import Any

from twfer_dist.core.errors import UserError
from twfer_dist.engine import artifact, storage
from twfer_dist.engine.artifact import INDEX
from twfer_dist.engine.inspect import inspect, is_output, planned_rows
from twfer_dist.recipe.kinds import KIND_OF
from twfer_dist.recipe.recipe import Outcome, Stage


def find_recogniser(place: str) -> str:
    """The output of a training: at `place`, or, of the recipe whose output folder `place` is, the one with the best
    mean of classes on its validation images.
    """
    place = storage.absolute(place)
    if storage.exists(storage.join(place, artifact.MANIFEST)):
        directories = [place]
    else:
        directories = [storage.join(place, directory) for directory in read_index(place)]
    found = [artifact.open_artifact(d) for d in directories if storage.exists(storage.join(d, artifact.MANIFEST))]
    trainings = [f for f in found if f.manifest.stage == "train"]
    if not trainings:
        raise UserError(
            f"{place} holds no recogniser: name the output of a training (train-...), or the folder of a recipe "
            "that trained one."
        )
    return max(trainings, key=lambda f: f.results["scores"]["validation"]["balanced_accuracy"]).uri


def read_index(folder: str) -> dict[str, str]:
    """Which stage each directory of a recipe's output folder belongs to; nothing where no recipe wrote there."""
    place = storage.join(folder, INDEX)
    if not storage.exists(place):
        return {}
    try:
        return {directory: stage for stage, directory in json.loads(storage.read_bytes(place))["stages"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{place} is damaged: run the recipe again, it writes the file anew and does nothing twice."
        ) from None


def has_stages(folder: str) -> bool:
    """Whether a folder is the output folder of a recipe."""
    folder = storage.absolute(folder)
    return storage.exists(folder) and not storage.is_file(folder) and any(map(is_output, _directories(folder)))


def find_faces(folder: str) -> str:
    """The output of faces at `folder`: this itself, or, of the recipe whose output folder it is, the only one, the
    corrected one where its faces were corrected. Problem, naming them, where there are several.
    """
    folder = storage.absolute(folder)
    if is_output(folder) or not has_stages(folder):
        return folder
    named = read_index(folder)
    outputs = [
        artifact.open_artifact(d) for d in _directories(folder) if storage.exists(storage.join(d, artifact.MANIFEST))
    ]
    outputs = [f for f in outputs if f.manifest.stage in ("faces", "corrected") and (not named or f.name in named)]
    before = {digest for f in outputs if f.manifest.stage == "corrected" for digest in f.manifest.inputs.values()}
    last = [f.uri for f in outputs if f.digest not in before]
    if len(last) != 1:
        found = (
            f"holds {len(last)} outputs of faces: name one of them: {', '.join(last)}"
            if last
            else "holds no finished output of faces"
        )
        raise UserError(f"{folder} {found}{'.' if last else ': run the stage of kind faces first.'}")
    return last[0]


def _directories(folder: str) -> list[str]:
    return [storage.join(folder, name) for name in storage.list_folders(folder)]


def recipe_status(folder: str) -> dict[str, Any]:
    """What lies in the output folder of a recipe: finished stages, and how far unfinished ones are."""
    folder = storage.absolute(folder)
    if not storage.exists(folder) or storage.is_file(folder):
        raise UserError(f"{folder} is not there: name the output folder of a recipe.")
    names = read_index(folder)
    stages = []
    for directory in storage.list_folders(folder):
        place = storage.join(folder, directory)
        kind = directory.rsplit("-", 1)[0]
        if storage.exists(storage.join(place, artifact.MANIFEST)):
            if ".replaced-" not in directory:
                kind = KIND_OF.get(kind, kind)
                outcome = Outcome(
                    Stage(names.get(directory, kind), kind, {}, {}), "finished", artifact.open_artifact(place)
                )
                stages.append(outcome.summary())
        elif is_output(place):
            tables, kind = inspect(place)["tables"], KIND_OF.get(kind, kind)
            unfinished = Outcome(Stage(kind, kind, {}, {}), "unfinished", None).summary()
            rows, counts = ({name: table[what] for name, table in tables.items()} for what in ("rows", "counts"))
            stages.append(
                unfinished | {"output": place, "rows": rows, "counts": counts, "planned": planned_rows(place)}
            )
    if not stages:
        raise UserError(f"{folder} holds no output of a stage: name the output folder of a recipe, such as runs/demo.")
    order = list(names)
    stages.sort(key=lambda s: order.index(d) if (d := storage.name_of(s["output"])) in order else len(order))
    finished = sum(s["state"] == "finished" for s in stages)
    return {"out": folder, "finished": finished, "unfinished": len(stages) - finished, "stages": stages}
