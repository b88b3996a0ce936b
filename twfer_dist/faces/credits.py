"""credits.json of a faces output: the credits of its photographs, as their corpora give them."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields

from twfer_dist.core.credit import Credit
from twfer_dist.corpus.corpus import Corpus
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.output import StageOutput

FILE = "credits.json"


def write_credits(output: StageOutput, credits: Mapping[str, Credit]) -> None:
    """Write the credits by photo_id, each credit once with the ids of its photographs; nothing where there are none."""
    photographs: dict[Credit, list[str]] = defaultdict(list)
    for photo_id, credit in sorted(credits.items()):
        photographs[credit].append(photo_id)
    if photographs:
        entries = [{**asdict(credit), "photographs": ids} for credit, ids in photographs.items()]
        output.write_file(FILE, json.dumps(entries, ensure_ascii=False, indent=0).encode())


def credits_of(corpora: Iterable[Corpus]) -> dict[str, Credit]:
    """The credits of all photographs of these corpora by photo_id."""
    return {photo_id: credit for corpus in corpora for photo_id, credit in corpus.credits.items()}


def read_credits(faces: Artifact) -> dict[str, Credit]:
    """The credits by photo_id in an output of `faces` or `corrected`; empty where it has none."""
    if all(file.path != FILE for file in faces.manifest.files):
        return {}
    entries = json.loads(storage.read_bytes(faces.path(FILE)))
    names = [field.name for field in fields(Credit)]
    return {photo_id: Credit(*(entry[n] for n in names)) for entry in entries for photo_id in entry["photographs"]}
