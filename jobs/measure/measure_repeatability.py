"""How far light and view alone change the Action Units of one face, from renders or photographs of heads under several
lights and views each.

    twfer faces casts/ --out runs/casts
    python jobs/measure/measure_repeatability.py runs/casts/faces-0123456789ab "9 plaster casts of ancient heads ..."

The manifest of the folder has the columns `source` (the head), `yaw` and `light`. Writes faces-repeatability.json
beside the weights that ship: the report compares differences between groups with it. The second argument says what was
measured; without it nothing is written.
"""

import json
import sys
from pathlib import Path

import numpy as np

from twfer_dist.core.schema import FACES
from twfer_dist.core.status import OK
from twfer_dist.core.taxonomy import ACTION_UNITS
from twfer_dist.engine import artifact, storage
from twfer_dist.study.repeatability import FILE, Repeatability, deviations


def main(output: str, source: str | None = None) -> None:
    measured = artifact.open_artifact(storage.absolute(output))
    table = measured.table("faces", FACES).to_pylist()
    rows = [row for row in table if row["status"] == OK]
    groups = [dict(row["groups"]) for row in rows]
    heads, head = np.unique([row["figure_id"] for row in rows], return_inverse=True)
    conditions, condition = np.unique([f"{g['yaw']} {g['light']}" for g in groups], return_inverse=True)
    values = np.array([row["action_units"] for row in rows], np.float64)
    found = deviations(values, head, condition)
    print(f"{len(rows)} of {len(table)} faces are accepted: {len(heads)} heads in {len(conditions)} lights and views")
    by_unit = {name: dict(zip(ACTION_UNITS, map(float, column), strict=True)) for name, column in found.items()}
    result = Repeatability(source or "", len(heads), len(rows), **by_unit)
    print(f"{'':<6}{'shared':>8}{'single':>8}{'within':>8}{'between':>9}{'coefficient':>13}")
    for unit in ACTION_UNITS:
        shared, single = result.shared[unit], result.single[unit]
        within = np.hypot(shared, single)
        coefficient = result.coefficient(unit)
        print(f"{unit:<6}{shared:>8.2f}{single:>8.2f}{within:>8.2f}{result.between[unit]:>9.2f}{coefficient:>13.2f}")
    if source:
        units = {unit: {name: round(by_unit[name][unit], 4) for name in by_unit} for unit in ACTION_UNITS}
        record = {"network": measured.results["network"], "source": source, "heads": len(heads), "pictures": len(rows)}
        Path(FILE).write_text(json.dumps(record | {"units": units}, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
