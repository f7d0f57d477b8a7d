"""OME-TIFF: the volume that was asked for, and the pages of which files hold it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from continual_repmode.errors import UserError
from continual_repmode.paths import as_on_disk
from continual_repmode.volumes.choices import Choices, chosen_index
from continual_repmode.volumes.formats.damage import read_xml
from continual_repmode.volumes.formats.ome_xml import OmeImage, parse_ome
from continual_repmode.volumes.formats.tiff_pages import count_pages, open_tiff
from continual_repmode.volumes.volume import VoxelSize, check_fetched


@dataclass(frozen=True, slots=True)
class OmeVolume:
    """One time point of one image."""

    #: Those that hold its planes, and before them the companion if there is one.
    files: tuple[Path, ...]
    chosen: tuple[tuple[str, str], ...]
    #: Axes longer than 1, and Y, X.
    axes: str
    shape: tuple[int, ...]
    channel_names: tuple[str, ...]
    voxel_size_um: VoxelSize
    origin_um: VoxelSize
    #: (planes, 2). Index into ``files`` and of the page there, over all of ``axes`` but
    #: Y, X.
    planes: NDArray[np.int64]


def find_ome_volume(path: Path, xml: str | bytes, choices: Choices) -> OmeVolume:
    """Find a volume of an OME-TIFF.

    ``path``: the TIFF or companion file asked for. Of a set of files with several
        images, only the images with a plane in the file asked for are its scenes.
    ``choices``: ``scene`` and ``time`` where there are several.
    Raises UserError if the metadata are damaged, or list files or pages that are not
        there.
    """
    metadata_file, images = _follow_pointer(path, *parse_ome(path, xml))
    listed = _ListedFiles(metadata_file, images)
    images = [
        image
        for image in images
        if any(listed.find(run.file_name) == path for run in image.runs)
    ] or images
    if not images:
        raise UserError(f"{path}: its OME metadata describe no image")
    scene = chosen_index(path, "scene", [image.name for image in images], choices)
    image = images[scene]
    times, single = [""] * image.sizes["T"], image.sizes["Z"] == 1
    time = chosen_index(path, "time", times, choices, single_planes=single)
    numbers = {"scene": (scene, len(images)), "time": (time, image.sizes["T"])}
    files, planes = _planes_at(path, image, time, listed)
    kept = [axis for axis in (*image.axes, "Y", "X") if axis != "T"]
    kept = [axis for axis in kept if image.sizes[axis] > 1 or axis in "YX"]
    if metadata_file not in files:
        files = (metadata_file, *files)
        planes[:, 0] += 1
    return OmeVolume(
        files=files,
        chosen=tuple((k, str(n)) for k, (n, count) in numbers.items() if count > 1),
        axes="".join(kept),
        shape=tuple(image.sizes[axis] for axis in kept),
        channel_names=image.channel_names,
        voxel_size_um=image.voxel_size_um,
        origin_um=image.origins_um[time],
        planes=planes,
    )


def _follow_pointer(
    path: Path, images: list[OmeImage], metadata_name: str | None
) -> tuple[Path, list[OmeImage]]:
    """Return the file with the metadata, and the images that these describe."""
    if metadata_name is None:
        return path, images
    metadata_file = _beside(path, metadata_name)
    if not metadata_file.is_file():
        raise UserError(
            f"{path}: its metadata file {metadata_name} is not in the same folder"
        )
    check_fetched(metadata_file)
    if metadata_file.suffix.lower() == ".ome":
        images, further = parse_ome(metadata_file, read_xml(metadata_file))
    else:
        count_pages(metadata_file)
        with open_tiff(metadata_file) as tif:
            images, further = parse_ome(metadata_file, tif.pages.first.description)
    if further is not None:
        raise UserError(
            f"{path}: its metadata file {metadata_file.name} has no metadata either"
        )
    return metadata_file, images


def _beside(path: Path, name: str) -> Path:
    """Return the file of a name in the folder of ``path``, or below."""
    if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(
            f"{path}: its OME metadata name the file {name!r}, which is not in the "
            "folder of this one; put the files of one image together and save again"
        )
    return as_on_disk(path.parent / name)


class _ListedFiles:
    """The TIFF files that OME metadata name."""

    def __init__(self, metadata_file: Path, images: list[OmeImage]) -> None:
        self._metadata_file = metadata_file
        self._is_tiff = metadata_file.suffix.lower() != ".ome"
        names = {run.file_name for image in images for run in image.runs}
        self._only_name = names.pop() if len(names) == 1 else None

    def find(self, name: str | None) -> Path:
        """Return the file of a name; a file alone may have been renamed."""
        if name is None:
            if not self._is_tiff:
                raise UserError(
                    f"{self._metadata_file}: no TIFF file is listed for some planes"
                )
            return self._metadata_file
        file = _beside(self._metadata_file, name)
        if self._is_tiff and name == self._only_name and not file.is_file():
            return self._metadata_file
        return file


def _planes_at(
    path: Path, image: OmeImage, time: int, listed: _ListedFiles
) -> tuple[tuple[Path, ...], NDArray[np.int64]]:
    """Return the files and pages (file, page) of all planes of one time point."""
    index_of_file: dict[Path, int] = {}
    table = np.full((image.num_planes, 2), -1, np.int64)
    for first, count, file, page in _known_runs(path, image, listed):
        index = index_of_file.setdefault(file, len(index_of_file))
        table[first : first + count, 0] = index
        table[first : first + count, 1] = np.arange(page, page + count)
    lengths = [image.sizes[axis] for axis in image.axes]
    planes = np.take(table.reshape(*lengths, 2), time, image.axes.index("T"))
    planes = planes.reshape(-1, 2)
    absent = np.flatnonzero(planes[:, 0] < 0)
    if len(absent):
        raise UserError(
            f"{path}: {len(absent)} of {len(planes)} planes are missing; its OME "
            f"metadata list no page for plane {absent[0]}"
        )
    all_files = list(index_of_file)
    used, planes[:, 0] = np.unique(planes[:, 0], return_inverse=True)
    files = tuple(all_files[index] for index in used)
    _check_pages(path, files, planes)
    return files, planes


def _known_runs(
    path: Path, image: OmeImage, listed: _ListedFiles
) -> Iterator[tuple[int, int, Path, int]]:
    """Yield first plane, number of planes, file and first page of each run."""
    left = image.num_planes
    for run in image.runs:
        file = listed.find(run.file_name)
        count = run.num_planes
        if count is None:  # all pages of the file
            pages = count_pages(file) if file.is_file() else 1
            count = min(pages - run.first_page, image.num_planes - run.first_plane)
        left -= count
        if run.first_plane + count > image.num_planes or left < 0 or count < 1:
            raise UserError(
                f"{path}: its OME metadata list other planes than the "
                f"{image.num_planes} of image {image.name!r}; save the image again"
            )
        yield run.first_plane, count, file, run.first_page


def _check_pages(
    path: Path, files: tuple[Path, ...], planes: NDArray[np.int64]
) -> None:
    """Raise if a file or a page is not there."""
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise UserError(
            f"{path}: files are missing from its folder: {', '.join(missing[:20])}"
        )
    for index, file in enumerate(files):
        check_fetched(file)
        num_pages = count_pages(file)
        needed = int(planes[planes[:, 0] == index, 1].max()) + 1
        if num_pages < needed:
            raise UserError(
                f"{file}: has {num_pages} pages, but its OME metadata list {needed}; "
                "planes are missing, the file is incomplete"
            )
