"""Errors against predicted deviations: known ones are found again."""

import csv
from pathlib import Path

import numpy as np
import pytest

from continual_repmode.errors import UserError
from continual_repmode.prediction.calibration import (
    CALIBRATION_FILE,
    add_calibration,
    calibrate,
    factor_of,
    read_calibration,
)
from continual_repmode.volumes.volume_file import VolumeFile

SHAPE = (12, 100, 100)


def written(path: Path, values: np.ndarray) -> VolumeFile:
    volume = VolumeFile(path, SHAPE)
    volume.create()
    volume[:] = values
    return volume


def test_errors_of_three_deviations_are_found_in_every_class(tmp_path):
    rng = np.random.default_rng(0)
    spread = np.exp(rng.uniform(-4, 1, SHAPE))
    target = rng.normal(size=SHAPE)
    prediction = target + 3 * spread * rng.normal(size=SHAPE)
    target[0, :50], spread[3, 3] = np.nan, 0
    signal = np.ones(SHAPE)
    signal[1] = np.nan
    files = [
        written(tmp_path / f"{name}.npy", values)
        for name, values in (
            ("p", prediction), ("d", spread), ("t", target), ("s", signal)
        )
    ]  # fmt: skip

    points = calibrate(*files)

    known = np.isfinite(target) & np.isfinite(signal)
    assert sum(n for n, _, _ in points) == known.sum()
    assert len(points) == 10
    assert max(n for n, _, _ in points) < 0.15 * known.sum()
    deviations = [deviation for _, deviation, _ in points]
    assert deviations == sorted(deviations)
    for _, deviation, error in points[1:]:
        assert error / deviation == pytest.approx(3, rel=0.05)
    squares = np.mean((prediction - target)[known] ** 2) / np.mean(spread[known] ** 2)
    assert factor_of(points) == pytest.approx(np.sqrt(squares), rel=1e-5)


def test_the_table_keeps_the_last_of_each_image(tmp_path):
    add_calibration(tmp_path, "a", "dna", [(5, 0.1, 0.2)])
    add_calibration(tmp_path, "b", "dna", [(5, 0.0, 0.2)])
    add_calibration(tmp_path, "a", "dna", [(7, 0.5, 1.0)])

    assert read_calibration(tmp_path) == {
        ("a", "dna"): [(7, 0.5, 1.0)],
        ("b", "dna"): [(5, 0.0, 0.2)],
    }
    with (tmp_path / CALIBRATION_FILE).open(newline="") as file:
        assert next(csv.reader(file))[2:] == ["num_voxels", "deviation", "error"]
    assert (tmp_path / "calibration.png").read_bytes()[:4] == b"\x89PNG"
    (tmp_path / CALIBRATION_FILE).write_text("a,b\n")
    with pytest.raises(UserError, match=r"calibration\.csv: is not a table of this"):
        read_calibration(tmp_path)
