"""Readers and writers of image files, one module per format; which suffix is whose."""

import re
from collections.abc import Mapping
from pathlib import Path

from continual_repmode.offers import offers
from continual_repmode.volumes.formats.plane_pattern import is_pattern, stack_name

READERS: Mapping[str, str] = {
    **dict.fromkeys((".tif", ".tiff", ".tf2", ".tf8", ".btf"), "tiff.TiffVolume"),
    ".ome": "tiff.TiffVolume",  # the .companion.ome of an OME-TIFF
    ".czi": "czi.CziVolume",
    ".npy": "npy.NpyVolume",
}
"""Suffix of a file that can be read: module here, and class of its reader."""

FOLDER_READER, FOLDER_SUFFIX = "ome_zarr.ZarrVolume", ".zarr"
"""What reads a folder, and the usual suffix of one; any suffix will do."""

STACK_READER = "plane_stack.PlaneStack"
"""What reads files of one plane each."""

OME_TIFF = (".ome.tif", ".ome.tiff")
OME_ZARR = (".ome.zarr", ".zarr")
IMAGEJ_TIFF = (".tif", ".tiff")
NUMPY = (".npy",)


def readable() -> tuple[str, ...]:
    """Return the suffixes of files that can be read, with those of other packages."""
    return (*READERS, *(f".{suffix}" for suffix in offers("readers")))


def plain_stem(path: Path) -> str:
    """Return the name of an image file without what tells its format.

    >>> plain_stem(Path("plate.ome.zarr"))
    'plate'
    >>> plain_stem(Path("B02_bf_z{z}.tif"))
    'B02_bf'
    """
    suffixes = "|".join(map(re.escape, (*readable(), FOLDER_SUFFIX)))
    ending = rf"(\.companion)?(\.ome)?({suffixes})$"
    stem = re.sub(ending, "", path.name, flags=re.IGNORECASE) or path.name
    return stack_name(stem) if is_pattern(path) else stem
