"""Damaged and misleading TIFF files: one line of an error each, in little memory."""

from pathlib import Path
from typing import Any

import tifffile

from tests.unit.volumes.formats.sharing import one_line_error, read_all, stack


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
