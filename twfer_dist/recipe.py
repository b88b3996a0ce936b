"""A recipe (YAML) -> the stages in order, finished ones skipped.

    name: demo
    out: runs/demo                  # a path or URI
    tracking: http://host:5000      # an MLflow address; SQLite in `out` where not given and something is trained
    compute: {workers: 0, gpus: 0}  # what stages may ask for: in no fingerprint
    corpora:
      warriors: photographs/warriors
    stages:
      faces: {kind: faces, corpora: [warriors]}
      read: {kind: predict, inputs: [faces], model: runs/demo/train-0123456789ab}

A stage names its inputs: stages above it, or the directories of finished outputs. Its other keys fill the frozen
dataclass of its kind. `package:` at the start of a path is the installed package: what ships with it.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from twfer_dist import cluster, engine, storage
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.corpus.tables import ENDINGS
from twfer_dist.engine import Job
from twfer_dist.errors import Problem
from twfer_dist.inspection import inspect, is_output
from twfer_dist.journal import without_password
from twfer_dist.mlflow_store import sqlite_path, sqlite_uri
from twfer_dist.parts import Target
from twfer_dist.settings import did_you_mean, fill, package_path, read_yaml
from twfer_dist.stages import INPUTS, KIND_OF, SETTINGS, TRACKED, Compute, Recipe, Stage, check, check_kind, job_of
from twfer_dist.storage import INDEX, Finished
from twfer_dist.tracking import Tracking


@dataclass(frozen=True)
class Outcome:
    """What became of a stage: `state` is "finished" (found), "made" or "to do"."""

    stage: Stage
    state: str
    finished: Finished | None

    def summary(self) -> dict[str, Any]:
        made = self.finished
        return {
            "name": self.stage.name,
            "kind": self.stage.kind,
            "state": self.state,
            "output": made and made.uri,
            "fingerprint": made and made.manifest["fingerprint"],
            "rows": made.manifest["rows"] if made else {},
            "counts": made.manifest["counts"] if made else {},
            "seconds": made and made.manifest["seconds"],
            "kept": made and made.manifest.get("kept"),
        }


def load(path: str, *, out: str | None = None) -> Recipe:
    """Read a recipe. Problem naming the place of any word that it does not know."""
    given, text = read_yaml(path)
    if not isinstance(given, dict) or not given.get("stages"):
        raise Problem(f"{path} has no 'stages': a recipe names its stages, as jobs/demo.yaml does.")
    known = {"name", "out", "tracking", "compute", "corpora", "stages"}
    for key in ("compute", "corpora", "stages"):
        if given.get(key) is not None and not isinstance(given[key], dict):
            raise Problem(
                f"{path}: '{key}' is a {type(given[key]).__name__}: write names and what belongs to them, as jobs/demo.yaml does."
            )
    if empty := [key for key, value in (given.get("corpora") or {}).items() if not isinstance(value, str)]:
        raise Problem(
            f"{path}, corpora: '{empty[0]}' is {json.dumps(given['corpora'][empty[0]])}: give the path of its folder or manifest."
        )
    for key in ("name", "out", "tracking"):
        if given.get(key) is not None and not isinstance(given[key], str):
            raise Problem(f"{path}: '{key}' is {json.dumps(given[key], default=str)}: write a word, in quotes where it is a number.")
    if foreign := sorted(str(key) for key in given.keys() - known):
        near = did_you_mean(foreign[0], known)
        raise Problem(f"{path}: '{foreign[0]}' is not a part of a recipe, which has {', '.join(sorted(known))}{near}{'' if near else '.'}")
    name = given.get("name") or Path(path).stem
    out = storage.absolute(out or given.get("out") or f"runs/{name}")
    compute = fill(Compute, given.get("compute") or {}, f"{path}, compute")
    stages: list[Stage] = []
    corpora = {key: package_path(str(value)) for key, value in (given.get("corpora") or {}).items()}
    for key, settings in given["stages"].items():
        stages.append(_stage(path, str(key), settings, {s.name for s in stages}, set(corpora)))
        check(stages[-1], compute, {s.name: s.kind for s in stages}, f"{path}, stage '{key}'")
    learns = any(stage.kind in TRACKED for stage in stages)
    uri = given.get("tracking") or (sqlite_uri(storage.join(out, "mlflow.db")) if learns and "://" not in out else None)
    if uri and (database := sqlite_path(uri)):
        uri = sqlite_uri(str(database))  # workers have another working directory
    tracking = Tracking(uri, name) if uri else None
    return Recipe(name, out, corpora, stages, tracking, compute, without_password(text))


def _stage(path: str, name: str, settings: Any, above: set[str], corpora: set[str]) -> Stage:
    place = f"{path}, stage '{name}'"
    if "/" in name or name in ("", ".", ".."):
        raise Problem(f"{place}: a stage's name is the name of a folder too: choose another word.")
    if not isinstance(settings, dict) or str(settings.get("kind")) not in INPUTS:
        near = did_you_mean(str(settings.get("kind")), INPUTS) if isinstance(settings, dict) else ""
        raise Problem(f"{place}: 'kind' is one of {', '.join(INPUTS)}{near or '.'}")
    settings = dict(settings)
    kind = settings.pop("kind")
    inputs: dict[str, list[str]] = {}
    for key, takes in INPUTS[kind].items():
        named = settings.pop(key, None)
        if named is None:
            continue
        inputs[key] = [str(n) for n in named] if isinstance(named, list) else [str(named)]
        if len(inputs[key]) > 1 and not takes.several:
            raise Problem(f"{place}: '{key}' takes one name.")
        for one in inputs[key]:
            if one not in (corpora if key == "corpora" else above) and (key == "corpora" or "/" not in one):
                known = sorted(corpora if key == "corpora" else above)
                rest = "" if key == "corpora" else ", or the directory of a finished output"
                near = did_you_mean(one, known) or "."
                raise Problem(f"{place}: '{one}' is not known there: '{key}' names {', '.join(known) or 'none'}{rest}{near}")
    return Stage(name, kind, inputs, settings)


def plan(recipe: Recipe) -> list[Outcome]:
    """What is finished and what is to do, without doing any of it. Problem for whatever could not be done."""
    _check_files(recipe)
    outcomes = list(_walk(recipe, lambda job: engine.find(job, recipe.out)))
    if not os.environ.get("RAY_ADDRESS") and not recipe.compute.gpus:  # all is done by this machine's processor
        for stage in (outcome.stage for outcome in outcomes if outcome.state == "to do"):
            wanted = stage.settings.get("train", stage.settings).get("precision", "float32")
            if wanted == "bfloat16":
                from twfer_dist import precision

                precision.settle(wanted, [precision.lacking("cpu")])
    return outcomes


def run(recipe: Recipe, *, until: str | None = None, quiet: bool = False, retry: bool = False) -> Iterator[Outcome]:
    """Do the stages in order, each once; yields what became of each. `until` names the last stage to do; `retry`: rows of finished
    stages that may come out otherwise are done again, and what depends on them where something came of it.
    """
    if until is not None and until not in {s.name for s in recipe.stages}:
        raise Problem(f"The recipe {recipe.name} has no stage '{until}': it has {', '.join(s.name for s in recipe.stages)}.")
    if storage.is_file(recipe.out):
        raise Problem(f"{recipe.out} is a file: name a folder for the outputs.")
    _check_files(recipe)  # what is wrong is told of before hours of other work
    if recipe.tracking:
        recipe.tracking.send_waiting(recipe.out)
    gpus = recipe.compute.gpus
    if (recipe.tracking or gpus) and any(outcome.state == "to do" for outcome in plan(recipe)):
        if recipe.tracking:
            recipe.tracking.experiment_id()
        if gpus and recipe.compute.actors is None:
            cluster.check_gpus(gpus)
    index: dict[str, str] = {}
    with contextlib.suppress(Problem):  # a damaged index is written anew
        index = {stage: directory for directory, stage in _index(recipe.out).items() if stage in {s.name for s in recipe.stages}}
    for outcome in _walk(recipe, lambda job: engine.run(job, recipe.out, quiet=quiet, retry=retry, tracking=recipe.tracking)):
        assert outcome.finished
        index[outcome.stage.name] = outcome.finished.name
        corpora = {name: without_password(storage.absolute(path)) for name, path in recipe.corpora.items()}
        storage.write_json(storage.join(recipe.out, INDEX), {"recipe": recipe.name, "corpora": corpora, "stages": index})
        if outcome.stage.kind == "report":
            page = storage.read_bytes(outcome.finished.path("index.html"))
            storage.write_bytes(storage.join(recipe.out, outcome.stage.name, "index.html"), page)
        yield outcome
        if outcome.stage.name == until:
            return


def _check_files(recipe: Recipe) -> None:
    """Problem where a file that a stage names is not there, unless the recipe itself may make it."""
    for stage in recipe.stages:
        for key in SETTINGS[stage.kind][2]:
            place = storage.absolute(package_path(str(stage.settings.get(key, "package:"))))
            if key != "detector" and not place.startswith(recipe.out) and not storage.exists(place):
                raise Problem(f"recipe {recipe.name}, stage '{stage.name}': {place}, its '{key}', is not there: name another file.")


def _walk(recipe: Recipe, do: Callable[[Job], Finished | None]) -> Iterator[Outcome]:
    corpora = {name: open_corpus(path, name) for name, path in recipe.corpora.items()}
    made: dict[str, Finished | None] = {}
    for stage in recipe.stages:
        inputs: dict[str, list[Any]] = {}
        for key, names in stage.inputs.items():
            if key == "corpora":
                inputs[key] = [corpora[n] for n in names]
            else:
                inputs[key] = [made[n] if n in made else _finished(recipe, stage, key, n) for n in names]
        if any(one is None for several in inputs.values() for one in several):
            made[stage.name] = None  # what it is made from is not made yet
            yield Outcome(stage, "to do", None)
            continue
        job = job_of(recipe, stage, inputs)
        found = engine.find(job, recipe.out)
        finished = made[stage.name] = do(job)
        state = "to do" if finished is None else "finished" if found and found.stamp == finished.stamp else "made"
        yield Outcome(stage, state, finished)


def _finished(recipe: Recipe, stage: Stage, key: str, directory: str) -> Finished:
    """The finished output that a stage names by its directory. Problem where it is of another kind than the stage takes."""
    found = storage.open_finished(storage.absolute(package_path(directory)))
    kind = KIND_OF.get(found.manifest["stage"], found.manifest["stage"])
    check_kind(INPUTS[stage.kind][key], key, found.uri, kind, f"recipe {recipe.name}, stage '{stage.name}'")
    return found


def faces(corpus: str, settings: Mapping[str, Any], out: str, corrections: str | None) -> Recipe:
    """The recipe that finds the faces of one corpus. corrections: what a person marked as wrong in them, where there is such a table."""
    name = _name(corpus)
    stages = [Stage("faces", "faces", {"corpora": [name]}, settings)]
    if corrections:
        stages.append(_corrected(corrections))
    return Recipe("faces", storage.absolute(out), {name: corpus}, stages)


def _corrected(corrections: str) -> Stage:
    return Stage("corrected", "corrected", {"faces": ["faces"]}, {"corrections": storage.absolute(corrections)})


def study(corpus: str, model: str, settings: Mapping[str, Any], groups: Sequence[str], out: str | None, corrections: str | None) -> Recipe:
    """The recipe that answers for one corpus with a recogniser that is there already. `settings` are those of its faces,
    `groups` the columns to compare by, `corrections` the table of what a person marked as wrong in its faces.
    """
    name = _name(corpus)
    chosen = trained(model)
    place = out or f"runs/study-{name}"
    asked = without_password(storage.absolute(corpus))
    if out is None and (other := _corpora_of(place).get(name, asked)) != asked:
        raise Problem(f"{place} holds the study of {other}: name another place for this one with --out.")
    known = {column for row in open_corpus(corpus).table["groups"].to_pylist() for column, _ in row} if groups else set()
    if foreign := [column for column in groups if column not in known]:
        raise Problem(f"{corpus} is not grouped by '{foreign[0]}': its columns are {', '.join(sorted(known)) or 'none'}.")
    report = {"title": f"Expressions in {name}", "groups": list(groups)}
    read_from = "corrected" if corrections else "faces"
    stages = [
        Stage("faces", "faces", {"corpora": [name]}, settings),
        *([_corrected(corrections)] if corrections else []),
        Stage("read", "predict", {"inputs": [read_from], "model": [chosen]}, {}),
        Stage("report", "report", {"predictions": ["read"], "faces": [read_from], "models": [chosen]}, report),
    ]
    # As it was asked for, so that the same recipe comes from wherever the folder is called the same.
    said = model if storage.name_of(model) == storage.name_of(chosen) else storage.join(model, storage.name_of(chosen))
    named = {"model": said if "/" in said else f"./{said}"}
    text = {
        "name": name,
        "out": place,
        "corpora": {name: corpus},
        "stages": {
            "faces": {"kind": "faces", "corpora": [name], **settings},
            **({"corrected": {"kind": "corrected", "faces": "faces", "corrections": corrections}} if corrections else {}),
            "read": {"kind": "predict", "inputs": [read_from], **named},
            "report": {"kind": "report", "predictions": ["read"], "faces": [read_from], "models": list(named.values()), **report},
        },
    }
    written = yaml.safe_dump(text, sort_keys=False, allow_unicode=True)
    return Recipe(name, storage.absolute(place), {name: corpus}, stages, text=without_password(written))


def _corpora_of(folder: str) -> dict[str, str]:
    """The corpora of the recipe that wrote into an output folder last, by name; none where that is not known."""
    with contextlib.suppress(FileNotFoundError, ValueError, AttributeError):
        return json.loads(storage.read_bytes(storage.join(storage.absolute(folder), INDEX))).get("corpora", {})
    return {}


def _name(corpus: str) -> str:
    """A corpus is named after its folder or its manifest."""
    name = storage.name_of(storage.absolute(corpus))
    return name.rpartition(".")[0] if name.lower().endswith(ENDINGS) else name


def trained(place: str) -> str:
    """The output of a training: at `place`, or, of the recipe whose output folder `place` is, the one with the best mean of classes
    on its validation images.
    """
    place = storage.absolute(place)
    if storage.exists(storage.join(place, storage.MANIFEST)):
        directories = [place]
    else:
        directories = [storage.join(place, directory) for directory in _index(place)]
    found = [storage.open_finished(d) for d in directories if storage.exists(storage.join(d, storage.MANIFEST))]
    trainings = [f for f in found if f.manifest["stage"] == "train"]
    if not trainings:
        raise Problem(
            f"{place} holds no recogniser: name the output of a training (train-...), or the folder of a recipe that trained one."
        )
    return max(trainings, key=lambda f: f.results["scores"]["validation"]["class_mean_accuracy"]).uri


def _index(folder: str) -> dict[str, str]:
    """Which stage each directory of a recipe's output folder belongs to; nothing where no recipe wrote there."""
    place = storage.join(folder, INDEX)
    if not storage.exists(place):
        return {}
    try:
        return {directory: stage for stage, directory in json.loads(storage.read_bytes(place))["stages"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Problem(f"{place} is damaged: run the recipe again, it writes the file anew and does nothing twice.") from None


def has_stages(folder: str) -> bool:
    """Whether a folder is the output folder of a recipe."""
    folder = storage.absolute(folder)
    return storage.exists(folder) and not storage.is_file(folder) and any(map(is_output, _directories(folder)))


def faces_in(folder: str) -> str:
    """The output of faces at `folder`: this itself, or, of the recipe whose output folder it is, the only one, the corrected one where
    its faces were corrected. Problem, naming them, where there are several.
    """
    folder = storage.absolute(folder)
    if is_output(folder) or not has_stages(folder):
        return folder
    named = _index(folder)
    outputs = [storage.open_finished(d) for d in _directories(folder) if storage.exists(storage.join(d, storage.MANIFEST))]
    outputs = [f for f in outputs if f.manifest["stage"] in ("faces", "corrected") and (not named or f.name in named)]
    before = {digest for f in outputs if f.manifest["stage"] == "corrected" for digest in f.manifest["inputs"].values()}
    last = [f.uri for f in outputs if f.digest not in before]
    if len(last) != 1:
        found = f"holds {len(last)} outputs of faces: name one of them: {', '.join(last)}" if last else "holds no finished output of faces"
        raise Problem(f"{folder} {found}{'.' if last else ': run the stage of kind faces first.'}")
    return last[0]


def _directories(folder: str) -> list[str]:
    return [storage.join(folder, name) for name in storage.list_folders(folder)]


def status(folder: str) -> dict[str, Any]:
    """What lies in the output folder of a recipe: finished stages, and how far unfinished ones are."""
    folder = storage.absolute(folder)
    if not storage.exists(folder) or storage.is_file(folder):
        raise Problem(f"{folder} is not there: name the output folder of a recipe.")
    names = _index(folder)
    stages = []
    for directory in storage.list_folders(folder):
        place = storage.join(folder, directory)
        kind = directory.rsplit("-", 1)[0]
        if storage.exists(storage.join(place, storage.MANIFEST)):
            if ".replaced-" not in directory:
                kind = KIND_OF.get(kind, kind)
                outcome = Outcome(Stage(names.get(directory, kind), kind, {}, {}), "finished", storage.open_finished(place))
                stages.append(outcome.summary())
        elif storage.exists(storage.join(place, engine.WORK)):
            tables, kind = inspect(place)["tables"], KIND_OF.get(kind, kind)
            unfinished = Outcome(Stage(kind, kind, {}, {}), "unfinished", None).summary()
            rows, counts = ({name: table[what] for name, table in tables.items()} for what in ("rows", "counts"))
            stages.append(unfinished | {"output": place, "rows": rows, "counts": counts, "planned": Target(place, ()).planned_rows()})
    if not stages:
        raise Problem(f"{folder} holds no output of a stage: name the output folder of a recipe, such as runs/demo.")
    order = list(names)
    stages.sort(key=lambda s: order.index(d) if (d := storage.name_of(s["output"])) in order else len(order))
    finished = sum(s["state"] == "finished" for s in stages)
    return {"out": folder, "finished": finished, "unfinished": len(stages) - finished, "stages": stages}
