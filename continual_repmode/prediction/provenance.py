"""Everything that decides the voxels of an output, as plain JSON values."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from continual_repmode.errors import one_line
from continual_repmode.prediction.images import Image
from continual_repmode.prediction.setup import Setup
from continual_repmode.runtime import package_versions
from continual_repmode.volumes.source_channels import SourceChannel

_PROGRAM = "continual-repmode"
_MEANING = (
    "fluorescence that a network expects from transmitted light, not a measurement: "
    "where and in what shape a structure is, and how bright relative to the rest of "
    "the same image. Brightness is not comparable between images, as each was "
    "z-scored, nor with counts of a camera; amounts of a protein cannot be read from it"
)
_UNCERTAINTY = "eight orientations of the plane"
_UNITS = {
    "zscore": "z-score: mean 0 and standard deviation 1 over a whole image",
    "target": "intensity of the training images on average: z-score * std + mean, with "
    "the mean statistics of the training targets, not of this image",
}


def provenance_of(image: Image, setup: Setup) -> dict[str, Any]:
    """Return what decides the voxels: two outputs of the same provenance are equal.

    Memory, batches and the device are no part of it: they change the last bits at most.
    """
    grid, tasks = setup.preparation, setup.tasks
    series = {"times": len(image.frames), "zscore": setup.options.series}
    others = [
        {"file": one_line(model.name), "sha256": model.sha256} for model in setup.others
    ]
    return {
        **({"series": series} if image.later else {}),
        **({"ensemble": others} if others else {}),
        **({"uncertainty": _UNCERTAINTY} if setup.options.uncertainty else {}),
        "model": {"file": one_line(setup.model.name), "sha256": setup.model.sha256},
        "tasks": list(tasks),
        "intensity": setup.options.intensity,
        "padding": setup.options.padding,
        "input": {**_channel(image.signal), "voxel_size_um": list(image.signal_um)},
        "model_grid": {
            "voxel_size_um": list(grid.voxel_size_um),
            "resize": grid.resize,
            "order": grid.order,
        },
        "window": list(setup.window),
        "overlap": list(setup.overlap),
        "precision": setup.precision,
        "targets": {t: _channel(c) for t, c in image.targets.items() if t in tasks},
    }


def attributes_of(provenance: Mapping[str, Any], setup: Setup) -> dict[str, Any]:
    """Return what an output file says about itself."""
    attributes = {
        "program": f"{_PROGRAM} {package_versions([_PROGRAM])[_PROGRAM]}",
        "unit": _UNITS[setup.options.intensity],
        "meaning": _MEANING,
        "recipe": dict(provenance),
    }
    if setup.options.uncertainty:
        attributes["deviation"] = (
            f"channels ..._std: standard deviation of {setup.num_answers} predictions "
            "of the same place, in the unit of the predictions; how it compares with "
            "real errors depends on the model and is measured with a target"
        )
    if setup.intensities:
        attributes["training_targets"] = {
            task: asdict(intensity) for task, intensity in setup.intensities.items()
        }
    return attributes


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return in words what differs between two outputs."""
    keys = [key for key in {**other, **one} if one.get(key) != other.get(key)]
    return ", ".join(key.replace("_", " ") for key in keys)


def _channel(channel: SourceChannel) -> dict[str, Any]:
    volume = channel.volume
    return {
        "file": one_line(volume.path.name),
        "content": _identity(channel),
        "chosen": [list(choice) for choice in volume.chosen],
        "channel": channel.channel,
        "box": [[side.start, side.stop] for side in channel.box],
    }


def _identity(channel: SourceChannel) -> str:
    """Return what changes with the names, sizes and times of the files."""
    volume = channel.volume
    digest = hashlib.sha256()
    for path in volume.files:
        stat = path.stat()
        within = os.path.relpath(path, volume.path)
        digest.update(os.fsencode(f"{within} {stat.st_size} {stat.st_mtime_ns}\n"))
    return digest.hexdigest()
