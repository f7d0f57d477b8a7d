"""The main job gives the same results from every format of the same images."""

from pathlib import Path

import numpy as np
import pytest

from continual_repmode.results import RunFolder
from continual_repmode.synthetic import simulate_field
from continual_repmode.tasks import TASKS
from continual_repmode.volumes.formats.writing import save_volume

UM = (0.29, 0.29, 0.29)
NAMES = ["Bright", "EGFP"]
SPLITS = ("train", "valid", "test")
SETTINGS = (
    "scenario=incremental",
    "data=manifest",
    "data.manifest=volumes.csv",
    "data.patch_size=[8,16,16]",
    "data.cache_dir=prepared",
    "model.width=4",
    "train.epochs=1",
    "train.extension_epochs=1",
    "hydra.run.dir=run",
    "device=cpu",
)


@pytest.fixture(scope="module")
def fields() -> dict[str, np.ndarray]:
    """Return one field (C, Z, Y, X) per task and split."""
    return {
        f"{task}_{split}": np.stack(simulate_field([10 * k + i], (8, 16, 24), task))
        for k, task in enumerate(TASKS)
        for i, split in enumerate(SPLITS)
    }


@pytest.fixture(scope="module")
def run_of(fields, write_czi, command, tmp_path_factory):
    """Carry out the main job on copies of the fields in one format."""

    def run(suffix: str) -> RunFolder:
        folder = tmp_path_factory.mktemp(suffix.strip("."))
        lines = ["task,split,path,channel_signal,channel_target"]
        for name, field in fields.items():
            path = folder / (name + suffix)
            if suffix == ".czi":
                write_czi(
                    path, field, channel_names=NAMES, voxel_size_um=UM,
                    compression="zstd1",
                )  # fmt: skip
            else:
                save_volume(
                    path, field, axes="CZYX", voxel_size_um=UM, channel_names=NAMES
                )
            task, split = name.rsplit("_", 1)
            lines.append(f"{task},{split},{path.name},TL,GFP")
        (folder / "volumes.csv").write_text("\n".join(lines) + "\n")
        done = command("run", *SETTINGS, cwd=folder)
        assert done.returncode == 0, done.stderr
        return RunFolder(folder / "run")

    return run


@pytest.fixture(scope="module")
def from_tiff(run_of) -> RunFolder:
    return run_of(".ome.tif")


@pytest.mark.parametrize(
    "suffix", [pytest.param(".czi", marks=pytest.mark.slow), ".zarr"]
)
def test_every_format_gives_the_same_results(suffix: str, run_of, from_tiff):
    other = run_of(suffix)

    assert without_times(other) == without_times(from_tiff)
    assert other.image_metrics.read_text() == from_tiff.image_metrics.read_text()
    for experience in range(3):
        one, two = (run.checkpoint(experience) for run in (other, from_tiff))
        assert one.read_bytes() == two.read_bytes()


def without_times(run: RunFolder) -> dict:
    results = run.read_results()
    costs = [{**cost, "wall_time_s": None} for cost in results["costs"]]
    return {**results, "costs": costs}


def test_the_main_job_covers_every_structure(from_tiff):
    results = from_tiff.read_results()

    assert set(results["tasks"]) == set(TASKS)
    assert results["old_tasks_unchanged"] is True
    assert Path(from_tiff.figures / "samples.png").is_file()
