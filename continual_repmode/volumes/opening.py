"""Which reader opens an image file."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from continual_repmode.errors import UserError
from continual_repmode.offers import offers
from continual_repmode.paths import is_there, not_there, user_path
from continual_repmode.volumes import formats
from continual_repmode.volumes.choices import (
    CHOICES,
    Choices,
    refuse_planes_as_channels,
)
from continual_repmode.volumes.formats import (
    FOLDER_READER,
    FOLDER_SUFFIX,
    READERS,
    STACK_READER,
    readable,
)
from continual_repmode.volumes.formats.plane_pattern import is_pattern
from continual_repmode.volumes.volume import VolumeReader, check_fetched


@runtime_checkable
class VolumeFormat(Protocol):
    """What another package offers to read: a class of readers.

    The name of its entry point in ``continual_repmode.readers`` is the suffix of the
    files, without the dot.
    """

    def open(self, path: Path, choices: Choices) -> VolumeReader:
        """Open a file; a class method."""
        ...


def open_volume(
    path: str | Path,
    choices: Choices | None = None,
    voxel_size_um: Sequence[float] | None = None,
) -> VolumeReader:
    """Open an image file with the reader for its kind.

    Parameters
    ----------
    path : str or Path
        A TIFF, CZI or NumPy file, the folder of an OME-Zarr, or a pattern with ``{z}``
        of the files of single planes (see :mod:`.formats.plane_stack`).
    choices : mapping of str to str, optional
        What to take of a file with several scenes, time points and so on; see
        ``CHOICES``. A file with only one of them needs no choice.
    voxel_size_um : sequence of float, optional
        Voxel size (z, y, x) in micrometres that is wanted in the end. An OME-Zarr
        then gives its coarsest level that is at least as fine along every axis;
        otherwise, and in all other formats, the full resolution.

    Raises
    ------
    UserError
        If the file is missing, of an unknown kind or damaged, or holds several volumes
        of which none was chosen; then it lists the choices.
    """
    path, choices = user_path(path), dict(choices or {})
    if is_pattern(path):
        return _open_with(STACK_READER, path, choices)
    if not is_there(path):
        raise UserError(f"{path}: {not_there(path)}")
    if not path.is_dir():
        check_fetched(path)
    unknown = sorted(set(choices) - set(CHOICES))
    if unknown:
        raise UserError(
            f"{path}: cannot choose by {unknown[0]!r}; use {', '.join(CHOICES)}"
        )
    if path.is_dir():
        return _open_with(FOLDER_READER, path, choices, voxel_size_um)
    suffix = path.suffix.lower()
    if suffix not in READERS:
        if volume := _open_by_another_package(path, choices):
            return volume
        raise UserError(
            f"{path}: cannot read {suffix or 'files without a suffix'}; readable are "
            f"TIFF, CZI and NumPy ({', '.join(readable())}), and OME-Zarr (a folder, "
            f"usually {FOLDER_SUFFIX})"
        )
    return _open_with(READERS[suffix], path, choices)


def _open_by_another_package(path: Path, choices: Choices) -> VolumeReader | None:
    offer = offers("readers").get(path.suffix.lower().removeprefix("."))
    if offer is None:
        return None
    reader: VolumeFormat = offer.load(VolumeFormat)
    return reader.open(path, choices)


def _open_with(reader: str, *arguments: Any) -> VolumeReader:
    """Open a volume with a reader, which is imported when it is first needed."""
    module, name = reader.split(".")
    volume: VolumeReader = getattr(
        import_module(f"{formats.__name__}.{module}"), name
    ).open(*arguments)
    refuse_planes_as_channels(volume)
    return volume
