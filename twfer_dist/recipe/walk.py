"""The stages of a recipe in order, each with what its inputs have become."""

from collections.abc import Callable, Iterator

from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.engine import artifact, registry, storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import package_path
from twfer_dist.engine.kind import Input
from twfer_dist.engine.shared_storage import SharedStorage
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.stage import find_output
from twfer_dist.recipe.kinds import check_input, kind_of, spec_of
from twfer_dist.recipe.recipe import Outcome, Recipe, Stage


def walk(recipe: Recipe, do: Callable[[Stage, StageSpec], Artifact | None]) -> Iterator[Outcome]:
    """The outcome of each stage; `do` finds or makes its output."""
    corpora = {name: open_corpus(path, name) for name, path in recipe.corpora.items()}
    outputs: dict[str, Artifact | None] = {}
    for stage in recipe.stages:
        location = f"recipe {recipe.name}, stage '{stage.name}'"
        inputs: dict[str, list] = {}
        for key in kind_of(stage.kind).inputs:
            names = stage.inputs.get(key.name, [])
            if key.kinds:
                inputs[key.name] = [outputs[n] if n in outputs else open_input(recipe, key, n, location) for n in names]
            else:
                inputs[key.name] = [corpora[n] for n in names]
        if any(one is None for several in inputs.values() for one in several):
            outputs[stage.name] = None  # an input is still to be made
            yield Outcome(stage, "to do", None)
            continue
        spec = spec_of(recipe, stage, inputs)
        before = find_output(spec, recipe.out)
        output = outputs[stage.name] = do(stage, spec)
        if output is None:
            yield Outcome(stage, "to do", None, spec.name)
        else:
            same = before is not None and before.build_id == output.build_id
            yield Outcome(stage, "finished" if same else "made", output, spec.name)


def storage_of(recipe: Recipe) -> SharedStorage:
    """What all nodes of a cluster must reach for a recipe."""
    return SharedStorage(recipe.out, [storage.absolute(path) for path in recipe.corpora.values()], recipe.tracking)


def open_input(recipe: Recipe, key: Input, name: str, location: str) -> Artifact:
    """The output that a stage names by its directory or as a registered model. UserError where it is of a kind that
    the key does not take.
    """
    registered = registry.is_registered(name)
    directory = registry.fetch(name, recipe.out, recipe.tracking) if registered else package_path(name)
    output = artifact.open_artifact(storage.absolute(directory))
    check_input(key, output.uri, output.manifest.stage, location)
    return output
