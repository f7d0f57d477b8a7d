"""What ``check`` refuses, ``prepare`` and ``run`` refuse too, and write nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

UM = {f"PhysicalSize{axis}": 0.29 for axis in "ZYX"}


def cut_image(folder: Path, row: dict[str, str]) -> None:
    content = Path(row["path"]).read_bytes()
    (folder / "cut.ome.tif").write_bytes(content[: len(content) // 2])
    row["path"] = "cut.ome.tif"


def no_number(folder: Path, row: dict[str, str]) -> None:
    data = np.random.default_rng(3).random((2, 4, 16, 16)).astype(np.float32)
    data[1, 0, 0, 0] = np.nan
    tifffile.imwrite(
        folder / "nan.ome.tif", data, ome=True, metadata={"axes": "CZYX", **UM}
    )
    row["path"] = "nan.ome.tif"


def put(column: str, value: str) -> Callable[[Path, dict[str, str]], None]:
    def change(folder: Path, row: dict[str, str]) -> None:
        row[column] = value

    return change


def huge_grid(folder: Path, row: dict[str, str]) -> None:
    row |= dict.fromkeys((f"voxel_size_{axis}_um" for axis in "zyx"), "900")


FAULTS: dict[str, tuple[Callable[[Path, dict[str, str]], None], str]] = {
    "cut-image": (cut_image, "cut.ome.tif"),
    "missing-image": (put("path", "none.tif"), "no such file"),
    "device": (put("path", "/dev/zero"), "neither a file nor a folder"),
    "channel": (put("channel_target", "7"), "no channel '7'"),
    "nan": (no_number, "NaN"),
    "task": (put("task", "../dna"), "use letters, digits"),
    "voxel-size": (put("voxel_size_z_um", "1e30"), "use micrometres"),
    "grid": (huge_grid, "GB; see that voxel_size_z_um"),
    "split": (put("split", "tran"), "use train, valid or test"),
}


@pytest.fixture
def manifest(tmp_path, sound_rows, as_csv) -> Callable[[str], None]:
    """Write a manifest with one fault in row 2."""

    def write(fault: str) -> None:
        row = dict(sound_rows[0])
        FAULTS[fault][0](tmp_path, row)
        (tmp_path / "manifest.csv").write_text(as_csv([row, *sound_rows]))

    return write


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def assert_nothing_half_done(new: set[Path], fault: str) -> None:
    """No file is new, but whole entries of the cache if pixels had to be read."""
    if fault != "nan":
        assert not new
    assert all(path.parts[0] == "cache" for path in new)
    assert all(path.suffix in (".npy", ".json", ".lock") for path in new)
    assert not [path for path in new if path.name.startswith(".")]


@pytest.mark.parametrize("fault", FAULTS)
def test_prepare_refuses_with_one_line(fault, manifest, worker, tmp_path, only_error):
    manifest(fault)
    before = files(tmp_path)
    words = ("--cache-dir", "cache", "--workers", "1")

    done = worker("prepare", "manifest.csv", *words, folder=tmp_path)

    assert done.status == 2
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("error: manifest.csv: row 2")
    assert FAULTS[fault][1] in done.err
    assert_nothing_half_done(files(tmp_path) - before, fault)


@pytest.fixture(scope="module")
def run_worker(new_worker) -> Iterator:
    worker = new_worker(["continual_repmode.build", "continual_repmode.compose"])
    yield worker
    worker.close()


@pytest.mark.parametrize("fault", ["cut-image", "channel", "nan", "voxel-size"])
def test_a_run_refuses_with_one_line(fault, manifest, run_worker, tmp_path):
    manifest(fault)
    (tmp_path / "mine.yaml").write_text("experiences: [[dna]]\n")
    before = files(tmp_path)

    done = run_worker(
        "run",
        "scenario=mine.yaml",
        "data=manifest",
        "data.manifest=manifest.csv",
        "data.patch_size=[4,16,16]",
        f"data.cache_dir={tmp_path}/cache",
        "device=cpu",
        folder=tmp_path,
    )

    assert done.status == 2
    assert len(done.err.splitlines()) == 1, done.err
    assert done.err.startswith("error: ")
    assert FAULTS[fault][1] in done.err
    assert "row 2" in done.err
    assert_nothing_half_done(files(tmp_path) - before, fault)
