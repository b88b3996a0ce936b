"""The recipe behind `twfer similarity`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from twfer_dist.core.errors import UserError
from twfer_dist.corpus.corpus import open_corpus
from twfer_dist.engine import registry
from twfer_dist.recipe.load import parse_recipe
from twfer_dist.recipe.recipe import Recipe
from twfer_dist.recipe.status import find_recogniser
from twfer_dist.recipe.study import corpus_name


def similarity_recipe(
    corpora: Sequence[str],
    settings: Mapping[str, Any],
    out: str | None,
    embedder: Mapping[str, str | None],
    comparison: Mapping[str, Any],
) -> Recipe:
    """The recipe that compares the faces of corpora: faces of each, their embeddings, and the similarity.

    settings: of the stages that find the faces; a corpus of aligned crops in RAF-DB's layout is read as such. embedder:
    `network`, a file, or `model`, a recogniser as in `status.find_recogniser`. comparison: of
    `similarity.compare.SimilarityConfig`. UserError where two corpora have one name.
    """
    names = [corpus_name(corpus) for corpus in corpora]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"{len(names)} corpora are to be told apart, but two are called '{twice[0]}': rename a folder.")
    stages: dict[str, Any] = {}
    for name, corpus in zip(names, corpora, strict=True):
        aligned = settings.get("aligned", False) or open_corpus(corpus, name).notes["layout"] == "rafdb-aligned"
        stages[f"faces of {name}"] = {"kind": "faces", "corpora": [name], **settings, "aligned": aligned}
    embed: dict[str, Any] = {"kind": "embed", "inputs": list(stages)}
    embed |= {key: value for key, value in embedder.items() if value}
    if "model" in embed and not registry.is_registered(embed["model"]):
        embed["model"] = find_recogniser(embed["model"])
    stages["embed"] = embed
    stages["similarity"] = {"kind": "similarity", "embeddings": ["embed"], **comparison}
    name = "-".join(["similarity", *names])[:80]
    given = {"name": name, "out": out or f"runs/{name}", "corpora": dict(zip(names, corpora, strict=True))}
    return parse_recipe(given | {"stages": stages}, "twfer similarity", text="")
