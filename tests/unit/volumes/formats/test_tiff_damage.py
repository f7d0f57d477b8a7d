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


@pytest.mark.parametrize("content", [b"II", b"no image", b"II*\0\xff\xff\xff\xff"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tif").write_bytes(content)

    with pytest.raises(UserError, match=r"a\.tif: not a readable TIFF file"):
        open_volume(tmp_path / "a.tif")


def one_line_error(path: Path) -> str:
    """Return the message of the error on opening a file or reading all of it."""
    tracemalloc.start()
    with pytest.raises(UserError) as error:
        read_all(path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 64e6
    assert "\n" not in str(error.value)
    assert str(path.parent) in str(error.value)
    return str(error.value)


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [k / 24 for k in range(1, 24)])
def test_a_truncated_file_is_one_line(tmp_path: Path, kind: str, part: float) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack(3, 16, 16), photometric="minisblack", **KINDS[kind])
    content = path.read_bytes()
    read_all(path)
    path.write_bytes(content[: int(part * len(content))])

    one_line_error(path)


def patched(path: Path, **tags: Any) -> Path:
    """Give tags of the first page other values."""
    with tifffile.TiffFile(path, mode="r+") as tif:
        for name, value in tags.items():
            tif.pages.first.tags[name].overwrite(value)
    return path


def plain(path: Path, **options: Any) -> Path:
    tifffile.imwrite(path, stack(3, 16, 16), photometric="minisblack", **options)
    return path


@pytest.mark.parametrize(
    "tags",
    [
        {"ImageWidth": 2**31, "ImageLength": 2**31},
        {"ImageLength": 100_000, "ImageWidth": 100_000},
        {"StripOffsets": 2**31}, {"StripByteCounts": 2**31}, {"StripByteCounts": 5},
        {"BitsPerSample": 13}, {"Compression": 7}, {"Compression": 65000},
        {"SamplesPerPixel": 60_000},
    ],
)  # fmt: skip
def test_absurd_tags_are_one_line(tmp_path: Path, tags: dict[str, int]) -> None:
    one_line_error(patched(plain(tmp_path / "a.tif", metadata=None), **tags))


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


@pytest.mark.parametrize(
    "description",
    [
        IMAGEJ.format(n=10**12), IMAGEJ.format(n=-3), IMAGEJ.format(n=4),
        '{"shape": [1000000000, 16, 16]}', '{"shape": [3000000, 16, 16]}',
        '{"shape": "x"}', '{"shape": [4, 16, 16]}',
    ],
)  # fmt: skip
def test_a_description_that_promises_more_planes_is_one_line(
    tmp_path: Path, description: str
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack(16, 16), description=description, metadata=None)

    one_line_error(path)


PIXELS = (
    '<Pixels DimensionOrder="XYZCT" SizeC="1" SizeT="1" SizeZ="3" SizeY="16" '
    'SizeX="16"><TiffData/></Pixels>'
)


@pytest.mark.parametrize(
    ("old", "new"),
    [
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
    ],
)  # fmt: skip
def test_faults_of_ome_metadata_are_one_line(
    tmp_path: Path, old: str, new: str
) -> None:
    path = tmp_path / "a.ome.tif"
    xml = f"<OME><Image>{PIXELS}</Image></OME>"
    plain(path, description=xml, metadata=None)
    read_all(path)
    plain(path, description=xml.replace(old, new), metadata=None)

    one_line_error(path)


@pytest.mark.parametrize(
    "xml", ["", "no xml", "<OME/>", '<OME><BinaryOnly MetadataFile="b.ome"/></OME>']
)
def test_a_companion_without_an_image_is_one_line(tmp_path: Path, xml: str) -> None:
    (tmp_path / "a.companion.ome").write_text(xml)

    one_line_error(tmp_path / "a.companion.ome")


def test_planes_unlike_the_first_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    xml = f"<OME><Image>{PIXELS}</Image></OME>"
    with tifffile.TiffWriter(path) as tif:
        tif.write(stack(16, 16), description=xml, metadata=None)
        tif.write(stack(16, 12), metadata=None)
        tif.write(stack(16, 16), metadata=None)

    assert "page 1 is (16, 12) uint16, unlike the others" in one_line_error(path)
