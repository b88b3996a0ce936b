"""The stage that compares embedded faces: mean similarities, near-duplicates, leakage across parts, and the map."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import sklearn

from twfer_dist.core.errors import UserError
from twfer_dist.core.language import Language, use_language
from twfer_dist.engine import storage
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import Range, Settings
from twfer_dist.engine.kind import Input, StageKind
from twfer_dist.engine.output import StageOutput
from twfer_dist.engine.spec import StageSpec
from twfer_dist.engine.spreadsheet import rows_to_csv
from twfer_dist.similarity import MAP, PICTURE, answer, map_page
from twfer_dist.similarity.faces import CORPUS, EmbeddedFaces, parts_of, pictures_of, read_faces, sampled
from twfer_dist.similarity.layout import MOST_FACES, even_sample, positions
from twfer_dist.similarity.means import Similarity, similarities
from twfer_dist.similarity.near import NearDuplicates, near_duplicates
from twfer_dist.similarity.tables import NEAR_DUPLICATES, SIMILARITIES

VERSION = 2
MOST_GROUPS = 20
"""Of a comparison: a column with more values groups nothing."""


@dataclass(frozen=True)
class SimilarityConfig(Settings):
    """What is compared, and when two faces are nearly the same picture."""

    by: str = CORPUS  # corpus, expression, or a grouping column of the manifest
    # this many random faces of each corpus in `sample_of` are compared; all faces if null
    sample: Annotated[int, Range(2, 10**7)] | None = None
    sample_of: tuple[str, ...] = ()  # every corpus if empty
    duplicate_similarity: Annotated[float, Range(0, 1)] = 0.8  # least cosine similarity of near-duplicates
    duplicate_content: Annotated[float, Range(0, 1)] = 0.9  # their least correlation of fine structure
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0  # of the samples, the resamples and the map
    language: Language = "en"  # of the map


def similarity_spec(embeddings: Sequence[Artifact], config: SimilarityConfig) -> StageSpec:
    """The stage that compares the faces of `embeddings`, outputs of `embed`; each network by itself.

    Writes the tables SIMILARITIES (also similarity.csv) and NEAR_DUPLICATES (pairs.csv) and, for the first network,
    map.html and map.jpg. Near-duplicates are pairs of different figures, or in different parts of a data set, of all
    faces; `results["leakage"]` counts those of each part in the training part. `sample` draws for the means alone.
    UserError where nothing can be compared as asked.
    """
    inputs = {f"embeddings_{number}": artifact for number, artifact in enumerate(embeddings)}
    models = {"scikit-learn": sklearn.__version__, "page": storage.sha256(map_page.template().encode())}
    do = partial(_write, embeddings=embeddings, config=config)
    tables = {".": SIMILARITIES, "pairs": NEAR_DUPLICATES}
    return StageSpec("similarity", VERSION, inputs, config, models, tables, do)


def _write(output: StageOutput, *, embeddings: Sequence[Artifact], config: SimilarityConfig) -> None:
    networks = read_faces(embeddings)
    rows: list[dict[str, Any]] = []
    summary = []
    for faces in networks:
        found = compare(faces, config)
        rows += [{"comparison": _id(faces.network, one), "network": faces.network, **asdict(one)} for one in found]
        summary += [f"Features of the {faces.network}:", *answer.answer(found)]
    output.write_table(".", pa.Table.from_pylist(rows, SIMILARITIES))
    output.write_file("similarity.csv", rows_to_csv(SIMILARITIES.names, rows))
    first = networks[0]
    of_first = [output for output in embeddings if output.results["network"] == first.network]
    near = find_near_duplicates(first, config)
    pairs = near_rows(first, near, of_first)
    output.write_table("pairs", pa.Table.from_pylist(pairs, NEAR_DUPLICATES))
    flat = [name for name in NEAR_DUPLICATES.names if not name.endswith("_image")]
    output.write_file("pairs.csv", rows_to_csv(flat, ({name: pair[name] for name in flat} for pair in pairs)))
    leaked = leakage(first, near)
    duplicates = {"pairs": near.total, "listed": len(pairs), "network": first.network}
    shown = _write_map(output, first, of_first, pairs, config)
    output.results |= {
        "by": config.by,
        "networks": [
            {"network": faces.network, "faces": len(faces.rows), "without": faces.without} for faces in networks
        ],
        "similarities": rows,
        "near_duplicates": duplicates,
        "leakage": leaked,
        "map": shown,
        "summary": [*summary, *answer.near_answer(near.total, leaked)],
    }


def _id(network: str, one: Similarity) -> str:
    return "/".join((network, one.measure, one.first, one.second))


def compare(faces: EmbeddedFaces, config: SimilarityConfig) -> list[Similarity]:
    """The similarities of the groups that the configuration asks for; faces without a group do not count."""
    drawn = sampled(faces, config.sample, config.sample_of, config.seed)
    groups = drawn.groups(config.by)
    if (count := len(np.unique(groups[groups != ""]))) > MOST_GROUPS:
        raise UserError(
            f"'{config.by}' has {count} values, too many to compare: use a column of at most {MOST_GROUPS}."
        )
    grouped = groups != ""
    return similarities(drawn.vectors[grouped], drawn.figures[grouped], groups[grouped], seed=config.seed)


def find_near_duplicates(faces: EmbeddedFaces, config: SimilarityConfig) -> NearDuplicates:
    _, figures = np.unique(faces.figures, return_inverse=True)
    return near_duplicates(
        faces.vectors,
        faces.fine,
        figures,
        parts_of(faces.rows),
        similarity=config.duplicate_similarity,
        content=config.duplicate_content,
    )


def near_rows(faces: EmbeddedFaces, near: NearDuplicates, embeddings: Sequence[Artifact]) -> list[dict[str, Any]]:
    """The listed pairs as rows of NEAR_DUPLICATES, the most alike first."""
    renamed = {"id": "image_id", "corpus": "corpus", "path": "path", "figure": "figure_id", "split": "split"}
    sides = [faces.rows.take(pa.array(indices)).to_pylist() for indices in (near.first, near.second)]
    ids = sorted({row["image_id"] for side in sides for row in side})
    pictures = dict(zip(ids, pictures_of(embeddings, ids), strict=True))
    rows = []
    for one, other, cosine, content in zip(*sides, near.similarity.tolist(), near.content.tolist(), strict=True):
        row: dict[str, Any] = {"pair": f"{one['image_id']} {other['image_id']}"}
        for name, column in renamed.items():
            row |= {f"first_{name}": one[column], f"second_{name}": other[column]}
        row |= {"first_image": pictures[one["image_id"]], "second_image": pictures[other["image_id"]]}
        rows.append(row | {"similarity": round(cosine, 4), "content": round(content, 4)})
    return rows


def leakage(faces: EmbeddedFaces, near: NearDuplicates) -> list[dict[str, Any]]:
    """For the validation and the test part, where there is a training part: part, images, and leaked, the number of
    images that are nearly the same picture as a training image.
    """
    parts = parts_of(faces.rows)
    if not (parts == "train").any():
        return []
    held_out = [(name, parts == name) for name in ("validation", "test")]
    return [
        {"part": name, "images": int(here.sum()), "leaked": int((near.leaked & here).sum())}
        for name, here in held_out
        if here.any()
    ]


def _write_map(
    output: StageOutput,
    faces: EmbeddedFaces,
    embeddings: Sequence[Artifact],
    pairs: Sequence[Mapping[str, Any]],
    config: SimilarityConfig,
) -> dict[str, Any]:
    """map.html and map.jpg; what they show: faces, total, drawn in the picture, method, column and legend."""
    ids = faces.rows["image_id"].to_pylist()
    chosen = even_sample(faces.rows["corpus"].to_pylist(), ids, MOST_FACES, config.seed)
    shown = faces.take(chosen)
    places, method = positions(shown.vectors, config.seed)
    rows = shown.rows.to_pylist()
    pictures = pictures_of(embeddings, [row["image_id"] for row in rows])
    mapped = map_page.MapFaces(rows, pictures, places, method)
    columns = map_page.columns_of(rows)
    first = next((column for column in columns if len(column.legend) > 1), columns[0])
    facts = {"corpora": sorted({row["corpus"] for row in rows}), "total": len(ids), "network": faces.network}
    with use_language(config.language):
        output.write_file(MAP, map_page.page(mapped, columns, pairs, facts).encode())
    drawn = even_sample(first.of_face, [row["image_id"] for row in rows], map_page.PICTURE_FACES, config.seed)
    output.write_file(PICTURE, map_page.picture(mapped, first, drawn))
    legend = [{"value": value, "colour": colour, "faces": count} for value, colour, count in first.legend]
    counts = {"faces": len(rows), "total": len(ids), "drawn": len(drawn)}
    return {**counts, "method": method, "column": first.name, "legend": legend}


KIND = StageKind(
    "similarity",
    makes="how alike faces are within and between groups, near-duplicates, and a map of the faces as a page",
    config=SimilarityConfig,
    inputs=(Input("embeddings", ("embed",), several=True),),
    build=lambda request: similarity_spec(request.all("embeddings"), request.config),
)
