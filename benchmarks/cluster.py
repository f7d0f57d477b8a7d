"""Many fields: several workers, shards, bfloat16."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
import torch

from benchmarks.harness import Settings, Timed, alternate
from benchmarks.networks import build_calibrated, compare_results, light_volume
from benchmarks.records import Comparison, Measurement
from continual_repmode.inference.tiled import predict_volume
from continual_repmode.models import ModelCard, save_model
from continual_repmode.runtime import computes_bf16
from continual_repmode.trained_model import TrainedModel
from continual_repmode.volumes.formats import shards
from continual_repmode.volumes.formats.stream_writing import open_writer
from continual_repmode.volumes.formats.writing import save_volume

_UM = (0.29, 0.29, 0.29)
_WORKERS = 2
_EFFICIENCY = 0.85


def measure(settings: Settings) -> list[Measurement]:
    """Measure all three."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        width = 2 if settings.quick else 8
        net = build_calibrated(width, torch.device("cpu"))
        window = (16, 32, 32) if settings.quick else (32, 128, 128)
        card = ModelCard(voxel_size_um=_UM, window=window)
        save_model(net, folder / "model.safetensors", card)
        return [
            *_workers(folder, settings),
            *_shards(folder, settings),
            *_precisions(folder, settings),
        ]


def _write_fields(folder: Path, number: int, settings: Settings) -> str:
    """Write fields of light; return what one is."""
    shape = (16, 32, 32) if settings.quick else (32, 192, 192)
    light = np.asarray(light_volume(shape))
    counts = (1000 + 200 * light).clip(0, 65535).astype(np.uint16)
    for index in range(number):
        path = folder / f"fields{number}" / f"{index:02}.ome.tif"
        path.parent.mkdir(exist_ok=True)
        save_volume(path, np.roll(counts, 8 * index, 2), axes="ZYX", voxel_size_um=_UM)
    return f"{number} fields of {'x'.join(map(str, shape))}"


def _workers(folder: Path, settings: Settings) -> list[Measurement]:
    """Predict fields with the command: one worker, two, and two of Dask."""
    number = 4 if settings.quick else 24
    case = f"{_write_fields(folder, number, settings)}, one thread per worker"
    one, two, dask = "1 worker", f"{_WORKERS} workers", f"{_WORKERS} workers of Dask"
    with ExitStack() as stack:
        options = {one: ("--workers", "1"), two: ("--workers", str(_WORKERS))}
        if find_spec("distributed") is not None:
            address = stack.enter_context(_dask_cluster())
            options[dask] = ("--scheduler", address)
        calls = {
            name: _call(folder, number, words, settings)
            for name, words in options.items()
        }
        timed = alternate(calls, settings.rounds_or(1), f"predict, {case}", warm_up=0)
    rows = []
    for name, found in timed.items():
        compared: tuple[Comparison, ...] = ()
        if name != one:
            at_most = None if settings.quick else 1 / (_WORKERS * _EFFICIENCY)
            compared = (found.over(timed[one], one, at_most),)
        peak = max(found.results)
        rows.append(Measurement(case, name, found.spread, "s", peak, compared))
    return rows


@contextmanager
def _dask_cluster() -> Iterator[str]:
    from distributed import LocalCluster

    with (
        patch.dict(os.environ, {"OMP_NUM_THREADS": "1"}),
        LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=_WORKERS, threads_per_worker=1, dashboard_address=None
        ) as cluster,
    ):
        yield cluster.scheduler_address


def _call(
    folder: Path, number: int, words: tuple[str, ...], settings: Settings
) -> Callable[[], int]:
    """Return what calls the command and returns the peak memory of one process."""
    command = [sys.executable, "-m", "continual_repmode", "predict"]
    command += [str(folder / "model.safetensors"), str(folder / f"fields{number}")]
    command += ["--tasks", "dna", "--overwrite", "--device", settings.device.type]

    def call() -> int:
        with TemporaryDirectory(dir=folder) as out, _largest_process() as peak:
            subprocess.run(
                [*command, *words, "--out", out, "--channel", "0"],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=True,
            )
        return peak[0]

    return call


@contextmanager
def _largest_process() -> Iterator[list[int]]:
    """Watch the processes that this one has started; give the most that one took."""
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            for process in psutil.Process().children(recursive=True):
                try:
                    peak[0] = max(peak[0], process.memory_info().rss)
                except psutil.Error:
                    continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def _shards(folder: Path, settings: Settings) -> list[Measurement]:
    """Write a prediction as OME-Zarr, in shards and in plain chunks."""
    shape = (32, 160, 160) if settings.quick else (65, 624, 924)
    volume = np.random.default_rng(0).standard_normal(shape, np.float32)
    plain, sharded = "plain chunks", "shards"

    def write(largest: int, name: str) -> tuple[int, int]:
        path = folder / f"{name}.ome.zarr"
        with (
            patch.object(shards, "_LARGEST", largest),
            open_writer(
                path,
                shape_czyx=(1, *shape),
                dtype="float32",
                voxel_size_um=_UM,
                overwrite=True,
            ) as writer,
        ):
            for first in range(0, shape[0], writer.planes_at_a_time):
                planes = slice(first, first + writer.planes_at_a_time)
                writer.write(0, planes, volume[planes])
        files = [file for file in path.rglob("*") if file.is_file()]
        return len(files), sum(file.stat().st_size for file in files)

    timed = alternate(
        {plain: lambda: write(1, "plain"), sharded: lambda: write(2**28, "sharded")},
        settings.rounds_or(3),
        "writing",
    )
    case = f"OME-Zarr of noise, {'x'.join(map(str, shape))}"
    rows = []
    for name, found in timed.items():
        files, num_bytes = found.results[-1]
        compared = (found.over(timed[plain], plain),) if name != plain else ()
        note = f"{files} files, {num_bytes / 1e6:.1f} MB"
        rows.append(Measurement(case, name, found.spread, "s", None, compared, note))
    return rows


def _precisions(folder: Path, settings: Settings) -> list[Measurement]:
    """Predict a volume in float32 and in bfloat16."""
    model = TrainedModel.load(folder / "model.safetensors")
    shape = (16, 32, 32) if settings.quick else (32, 128, 256)
    case, volume = f"volume of {'x'.join(map(str, shape))}", light_volume(shape)
    if not computes_bf16(settings.device):
        note = "this device has no bf16 instructions"
        return [Measurement(case, "bfloat16", None, "s", note=note)]

    def predict(precision: Any) -> torch.Tensor:
        return predict_volume(
            model.predictor("dna", precision, settings.device),
            volume,
            window=model.window,
            device=settings.device,
        )

    timed: dict[str, Timed[torch.Tensor]] = alternate(
        {name: partial(predict, name) for name in ("float32", "bfloat16")},
        settings.rounds_or(3),
        case,
    )
    exact, short = timed["float32"], timed["bfloat16"]
    compared = (
        short.over(exact, "float32"),
        *compare_results(short.results[-1], exact.results[-1], "float32"),
    )
    return [
        Measurement(case, "float32", exact.spread, "s"),
        Measurement(case, "bfloat16", short.spread, "s", None, compared),
    ]
