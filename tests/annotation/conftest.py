"""An output of faces for the tests of annotation."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from twfer_dist.cli.main import main
from twfer_dist.engine import artifact
from twfer_dist.engine.artifact import Artifact
from twfer_dist.engine.config import package_path
from twfer_dist.recipe.status import find_faces


@pytest.fixture(scope="session")
def faces(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The output of `twfer faces` on six photographs of the demo, and a file that is not an image."""
    folder = tmp_path_factory.mktemp("corrections")
    (folder / "photographs").mkdir()
    shipped = Path(package_path("package:demo/tw58"))
    lines = (shipped / "manifest.csv").read_text().splitlines()
    (folder / "photographs" / "manifest.csv").write_text(
        "\n".join(lines[:7]) + "\nblank.png" + "," * lines[0].count(",") + "\n"
    )
    for name in [line.split(",")[0] for line in lines[1:7]]:
        copy = folder / "photographs" / name
        copy.parent.mkdir(exist_ok=True, parents=True)
        copy.write_bytes((shipped / name).read_bytes())
    (folder / "photographs" / "blank.png").write_bytes(b"nothing")
    result = CliRunner().invoke(main, ["faces", str(folder / "photographs"), "--out", str(folder / "the out")])
    assert result.exit_code == 0, result.output
    assert re.search(r"made +faces .* 7 photographs \(1 unreadable\), \d faces( \(\d low_quality\))?\n", result.stdout)
    assert f"twfer inspect '{folder}/the out' --html faces.html" in result.stdout  # quoted for the shell
    return artifact.open_artifact(find_faces(str(folder / "the out")))
