"""Rendered heads as a corpus: the faces stage reads them from a table as it reads photographs from files."""

from pathlib import Path

import pytest
from face_files import seen
from tiny_head import rendered

from twfer_dist.core.errors import UserError
from twfer_dist.core.schema import RENDERED
from twfer_dist.corpus.corpus import Corpus
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.kind import Compute, Request
from twfer_dist.faces.finder import FaceFinder, FacesConfig
from twfer_dist.faces.rendered import RenderedHeads
from twfer_dist.faces.stage import KIND, faces_spec
from twfer_dist.rendering.plan import ClayConfig

ALIGNED = FacesConfig(aligned=True, measure=False, size=48)


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return rendered(
        str(tmp_path_factory.mktemp("heads")), ClayConfig(plan="performances", figures=2, scenes=1, size=48)
    )


@pytest.fixture(scope="module")
def corpus(heads: Artifact) -> Corpus:
    return RenderedHeads(heads, "people", "test").corpus()


def test_every_image_is_a_photograph_with_its_label(heads: Artifact, corpus: Corpus) -> None:
    images = {row["image_id"]: row for row in heads.table(".", RENDERED).to_pylist()}
    rows = corpus.table.to_pylist()
    assert {row["path"] for row in rows} == images.keys() and len(rows) == 14
    for row in rows:
        image = images[row["path"]]
        assert (row["label"], row["label_rule"], row["figure_id"]) == (image["label"], "given", image["figure_id"])
        assert (row["corpus"], row["split"], row["action_units"]) == ("people", "test", None)
    assert (corpus.notes["figures"], corpus.notes["labelled"], corpus.notes["layout"]) == (2, 14, "rendered")


def test_votes_decide_labels_where_there_are_votes(tmp_path: Path) -> None:
    heads = rendered(str(tmp_path), ClayConfig(plan="expressions", figures=1, scenes=1, size=32))
    rules = RenderedHeads(heads, "warriors").corpus().table["label_rule"].to_pylist()
    assert all(rule == "majority" or rule.startswith("tie") for rule in rules)


def test_faces_are_the_rendered_images(heads: Artifact, corpus: Corpus) -> None:
    found = FaceFinder({"people": corpus.root}, ALIGNED, None, None, RenderedHeads(heads, "people"))(corpus.table)
    images = dict(zip(*(heads.table(".", RENDERED)[name].to_pylist() for name in ("image_id", "image")), strict=True))
    faces = found["faces"].to_pylist()
    assert len(faces) == 14 and set(found["photographs"]["status"].to_pylist()) == {"ok"}
    for face in faces:
        assert abs(seen(face["image"]).astype(int) - seen(images[face["path"]])).mean() < 3  # encoded again
        assert face["split"] == "test" and face["label"] in range(1, 8)


def test_name_split_and_render_are_in_the_fingerprint(heads: Artifact, tmp_path: Path) -> None:
    other = rendered(str(tmp_path), ClayConfig(plan="performances", figures=2, scenes=1, size=48, seed=1))
    specs = [
        faces_spec([], ALIGNED, heads=RenderedHeads(heads, called, split))
        for called, split in (("people", "test"), ("people", "train"), ("people", None), ("others", "test"))
    ]
    specs.append(faces_spec([], ALIGNED, heads=RenderedHeads(other, "people", "test")))
    assert len({spec.fingerprint for spec in specs}) == 5
    assert list(specs[0].build_ids.values()) == [heads.build_id]  # renders made again make these faces outdated


@pytest.mark.parametrize(
    ("inputs", "options", "sentence"),
    [
        ({}, {}, "'corpora' is missing: name a corpus, or 'rendered' heads"),
        ({"corpora": ["a"]}, {"called": "x"}, "'called' describes 'rendered' heads, and there are none"),
        ({"rendered": ["a"]}, {"split": "tset"}, "'tset' is not a split: use train, validation or test"),
    ],
)
def test_wrong_keys_are_one_sentence(inputs: dict, options: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        KIND.check(Request(FacesConfig(), Compute(), inputs, {}, options))
