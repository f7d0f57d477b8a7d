import math
from dataclasses import asdict

import numpy as np
import pytest

from continual_repmode.errors import UserError
from continual_repmode.metrics.further import choose_metrics
from continual_repmode.metrics.regression import RegressionSums
from continual_repmode.prediction import metrics_table
from continual_repmode.prediction.metrics_table import (
    METRICS_FILE,
    add_metrics,
    compare,
    format_metrics,
    metrics_row,
    read_metrics,
)
from continual_repmode.volumes.volume_file import VolumeFile

VALUES = {"mse": 1 / 3, "mae": 0.5, "r2": -0.25, "pearson_r": 0.125, "num_voxels": 8}


def test_volumes_are_compared_part_by_part_as_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics_table, "_BLOCK_VOXELS", 60)
    arrays = np.random.default_rng(0).normal(size=(2, 5, 4, 6)).astype(np.float32)
    light = np.zeros_like(arrays[0])
    light[:, :1] = np.nan  # nothing recorded there
    arrays[0, :, :1] = np.nan
    files = []
    for name, array in zip("ptl", (*arrays, light), strict=True):
        files.append(VolumeFile(tmp_path / f"{name}.npy", array.shape))
        np.save(files[-1].path, array)

    chosen = choose_metrics("foreground_mse,lmc_mae", "")
    found = compare(*files, "golgi", (0.3, 0.3, 0.3), chosen)

    expected = asdict(RegressionSums.of(*arrays[:, :, 1:]).result())
    assert found.pop("foreground_mse") > 0
    assert math.isnan(found.pop("lmc_mae"))  # not for this structure
    assert found == pytest.approx(expected, rel=1e-9)
    assert found["num_voxels"] == 90


def test_rows_are_added_or_replaced_and_lose_no_digit(tmp_path):
    add_metrics(tmp_path, [metrics_row("a", "dna", "test", VALUES)])
    add_metrics(tmp_path, [metrics_row("b", "dna", None, VALUES)])
    add_metrics(tmp_path, [metrics_row("a", "dna", None, {**VALUES, "mae": 2.0})])

    rows = read_metrics(tmp_path)

    assert list(rows) == [("a", "dna"), ("b", "dna")]
    assert float(rows["a", "dna"]["mse"]) == 1 / 3
    assert float(rows["a", "dna"]["mae"]) == 2.0
    assert rows["a", "dna"]["split"] == ""


def test_a_table_gains_the_columns_of_further_metrics(tmp_path):
    add_metrics(tmp_path, [metrics_row("a", "dna", None, VALUES)])
    further = VALUES | {"ssim": 0.5, "dice": math.nan}
    add_metrics(tmp_path, [metrics_row("b", "dna", None, further)])
    add_metrics(tmp_path, [metrics_row("c", "dna", None, further | {"ssim": 0.25})])

    rows = list(read_metrics(tmp_path).values())

    assert [row["ssim"] for row in rows] == ["", "0.5", "0.25"]  # a is not measured
    assert [row["dice"] for row in rows] == ["", "nan", "nan"]  # not defined for b, c
    head, *lines = format_metrics(rows).splitlines()
    assert head.split()[-2:] == ["SSIM", "Dice"]
    last = [line.split()[-2:] for line in lines]
    assert last == [["-", "-"], ["0.5000", "-"], ["0.2500", "-"], ["0.3750", "-"]]


def test_a_table_of_something_else_is_left_alone(tmp_path):
    (tmp_path / METRICS_FILE).write_text("mine,yours\n1,2\n")

    with pytest.raises(UserError, match="not a table of this command"):
        add_metrics(tmp_path, [metrics_row("a", "dna", None, VALUES)])

    assert (tmp_path / METRICS_FILE).read_text() == "mine,yours\n1,2\n"


def test_the_printed_table_has_means_where_there_are_several_images():
    rows = [
        metrics_row("a", "dna", None, VALUES),
        metrics_row("b", "dna", None, {**VALUES, "mse": 1.0}),
        metrics_row("b", "nucleolus", None, VALUES),
    ]

    lines = format_metrics(rows).splitlines()

    assert [line.split()[0] for line in lines] == ["image", "a", "b", "mean", "b"]
    assert "0.6667" in lines[3]
