"""Damaged and misleading TIFF files: one line of an error each, in little memory."""

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from continual_repmode.errors import UserError
from continual_repmode.volumes.opening import open_volume


def stack(*shape: int, dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape).astype(dtype)


def one_line_error(path: Path, case: object = "") -> str:
    """Return the message of the error on opening a file or reading all of it."""
    tracemalloc.start()
    try:
        read_all(path)
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


def read_all(path: Path) -> None:
    volume = open_volume(path)
    for channel in range(len(volume.channel_names)):
        volume.read_channel(channel)


KINDS: dict[str, dict[str, Any]] = {
    "ome": {"ome": True, "metadata": {"axes": "ZYX"}},
    "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
    "pages": {"metadata": None},
    "deflate": {"compression": "zlib"},
    "big": {"bigtiff": True, "byteorder": ">"},
}


def test_a_truncated_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for kind, options in KINDS.items():
        tifffile.imwrite(path, stack(3, 16, 16), photometric="minisblack", **options)
        content = path.read_bytes()
        read_all(path)
        for part in range(1, 24):
            path.write_bytes(content[: part * len(content) // 24])
            one_line_error(path, (kind, part))


def test_what_is_no_tiff_is_named(tmp_path: Path) -> None:
    for content in (b"II", b"no image", b"II*\0\xff\xff\xff\xff"):
        (tmp_path / "a.tif").write_bytes(content)
        assert "a.tif: not a readable TIFF" in one_line_error(tmp_path / "a.tif")


def patched(path: Path, **tags: Any) -> Path:
    """Give tags of the first page other values."""
    with tifffile.TiffFile(path, mode="r+") as tif:
        for name, value in tags.items():
            tif.pages.first.tags[name].overwrite(value)
    return path


def plain(path: Path, **options: Any) -> Path:
    tifffile.imwrite(path, stack(3, 16, 16), photometric="minisblack", **options)
    return path


def test_absurd_tags_are_one_line(tmp_path: Path) -> None:
    for tags in (
        {"ImageWidth": 2**31, "ImageLength": 2**31},
        {"ImageLength": 100_000, "ImageWidth": 100_000},
        {"StripOffsets": 2**31}, {"StripByteCounts": 2**31}, {"StripByteCounts": 5},
        {"BitsPerSample": 13}, {"Compression": 7}, {"Compression": 65000},
        {"SamplesPerPixel": 60_000},
    ):  # fmt: skip
        path = patched(plain(tmp_path / "a.tif", metadata=None), **tags)
        one_line_error(path, tags)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_pages_in_a_circle_are_one_line(tmp_path: Path, byteorder: Any) -> None:
    path = plain(tmp_path / "a.tif", metadata=None, byteorder=byteorder)
    with tifffile.TiffFile(path) as tif:
        second, last = tif.pages[1].offset, tif.pages[2].offset
    content = bytearray(path.read_bytes())
    (num_tags,) = struct.unpack_from(f"{byteorder}H", content, last)
    struct.pack_into(f"{byteorder}I", content, last + 2 + 12 * num_tags, second)
    path.write_bytes(content)

    assert "its pages form a circle" in one_line_error(path)


IMAGEJ = "ImageJ=1.53\nimages={n}\nslices={n}\nhyperstack=true\n"


def test_a_description_that_promises_more_planes_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for description in (
        IMAGEJ.format(n=10**12), IMAGEJ.format(n=-3), IMAGEJ.format(n=4),
        '{"shape": [1000000000, 16, 16]}', '{"shape": [3000000, 16, 16]}',
        '{"shape": "x"}', '{"shape": [4, 16, 16]}',
    ):  # fmt: skip
        tifffile.imwrite(path, stack(16, 16), description=description, metadata=None)
        one_line_error(path, description)


PIXELS = (
    '<Pixels DimensionOrder="XYZCT" SizeC="1" SizeT="1" SizeZ="3" SizeY="16" '
    'SizeX="16"><TiffData/></Pixels>'
)


OME_FAULTS = [
    ('SizeZ="3"', 'SizeZ="3000000000"'), ('SizeZ="3"', 'SizeZ="-3"'),
    ('SizeZ="3"', 'SizeZ="three"'), ('SizeZ="3"', ""), ('SizeZ="3"', 'SizeZ="4"'),
    ('SizeT="1"', 'SizeT="1000000"'), ('SizeC="1"', 'SizeC="0"'),
    ('SizeX="16"', 'SizeX="160000000"'), ('SizeX="16"', 'SizeX="15"'),
    ("XYZCT", "XYZZT"), ("XYZCT", ""), ("XYZCT", "ZYXCT"),
    ("<TiffData/>", '<TiffData IFD="99"/>'),
    ("<TiffData/>", '<TiffData IFD="0"/>'),
    ("<TiffData/>", '<TiffData FirstZ="3"/>'),
    ("<TiffData/>", '<TiffData PlaneCount="999999999999"/>'),
    ("<TiffData/>", '<TiffData><UUID FileName="gone.tif">u</UUID></TiffData>'
                    '<TiffData><UUID FileName="b.tif">v</UUID></TiffData>'),
    ("<TiffData/>", '<TiffData><UUID FileName="../b.tif">u</UUID></TiffData>'),
    ("<TiffData/>", '<TiffData><UUID FileName="/etc/b.tif">u</UUID></TiffData>'),
    ("<TiffData/>", "<TiffData><UUID>u</UUID></TiffData>"),
    ("<TiffData/>", "<MetadataOnly/>"), ("</Pixels>", ""), (PIXELS, ""),
    ("</Image>", '</Image><ModuloAlongZ Type="lifetime"/>'),
]  # fmt: skip


def test_faults_of_ome_metadata_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    xml = f"<OME><Image>{PIXELS}</Image></OME>"
    plain(path, description=xml, metadata=None)
    read_all(path)
    for old, new in OME_FAULTS:
        plain(path, description=xml.replace(old, new), metadata=None)
        one_line_error(path, (old, new))


def test_a_companion_without_an_image_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.companion.ome"
    pointer = '<OME><BinaryOnly MetadataFile="b.ome"/></OME>'
    for xml in ("", "no xml", "<OME/>", pointer):
        path.write_text(xml)
        one_line_error(path, xml)


def test_planes_unlike_the_first_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    xml = f"<OME><Image>{PIXELS}</Image></OME>"
    with tifffile.TiffWriter(path) as tif:
        tif.write(stack(16, 16), description=xml, metadata=None)
        tif.write(stack(16, 12), metadata=None)
        tif.write(stack(16, 16), metadata=None)

    assert "page 1 is (16, 12) uint16, unlike the others" in one_line_error(path)
