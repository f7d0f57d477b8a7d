"""The images to predict from: their channel, their grid and, where known, targets."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from continual_repmode.errors import UserError
from continual_repmode.manifests.channels import overruled_size
from continual_repmode.volumes.choices import (
    Z_HINT,
    ChoiceNeededError,
    Choices,
    SeveralTimesError,
    channel_index,
    channel_role,
)
from continual_repmode.volumes.opening import open_volume
from continual_repmode.volumes.preparation import VoxelSizeUm, is_voxel_length
from continual_repmode.volumes.source_channels import SourceChannel
from continual_repmode.volumes.volume import (
    UNKNOWN_UM,
    Size3,
    VolumeReader,
    VoxelSize,
    origin_um,
    volume_shape,
)

_ONE_PLANE = ", of which one plane is predicted"
VOXEL_SIZE_REMEDY = (
    "give the right one in micrometres with --voxel-size Z Y X (in Python: "
    "voxel_size_um=)"
)


@dataclass(frozen=True, slots=True)
class Image:
    """One image to predict from."""

    #: Of its output, without suffix.
    name: str
    #: What is read; of an OME-Zarr, the coarsest level that is fine enough.
    signal: SourceChannel
    #: Voxel size (z, y, x) of the signal.
    signal_um: VoxelSizeUm
    #: The grid (z, y, x) to write on: that of the image's finest level.
    shape: Size3
    voxel_size_um: VoxelSizeUm
    #: Where its first voxel lies; None along axes where nothing says so.
    origin_um: VoxelSize = UNKNOWN_UM
    #: Task -> its fluorescence, of the shape of the signal, where known.
    targets: Mapping[str, SourceChannel] = field(default_factory=dict)
    #: Task -> train, valid or test, where a manifest says so.
    splits: Mapping[str, str] = field(default_factory=dict)
    #: Where the voxel size differs from what the file, or the user elsewhere, says.
    note: str = ""
    #: Its place in a plate, such as ``A/1/0``, with which ``name`` ends then; empty
    #: outside plates.
    field: str = ""
    #: Of a time series, the signal at all time points but the first.
    later: tuple[SourceChannel, ...] = ()

    @property
    def frames(self) -> tuple[SourceChannel, ...]:
        """The signal at each time point that is to be predicted."""
        return (self.signal, *self.later)


def open_image(
    path: Path,
    name: str,
    *,
    channel: int | str | None,
    choices: Choices,
    source_um: VoxelSizeUm | None,
    model_um: VoxelSizeUm,
) -> Image:
    """Open an image file and find its transmitted light.

    ``channel``: index or name of the transmitted light; None to find it.
    ``choices``: scene, time point and so on; see
        :func:`continual_repmode.volumes.opening.open_volume`.
    ``source_um``: voxel size (z, y, x) that the user gives; None: what the file says.
        Of an OME-Zarr it is that of the full resolution, which is read then.
    Raises UserError if the file is damaged, has no voxel size, or its channel is
        ambiguous.
    """
    volume, *later = _open_times(path, choices, None if source_um else model_um)
    if later:
        choices = {**choices, "time": "0"}
    finest = volume if source_um else finest_level(volume, choices)
    told = source_um and overruled_size(volume, source_um)
    light = light_channel(volume, channel)
    return Image(
        name=name,
        signal=SourceChannel.whole(volume, light),
        later=tuple(SourceChannel.whole(each, light) for each in later),
        signal_um=_voxel_size_um(volume, source_um),
        shape=volume_shape(finest),
        voxel_size_um=_voxel_size_um(finest, source_um),
        origin_um=origin_um(finest),
        note=f"as given, not {told}" if told else "",
    )


def _open_times(
    path: Path, choices: Choices, wanted_um: VoxelSizeUm | None
) -> list[VolumeReader]:
    """Open the volume, or with ``time=all`` those of all time points."""
    try:
        return [open_volume(path, choices, wanted_um)]
    except SeveralTimesError as several:
        times = map(str, range(several.number))
        return [open_volume(path, {**choices, "time": t}, wanted_um) for t in times]
    except ChoiceNeededError as error:
        raise choice_needed(error) from error


def choice_needed(error: ChoiceNeededError) -> UserError:
    """Return the error of a file that holds several volumes, with our remedy."""
    every = ", or time=all for every one" if error.what == "time" else ""
    return UserError(
        f"{error.problem}, by --choose {error.what}=0{every} (in Python: "
        f"choices={{{error.what!r}: '0'}})"
    )


def with_target(
    image: Image,
    task: str,
    target: int | str | VolumeReader,
    *,
    size_given: bool = False,
    projected: bool = False,
) -> Image:
    """Return the image with a target: one of its channels, or another file.

    ``size_given``: whether the user gave the voxel size, so that those of the files do
        not matter.
    Raises UserError if there is no such channel, or the file has another shape or voxel
        size.
    """
    volume, signal = image.signal.volume, image.signal
    if image.later:
        raise UserError(
            f"{volume.path}: a target is compared with one time point; choose one with "
            "--choose time=0"
        )
    if isinstance(target, int | str):
        found = SourceChannel.whole(volume, channel_index(volume, target))
    elif len(target.channel_names) != 1:
        raise UserError(
            f"{target.path}: a target of {len(target.channel_names)} channels; list "
            "image and target in a manifest, with a column channel_target"
        )
    else:
        found = SourceChannel.whole(target, 0)
    wanted = (1, *signal.shape[1:]) if projected else signal.shape
    if found.shape != wanted:
        raise UserError(
            f"{found.label}: shape (z, y, x) {found.shape} for a signal of "
            f"{signal.shape}{_ONE_PLANE if projected else ''}; give the target of the "
            "same field"
        )
    told = None if projected else overruled_size(found.volume, image.signal_um)
    if told and not size_given:
        used = " x ".join(f"{um:g}" for um in image.signal_um)
        raise UserError(
            f"{found.volume.path}: has voxels of {told}, {volume.path} of {used} µm; "
            f"{VOXEL_SIZE_REMEDY}"
        )
    if (found.volume.path, found.channel) == (volume.path, signal.channel):
        raise UserError(f"{found.label}: is the signal; give another channel as target")
    return replace(image, targets={task: found})


def finest_level(volume: VolumeReader, choices: Choices) -> VolumeReader:
    """Return the full resolution of an image of which a coarser level was opened."""
    if "level" in choices or "level" not in dict(volume.chosen):
        return volume
    return open_volume(volume.path, choices)


def light_channel(volume: VolumeReader, wanted: int | str | None) -> int:
    """Return the index of the transmitted light.

    ``wanted``: index or name. None: the only channel, or the only one whose name means
        transmitted light.
    Raises UserError if it is not there or not clear; lists the channels.
    """
    names = volume.channel_names
    if wanted is not None:
        return channel_index(volume, wanted)
    if len(names) == 1:
        return 0
    light = [index for index, name in enumerate(names) if channel_role(name) == "light"]
    if len(light) == 1:
        return light[0]
    listed = ", ".join(
        f"{i} {name!r}" if name else str(i) for i, name in enumerate(names)
    )
    problem = "several channels look like" if light else "no channel is named like"
    hint = f"; {Z_HINT}" if volume_shape(volume)[0] == 1 and not any(names) else ""
    raise UserError(
        f"{volume.path}: {problem} transmitted light; choose one of {listed} with "
        f"--channel (in Python: channel=){hint}"
    )


def _voxel_size_um(volume: VolumeReader, source_um: VoxelSizeUm | None) -> VoxelSizeUm:
    """Return the voxel size that the user gives, or else that of the file."""
    if source_um is not None:
        return source_um
    sizes = []
    for along, size_um in zip("zyx", volume.voxel_size_um, strict=True):
        if not size_um:
            raise UserError(
                f"{volume.path}: has no voxel size along {along} in its metadata; "
                f"{VOXEL_SIZE_REMEDY}"
            )
        if not is_voxel_length(size_um):
            raise UserError(
                f"{volume.path}: says {size_um:g} um along {along}, which cannot be; "
                f"{VOXEL_SIZE_REMEDY}"
            )
        sizes.append(size_um)
    z, y, x = sizes
    return z, y, x
