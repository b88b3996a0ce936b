"""Peak memory of a stage at several sizes: the summed PSS of the driver and all of Ray's processes, without the object
store.

    python jobs/measure/measure_memory.py faces 500 5000
    python jobs/measure/measure_memory.py animate 500 5000

Each size runs in a separate process on copies of the corpus that ships. Prints one JSON object.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

import twfer_dist

DEMO = Path(twfer_dist.__file__).parent / "demo"
LEVELS = 4  # planned intensities of an animated face


def main(stage: str, sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        peaks = {size: _peak(stage, size, Path(folder) / str(size)) for size in sizes}
    print(json.dumps({"stage": stage, "images": sizes, "peak_mb": [round(p) for p in peaks.values()],
                      "ratio": round(peaks[sizes[-1]] / peaks[sizes[0]], 3)}))  # fmt: skip


def _peak(stage: str, size: int, folder: Path) -> float:
    photographs = sorted((DEMO / "tw58").glob("**/*.jpg"))
    (folder / "corpus").mkdir(parents=True)
    count = size if stage == "faces" else -(-size // (7 * LEVELS))
    for number in range(count):
        shutil.copy(photographs[number % len(photographs)], folder / "corpus" / f"{number:06d}.jpg")
    stages = {"faces": {"kind": "faces", "corpora": ["many"]}}
    if stage == "animate":
        stages["animate"] = {
            "kind": "animate",
            "faces": ["faces"],
            "generator": "package:weights/generator.safetensors",
            "figures": "all",
        }
    recipe = folder / "recipe.yaml"
    settings = {"out": str(folder / "out"), "corpora": {"many": str(folder / "corpus")}, "stages": stages}
    recipe.write_text(yaml.safe_dump(settings, sort_keys=False))
    command = [sys.executable, "-m", "twfer_dist", "run", str(recipe), "--json"]
    if stage == "animate":  # the faces first, in a process that is not measured
        plain = folder / "faces.yaml"
        plain.write_text(yaml.safe_dump(settings | {"stages": {"faces": stages["faces"]}}))
        subprocess.run([*command[:-2], str(plain), "--json"], check=True, capture_output=True)
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0.0
    while child.poll() is None:
        peak = max(peak, pss(child.pid))
        time.sleep(0.5)
    if child.returncode:
        raise SystemExit(f"{stage} at {size} images ended with {child.returncode}")
    return peak


def pss(pid: int) -> float:
    """The PSS of a process and its descendants in megabytes, without shared memory."""
    total = 0
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for process in processes:
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_File:")))
    return total / 1024


if __name__ == "__main__":
    main(sys.argv[1], [int(size) for size in sys.argv[2:]])
