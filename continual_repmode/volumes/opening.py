"""Which reader opens an image file."""

from collections.abc import Sequence
from pathlib import Path

from continual_repmode.errors import UserError
from continual_repmode.volumes.volume import (
    CHOICES,
    Choices,
    VolumeReader,
    check_fetched,
)


def open_volume(
    path: str | Path,
    choices: Choices | None = None,
    voxel_size_um: Sequence[float] | None = None,
) -> VolumeReader:
    """Open an image file with the reader for its kind.

    Parameters
    ----------
    path : str or Path
        A TIFF, CZI or NumPy file, or the folder of an OME-Zarr.
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
    path, choices = Path(path), dict(choices or {})
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if not path.is_dir():
        check_fetched(path)
    unknown = sorted(set(choices) - set(CHOICES))
    if unknown:
        raise UserError(
            f"{path}: cannot choose by {unknown[0]!r}; use {', '.join(CHOICES)}"
        )
    if path.is_dir():
        from continual_repmode.volumes.formats.ome_zarr import ZarrVolume

        return ZarrVolume.open(path, choices, voxel_size_um)
    match path.suffix.lower():
        case ".tif" | ".tiff" | ".ome" | ".tf2" | ".tf8" | ".btf":
            from continual_repmode.volumes.formats.tiff import TiffVolume

            return TiffVolume.open(path, choices)
        case ".czi":
            from continual_repmode.volumes.formats.czi import CziVolume

            return CziVolume.open(path, choices)
        case ".npy":
            from continual_repmode.volumes.formats.npy import NpyVolume

            return NpyVolume.open(path, choices)
        case suffix:
            raise UserError(
                f"{path}: cannot read {suffix or 'files without a suffix'}; readable "
                "are TIFF (.tif, .tiff, or the .companion.ome of an OME-TIFF), CZI "
                "(.czi), OME-Zarr (a folder, usually .zarr) and NumPy (.npy)"
            )
