"""Bad input as a user meets it: through the command, within limits, in one line."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from tests.forked import ForkServer

COMMON = ("--patch-size", "4", "16", "16", "--workers", "1")
LIMIT_S = 10.0
LIMIT_BYTES = 4 << 30
"""Address space a call may take beyond what the loaded modules have."""
LIMIT_MB = 200.0
"""Memory beyond that of checking sound images."""
HEADER = ("task", "path", "channel_signal", "channel_target", "split")
UM = {f"PhysicalSize{axis}": 0.29 for axis in "ZYX"}


@dataclass(frozen=True)
class Checked:
    """What ``check`` found: each finding as the line that the user reads."""

    status: int
    errors: list[str]
    others: list[str]


@dataclass(frozen=True)
class Outcome:
    """How a call of the command ended."""

    status: int
    out: str
    err: str
    peak_mb: float


class Worker(ForkServer):
    """Calls the command, which may neither hang, nor grow, nor break down."""

    def __init__(self, modules: Sequence[str]) -> None:
        super().__init__(["-imagecodecs", *modules])  # an extra
        self.sound_peak_mb = 0.0

    def __call__(self, *words: str, folder: Path) -> Outcome:
        limits = {"limit_s": LIMIT_S, "limit_bytes": LIMIT_BYTES}
        call = self.start(*words, folder=folder, **limits)
        out, err = call.communicate()
        assert call.returncode >= 0, f"killed after {call.seconds:.1f} s"
        assert "Traceback" not in out + err, err
        if self.sound_peak_mb:
            assert call.peak_mb < self.sound_peak_mb + LIMIT_MB
        return Outcome(call.returncode, out, err, call.peak_mb)


@pytest.fixture(scope="session")
def sound_rows(tmp_path_factory) -> list[dict[str, str]]:
    """Return the rows of three sound images, one for each split."""
    folder = tmp_path_factory.mktemp("sound images")
    rng = np.random.default_rng(0)
    rows = []
    for split in ("train", "valid", "test"):
        path = folder / f"{split}.ome.tif"
        tifffile.imwrite(
            path,
            rng.integers(0, 4000, (2, 4, 16, 16)).astype(np.uint16),
            ome=True,
            photometric="minisblack",
            metadata={"axes": "CZYX", **UM},
        )
        values = ("dna", str(path), "0", "1", split)
        rows.append(dict(zip(HEADER, values, strict=True)))
    return rows


@pytest.fixture(scope="session")
def sound(tmp_path_factory, write_czi) -> dict[str, Path]:
    """Return a sound image of every format, all of the same pixels."""
    folder = tmp_path_factory.mktemp("sound")
    data = np.random.default_rng(9).integers(0, 4000, (2, 4, 16, 16)).astype(np.uint16)
    tifffile.imwrite(
        folder / "a.ome.tif", data, ome=True, photometric="minisblack",
        metadata={"axes": "CZYX", **UM},
    )  # fmt: skip
    tifffile.imwrite(
        folder / "deflate.ome.tif", data, ome=True, photometric="minisblack",
        compression="zlib", metadata={"axes": "CZYX", **UM},
    )  # fmt: skip
    tifffile.imwrite(
        folder / "imagej.tif", data.transpose(1, 0, 2, 3), imagej=True,
        resolution=(1 / 0.29, 1 / 0.29),
        metadata={"axes": "ZCYX", "spacing": 0.29, "unit": "um"},
    )  # fmt: skip
    np.save(folder / "array.npy", data)
    group = zarr.create_group(folder / "a.zarr", zarr_format=3)
    group.create_array("0", data=data, chunks=(1, 2, 16, 16), compressors="auto")
    scale = {"type": "scale", "scale": [1.0, 0.29, 0.29, 0.29]}
    space = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {
                "axes": [{"name": "c", "type": "channel"}, *space],
                "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
            }
        ],
    }
    um = (0.29, 0.29, 0.29)
    names = ["Bright", "EGFP"]
    return {
        "ome-tiff": folder / "a.ome.tif",
        "deflate": folder / "deflate.ome.tif",
        "imagej": folder / "imagej.tif",
        "npy": folder / "array.npy",
        "zarr": folder / "a.zarr",
        "scenes": write_czi(
            folder / "scenes.czi", {0: data, 1: data}, voxel_size_um=um
        ),
        "czi": write_czi(
            folder / "a.czi", data, channel_names=names, voxel_size_um=um
        ),
        "zstd": write_czi(
            folder / "zstd.czi", data, channel_names=names, voxel_size_um=um,
            compression="zstd1-packed",
        ),
    }  # fmt: skip


@pytest.fixture(scope="session")
def worker(sound_rows, tmp_path_factory) -> Iterator[Worker]:
    """Return what calls the command."""
    worker = Worker(
        ["continual_repmode.manifests.check",
         "continual_repmode.manifests.checks.report",
         *(f"continual_repmode.volumes.formats.{name}"
           for name in ("tiff", "czi", "ome_zarr", "npy")),
         "continual_repmode.allen.manifest"]
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("sound manifest")
    (folder / "manifest.csv").write_text(csv_text(sound_rows))
    done = worker("check", "manifest.csv", *COMMON, folder=folder)
    assert done.status == 3, done.err  # few images
    worker.sound_peak_mb = done.peak_mb
    yield worker
    worker.close()


@pytest.fixture(scope="session")
def new_worker() -> type[Worker]:
    """Return what makes a further worker, with other modules loaded."""
    return Worker


def csv_text(rows: Sequence[Mapping[str, str]], header: Sequence[str] = ()) -> str:
    """Return rows as a manifest; columns are all that any row names."""
    names = header or list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@pytest.fixture(scope="session")
def as_csv() -> Callable[..., str]:
    """Return the text of a manifest from rows by column."""
    return csv_text


@pytest.fixture
def check(worker, tmp_path) -> Callable[..., Checked]:
    """Check a manifest in the folder of the test, as text and as JSON."""

    def run(manifest: str = "manifest.csv", *words: str) -> Checked:
        text = worker("check", manifest, *COMMON, *words, folder=tmp_path)
        told = worker("check", manifest, *COMMON, "--json", *words, folder=tmp_path)
        assert told.status == text.status
        if not told.out:
            assert told.err == text.err
            return Checked(text.status, [one_error(text)], [])
        assert not text.err
        assert not told.err
        findings: list[dict[str, Any]] = json.loads(told.out)["findings"]
        lines = {"error": [], "warning": [], "note": []}
        for finding in findings:
            assert_plain(finding["line"])
            lines[finding["severity"]].append(finding["line"])
        assert bool(lines["error"]) == (told.status == 2)
        return Checked(told.status, lines["error"], [*lines["warning"], *lines["note"]])

    return run


def one_error(done: Outcome) -> str:
    """Return the one line that a command ended with, and said nothing else."""
    assert done.status == 2
    assert not done.out
    line, end = done.err[:-1], done.err[-1:]
    assert line.startswith("error: ")
    assert end == "\n"
    assert_plain(line)
    return line


def assert_plain(line: str) -> None:
    """A message is one line of a length that can be read, without control codes."""
    assert line.isprintable(), repr(line)
    assert len(line) < 1000, line


@pytest.fixture(scope="session")
def only_error() -> Callable[[Outcome], str]:
    """Return the one line that a command ended with."""
    return one_error
