"""What holds for the repository as a whole: the lock, the sizes of files, the order of rooms."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "twfer_dist"
LOCK_LINES = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
LOCK = dict(line.split(";")[0].split("==") for line in LOCK_LINES)

ROOMS = (
    "core", "engine", "training", "corpus", "rendering", "measurement", "faces", "annotation", "synthesis", "dataset",
    "recognition", "similarity", "reading", "explanation", "study", "bench", "recipe", "cli",
)  # fmt: skip
RAY_FILES = {"stage", "train_stage", "sweep_stage", "workers"}
"""Outside the engine, Ray is imported in files of these names alone."""


def shipped() -> list[Path]:
    """Every file of the repository, as a clone has it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_lock_holds_names_and_versions_alone() -> None:
    for line in LOCK_LINES:
        assert re.fullmatch(r'[A-Za-z0-9._-]+==[A-Za-z0-9.]+(; platform_system == "Linux")?', line), line
    assert len(LOCK) == len(LOCK_LINES)
    assert not LOCK.keys() & {"twfer_dist", "twfer-dist", "pip"}


def test_lock_satisfies_the_package_and_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = {name.lower().replace("_", "-"): version for name, version in LOCK.items()}
    extras = project["optional-dependencies"]
    for text in project["dependencies"] + extras["formats"] + extras["dev"]:
        wanted = Requirement(text)
        if wanted.name == project["name"]:  # its own extras
            continue
        version = locked[wanted.name.lower()]
        assert wanted.specifier.contains(version, prereleases=True), f"{text}: the lock has {version}"
        assert importlib.metadata.version(wanted.name) == version


def required(texts: list[str], extra: str = "") -> Iterator[tuple[str, str]]:
    """Each package and extra that the requirements ask for here, and those that they ask for in turn."""
    for wanted in map(Requirement, texts):
        if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
            yield from ((wanted.name, one) for one in ("", *wanted.extras))


def test_the_lock_of_a_cluster_is_what_a_run_needs() -> None:
    """Its lines are those of requirements.lock that the package needs, and none that only tests and lint do."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    to_do = list(required(project["dependencies"] + extras["formats"] + extras["optuna"] + extras["s3"]))
    needed: set[tuple[str, str]] = set()
    while to_do:
        name, extra = one = to_do.pop()
        if one not in needed:
            needed.add(one)
            to_do += required(importlib.metadata.requires(name) or [], extra)
    names = {canonicalize_name(name) for name, _ in needed}
    locked = (ROOT / "requirements-run.lock").read_text().splitlines()
    assert locked == [line for line in LOCK_LINES if canonicalize_name(line.split("==")[0]) in names]
    assert names <= {canonicalize_name(name) for name in LOCK}
    assert not names & {"pytest", "ruff", "mypy", "moto", "playwright"}


def test_files_are_small() -> None:
    for path in shipped():
        assert path.stat().st_size <= 25_000_000, path
        if path.suffix in {".py", ".j2", ".md", ".yaml", ".toml", ".css"} and path.name not in {
            "settings.md",
            "tree.md",
        }:  # generated
            assert len(path.read_text().splitlines()) <= 300, path


def test_no_file_names_a_place_on_one_machine() -> None:
    home = re.compile(
        rb"(?<![\w.])/(root|Users/\w+|home/(?!ray/)\w+|work/(main|shared))/|" + re.escape(str(ROOT)).encode() + rb"/"
    )
    for path in shipped():
        if path != Path(__file__).resolve():
            found = home.search(path.read_bytes())
            assert not found, f"{path} names {found and found.group().decode()}"


def modules() -> Iterator[tuple[str, Path]]:
    """Each Python file of the package with its room."""
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE)
        if inside.parts[0] not in ("__init__.py", "__main__.py"):
            yield (inside.parts[0] if len(inside.parts) > 1 else inside.stem), path


def imports(path: Path) -> Iterator[str]:
    """The full names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_a_room_imports_only_rooms_above_it() -> None:
    for room, path in modules():
        for name in imports(path):
            first, _, rest = name.partition(".")
            imported = rest.split(".")[0]
            if first == "twfer_dist" and imported in ROOMS:
                assert ROOMS.index(imported) <= ROOMS.index(room), f"{path} imports {name}"


def test_networks_losses_and_training_steps_import_no_ray() -> None:
    with_ray = {
        path.stem
        for room, path in modules()
        if room != "engine" and any(name.split(".")[0] == "ray" for name in imports(path))
    }
    assert with_ray <= RAY_FILES


def test_a_worker_that_reads_or_animates_imports_no_mlflow() -> None:
    """Each process of a stage would wait a second for it, and as long again for all of SciPy's distributions."""
    script = "import sys, twfer_dist.faces.stage, twfer_dist.synthesis.stage; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    assert not {"mlflow", "scipy.stats", "ray"} & set(done.stdout.split())


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_functions_are_short() -> None:
    for _, path in modules():
        for function in functions(ast.parse(path.read_text())):
            lines = (function.end_lineno or 0) - function.lineno + 1
            assert lines <= 40, f"{path.relative_to(ROOT)}: {function.name} has {lines} lines"


def test_names_of_tests_are_short() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        for function in functions(ast.parse(path.read_text())):
            assert len(function.name) <= 60, f"{path.relative_to(ROOT)}: {function.name}"


def test_tests_mirror_the_package() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        folder = path.parent.relative_to(ROOT / "tests")
        assert (PACKAGE / folder).is_dir(), f"{path.relative_to(ROOT)} mirrors no room of the package"


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports under TYPE_CHECKING and inside functions count too."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for _, path in modules()}
    graph = {
        name: {m for found in imports(path) for m in (found, found.rpartition(".")[0]) if m in names} - {name}
        for name, path in names.items()
    }
    while leaves := [name for name, needs in graph.items() if not needs & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert not graph, f"these modules import each other: {sorted(graph)}"
