"""What an image file holds, and what it would be as the input of a model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continual_repmode.data.signals import look_of
from continual_repmode.errors import UserError
from continual_repmode.paths import user_path
from continual_repmode.prediction.bounds import resizing_memory
from continual_repmode.prediction.estimate import Estimator
from continual_repmode.prediction.images import open_image
from continual_repmode.prediction.job import Job
from continual_repmode.prediction.options import PredictOptions
from continual_repmode.prediction.preparing import prepare_channel
from continual_repmode.prediction.provenance import provenance_of
from continual_repmode.prediction.setup import Setup
from continual_repmode.trained_model import TrainedModel
from continual_repmode.volumes.choices import ChoiceNeededError, Choices, channel_role
from continual_repmode.volumes.formats import plain_stem
from continual_repmode.volumes.opening import open_volume
from continual_repmode.volumes.plausibility import doubts, noise
from continual_repmode.volumes.volume import VolumeReader, origin_um, volume_shape
from continual_repmode.volumes.volume_file import VolumeFile

_MAX_PLANES = 16
"""That intensities are taken from, evenly along z."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """An image file, opened."""

    volume: VolumeReader
    #: Those that were asked for, and 0 where the file holds several and none was.
    choices: dict[str, str]
    #: What there is to choose from, a phrase each.
    several: list[str]


def open_for_inspection(path: str | Path, choices: Choices) -> Inspected:
    """Open an image; of several scenes, times and so on the first, unless chosen.

    Raises UserError if the file is missing, of an unknown kind or damaged.
    """
    path, known = user_path(path), dict(choices)
    several: list[str] = []
    while True:
        try:
            return Inspected(open_volume(path, known), known, several)
        except ChoiceNeededError as error:
            phrase = error.problem.removeprefix(f"{path}: ").replace("; choose one", "")
            several.append(
                f"{phrase}; this is {error.what} 0 (--choose {error.what}=1)"
            )
            known[error.what] = "0"


def image_facts(image: Inspected) -> dict[str, Any]:
    """Return what the headers say, and the intensities, as plain JSON values.

    Raises UserError if the pixels are damaged.
    """
    volume = image.volume
    return {
        "path": str(volume.path),
        "format": type(volume).__name__.removesuffix("Volume"),
        "num_files": len(volume.files),
        "bytes_on_disk": sum(file.stat().st_size for file in volume.files),
        "axes": volume.axes,
        "shape": list(volume.shape),
        "shape_zyx": list(volume_shape(volume)),
        "dtype": volume.dtype.name,
        "voxel_size_um": list(volume.voxel_size_um),
        "origin_um": list(origin_um(volume)),
        "chosen": dict(volume.chosen),
        "several": image.several,
        "channels": [_channel(volume, c) for c in range(len(volume.channel_names))],
    }


def _channel(volume: VolumeReader, channel: int) -> dict[str, Any]:
    """Measure the intensities of a channel, of some planes."""
    name = volume.channel_names[channel]
    planes = some_planes(volume, channel)
    values = planes[np.isfinite(planes)].astype(np.float64)
    known: dict[str, float | None] = dict.fromkeys(
        ("min", "p1", "median", "p99", "max", "mean", "std")
    )
    if values.size:
        percentiles = np.percentile(values, (0, 1, 50, 99, 100))
        found = (*percentiles, values.mean(), values.std())
        known = dict(zip(known, map(float, found), strict=True))
    shows = {"light": "transmitted light", "structure": "tagged protein"}
    role = channel_role(name) or ""
    return {
        "index": channel,
        "name": name,
        "named_like": shows.get(role, role) or None,
        "num_planes_measured": len(planes),
        **known,
    }


def some_planes(volume: VolumeReader, channel: int) -> NDArray[Any]:
    """Return at most 16 planes (z, Y, X) of a channel, evenly spread."""
    step = -(-volume_shape(volume)[0] // _MAX_PLANES)
    return volume.read_channel(channel, slice(None, None, step))


def as_input(
    image: Inspected, model: str | Path, options: PredictOptions
) -> dict[str, Any]:
    """Return what an image would be as the input of a model, as plain JSON values.

    Raises UserError if the image or an option does not fit the model, or the memory
        does not suffice.
    """
    setup = Setup.of(TrainedModel.load(model), options)
    path = image.volume.path
    opened = open_image(
        path,
        plain_stem(path),
        channel=options.channel,
        choices=image.choices,
        source_um=options.voxel_size_um,
        model_um=setup.preparation.voxel_size_um,
    )
    with TemporaryDirectory() as folder:
        root = Path(folder)
        job = Job(
            opened, root / "o.ome.zarr", root, provenance_of(opened, setup), setup
        )
        estimate = job.estimate(Estimator(setup))
        signal = VolumeFile(root / "signal.npy", job.grid_shape)
        warnings = list(
            doubts(
                opened.signal,
                "light",
                opened.signal_um,
                setup.preparation.voxel_size_um,
                setup.model.net.axes == "YX",
            )
        )
        try:
            warnings += noise(opened.signal)
            known = prepare_channel(
                opened.signal,
                signal,
                setup.preparation,
                memory_bytes=resizing_memory(setup.memory),
            )
        except UserError as error:
            warnings.append(str(error))
        else:
            look = look_of(signal, setup.preparation.voxel_size_um)
            unlike = setup.model.unlikeness(look, setup.tasks)
            warnings += [] if unlike is None else [unlike]
            if known.padding is not None:
                share = 100 * known.padding.share
                warnings.append(f"{share:.1f}% of the light is padding at the borders")
    return {
        "model": setup.model.name,
        "tasks": list(setup.tasks),
        "channel": opened.signal.channel,
        "described": job.describe(),
        "shape_zyx": list(job.grid_shape),
        "voxel_size_um": list(setup.preparation.voxel_size_um),
        "window": list(estimate.window),
        "num_windows": estimate.num_windows,
        "memory_bytes": estimate.memory_bytes,
        "seconds": estimate.seconds,
        "estimate": str(estimate),
        "output_bytes": job.num_bytes,
        "warnings": warnings,
    }


def format_inspection(facts: Mapping[str, Any], given: Mapping[str, Any] | None) -> str:
    """Return both as text for people."""
    z, y, x = facts["shape_zyx"]
    files = "1 file" if facts["num_files"] == 1 else f"{facts['num_files']} files"
    sizes = " x ".join(
        "?" if um is None else f"{um:.4g}" for um in facts["voxel_size_um"]
    )
    extent = [
        "?" if um is None else f"{um * n:.4g}"
        for um, n in zip(facts["voxel_size_um"], (z, y, x), strict=True)
    ]
    lines = [
        f"{facts['path']}: {facts['format']}, {files}, "
        f"{facts['bytes_on_disk'] / 1e6:.1f} MB",
        f"stored axes  {facts['axes']} {' x '.join(map(str, facts['shape']))}, "
        f"{facts['dtype']}",
        f"volume       {z} x {y} x {x} voxels (z, y, x)",
        f"voxel size   {sizes} um; the whole is {' x '.join(extent)} um",
    ]
    if any(at is not None for at in facts["origin_um"]):
        places = ("?" if at is None else f"{at:.4g}" for at in facts["origin_um"])
        lines.append(f"position     {', '.join(places)} um (z, y, x)")
    lines += [f"several      {phrase}" for phrase in facts["several"]]
    if facts["chosen"]:
        chosen = ", ".join(f"{what} {which}" for what, which in facts["chosen"].items())
        lines.append(f"this is      {chosen}")
    lines += ["", *_channel_table(facts["channels"])]
    if given is not None:
        lines += [
            "",
            f"as input of {given['model']} ({', '.join(given['tasks'])}), channel "
            f"{given['channel']}:",
            f"  {given['described']}",
            f"  {given['estimate']}, {given['output_bytes'] / 1e6:.1f} MB of output",
            *(f"  warning: {text}" for text in given["warnings"]),
        ]
    return "\n".join(lines)


def _channel_table(channels: list[dict[str, Any]]) -> list[str]:
    columns = ("min", "p1", "median", "p99", "max", "mean", "std")
    rows: list[tuple[str, ...]] = [("channel", "name", "named like", *columns)]
    for known in channels:
        values = (known[name] for name in columns)
        rows.append(
            (
                str(known["index"]),
                known["name"] or "-",
                known["named_like"] or "-",
                *("-" if v is None or math.isnan(v) else f"{v:.4g}" for v in values),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if k < 3 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    planes = channels[0]["num_planes_measured"]
    return [*lines, f"(intensities of {planes} planes; p1, p99: percentiles)"]
