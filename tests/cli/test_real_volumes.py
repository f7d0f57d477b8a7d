"""The main job on real microscopy volumes, where they are present.

Microtubule and endoplasmic reticulum are the base tasks, DNA arrives later. Every field
is cut into training, validation and test parts. The volumes may not be redistributed,
so this test looks for them beside the checkout; the same path on generated files is
tested in ``test_manifest_run.py``.
"""

import csv
from pathlib import Path

import pytest

from continual_repmode.results import RunFolder

DATA = Path(__file__).parents[3] / "shared" / "data"
FIELDS = {
    "microtubule": "allen-fov-tuba1b/AICS-12_881_bf_seg.ome.tif",
    "endoplasmic_reticulum": "allen-fov-sec61b/AICS-10_5_5_bf_seg.ome.tif",
}
DNA = "fnet-dna/run_170622_174530_whole_cropped_{}.tif"
CUTS = {  # axis, then (split, first, end) in raw voxels
    "microtubule": ("x", [("train", 0, 170), ("valid", 170, 230), ("test", 230, 341)]),
    "endoplasmic_reticulum": (
        "y",
        [("train", 0, 140), ("valid", 140, 200), ("test", 200, 292)],
    ),
    "dna": ("x", [("train", 0, 64), ("valid", 64, 88), ("test", 88, 128)]),
}
COLUMNS = [
    *("task", "split", "path_signal", "path_target", "channel_signal"),
    *("channel_target", "y0", "y1", "x0", "x1"),
    *(f"voxel_size_{axis}_um" for axis in "zyx"),
]

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no real volumes here")


def write_manifest(path: Path) -> None:
    """List the parts of the three fields; fnet-dna does not tell its voxel size."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        for task, (axis, cuts) in CUTS.items():
            for split, first, end in cuts:
                row = {"task": task, "split": split, f"{axis}0": first, f"{axis}1": end}
                writer.writerow({**row, **_files(task)})


def _files(task: str) -> dict[str, object]:
    if task == "dna":
        sizes = {f"voxel_size_{axis}_um": 0.29 for axis in "zyx"}
        light, nuclei = (DATA / DNA.format(kind) for kind in ("light", "nuc"))
        return {"path_signal": light, "path_target": nuclei, **sizes}
    field = DATA / FIELDS[task]
    channels = {"channel_signal": 0, "channel_target": 1}
    return {"path_signal": field, "path_target": field, **channels}


def test_two_real_structures_are_learned_and_a_third_is_added(tmp_path, command):
    write_manifest(tmp_path / "manifest.csv")
    (tmp_path / "real.yaml").write_text(
        "experiences: [[microtubule, endoplasmic_reticulum], [dna]]\n"
    )
    done = command(
        "run",
        "scenario=real.yaml",
        "data=manifest",
        "data.manifest=manifest.csv",
        "data.patch_size=[16,32,32]",
        "model.width=4",
        "train.epochs=2",
        "train.extension_epochs=2",
        "hydra.run.dir=run",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    folder = RunFolder(tmp_path / "run")
    results = folder.read_results()
    assert results["tasks"] == ["microtubule", "endoplasmic_reticulum", "dna"]
    assert results["old_tasks_unchanged"] is True
    first, last = results["metrics"]["mse"]["result_matrix"]
    assert first[:2] == last[:2]
    assert (folder.figures / "samples.png").is_file()
