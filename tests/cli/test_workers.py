"""Lists of work shared out: processes, parts, a Dask cluster that loses a worker."""

import csv
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from continual_repmode.models import RepModeUNet, save_model
from continual_repmode.models.model_card import ModelCard
from continual_repmode.prediction.work_folder import FOLDER
from continual_repmode.volumes.formats.writing import save_volume
from continual_repmode.volumes.opening import open_volume

UM = (0.3, 0.3, 0.3)
MODEL = "model.safetensors"
NUM_FILES = 8
MANIFEST = "manifest.csv"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with a model, images, a manifest of them, and predictions."""
    folder = tmp_path_factory.mktemp("lists")
    torch.manual_seed(0)
    net = RepModeUNet(("dna",), width=8, depth=1).eval()
    save_model(net, folder / MODEL, ModelCard(voxel_size_um=UM, window=(8, 16, 16)))
    lines = ["task,path,channel_signal,channel_target,split"]
    for index in range(NUM_FILES):
        rng = np.random.default_rng(index)
        light = 1000 + 500 * gaussian_filter(rng.normal(size=(12, 64, 64)), 1)
        save_volume(
            folder / "in" / f"f{index}.ome.tif",
            np.stack([light, light[:, ::-1]]).astype(np.uint16),
            axes="CZYX",
            voxel_size_um=UM,
            channel_names=["Bright", "DAPI"],
        )
        split = "train" if index < 6 else ("valid", "test")[index - 6]
        lines.append(f"dna,in/f{index}.ome.tif,0,1,{split}")
    (folder / MANIFEST).write_text("\n".join(lines) + "\n")
    return folder


def predicting(out, *words):
    return ("predict", MODEL, MANIFEST, "--out", out, *words)


@pytest.fixture(scope="module")
def alone(folder, command) -> dict[str, bytes]:
    """What one process predicts."""
    done = command(*predicting("alone"), cwd=folder)
    assert done.returncode == 0, done.stderr
    return contents(folder / "alone")


def contents(out: Path) -> dict[str, bytes]:
    """Every voxel and metric of a folder of predictions; nothing else may be there."""
    assert not (out / FOLDER).exists()
    volumes = {path.name: path for path in out.glob("*.zarr")}
    found = {n: open_volume(p).read_channel(0).tobytes() for n, p in volumes.items()}
    with (out / "metrics.csv").open(newline="") as file:
        found |= {row["image"]: repr(row).encode() for row in csv.DictReader(file)}
    return found


def test_processes_and_parts_make_what_one_process_makes(folder, command, alone):
    assert len(alone) == 2 * NUM_FILES
    done = command(*predicting("two", "--workers", "2"), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": written") == NUM_FILES
    assert contents(folder / "two") == alone
    for number, expected in ((1, 3), (2, 3), (3, 2)):
        done = command(*predicting("parts", "--part", f"{number}/3"), cwd=folder)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(": written") == expected
    assert contents(folder / "parts") == alone


def test_one_bad_image_of_a_list_stops_no_other(folder, command, alone):
    bad = np.full((2, 4, 20, 20), 7, np.uint8)
    save_volume(
        folder / "bad" / "flat.ome.tif", bad, axes="CZYX", voxel_size_um=UM,
        channel_names=["Bright", "x"],
    )  # fmt: skip
    (folder / "bad" / "no.tif").write_bytes(b"II*\0 no more")
    words = ("predict", MODEL, "bad", "in/f[01]*", "--out", "some", "--workers", "2")
    done = command(*words, cwd=folder)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "2 failed, 2 are done" in done.stderr
    for name in ("f0", "f1"):
        voxels = open_volume(folder / "some" / f"{name}.ome.zarr").read_channel(0)
        assert voxels.tobytes() == alone[f"{name}.ome.zarr"]
    second = command(*words[:-2], "--part", "2/2", cwd=folder)
    assert second.returncode == 0  # damaged images are told by the first part alone


@pytest.mark.parametrize("name", ["check", "prepare"])
def test_voxels_are_measured_and_prepared_in_parts(folder, command, name):
    words = (name, MANIFEST, "--cache-dir", "parts-cache")
    statuses = [
        command(*words, "--part", f"{n}/2", "--workers", "2", cwd=folder).returncode
        for n in (1, 2)
    ]
    whole = command(name, MANIFEST, "--cache-dir", "whole-cache", cwd=folder)
    assert set(statuses) == {whole.returncode}
    if name == "prepare":
        stores = [
            {path.relative_to(folder / cache): path.read_bytes()
             for path in (folder / cache).rglob("*.npy")}
            for cache in ("parts-cache", "whole-cache")
        ]  # fmt: skip
        assert len(stores[0]) == 2 * NUM_FILES
        assert stores[0] == stores[1]


@pytest.fixture(scope="module")
def cluster():
    """A Dask cluster of two processes."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        yield cluster


def test_a_cluster_that_loses_a_worker_makes_what_one_process_makes(
    folder, spawn, command, alone, cluster, tmp_path
):
    scheduler = ("--scheduler", cluster.scheduler_address)
    process = spawn(*predicting("dask", *scheduler), cwd=folder)
    deadline = time.monotonic() + 120
    begun = folder / "dask" / FOLDER
    while not list(begun.rglob("prediction.npy")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(cluster.workers[0].pid, signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out.count(": written") == NUM_FILES
    assert contents(folder / "dask") == alone

    file = tmp_path / "scheduler.json"
    file.write_text(f'{{"address": "{cluster.scheduler_address}"}}')
    done = command("check", MANIFEST, "--scheduler", str(file), cwd=folder)
    here = command("check", MANIFEST, "--workers", "1", cwd=folder)
    assert (done.returncode, done.stdout) == (here.returncode, here.stdout), done.stderr
