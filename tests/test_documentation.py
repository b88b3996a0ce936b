"""What the documents say is true: links, generated pages, kinds of stages, examples."""

import re
import runpy
from pathlib import Path

import pyarrow as pa
import pytest

from twfer_dist.core import schema
from twfer_dist.engine.kind import Compute, Request, StageKind
from twfer_dist.engine.stage import run_stage
from twfer_dist.explanation import tables as explanation_tables
from twfer_dist.similarity import tables as similarity_tables

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "twfer_dist").glob("*/*.md")]
GENERATED = runpy.run_path(str(ROOT / "docs" / "generate.py"))
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" not in target:
            name, _, anchor = target.partition("#")
            linked = (page.parent / name).resolve() if name else page
            assert linked.exists(), target
            assert not anchor or anchor in _anchors(linked), target


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_generated_pages_are_up_to_date() -> None:
    for page, text in GENERATED["pages"]().items():
        assert page.read_text() == text, f"{page} is out of date: run make docs"


def test_every_schema_is_in_the_dictionary() -> None:
    modules = (schema, similarity_tables, explanation_tables)
    schemas = [value for module in modules for value in vars(module).values() if isinstance(value, pa.Schema)]
    assert [schema.stamped(*table.columns) for table in GENERATED["TABLES"]] == schemas


def test_every_room_has_its_line() -> None:
    rooms = re.findall(r"^\| `(\w+)` \|", ARCHITECTURE, re.MULTILINE)
    assert tuple(rooms) == GENERATED["ROOMS"]


def test_descriptions_are_not_stored() -> None:
    for table in GENERATED["TABLES"]:
        stored = schema.stamped(*table.columns)
        assert list(stored.metadata) == [b"twfer_schema"]
        assert not any(field.metadata for field in stored)


@pytest.mark.long
def test_the_examples_run(ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first makes faces of a folder; the second declares a kind of stage, which is then run on them."""
    for path in sorted((ROOT / "twfer_dist" / "demo" / "postures" / "photographs").iterdir())[:2]:
        target = tmp_path / "photographs" / path.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    usage, declaration = EXAMPLES
    made, kind = _executed(usage)["faces"], _executed(declaration)["KIND"]
    assert isinstance(kind, StageKind)
    listed = run_stage(kind.build(Request(kind.config(first=1), Compute(), {"faces": [made]})), "runs/example")
    assert len(Path(listed.path("sharpness.csv")).read_text().splitlines()) == 2


def _executed(code: str) -> dict[str, object]:
    names: dict[str, object] = {"__name__": "example"}
    exec(compile(code, "docs/extending.md", "exec"), names)
    return names
