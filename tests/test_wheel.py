"""The built wheel holds everything that the demo needs."""

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    for name in ("twfer_dist", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir"]
    subprocess.run([*build, str(folder), str(source)], check=True)
    (built,) = folder.glob("twfer_dist-*.whl")
    return built


def test_wheel_holds_recipes_templates_data_and_weights(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, pattern in (
        ("recipes", "*.yaml"),
        ("demo", "**/*.*"),
        ("weights", "**/*.*"),
        ("study", "*.j2"),
        ("study", "*.bib"),
    ):
        for path in (ROOT / "twfer_dist" / folder).glob(pattern):
            assert path.is_dir() or str(path.relative_to(ROOT)) in names
    assert "twfer_dist/py.typed" in names and "twfer_dist/annotation/page.html.j2" in names


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_demo_runs_from_the_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    """In an environment that holds the wheel and, from this one, the packages that it depends on."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--no-deps", "--quiet", str(wheel)], check=True)
    purelib = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([python, "-c", purelib], check=True, capture_output=True, text=True).stdout.strip()
    Path(packages, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (tmp_path / "empty").mkdir()
    twfer = tmp_path / "venv" / "bin" / "twfer"
    run: list[str | Path] = [twfer, "run", "package:recipes/demo.yaml", "--json"]
    result = subprocess.run(run, cwd=tmp_path / "empty", capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert [stage["state"] for stage in summary["stages"]] == ["made"] * 18
    assert Path(summary["report"]).stat().st_size > 100_000
