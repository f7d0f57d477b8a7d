"""Several images at a time: the network here, files in a thread beside it."""

import errno
import os
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from continual_repmode.prediction import job as job_module
from continual_repmode.prediction import light as light_module
from continual_repmode.prediction.ahead import memory_of, predict_all, with_room
from continual_repmode.prediction.bounds import RESERVE_BOTH_BYTES
from continual_repmode.prediction.estimate import Estimate
from continual_repmode.prediction.job import Job
from continual_repmode.prediction.options import PredictOptions
from continual_repmode.prediction.planning import plan_predictions
from continual_repmode.prediction.work_folder import FOLDER
from continual_repmode.stopping import Interrupted, stop_if_told
from continual_repmode.trained_model import TrainedModel
from continual_repmode.volumes.formats.pixel_files import ZarrPixels
from continual_repmode.volumes.formats.writing import save_volume

UM = (0.3, 0.11, 0.12)
LIMIT_S = 60.0
MEMORY = 8 * 10**9
ROOMY = Estimate((4, 8, 8), 9, 10**8, 1.0, 1, 10**8, 10**8, 2 * 10**8)


@pytest.fixture
def images(tmp_path: Path, light: np.ndarray) -> Path:
    folder = tmp_path / "in"
    for index, name in enumerate("abcd"):
        path = folder / f"{name}.ome.tif"
        save_volume(path, np.roll(light, index, 2), axes="ZYX", voxel_size_um=UM)
    return folder


@pytest.fixture
def jobs_for(model_file: Path, images: Path, tmp_path: Path):
    """Return what plans the predictions of all images into a folder."""

    def plan(out: str, tasks: str = "all", memory: int = MEMORY) -> list[Job]:
        options = PredictOptions(tasks=tasks, device="cpu", memory=memory)
        model = TrainedModel.load(model_file)
        return plan_predictions(model, [images], tmp_path / out, options).jobs

    return plan


def overlapped(jobs: list[Job]) -> list[Job]:
    return with_room(jobs, [ROOMY] * len(jobs))


def outcomes(jobs: list[Job]) -> list[str | None]:
    found = list(predict_all([(job, "") for job in jobs]))
    assert [index for index, _ in found] == list(range(len(jobs)))  # in their order
    return [error and str(error) for _, error in found]


def contents(out: Path) -> dict[str, bytes]:
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def within_limit(is_so: Callable[[], bool]) -> bool:
    until = time.monotonic() + LIMIT_S
    while not is_so() and time.monotonic() < until:
        time.sleep(0.01)
    return is_so()


@pytest.fixture
def beside_network(monkeypatch):
    """Return what has a function called with each folder of work that is predicted."""
    original = job_module.predict_into

    def call(begins: Callable[[Path], None]) -> None:
        def predict_into(predict, signal, *rest, **options) -> None:
            begins(signal.path.parent)
            original(predict, signal, *rest, **options)

        monkeypatch.setattr(job_module, "predict_into", predict_into)

    return call


@pytest.fixture
def alone(jobs_for, tmp_path: Path) -> dict[str, bytes]:
    """Return what is written one image after the other, of one task."""
    for job in jobs_for("alone", "dna"):
        job.run()
    return contents(tmp_path / "alone")


def test_files_are_those_of_one_image_after_the_other(jobs_for, tmp_path):
    """Of several tasks, whose predictions take turns."""
    for job in jobs_for("alone"):
        job.run()

    assert outcomes(overlapped(jobs_for("out"))) == [None] * 4

    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


def test_the_next_image_is_prepared_and_the_last_one_written_meanwhile(
    jobs_for, beside_network, alone, tmp_path
):
    jobs = overlapped(jobs_for("out", "dna"))

    def begins(folder: Path) -> None:
        index = [job.work.path for job in jobs].index(folder)
        later, earlier = jobs[index + 1 : index + 2], jobs[:index]
        assert within_limit(
            lambda: (
                all((job.work.note("signal") or {}).get("frame") == 0 for job in later)
                and all(job.output.exists() for job in earlier)
            )
        )

    beside_network(begins)

    assert outcomes(jobs) == [None] * 4

    assert contents(tmp_path / "out") == alone


def test_one_bad_image_stops_no_other(jobs_for, images, monkeypatch, alone, tmp_path):
    """One fails as it is read, another as it is written: the disk is full."""
    flat = np.full((7, 22, 26), 100, np.uint16)
    jobs = overlapped(jobs_for("out", "dna"))
    save_volume(
        images / "b.ome.tif", flat, axes="ZYX", voxel_size_um=UM, overwrite=True
    )
    original = ZarrPixels.write

    def write(pixels: ZarrPixels, *place) -> None:
        if "c.ome.zarr" in str(pixels._folder):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(pixels, *place)

    monkeypatch.setattr(ZarrPixels, "write", write)

    a, b, c, d = outcomes(jobs)

    assert (a, d) == (None, None)
    assert "b.ome.tif, channel 0: cannot normalize a constant volume" in b
    assert "c.ome.zarr: cannot be written (No space left on device" in c
    assert not jobs[1].work.path.exists()
    monkeypatch.setattr(ZarrPixels, "write", original)
    monkeypatch.setattr(job_module, "predict_into", None)  # what was predicted is kept
    assert outcomes(jobs[2:3]) == [None]
    expected = {name: data for name, data in alone.items() if name[0] != "b"}
    assert contents(tmp_path / "out") == expected


def test_an_interrupted_call_lets_go_and_the_next_one_goes_on(
    jobs_for, beside_network, monkeypatch, alone, tmp_path
):
    """Stopped as b is predicted and c, in the thread, is read."""
    jobs = overlapped(jobs_for("out", "dna"))
    reading: list[str] = []
    original = light_module.prepare_channel

    def prepare_channel(source, *rest, **options):
        reading.append(source.volume.path.name[0])
        while reading[-1] == "c":  # a very long image
            stop_if_told()
            time.sleep(0.01)
        return original(source, *rest, **options)

    def stop(folder: Path) -> None:
        if folder.name[0] == "b":
            assert within_limit(lambda: reading[-1] == "c" and jobs[0].output.exists())
            raise Interrupted

    monkeypatch.setattr(light_module, "prepare_channel", prepare_channel)
    beside_network(stop)
    began = time.monotonic()

    with pytest.raises(Interrupted):
        outcomes(jobs)

    assert time.monotonic() - began < LIMIT_S
    assert reading == ["a", "b", "c"]
    assert not list((tmp_path / "out").rglob("*.lock"))
    assert (jobs[1].work.path / "signal.npy").exists()
    monkeypatch.setattr(light_module, "prepare_channel", original)
    beside_network(lambda folder: None)
    assert outcomes(overlapped(jobs_for("out", "dna"))) == [None] * 3
    assert contents(tmp_path / "out") == alone


def test_whoever_stops_listening_ends_the_work(jobs_for, tmp_path):
    jobs = overlapped(jobs_for("out", "dna"))
    with closing(predict_all([(job, "") for job in jobs])) as ended:
        assert next(ended) == (0, None)

    assert not list((tmp_path / "out").rglob("*.lock"))
    assert outcomes(overlapped(jobs_for("out", "dna"))) == [None] * 3
    assert not (tmp_path / "out" / FOLDER).exists()


def test_images_overlap_where_both_fit_memory_and_disk(jobs_for, monkeypatch):
    needed = RESERVE_BOTH_BYTES + ROOMY.network_bytes + ROOMY.least_file_bytes
    large = replace(ROOMY, least_file_bytes=ROOMY.least_file_bytes + 1)
    jobs = jobs_for("out", "dna", memory=10**11)

    def room(memory: int, *estimates: Estimate) -> list[int | None]:
        setup = replace(jobs[0].setup, memory=memory)
        given = [replace(job, setup=setup) for job in jobs[: len(estimates)]]
        return [job.room for job in with_room(given, estimates)]

    least = ROOMY.least_file_bytes
    assert room(needed, ROOMY, ROOMY) == [least, least]
    assert room(needed - 1, ROOMY, ROOMY) == [None, None]
    assert room(needed, ROOMY, large, ROOMY) == [least, None, least]
    assert room(needed, ROOMY) == [None]  # there is no other
    assert memory_of(jobs, [ROOMY] * 4) is None
    disk = shutil.disk_usage(jobs[0].root.parent)
    for free, overlap in ((80_000, True), (75_000, False)):  # 64 kB, 5 kB of work each
        monkeypatch.setattr(
            shutil, "disk_usage", lambda _, n=free: disk._replace(free=n)
        )
        assert [job.room is not None for job in overlapped(jobs)] == [overlap] * 4
    monkeypatch.undo()
    took = memory_of(overlapped(jobs), [ROOMY] * 4)
    assert took == RESERVE_BOTH_BYTES + ROOMY.network_bytes + ROOMY.file_bytes


def test_an_image_without_room_is_worked_on_alone(
    jobs_for, beside_network, alone, tmp_path
):
    jobs = [
        replace(job, room=None if job.image.name == "c" else job.room)
        for job in overlapped(jobs_for("out", "dna"))
    ]
    in_work = {}

    def begins(folder: Path) -> None:
        if folder.name[0] == "a":
            assert within_limit(lambda: jobs[1].work.path.exists())
        time.sleep(0.1)
        in_work[folder.name[0]] = [j.image.name for j in jobs if j.work.path.exists()]

    beside_network(begins)

    assert outcomes(jobs) == [None] * 4

    assert in_work["c"] == ["c"]
    assert in_work["a"] == ["a", "b"]
    assert contents(tmp_path / "out") == alone
