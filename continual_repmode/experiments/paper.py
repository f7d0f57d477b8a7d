"""The numbers of the paper's Tables 1 to 3, measured on data that is not here.

Zhou et al., "RepMode: Learning to re-parameterize diverse experts for subcellular
structure prediction" (CVPR 2023). Errors are of z-scored intensities.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

LABEL = "paper (measured on data we do not have)"
"""Stands above every number of the paper."""

METRICS = ("mse", "mae", "r2")
"""What the paper reports, in its order."""

Scores = Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperRow:
    """One row of a table of the paper."""

    #: Metric -> task -> value; empty where the paper gives none.
    per_task: dict[str, Scores] = field(default_factory=dict)
    #: Metric -> the column "All"; empty in Table 3.
    overall: dict[str, float] = field(default_factory=dict)
    #: Metric -> relative improvement over Multi-Net, 0 to 100; Table 1 only.
    gain_percent: dict[str, float] = field(default_factory=dict)


def _tables() -> dict[str, dict[str, PaperRow]]:
    """Read the numbers as they are printed: a line for each metric of a row."""
    tables: dict[str, dict[str, PaperRow]] = {"1": {}, "2": {}, "3": {}}
    path = Path(__file__).with_name("paper.csv")
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            table, row, metric = (line.pop(key) for key in ("table", "row", "metric"))
            found = tables[table].setdefault(row, PaperRow())
            known = {column: float(text) for column, text in line.items() if text}
            if "all" in known:
                found.overall[metric] = known.pop("all")
            if "gain_percent" in known:
                found.gain_percent[metric] = known.pop("gain_percent")
            if known:
                found.per_task[metric] = known
    return tables


TABLE_1, TABLE_2, TABLE_3 = _tables().values()
"""Comparing methods on all twelve tasks; ablations; and two tasks that arrive later:
individual training, all fine-tuned, experts frozen."""
