"""The images of a manifest, each once, with the targets that its rows name."""

from dataclasses import replace
from pathlib import Path

from continual_repmode.errors import Faults, UserError
from continual_repmode.manifests.channels import (
    opening_error,
    overruled_size,
    row_voxel_size_um,
    source_channels,
)
from continual_repmode.manifests.rows import ManifestRow, read_rows
from continual_repmode.paths import place_of, user_path
from continual_repmode.prediction.images import (
    VOXEL_SIZE_REMEDY,
    Image,
    finest_level,
)
from continual_repmode.prediction.plates import place_in_plate
from continual_repmode.volumes.formats import plain_stem
from continual_repmode.volumes.opening import open_volume
from continual_repmode.volumes.preparation import VoxelSizeUm
from continual_repmode.volumes.volume import VolumeReader, origin_um, volume_shape


def listed_images(
    manifest: Path,
    *,
    root: str | Path | None,
    source_um: VoxelSizeUm | None,
    model_um: VoxelSizeUm,
    faults: Faults,
) -> list[Image]:
    """Open the images of a manifest.

    Rows that name the same light, for several tasks, are one image.

    ``manifest``: see :class:`continual_repmode.manifests.manifest.ManifestCollection`.
    ``root``: what relative paths in the rows are relative to; None: the manifest.
    ``source_um``: voxel size (z, y, x) that the user gives for all; only columns of a
        row come before it.
    ``faults``: where to collect what is wrong with single rows; these are left out.
    Raises UserError if the manifest itself cannot be read.
    """
    images: dict[object, Image] = {}
    folder = None if root is None else user_path(root)
    for row in read_rows(manifest, folder, faults=faults):
        with faults:
            image = _row_image(row, source_um, model_um)
            signal = image.signal
            place = place_of(row.signal_path)
            key = (place, row.choices, signal.channel, str(signal.box))
            known = images.get(key)
            if known is None:
                taken = {other.name for other in images.values()}
                name = f"{image.name}_row{row.number}"
                images[key] = (
                    replace(image, name=name) if image.name in taken else image
                )
            else:
                images[key] = _joined(known, image, row)
    return list(images.values())


def _row_image(
    row: ManifestRow, source_um: VoxelSizeUm | None, model_um: VoxelSizeUm
) -> Image:
    """Open the files of a row; a crop or given voxel size is of the finest level."""
    full = any(value is not None for value in (*row.voxel_size_um, *row.crop))
    full = full or source_um is not None
    choices, wanted_um = dict(row.choices), None if full else model_um
    try:
        light = open_volume(row.signal_path, choices, wanted_um)
        target = open_volume(row.target_path, choices, wanted_um)
        finest = finest_level(light, choices)
    except UserError as error:
        raise opening_error(row, error) from error
    signal_channel, target_channel = source_channels(row, light, target)
    signal_um = _voxel_size_um(row, light, target, source_um)
    shape, voxel_size_um = signal_channel.shape, signal_um
    if not full and finest is not light:
        shape = volume_shape(finest)
        voxel_size_um = _voxel_size_um(row, finest, finest, source_um)
    origin = tuple(
        side.start * size or None if at is None else at + side.start * size
        for at, side, size in zip(
            origin_um(finest), signal_channel.box, voxel_size_um, strict=True
        )
    )
    told = full and overruled_size(light, signal_um)
    note = f"as given, not {told}" if told else ""
    if source_um not in (None, signal_um):
        note = f"by the columns of {row.where}, not --voxel-size"
    return Image(
        note=note,
        name=_name(row.signal_path),
        signal=signal_channel,
        signal_um=signal_um,
        shape=shape,
        voxel_size_um=voxel_size_um,
        origin_um=(origin[0], origin[1], origin[2]),
        targets={row.task: target_channel},
        splits={row.task: row.split} if row.split else {},
    )


def _name(path: Path) -> str:
    """Return what an image is called; a field of a plate with row and column."""
    plate, field = place_in_plate(path) or (path, "")
    return (Path(plain_stem(plate)) / field).as_posix()


def _voxel_size_um(
    row: ManifestRow,
    light: VolumeReader,
    target: VolumeReader,
    source_um: VoxelSizeUm | None,
) -> VoxelSizeUm:
    return row_voxel_size_um(row, light, target, source_um, VOXEL_SIZE_REMEDY)


def _joined(known: Image, image: Image, row: ManifestRow) -> Image:
    """Return an image with the target of one more row."""
    if row.task in known.targets:
        raise UserError(
            f"{row.where}: another row has the same image and task {row.task!r}; "
            "remove one"
        )
    return replace(
        known,
        targets={**known.targets, **image.targets},
        splits={**known.splits, **image.splits},
    )
