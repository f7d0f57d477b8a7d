"""The main job on TIFF files of a lab: one multi-channel field, cut into parts."""

import csv

import numpy as np
import pytest
import tifffile

from continual_repmode.__main__ import main
from continual_repmode.results import RunFolder
from continual_repmode.synthetic import simulate_field

TASKS = ("dna", "nuclear_envelope", "nucleolus")


@pytest.fixture
def manifest(tmp_path):
    """Write one OME-TIFF field per task and a manifest that cuts each along X."""
    rows = []
    for seed, task in enumerate(TASKS):
        light, fluorescence = simulate_field(seed, (12, 32, 96), task)
        tifffile.imwrite(
            tmp_path / f"{task}.ome.tif",
            np.stack([fluorescence, light]),
            metadata={
                "axes": "CZYX",
                "Channel": {"Name": ["EGFP", "Bright"]},
                **{f"PhysicalSize{axis}": 0.29 for axis in "XYZ"},
                **{f"PhysicalSize{axis}Unit": "µm" for axis in "XYZ"},
            },
        )
        for split, x0, x1 in (("train", 0, 48), ("valid", 48, 72), ("test", 72, 96)):
            rows.append(
                {
                    "task": task,
                    "path": f"{task}.ome.tif",
                    "channel_signal": "Bright",
                    "channel_target": "EGFP",
                    "split": split,
                    "x0": x0,
                    "x1": x1,
                    "notes": "ignored",
                }
            )
    with (tmp_path / "field.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "field.csv"


def test_own_volumes_run_through_to_results_and_figures(manifest, command):
    work = manifest.parent
    (work / "mine.yaml").write_text(
        "experiences: [[dna, nuclear_envelope], [nucleolus]]\n"
    )
    done = command(
        "run",
        "scenario=mine.yaml",
        "data=manifest",
        "data.manifest=field.csv",
        "data.patch_size=[8,16,16]",
        "model.width=2",
        "train.epochs=1",
        "train.extension_epochs=1",
        "hydra.run.dir=run",
        cwd=work,
    )
    assert done.returncode == 0, done.stderr
    folder = RunFolder(work / "run")
    results = folder.read_results()
    assert results["tasks"] == list(TASKS)
    assert results["old_tasks_unchanged"] is True
    assert results["voxel_size_um"] == [0.29, 0.29, 0.29]
    assert (folder.figures / "samples.png").is_file()


def test_a_task_without_rows_is_told_before_any_work(manifest, capsys, monkeypatch):
    monkeypatch.chdir(manifest.parent)
    assert main(["run", "data=manifest", f"data.manifest={manifest}"]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "error: task actin_filament: no usable row; the manifest has dna" in last
    assert "and 11 more: continual-repmode check " in last
    assert list((manifest.parent / "runs").rglob("*.json")) == []
