"""Fixtures for the whole suite: one thread per process, and a tiny data source."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side
os.environ.setdefault("MPLBACKEND", "agg")

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from continual_repmode.data.collection import LoadedPair
from continual_repmode.volumes.normalization import Intensity

pytest_plugins = ["tests.web_server"]

hypothesis.settings.register_profile("suite", deadline=None)  # time is not a proof
hypothesis.settings.load_profile("suite")

SHAPE = (8, 16, 16)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep prepared volumes out of the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@dataclass(frozen=True)
class TinyPair:
    """A smooth random light volume whose target is a task-dependent contrast of it."""

    name: str
    task: str
    seed: int

    def load(self) -> LoadedPair:
        from scipy.ndimage import gaussian_filter

        rng = np.random.default_rng(self.seed)
        light = gaussian_filter(rng.standard_normal(SHAPE), 1.0)
        blurred = gaussian_filter(light, 1.5)
        target = {"dna": blurred, "nucleolus": light - blurred}.get(self.task, -light)
        return LoadedPair(
            _zscore(light), _zscore(target), Intensity(100.0, 5.0), Intensity(20.0, 2.0)
        )


@dataclass(frozen=True)
class TinyCollection:
    """A few pairs of every task, made in memory."""

    tasks: tuple[str, ...]
    voxel_size_um: tuple[float, float, float] = (0.29, 0.29, 0.29)

    def pairs(self, task: str, split: str) -> Sequence[TinyPair]:
        first = 1000 * self.tasks.index(task) + {"train": 0, "valid": 100}.get(
            split, 200
        )
        count = {"train": 4, "valid": 1, "test": 2}[split]
        return [TinyPair(f"{task}-{split}-{i}", task, first + i) for i in range(count)]


def _zscore(volume: np.ndarray) -> np.ndarray:
    return ((volume - volume.mean()) / volume.std()).astype(np.float32)


@pytest.fixture
def tiny_collection() -> TinyCollection:
    return TinyCollection(("dna", "nuclear_envelope", "nucleolus", "cell_membrane"))


@pytest.fixture(scope="session")
def write_czi() -> Callable[..., Path]:
    """Write CZI files with Zeiss' own library, so not with code that reads them.

    ``write_czi(path, images, channel_names=(), voxel_size_um=None,
    compression="none", tile_shape=None)`` writes ``images``, an array (T, C, Z, Y, X)
    or (C, Z, Y, X), or one per scene as {index: array}, and returns ``path``.
    ``compression`` is none, zstd0, zstd1, or zstd1-packed, which separates the bytes
    of 16-bit pixels. ``tile_shape`` (rows, columns) cuts planes into a mosaic.
    """
    return _write_czi


_CZI_COMPRESSIONS = {
    "none": None,
    "zstd0": "zstd0:ExplicitLevel=2",
    "zstd1": "zstd1:ExplicitLevel=2",
    "zstd1-packed": "zstd1:ExplicitLevel=2;PreProcess=HiLoByteUnpack",
}


def _write_czi(
    path: Path,
    images: np.ndarray | Mapping[int, np.ndarray],
    *,
    channel_names: Sequence[str] = (),
    voxel_size_um: tuple[float, float, float] | None = None,
    compression: str = "none",
    tile_shape: tuple[int, int] | None = None,
) -> Path:
    from pylibCZIrw.czi import create_czi

    scenes = images if isinstance(images, Mapping) else {0: images}
    left = 0
    with create_czi(str(path), compression_options=_CZI_COMPRESSIONS[compression]) as f:
        for scene, data in scenes.items():
            times = data if data.ndim == 5 else data[None]
            rows, columns = tile_shape or data.shape[-2:]
            for t, c, z in np.ndindex(times.shape[:3]):
                for y in range(0, data.shape[-2], rows):
                    for x in range(0, data.shape[-1], columns):
                        f.write(
                            times[t, c, z, y : y + rows, x : x + columns],
                            plane={"T": t, "C": c, "Z": z},
                            scene=scene,
                            location=(left + x, y),
                        )
            left += 2 * data.shape[-1]
        size_z, size_y, size_x = (
            float(f"{size}e-6") for size in voxel_size_um or (0, 0, 0)
        )  # in metres, whatever the documentation of the writer says
        f.write_metadata(
            channel_names=dict(enumerate(channel_names)),
            scale_x=size_x,
            scale_y=size_y,
            scale_z=size_z,
        )
    return path
