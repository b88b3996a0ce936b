"""Peak memory of a stage at several sizes: the summed PSS of the driver and all of Ray's processes, without the object
store; of a training, the PSS of its one worker.

    python jobs/measure/measure_memory.py faces 500 5000
    python jobs/measure/measure_memory.py animate 500 5000
    python jobs/measure/measure_memory.py train 5000 50000

Each size runs in a separate process on copies of the corpus that ships; a training, ResNet-18 at 32 pixels, takes one
epoch of as many images. Prints one JSON object.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import yaml

import twfer_dist

DEMO = Path(twfer_dist.__file__).parent / "demo"
LEVELS = 4  # planned intensities of an animated face
WORKER = "RayTrainWorker"  # in the command line of a worker of a training

Settings = dict[str, Any]


def main(stage: str, sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        peaks = {size: _peak(stage, size, Path(folder) / str(size)) for size in sizes}
    print(json.dumps({"stage": stage, "images": sizes, "peak_mb": [round(p) for p in peaks.values()],
                      "ratio": round(peaks[sizes[-1]] / peaks[sizes[0]], 3)}))  # fmt: skip


def _peak(stage: str, size: int, folder: Path) -> float:
    folder.mkdir()
    settings = _training(size, folder) if stage == "train" else _images(stage, size, folder)
    child = subprocess.Popen(_command(settings, folder / "recipe.yaml"), stdout=subprocess.DEVNULL)
    peak = 0.0
    while child.poll() is None:
        peak = max(peak, pss(child.pid, WORKER if stage == "train" else ""))
        time.sleep(0.5)
    if child.returncode:
        raise SystemExit(f"{stage} at {size} images ended with {child.returncode}")
    return peak


def _training(size: int, folder: Path) -> Settings:
    """The recipe of a training on a data set of `size` images."""
    make = f"from twfer_dist.bench.train import make_dataset; print(make_dataset({size}, {str(folder)!r}).uri)"
    made = subprocess.run([sys.executable, "-c", make], check=True, stdout=subprocess.PIPE, text=True)
    stage = {"kind": "train", "dataset": made.stdout.strip(), "network": "resnet18", "size": 32, "epochs": 1}
    return {"out": str(folder / "out"), "compute": {"workers": 1}, "stages": {"train": stage}}


def _images(stage: str, size: int, folder: Path) -> Settings:
    """The recipe of a stage that maps or makes `size` images. Of `animate`, the faces are made first, unmeasured."""
    photographs = sorted((DEMO / "tw58").glob("**/*.jpg"))
    (folder / "corpus").mkdir()
    count = size if stage == "faces" else -(-size // (7 * LEVELS))
    for number in range(count):
        shutil.copy(photographs[number % len(photographs)], folder / "corpus" / f"{number:06d}.jpg")
    stages = {"faces": {"kind": "faces", "corpora": ["many"]}}
    settings = {"out": str(folder / "out"), "corpora": {"many": str(folder / "corpus")}, "stages": stages}
    if stage == "animate":
        subprocess.run(_command(settings, folder / "faces.yaml"), check=True, capture_output=True)
        stages["animate"] = {
            "kind": "animate",
            "faces": ["faces"],
            "generator": "package:weights/generator.safetensors",
            "figures": "all",
        }
    return settings


def _command(settings: Settings, recipe: Path) -> list[str]:
    recipe.write_text(yaml.safe_dump(settings, sort_keys=False))
    return [sys.executable, "-m", "twfer_dist", "run", str(recipe), "--json"]


def pss(pid: int, named: str) -> float:
    """The PSS in megabytes, without shared memory, of those of a process and its descendants that have `named` in their
    command lines.
    """
    total = 0
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for process in processes:
        try:
            if named not in " ".join(process.cmdline()):
                continue
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except (OSError, psutil.NoSuchProcess):
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_File:")))
    return total / 1024


if __name__ == "__main__":
    main(sys.argv[1], [int(size) for size in sys.argv[2:]])
