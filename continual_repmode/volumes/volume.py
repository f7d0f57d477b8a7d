"""Image files as volumes: what every reader offers, and what readers share."""

import math
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
from numpy.typing import NDArray

from continual_repmode.errors import UserError
from continual_repmode.volumes.channel_names import channel_role

Size3 = tuple[int, int, int]
"""An extent in voxels along (Z, Y, X)."""

DEFAULT_WINDOW: Size3 = (32, 128, 128)
"""The paper's training patch and prediction window."""

VoxelSize = tuple[float | None, float | None, float | None]
"""Micrometres along (z, y, x); None where the file does not say."""

UNKNOWN_UM: VoxelSize = (None, None, None)

Choices = Mapping[str, str]
"""What to take of a file that holds more than one volume: one of ``CHOICES`` -> index
from 0, or name. They are columns of the manifest too."""

CHOICES = (
    *("scene", "time", "view", "phase", "illumination", "rotation", "block"),
    *("tile", "level"),
)
"""Names of what can be chosen. ``tile`` is one part of a mosaic or ``all`` of them;
``level`` is one resolution of an OME-Zarr."""

_MAX_COMPRESSION = 33_000
"""Zstd packs blank planes up to 32768:1; deflate cannot exceed 1032."""

VOLUME_AXES = ("YX", "ZYX", "CYX", "CZYX", "ZCYX")
"""All that the axes of a volume can be, as stored, slowest first."""

Z_HINT = (
    "if these are the z planes of a stack, save it with axes ZYX (tifffile: "
    "metadata={'axes': 'ZYX'}; ImageJ: Image > Properties, slices)"
)
"""What to do with a stack whose planes are stored as something else."""

_MOST_UNNAMED = 7
"""Channels of one plane each, without names, that an image may have."""

_MAX_DIGITS = 18
"""Longer numbers are no index of anything."""

_POINTER = b"version https://git-lfs"


class ChoiceNeededError(UserError):
    """A file holds several volumes, and none of them was chosen."""

    def __init__(self, problem: str, what: str) -> None:
        super().__init__(f"{problem}, in Python by choices={{{what!r}: '0'}}")
        self.problem, self.what = problem, what

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problem, self.what)


class VolumeReader(Protocol):
    """One volume in an image file: the channels of one scene and time point.

    Opening reads headers only, and no reader keeps its file open: a thousand of them
    cost a thousand headers and can be sent to worker processes.
    """

    @property
    def path(self) -> Path:
        """The file or folder that was asked for."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file whose bytes decide what is read, in a stable order."""
        ...

    @property
    def chosen(self) -> tuple[tuple[str, str], ...]:
        """What was taken of ``CHOICES``, as pairs of name and index; () if all."""
        ...

    @property
    def axes(self) -> str:
        """Axes as stored, slowest first: YX, ZYX, CYX, CZYX or ZCYX."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each of ``axes``."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored intensities, in the byte order of this machine."""
        ...

    @property
    def channel_names(self) -> tuple[str, ...]:
        """One name per channel; ``""`` for a channel without one."""
        ...

    @property
    def voxel_size_um(self) -> VoxelSize:
        """Voxel size (z, y, x) in micrometres, None per axis where unknown."""
        ...

    def read_channel(
        self, channel: int | str, planes: slice = slice(None)
    ) -> NDArray[Any]:
        """Read one channel, leaving the others undecoded.

        Parameters
        ----------
        channel : int or str
            Index from 0, or name; see :func:`channel_index`.
        planes : slice
            The z planes wanted; all of them by default.

        Returns
        -------
        ndarray, shape (Z, Y, X)
            Raw intensities of type ``dtype``, with memory of their own.

        Raises
        ------
        UserError
            If there is no such channel, or its pixels are missing or damaged.
        """
        ...


def check_fetched(path: Path) -> None:
    """Raise if a file is empty, unreadable, or a git-lfs pointer to the real one."""
    if not path.is_file():
        raise UserError(f"{path}: neither a file nor a folder")
    try:
        with path.open("rb") as file:
            head = file.read(len(_POINTER))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if not head:
        raise UserError(f"{path}: the file is empty; fetch or save it again")
    if head == _POINTER:
        raise UserError(
            f"{path}: only a pointer to the real file; fetch it with 'git lfs pull'"
        )


def volume_shape(volume: VolumeReader) -> tuple[int, int, int]:
    """Return the (Z, Y, X) shape of every channel; a flat image has one plane."""
    sizes = dict(zip(volume.axes, volume.shape, strict=True))
    return sizes.get("Z", 1), sizes["Y"], sizes["X"]


def missing_chunks(volume: VolumeReader) -> str:
    """Say which share of the chunk files of a Zarr is not there; "" if all are."""
    missing: str = getattr(volume, "missing", "")
    return missing


def refuse_missing_chunks(volume: VolumeReader) -> None:
    """Raise if chunk files of a Zarr are missing.

    Raises UserError: with their share.
    """
    if missing := missing_chunks(volume):
        raise UserError(
            f"{volume.path}: {missing}; copy it again or, if they were left out, "
            "leave out --refuse-missing-chunks (run: data.refuse_missing_chunks=false)"
        )


def origin_um(volume: VolumeReader) -> VoxelSize:
    """Return where the first voxel of a volume lies: micrometres along (z, y, x).

    What a reader knows of it is its attribute ``origin_um``, which it may lack; None
    along axes where it does not know.
    """
    known: VoxelSize = getattr(volume, "origin_um", UNKNOWN_UM)
    return known


def channel_index(volume: VolumeReader, channel: int | str) -> int:
    """Return the index of a channel given by index or name.

    A name is looked for as it is, then in any case, then, if it is a usual name of
    transmitted light, EGFP, the DNA dye or the membrane dye, by any other usual name
    of the same (``Hoechst`` finds ``H3342``). A text that is a whole number may be
    either; ``index:1`` and ``name:1`` are but one.

    Raises UserError if there is no such channel, or several of that name, or one of
        that name and another of that index; lists the choices.
    """
    names = volume.channel_names
    if isinstance(channel, int):
        found = [channel] if 0 <= channel < len(names) else []
    else:
        found = _meant(volume.path, "channel", names, channel, _named)
    if len(found) == 1:
        return found[0]
    choices = ", ".join(
        f"{index} {name!r}" if name else str(index) for index, name in enumerate(names)
    )
    problem = "several channels are named" if found else "no channel"
    raise UserError(f"{volume.path}: {problem} {channel!r:.80}; choose from {choices}")


def _meant(
    path: Path,
    what: str,
    names: Sequence[str],
    wanted: str,
    named: Callable[[Sequence[str], str], list[int]],
) -> list[int]:
    """Return what a text means that may be an index or a name."""
    kind, _, rest = wanted.partition(":")
    known = wanted not in names and kind in ("index", "name")
    index = index_from(rest if known and kind == "index" else wanted)
    by_index = [index] if index is not None and index < len(names) else []
    if known:
        return by_index if kind == "index" else named(names, rest)
    by_name = named(names, wanted)
    if by_index and by_name and by_index != by_name:
        raise UserError(
            f"{path}: {what} {wanted!r} is the name of {by_name[0]} and the index of "
            f"{names[by_index[0]]!r}; write name:{wanted} or index:{wanted}"
        )
    return by_index or by_name


def _exactly(names: Sequence[str], wanted: str) -> list[int]:
    return [index for index, name in enumerate(names) if name and name == wanted]


def _named(names: Sequence[str], wanted: str) -> list[int]:
    """Return the channels of a name: exactly, in any case, or of the same meaning."""
    role = channel_role(wanted)
    for matches in (
        lambda name: name == wanted,
        lambda name: name.lower() == wanted.lower(),
        lambda name: role is not None and channel_role(name) == role,
    ):
        found = [index for index, name in enumerate(names) if name and matches(name)]
        if found:
            return found
    return []


class SeveralTimesError(UserError):
    """All time points were asked for where one volume is opened.

    ``number``: how many there are.
    """

    def __init__(self, path: Path, number: int) -> None:
        super().__init__(
            f"{path}: time 'all' is for `predict` and its --choose; choose one of 0 to "
            f"{number - 1}"
        )
        self.number = number


def chosen_index(
    path: Path,
    what: str,
    names: Sequence[str],
    choices: Choices,
    *,
    single_planes: bool = False,
) -> int:
    """Return which of several scenes, time points, ... to take.

    ``names``: of each one in the file, ``""`` where it has none; its length is their
        number.
    ``single_planes``: each has one plane only, so they may be meant to be z planes.
    Raises UserError if there are several and none was chosen, or there is none like the
        chosen one, or two may be meant.
    """
    wanted = choices.get(what)
    all_times = what == "time" and wanted == "all"
    if len(names) == 1 and (wanted is None or all_times):
        return 0
    if all_times:
        raise SeveralTimesError(path, len(names))
    found = [] if wanted is None else _meant(path, what, names, wanted, _exactly)
    if len(found) == 1:
        return found[0]
    last = len(names) - 1
    listed = f"0 to {last}" if last else "0"
    if any(names):
        listed += " (" + ", ".join(map(repr, names[:20])) + ")"
    if wanted is None:
        hint = f" ({Z_HINT})" if single_planes else ""
        raise ChoiceNeededError(
            f"{path}: holds {len(names)} of {what!r}{hint}; choose one: {listed}", what
        )
    raise UserError(f"{path}: no {what} {wanted!r:.80}; choose from {listed}")


def refuse_planes_as_channels(volume: VolumeReader) -> None:
    """Raise if what a file calls channels can hardly be but z planes."""
    num_channels = len(volume.channel_names)
    unnamed = not any(volume.channel_names)
    if volume_shape(volume)[0] == 1 and unnamed and num_channels > _MOST_UNNAMED:
        raise UserError(
            f"{volume.path}: {num_channels} channels of one plane each, without names; "
            f"{Z_HINT}; if they are channels, give them names"
        )


def refuse_other_choices(path: Path, choices: Choices, known: Container[str]) -> None:
    """Raise if a choice is made that a format does not know; 0 always is the only one.

    ``known``: what the format knows of ``CHOICES``.
    """
    for what in CHOICES:
        if what not in known:
            chosen_index(path, what, [""], choices)


def index_from(text: str) -> int | None:
    """Return the index from 0 that a text is; None if it is none."""
    return int(text) if text.isdecimal() and len(text) <= _MAX_DIGITS else None


def check_size(
    path: Path, shape: Sequence[int], dtype: np.dtype[Any], stored_bytes: int
) -> None:
    """Raise if a header promises pixels that the file cannot hold, or memory cannot.

    To be called before memory is taken for them.

    ``stored_bytes``: how many bytes of the file hold these pixels, compressed or not.
    """
    needed = math.prod(shape) * dtype.itemsize
    if needed > stored_bytes * _MAX_COMPRESSION:
        raise UserError(
            f"{path}: its header promises an image of {tuple(shape)} {dtype}, but the "
            f"file has only {stored_bytes} bytes for it; it is damaged or incomplete"
        )
    memory = memory_bytes()
    if needed > memory:
        raise UserError(
            f"{path}: one channel of {tuple(shape)} {dtype} takes {needed / 1e9:.0f} "
            f"GB, more than this machine's memory of {memory / 1e9:.0f} GB; cut it "
            "into smaller files"
        )


def memory_bytes() -> int:
    """Return the memory of this machine."""
    total: int = psutil.virtual_memory().total
    return total
