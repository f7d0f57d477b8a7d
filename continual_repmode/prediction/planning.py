"""What is to be predicted, what is done already, and what cannot be."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from continual_repmode.errors import Faults, UserError
from continual_repmode.paths import is_there, place_of, user_path
from continual_repmode.prediction.attributes import read_attributes
from continual_repmode.prediction.checking import (
    check_disk,
    check_distinct,
    check_plausible,
    check_targets,
    refuse_other,
)
from continual_repmode.prediction.finding import Found, find_files
from continual_repmode.prediction.images import (
    Image,
    choice_needed,
    open_image,
    with_target,
)
from continual_repmode.prediction.job import Job
from continual_repmode.prediction.listed import listed_images
from continual_repmode.prediction.metrics_table import Key, Row, read_metrics
from continual_repmode.prediction.options import PredictOptions
from continual_repmode.prediction.provenance import provenance_of
from continual_repmode.prediction.setup import Setup
from continual_repmode.trained_model import TrainedModel
from continual_repmode.volumes.choices import CHOICES, ChoiceNeededError
from continual_repmode.volumes.formats import readable
from continual_repmode.volumes.formats.stream_writing import check_writable
from continual_repmode.volumes.opening import open_volume
from continual_repmode.volumes.volume import VolumeReader, refuse_missing_chunks
from continual_repmode.workers import WHOLE, Part

Format = Literal["zarr", "tiff"]

SUFFIXES: Mapping[Format, str] = {"zarr": ".ome.zarr", "tiff": ".ome.tif"}


@dataclass(frozen=True, slots=True)
class Plan:
    """The work of a call."""

    setup: Setup
    #: What is to be done.
    jobs: list[Job]
    #: Of the same provenance, and complete.
    done: list[Job]
    #: One for each image that cannot be predicted.
    failures: list[UserError]


def plan_predictions(
    model: TrainedModel,
    inputs: Sequence[str | Path],
    out: str | Path,
    options: PredictOptions,
    format_: Format = "zarr",
    part: Part = WHOLE,
) -> Plan:
    """Find images, open their headers, and see what is there already.

    ``inputs``: image files, folders, patterns and manifests.
    ``part``: of the images that can be opened, in the order of the inputs. The first
        part has the faults of those that cannot, too.
    Raises UserError if the options do not fit the model or each other, ``out`` or what
        is above it is a file, an input matches no files, two images would have one
        output, or an output exists with different settings and is not to be
        overwritten. Faults of single images are collected instead.
    """
    setup, out, faults = Setup.of(model, options), user_path(out), Faults()
    _check_call(out, options.choices)
    images = find_images(inputs, out, setup, options, faults)
    outputs = []
    for image in images:
        with faults:  # missing chunks, or a name that is too long for the disk
            if options.refuse_missing_chunks:
                for channel in (*image.frames, *image.targets.values()):
                    refuse_missing_chunks(channel.volume)
            name = output_name(image, format_)
            outputs.append((image, user_path(f"./{name}", out)))
    check_distinct(outputs)
    if part.number > 1:
        faults.found.clear()
    return plan_outputs(part.take(outputs), out, setup, faults)


def output_name(image: Image, format_: Format) -> str:
    """Return the name of an output: OME-Zarr of fields of a plate is a plate again."""
    if image.field and format_ == "zarr":
        plate = image.name.removesuffix(f"/{image.field}")
        return f"{plate}{SUFFIXES[format_]}/{image.field}"
    return f"{image.name}{SUFFIXES[format_]}"


def _check_call(out: Path, choices: Mapping[str, str]) -> None:
    """Refuse what cannot be right for any image."""
    for what, which in choices.items():
        if what not in CHOICES:
            raise UserError(f"--choose {what}={which}: use {', '.join(CHOICES)}")
    there = next(place for place in (out, *out.parents) if place.exists())
    if not there.is_dir():
        raise UserError(f"--out {out}: {there} is not a directory; choose another")


def plan_outputs(
    outputs: Sequence[tuple[Image, Path]], root: Path, setup: Setup, faults: Faults
) -> Plan:
    """Separate what is to be done from what is done; refuse what is in the way.

    Raises UserError: as for :func:`plan_predictions`.
    """
    check_distinct(outputs)
    known, jobs, done = read_metrics(root), [], []
    for image, output in outputs:
        job = Job(image, output, root, provenance_of(image, setup), setup)
        if _is_done(job) and _is_measured(job, known):
            done.append(job)
            job.work.forget()  # a process that was killed at the very end has left it
            continue
        if not setup.options.overwrite:
            refuse_other(job)
        jobs.append(job)
    check_disk(root, jobs)
    sound = []
    for job in jobs:
        with faults:
            check_plausible(job)
            check_targets(job)
            check_writable(
                job.output,
                shape_czyx=(len(setup.channel_names), *job.shape),
                dtype="float32",
                voxel_size_um=job.image.voxel_size_um,
                channel_names=setup.channel_names,
                overwrite=setup.options.overwrite,
                work_path=job.unfinished,
                num_times=len(job.image.frames),
            )
            sound.append(job)
    return Plan(setup, sound, done, faults.found)


def find_images(
    inputs: Sequence[str | Path],
    out: Path,
    setup: Setup,
    options: PredictOptions,
    faults: Faults,
) -> list[Image]:
    """Open the images that some inputs mean; those that are damaged go to ``faults``.

    Raises UserError if an input matches no files, or a manifest cannot be read.
    """
    found, manifests = find_files(inputs, out)
    _check_manifests(options, manifests)
    model_um = setup.preparation.voxel_size_um
    target: int | str | Path | VolumeReader | None
    target = _target(options, setup, len(found) + len(manifests))
    images: list[Image] = []
    seen: set[object] = set()
    for file in found:
        with faults:
            image = open_image(
                file.path,
                _named(file, options.choices),
                channel=options.channel,
                choices=options.choices,
                source_um=options.voxel_size_um,
                model_um=model_um,
            )
            volume = image.signal.volume
            whole = (volume.path,) if volume.path.is_dir() else volume.files
            parts = tuple(map(place_of, whole))
            if parts in seen:
                continue  # one of the files of a stack that is spread over several
            seen.add(parts)
            image = replace(image, field=file.field)
            if target is not None:
                if isinstance(target, Path):  # of this image, which is the only one
                    if isinstance(options.target, str):
                        _check_one_meaning(options.target, image)
                    target = _open_target(target, options, setup)
                given = options.voxel_size_um is not None
                image = with_target(
                    image,
                    setup.tasks[0],
                    target,
                    size_given=given,
                    projected=setup.projection is not None,
                )
            images.append(image)
    for manifest in manifests:
        images += listed_images(
            manifest,
            root=options.root,
            source_um=options.voxel_size_um,
            model_um=model_um,
            faults=faults,
        )
    return images


def _check_manifests(options: PredictOptions, manifests: Sequence[Path]) -> None:
    """Refuse options that say what the columns of a manifest say, and the reverse."""
    if not manifests and options.root is not None:
        raise UserError(f"--root {options.root}: is for manifests; none is given")
    if options.series != "whole" and options.choices.get("time") != "all":
        raise UserError(
            f"--series {options.series}: is for a time series; give --choose time=all, "
            "or leave it out"
        )
    if not manifests and options.metrics and options.target is None:
        raise UserError(
            "--metrics: there is nothing to compare with; give --target, or a manifest"
        )
    said: dict[str, object] = {
        "channel": options.channel,
        "choose": options.choices or None,
        "target": options.target,
    }
    columns = {"channel": "channel_signal", "choose": "scene, time and so on"}
    for name, value in said.items():
        if manifests and value is not None:
            raise UserError(
                f"--{name}: {manifests[0]} says it for each image, in the column "
                f"{columns.get(name, 'channel_target or path_target')}; leave the "
                "option out, and predict other images by a call of their own"
            )


def _check_one_meaning(said: str, image: Image) -> None:
    """Refuse a target that is the name of a file and of a channel."""
    volume = image.signal.volume
    if said.lower() in map(str.lower, volume.channel_names):
        raise UserError(
            f"--target {said}: is a file here, and a channel of {volume.path}; write "
            f"./{said} or name:{said}"
        )


def _target(
    options: PredictOptions, setup: Setup, num_inputs: int
) -> int | str | Path | None:
    """Return the target as a channel or a file; refuse what is ambiguous."""
    target = options.target
    if target is None:
        return None
    if len(setup.tasks) != 1:
        raise UserError(
            f"--target {target}: is of one structure, but {len(setup.tasks)} are "
            "predicted; name one with --tasks, or list the targets in a manifest"
        )
    if isinstance(target, int):
        return target
    is_file = isinstance(target, Path) or target.lower().endswith(readable())
    if not is_file and not is_there(user_path(target)):
        return str(target)
    if num_inputs != 1:
        raise UserError(
            f"--target {target}: is one file for {num_inputs} images; list images and "
            "targets in a manifest"
        )
    return user_path(target)


def _open_target(path: Path, options: PredictOptions, setup: Setup) -> VolumeReader:
    """Open the file of a target; of several volumes, the one that is chosen."""
    full = options.voxel_size_um is not None
    model_um = None if full else setup.preparation.voxel_size_um
    choices: dict[str, str] = {}
    while True:
        try:
            return open_volume(path, choices, model_um)
        except ChoiceNeededError as error:
            if error.what not in options.choices or error.what in choices:
                raise choice_needed(error) from error
            choices[error.what] = options.choices[error.what]


def _named(file: Found, choices: Mapping[str, str]) -> str:
    """Return the name of an output, with what was chosen of the file."""
    chosen = "".join(f"_{what}-{which}" for what, which in choices.items())
    name = file.name + re.sub(r"[^A-Za-z0-9._-]+", "-", chosen)
    return f"{name}/{file.field}" if file.field else name


def _is_done(job: Job) -> bool:
    if not job.output.exists():
        return False
    return bool(read_attributes(job.output).get("recipe") == job.provenance)


def _is_measured(job: Job, known: Mapping[Key, Row]) -> bool:
    """Tell whether the table has all that the predictions are to be compared by."""
    names = [metric.name for metric in job.setup.metrics]
    rows = [known.get((job.image.name, task)) for task in job.provenance["targets"]]
    return all(row is not None and all(map(row.get, names)) for row in rows)
