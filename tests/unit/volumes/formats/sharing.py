"""What tests of formats share: pixels, errors, and readers by other people."""

import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from continual_repmode.errors import UserError
from continual_repmode.volumes.opening import open_volume

UM = (0.29, 0.108, 0.1083)


def stack(*shape: int, dtype: str = "uint16", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, shape).astype(dtype)


def read_all(path: Path, choices: Any = None) -> np.ndarray:
    """Read all channels of a file: (C, Z, Y, X)."""
    volume = open_volume(path, choices)
    return np.stack([volume.read_channel(c) for c in range(len(volume.channel_names))])


def one_line_error(path: Path, case: object = "", **choices: str) -> str:
    """Return the error on opening a file or reading all of it, in little memory."""
    tracemalloc.start()
    try:
        read_all(path, choices)
    except UserError as error:
        message = str(error)
    else:
        pytest.fail(f"no error: {case}")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 64e6, case
    assert "\n" not in message, case
    assert str(path.parent) in message, case
    return message


def read_elsewhere(path: Path) -> tuple[np.ndarray, Any, list[str], Any]:
    """Read pixels (C, Z, Y, X), voxel size, names, attributes: not by our readers."""
    if path.is_dir():
        return _read_zarr(path)
    with tifffile.TiffFile(path) as tif:
        return _read_ome_tiff(path) if tif.is_ome else _read_imagej(path)


def _pages(path: Path) -> np.ndarray:
    """Read the pages of a TIFF with Pillow; with tifffile what Pillow cannot."""
    with Image.open(path) as image:
        planes = []
        for page in range(image.n_frames):
            image.seek(page)
            planes.append(np.asarray(image))
    return np.stack(planes)


def _read_ome_tiff(path: Path) -> tuple[np.ndarray, Any, list[str], Any]:
    """Read metadata with ome-types."""
    from ome_types import from_tiff

    ome = from_tiff(path)
    pixels = ome.images[0].pixels
    units = [getattr(pixels, f"physical_size_{axis}_unit").value for axis in "xyz"]
    assert units == ["µm"] * 3
    order = str(pixels.dimension_order.value)[:1:-1]
    sizes = {"T": pixels.size_t, "C": pixels.size_c, "Z": pixels.size_z}
    planes = _pages(path)
    data = planes.reshape(*(sizes[axis] for axis in order), *planes.shape[1:])
    data = np.moveaxis(data, [order.index(axis) for axis in "TCZ"], [0, 1, 2])[0]
    attributes: dict[str, Any] = {}
    for notes in ome.structured_annotations or ():
        assert notes.namespace == "continual_repmode"
        assert ome.images[0].annotation_refs[0].id == notes.id
        attributes = {item.k: item.value for item in notes.value.ms}
    size_um = pixels.physical_size_z, pixels.physical_size_y, pixels.physical_size_x
    return (
        data,
        size_um,
        [channel.name or "" for channel in pixels.channels],
        attributes,
    )


def _read_zarr(path: Path) -> tuple[np.ndarray, Any, list[str], Any]:
    """Read pixels with TensorStore and metadata with yaozarrs, which validates them."""
    import tensorstore
    from yaozarrs import validate_zarr_store

    ome = validate_zarr_store(str(path)).ome_metadata()
    assert ome.version == "0.5"
    [multiscale] = ome.multiscales
    units = {axis.unit for axis in multiscale.axes if axis.type == "space"}
    assert units == {"micrometer"}
    axes = "".join(axis.name for axis in multiscale.axes).upper()
    level, *_ = multiscale.datasets  # the others are coarser
    store = {"driver": "file", "path": str(path / level.path)}
    array = tensorstore.open({"driver": "zarr3", "kvstore": store}).result()
    assert "".join(array.domain.labels).upper() == axes
    data = np.asarray(array.read().result())
    scale = level.coordinateTransformations[0].scale
    sizes = dict(zip(axes, scale, strict=True))
    lengths = dict(zip(axes, data.shape, strict=True))
    data = data.reshape([lengths.get(axis, 1) for axis in "CZYX"])
    for channel, pixels in zip(ome.omero.channels, data, strict=True):
        window, ends = channel.window, (pixels.min(), pixels.max())
        if pixels.dtype == np.float32 and ends[0] < ends[1]:
            assert (window.start, window.end) == (window.min, window.max) == ends
    attributes = json.loads((path / "zarr.json").read_text())["attributes"]
    names = [channel.label or "" for channel in ome.omero.channels]
    size_um = tuple(sizes[axis] for axis in "ZYX")
    return data, size_um, names, attributes.get("continual_repmode", {})


def _read_imagej(path: Path) -> tuple[np.ndarray, Any, list[str], Any]:
    """Read tags with Pillow; ImageJ's own tags are taken apart here."""
    with Image.open(path) as image:
        tags = image.tag_v2
        lines = tags[270].splitlines()
        meta = dict(line.split("=", 1) for line in lines if "=" in line)
        labels = _imagej_labels(tags.get(50838), tags.get(50839))
        size_um = float(meta["spacing"]), 1 / float(tags[283]), 1 / float(tags[282])
    assert meta["unit"] == "micron"
    num_channels, num_slices = (int(meta.get(n, 1)) for n in ("channels", "slices"))
    planes = _pages(path)
    data = planes.reshape(num_slices, num_channels, *planes.shape[1:])
    names = labels[:num_channels] or [""] * num_channels
    assert names * num_slices == (labels or [""] * (num_slices * num_channels))
    return data.swapaxes(0, 1), size_um, names, {}


def _imagej_labels(byte_counts: Any, content: bytes | None) -> list[str]:
    """Return the slice labels in the tag of ImageJ's metadata."""
    if content is None:
        return []
    order = "<" if content[:4] == b"JIJI" else ">"
    _, count = struct.unpack(f"{order}4sI", content[4:12])
    counts = byte_counts if isinstance(byte_counts, tuple) else (byte_counts,)
    assert content[4:8] in (b"lbal", b"labl")
    labels, offset = [], counts[0]
    encoding = "utf-16-le" if order == "<" else "utf-16-be"
    for size in counts[1 : 1 + count]:
        labels.append(content[offset : offset + size].decode(encoding))
        offset += size
    return labels
