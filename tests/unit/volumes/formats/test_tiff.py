import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from continual_repmode.errors import UserError
from continual_repmode.volumes.opening import open_volume
from continual_repmode.volumes.volume import volume_shape
from tests.unit.volumes.formats.sharing import read_all, stack

SHARED = Path(__file__).parents[5] / "shared" / "data"
real_data = pytest.mark.skipif(not SHARED.is_dir(), reason="no real volumes here")


def write_ome(
    path: Path, data: np.ndarray, axes: str = "CZYX", **metadata: Any
) -> Path:
    tifffile.imwrite(path, data, ome=True, metadata={"axes": axes, **metadata})
    return path


def test_plain_pages_are_z_planes_of_unknown_size_whatever_their_dpi(
    tmp_path: Path,
) -> None:
    planes = stack(5, 12, 10)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for plane in planes:
            tif.write(plane, resolution=(72, 72), resolutionunit="INCH", metadata=None)

    volume = open_volume(tmp_path / "a.tif")

    assert (volume.axes, volume.shape) == ("ZYX", (5, 12, 10))
    assert volume.voxel_size_um == (None, None, None)
    assert volume.channel_names == ("",)
    np.testing.assert_array_equal(volume.read_channel(0), planes)


def test_compressions_of_other_programs_are_read(tmp_path: Path) -> None:
    planes = stack(5, 12, 10)
    first, *others = map(Image.fromarray, planes)
    pages = {"save_all": True, "append_images": others}
    for compression in ("packbits", "tiff_deflate"):
        first.save(tmp_path / "a.tif", **pages, compression=compression)
        volume = open_volume(tmp_path / "a.tif")
        assert (volume.axes, volume.voxel_size_um) == ("ZYX", (None, None, None))
        np.testing.assert_array_equal(volume.read_channel(0), planes)
    for compression in ("lzw", "zstd", "jpeg2000"):  # of the extra
        tifffile.imwrite(
            tmp_path / "a.tif", planes, compression=compression,
            compressionargs={"reversible": True} if "j" in compression else None,
            metadata={"axes": "ZYX"},
        )  # fmt: skip
        np.testing.assert_array_equal(read_all(tmp_path / "a.tif")[0], planes)


def test_what_the_metadata_say_of_bytes_and_letters_is_left_aside(
    tmp_path: Path,
) -> None:
    """As older software of the Allen Institute writes it."""
    planes = stack(3, 16, 16).astype("float32")
    xml = (
        '<?xml version="1.0" encoding="ANSI_X3.4-1968"?><OME><Image>'
        '<Pixels BigEndian="true" DimensionOrder="XYZCT" SizeC="1" SizeT="1" SizeZ="3" '
        'SizeY="16" SizeX="16"><Channel Name="C:0"/><TiffData/></Pixels></Image></OME>'
    )
    tifffile.imwrite(
        tmp_path / "a.tif", planes, byteorder="<", compression=32946, description=xml,
        metadata=None, photometric="minisblack",
    )  # fmt: skip

    volume = open_volume(tmp_path / "a.tif")

    assert volume.channel_names == ("C:0",)
    np.testing.assert_array_equal(volume.read_channel(0), planes)


def test_either_byte_order_and_layout_arrives_in_that_of_this_machine(
    tmp_path: Path,
) -> None:
    data = stack(2, 4, 12, 10)
    path = tmp_path / "a.tif"
    for order, compression, ome, big in product(
        "<>", (None, "zlib"), (True, False), (True, False)
    ):
        tifffile.imwrite(
            path, data if ome else data[0], byteorder=order, compression=compression,
            ome=ome, bigtiff=big, metadata={"axes": "CZYX" if ome else "ZYX"},
            photometric="minisblack",
        )  # fmt: skip
        volume = open_volume(path)
        channel = volume.read_channel(1 if ome else 0)
        assert volume.dtype == np.dtype("uint16")
        assert channel.dtype.isnative
        np.testing.assert_array_equal(channel, data[1 if ome else 0])


def test_any_axis_order_reads_the_same_channel(tmp_path: Path) -> None:
    volume_czyx = stack(3, 4, 12, 10)
    for axes in ("ZCYX", "CZYX", "TCZYX", "TZCYX", "CTZYX", "ZTCYX"):
        order = ["CZYX".index(axis) for axis in axes.replace("T", "")]
        data = volume_czyx.transpose(order)
        if "T" in axes:
            data = np.expand_dims(data, axes.index("T"))
        path = write_ome(tmp_path / f"{axes}.ome.tif", data, axes=axes)
        volume = open_volume(path)
        assert volume.axes == axes.replace("T", "")
        assert volume_shape(volume) == (4, 12, 10)
        np.testing.assert_array_equal(read_all(path), volume_czyx)
    # axes of length one do not count
    for axes, shape in (("ZYXS", (5, 12, 10, 1)), ("TZYX", (1, 5, 12, 10))):
        data, path = stack(*shape), tmp_path / f"{axes}.tif"
        tifffile.imwrite(path, data, photometric="minisblack", metadata={"axes": axes})
        volume = open_volume(path)
        assert (volume.axes, volume.shape) == ("ZYX", (5, 12, 10))
        np.testing.assert_array_equal(read_all(path)[0], data.reshape(5, 12, 10))


def test_some_planes_can_be_read_alone(tmp_path: Path) -> None:
    data = stack(2, 6, 12, 10)
    volume = open_volume(write_ome(tmp_path / "a.ome.tif", data))

    np.testing.assert_array_equal(volume.read_channel(1, slice(2, 4)), data[1, 2:4])
    assert volume.read_channel(1, slice(2, 2)).shape == (0, 12, 10)


def test_reading_one_channel_decodes_no_other(tmp_path: Path) -> None:
    data = stack(2, 4, 32, 32)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path, data, ome=True, metadata={"axes": "CZYX"}, compression="zlib"
    )
    with tifffile.TiffFile(path) as tif:
        offset, length = tif.pages[6].dataoffsets[0], tif.pages[6].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + length] = b"x" * length
    path.write_bytes(content)

    volume = open_volume(path)

    np.testing.assert_array_equal(volume.read_channel(0), data[0])
    with pytest.raises(UserError, match=r"a\.ome\.tif: damaged pixel data"):
        volume.read_channel(1)


def test_ome_names_and_sizes_in_any_unit(tmp_path: Path) -> None:
    path = write_ome(
        tmp_path / "a.ome.tif",
        stack(2, 4, 12, 10),
        Channel={"Name": ["light", "DNA"]},
        PhysicalSizeZ=290.0, PhysicalSizeZUnit="nm",
        PhysicalSizeY=0.108, PhysicalSizeYUnit="µm",
        PhysicalSizeX=0.000108, PhysicalSizeXUnit="mm",
    )  # fmt: skip

    volume = open_volume(path)

    assert volume.channel_names == ("light", "DNA")
    assert volume.voxel_size_um == pytest.approx((0.29, 0.108, 0.108))
    np.testing.assert_array_equal(volume.read_channel("DNA"), volume.read_channel(1))


def test_ome_sizes_that_are_no_lengths_are_unknown(tmp_path: Path) -> None:
    sizes = {"PhysicalSizeZ": 0.0, "PhysicalSizeY": 1.0, "PhysicalSizeYUnit": "pixel"}
    path = write_ome(tmp_path / "a.ome.tif", stack(4, 12, 10), axes="ZYX", **sizes)

    assert open_volume(path).voxel_size_um == (None, None, None)


MICROMETRES = {
    "micron": 1.0, "microns": 1.0, "um": 1.0, "\\u00B5m": 1.0, "nm": 1e-3, "mm": 1e3,
    "cm": 1e4, "inch": 25400.0,
}  # fmt: skip


def test_imagej_calibration_in_any_unit(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], Any]] = [
        ({"spacing": 3.0, "unit": unit}, (3.0 * um, 0.25 * um, 0.125 * um))
        for unit, um in MICROMETRES.items()
    ]
    for calibration, voxel_size_um in (
        *cases,
        ({}, None), ({"unit": "pixel", "spacing": 2.0}, None),
        ({"unit": "um"}, (None, 0.25, 0.125)),
    ):  # fmt: skip
        tifffile.imwrite(
            tmp_path / "a.tif", stack(6, 12, 10), imagej=True, resolution=(8.0, 4.0),
            metadata={"axes": "ZYX", **calibration},
        )  # fmt: skip
        found = open_volume(tmp_path / "a.tif").voxel_size_um
        for size, expected in zip(found, voxel_size_um or [None] * 3, strict=True):
            assert size == (None if expected is None else pytest.approx(expected))


def test_a_resolution_of_zero_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, stack(6, 12, 10), imagej=True, resolution=(8.0, 4.0),
        metadata={"axes": "ZYX", "unit": "um", "spacing": 0.5},
    )  # fmt: skip
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages.first.tags["XResolution"].overwrite((0, 1))

    assert open_volume(path).voxel_size_um == (0.5, 0.25, None)


def test_imagej_channels_are_apart_though_one_header_describes_all(
    tmp_path: Path,
) -> None:
    data = stack(6, 2, 12, 10)
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True, metadata={"axes": "ZCYX"})

    volume = open_volume(tmp_path / "a.tif")

    assert volume.axes == "ZCYX"
    np.testing.assert_array_equal(volume.read_channel(1), data[:, 1])


def write_parts(folder: Path, data: np.ndarray) -> None:
    """Write a stack (Z, Y, X) as one file per plane with a companion file."""
    ome = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    tiff_data = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="z{z}.ome.tif">'
        f"urn:uuid:0000000{z}-0000-0000-0000-000000000000</UUID></TiffData>"
        for z in range(len(data))
    )
    companion = (
        f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{ome}"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeC="1" '
        f'SizeT="1" SizeZ="{data.shape[0]}" SizeY="{data.shape[1]}" '
        f'SizeX="{data.shape[2]}" PhysicalSizeZ="0.5">'
        f'<Channel ID="Channel:0:0" Name="light"/>{tiff_data}'
        "</Pixels></Image></OME>"
    )
    (folder / "set.companion.ome").write_text(companion, encoding="utf-8")
    for z, plane in enumerate(data):
        own = (
            f'<?xml version="1.0" encoding="UTF-8"?><OME xmlns="{ome}" UUID="urn:uuid:'
            f'0000000{z}-0000-0000-0000-000000000000"><BinaryOnly '
            'MetadataFile="set.companion.ome" UUID="urn:uuid:1"/></OME>'
        )
        tifffile.imwrite(
            folder / f"z{z}.ome.tif", plane, description=own, metadata=None
        )


def test_a_stack_over_several_files_opens_by_any_of_them(tmp_path: Path) -> None:
    data = stack(4, 12, 10)
    write_parts(tmp_path, data)

    for name in ("set.companion.ome", "z0.ome.tif", "z2.ome.tif"):
        volume = open_volume(tmp_path / name)
        assert (volume.axes, volume.shape) == ("ZYX", (4, 12, 10))
        assert volume.voxel_size_um == (0.5, None, None)
        assert volume.channel_names == ("light",)
        np.testing.assert_array_equal(volume.read_channel(0), data)
        assert [file.name for file in volume.files] == [
            "set.companion.ome", *(f"z{z}.ome.tif" for z in range(4))
        ]  # fmt: skip


def test_each_file_of_a_set_with_several_images_offers_its_own(tmp_path: Path) -> None:
    scenes = {"p0.ome.tif": stack(4, 12, 10), "p1.ome.tif": stack(4, 12, 10) + 9}
    images = "".join(
        f'<Image ID="Image:{i}" Name="position {i}"><Pixels DimensionOrder="XYZCT" '
        'Type="uint16" SizeC="1" SizeT="1" SizeZ="4" SizeY="12" SizeX="10"><TiffData>'
        f'<UUID FileName="{name}">urn:uuid:{i}</UUID></TiffData></Pixels></Image>'
        for i, name in enumerate(scenes)
    )
    for i, (name, planes) in enumerate(scenes.items()):
        xml = f'<OME UUID="urn:uuid:{i}">{images}</OME>'
        tifffile.imwrite(
            tmp_path / name, planes, photometric="minisblack", description=xml,
            metadata=None,
        )  # fmt: skip

    for name, planes in scenes.items():
        volume = open_volume(tmp_path / name)
        assert (volume.chosen, volume.files) == ((), (tmp_path / name,))
        np.testing.assert_array_equal(volume.read_channel(0), planes)


def test_a_file_alone_may_be_renamed(tmp_path: Path) -> None:
    data = stack(4, 12, 10)
    xml = (
        '<OME><Image><Pixels DimensionOrder="XYZCT" SizeC="1" SizeT="1" SizeZ="4" '
        'SizeY="12" SizeX="10"><TiffData><UUID FileName="old.ome.tif">urn:uuid:1'
        "</UUID></TiffData></Pixels></Image></OME>"
    )
    tifffile.imwrite(
        tmp_path / "new.ome.tif", data, photometric="minisblack", description=xml,
        metadata=None,
    )  # fmt: skip

    np.testing.assert_array_equal(
        open_volume(tmp_path / "new.ome.tif").read_channel(0), data
    )


def test_a_stack_lacking_one_of_its_files_names_it(tmp_path: Path) -> None:
    write_parts(tmp_path, stack(4, 12, 10))
    (tmp_path / "z1.ome.tif").unlink()
    with pytest.raises(UserError, match=r"missing from its folder: z1\.ome\.tif"):
        open_volume(tmp_path / "z0.ome.tif")

    (tmp_path / "set.companion.ome").unlink()
    with pytest.raises(UserError, match=r"metadata file set\.companion\.ome is not"):
        open_volume(tmp_path / "z0.ome.tif")


def test_an_unfetched_part_of_a_set_is_named(tmp_path: Path) -> None:
    write_parts(tmp_path, stack(4, 12, 10))
    (tmp_path / "z1.ome.tif").write_text("version https://git-lfs.github.com/spec/v1")

    with pytest.raises(UserError, match=r"z1\.ome\.tif: only a pointer to the real"):
        open_volume(tmp_path / "set.companion.ome").read_channel(0)


@pytest.mark.parametrize(
    ("kind", "axes"), [("ome", "TCZYX"), ("ome", "ZTCYX"), ("imagej", "TZCYX")]
)
def test_one_of_several_time_points_is_chosen(
    tmp_path: Path, kind: str, axes: str
) -> None:
    times_tczyx = stack(3, 2, 4, 12, 10)
    data = times_tczyx.transpose(["TCZYX".index(axis) for axis in axes])
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, **{kind: True}, metadata={"axes": axes})

    volume = open_volume(path, {"time": "2"})

    assert volume.axes == axes.replace("T", "")
    assert volume.chosen == (("time", "2"),)
    for channel in range(2):
        np.testing.assert_array_equal(
            volume.read_channel(channel), times_tczyx[2, channel]
        )
    with pytest.raises(UserError, match=r"holds 3 of 'time'; choose one: 0 to 2"):
        open_volume(path)
    with pytest.raises(UserError, match="no time '3'; choose from 0 to 2"):
        open_volume(path, {"time": "3"})


def test_z_planes_that_are_stored_as_something_else_are_told(tmp_path: Path) -> None:
    planes, few = stack(12, 14, 10), stack(3, 14, 10)
    names = [f"marker {k}" for k in range(12)]
    times = {"metadata": {"axes": "TYX"}}
    as_pages = tmp_path / "pages.tif"
    with tifffile.TiffWriter(as_pages) as tif:
        for plane in planes:
            tif.write(plane)
    for name, pixels, options, message in (
        ("times.tif", planes, {"imagej": True, **times}, "12 of 'time'"),
        ("times.ome.tif", planes, {"ome": True, **times}, "12 of 'time'"),
        ("channels.tif", planes, {"imagej": True}, "12 channels of one plane each"),
        (
            "channels.ome.tif", planes, {"ome": True, "metadata": {"axes": "CYX"}},
            "12 channels of one plane each",
        ),
        (
            "samples.tif", few, {"photometric": "rgb", "planarconfig": "separate"},
            "3 color samples",
        ),
        (
            "samples.ome.tif", stack(14, 10, 3), {"photometric": "rgb", "ome": True},
            "3 color samples",
        ),
    ):  # fmt: skip
        tifffile.imwrite(tmp_path / name, pixels, **options)
        with pytest.raises(UserError, match=f"{message}.*if these are the z planes"):
            open_volume(tmp_path / name)
    with pytest.raises(UserError, match=r"12 of 'scene'.*if these are the z planes"):
        open_volume(as_pages)
    assert open_volume(tmp_path / "times.tif", {"time": "4"}).shape == (14, 10)
    assert open_volume(as_pages, {"scene": "4"}).shape == (14, 10)
    # What is named stays what it is, and so do the remedies of the message.
    named = write_ome(tmp_path / "n.ome.tif", planes, "CYX", Channel={"Name": names})
    assert open_volume(named).shape == (12, 14, 10)
    for options in ({"metadata": {"axes": "ZYX"}}, {"imagej": True}):
        options["metadata"] = {"axes": "ZYX"}
        tifffile.imwrite(tmp_path / "mended.tif", planes, **options)
        mended = open_volume(tmp_path / "mended.tif")
        assert volume_shape(mended) == (12, 14, 10)
        assert np.array_equal(mended.read_channel(0), planes)


def test_a_choice_that_a_file_does_not_offer_is_refused(tmp_path: Path) -> None:
    path = write_ome(tmp_path / "a.ome.tif", stack(2, 4, 12, 10))

    assert open_volume(path, {"time": "0", "view": "0"}).chosen == ()
    with pytest.raises(UserError, match="no view '1'; choose from 0"):
        open_volume(path, {"view": "1"})
    with pytest.raises(UserError, match="no time '1'; choose from 0"):
        open_volume(path, {"time": "1"})


def test_unnamed_axes_are_refused_as_soon_as_they_are_ambiguous(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", stack(2, 5, 12, 10))

    with pytest.raises(UserError, match="axes are named channel, z, y, x"):
        open_volume(tmp_path / "a.tif")


def test_one_of_two_unnamed_images_is_chosen_by_index(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(stack(5, 12, 10))
        tif.write(stack(6, 8, 8))

    volume = open_volume(tmp_path / "a.tif", {"scene": "1"})

    assert (volume.shape, volume.chosen) == ((6, 8, 8), (("scene", "1"),))
    np.testing.assert_array_equal(volume.read_channel(0), stack(6, 8, 8))
    with pytest.raises(UserError, match=r"holds 2 of 'scene'.*5, 12, 10.*6, 8, 8"):
        open_volume(tmp_path / "a.tif")


def write_scenes(path: Path) -> list[np.ndarray]:
    scenes = [stack(2, 4, 12, 10), stack(3, 5, 8, 6) + 300]
    with tifffile.TiffWriter(path, ome=True) as tif:
        for number, scene in enumerate(scenes):
            names = [f"s{number}c{channel}" for channel in range(len(scene))]
            tif.write(
                scene,
                photometric="minisblack",
                metadata={
                    "axes": "CZYX", "Name": f"well {number}",
                    "PhysicalSizeZ": 0.5 + number, "Channel": {"Name": names},
                },
            )  # fmt: skip
    return scenes


def test_an_ome_scene_is_chosen_by_name_with_its_own_metadata(tmp_path: Path) -> None:
    scenes = write_scenes(tmp_path / "a.ome.tif")

    by_name = open_volume(tmp_path / "a.ome.tif", {"scene": "well 1"})
    by_index = open_volume(tmp_path / "a.ome.tif", {"scene": "1"})

    assert by_name == by_index
    assert by_name.chosen == (("scene", "1"),)
    assert by_name.shape == (3, 5, 8, 6)
    assert by_name.channel_names == ("s1c0", "s1c1", "s1c2")
    assert by_name.voxel_size_um == (1.5, None, None)
    np.testing.assert_array_equal(by_name.read_channel("s1c2"), scenes[1][2])
    with pytest.raises(UserError, match=r"0 to 1 \('well 0', 'well 1'\)"):
        open_volume(tmp_path / "a.ome.tif")


def test_a_pyramid_gives_its_full_resolution(tmp_path: Path) -> None:
    data = stack(2, 3, 32, 32)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", bigtiff=True) as tif:
        tif.write(data, subifds=1, metadata={"axes": "CZYX"}, tile=(16, 16))
        tif.write(data[..., ::2, ::2], subfiletype=1, tile=(16, 16))

    volume = open_volume(tmp_path / "a.ome.tif")

    assert volume.shape == (2, 3, 32, 32)
    np.testing.assert_array_equal(volume.read_channel(1), data[1])


def test_masks_labels_and_floats_keep_their_values(tmp_path: Path) -> None:
    for dtype in ("bool", "uint8", "uint32", "int16", "float64"):
        labels = (stack(4, 12, 10, dtype="int64") * 7919 % 70_001).astype(dtype)
        path = write_ome(tmp_path / f"{dtype}.ome.tif", labels, axes="ZYX")
        volume = open_volume(path)
        assert volume.dtype == volume.read_channel(0).dtype == labels.dtype
        np.testing.assert_array_equal(volume.read_channel(0), labels)


def test_bilevel_pages_of_one_bit_per_pixel_are_masks(tmp_path: Path) -> None:
    mask = stack(3, 12, 10) > 100
    Image.fromarray(mask[0]).save(
        tmp_path / "a.tif",
        save_all=True,
        append_images=[Image.fromarray(plane) for plane in mask[1:]],
    )

    volume = open_volume(tmp_path / "a.tif")

    assert volume.dtype == np.dtype(bool)
    np.testing.assert_array_equal(volume.read_channel(0), mask)


def test_imagej_slice_labels_that_a_channel_shares_are_its_name(tmp_path: Path) -> None:
    labels = ["light", "z1", "light", "z2", "light", "z3"]
    tifffile.imwrite(
        tmp_path / "a.tif", stack(3, 2, 12, 10), imagej=True,
        metadata={"axes": "ZCYX", "Labels": labels},
    )  # fmt: skip

    assert open_volume(tmp_path / "a.tif").channel_names == ("light", "")


def test_a_volume_keeps_no_file_open(tmp_path: Path) -> None:
    path = write_ome(tmp_path / "a.ome.tif", stack(2, 4, 12, 10))
    volume = open_volume(path)
    volume.read_channel(0)
    path.rename(tmp_path / "b.ome.tif")
    with pytest.raises(UserError, match=r"a\.ome\.tif"):
        volume.read_channel(1)


WITHOUT_THE_EXTRA = """
import sys
from itertools import product
from pathlib import Path
sys.modules["imagecodecs"] = None  # as if it were not installed
from continual_repmode.volumes.opening import open_volume
from continual_repmode.errors import UserError
for path in sys.argv[1:]:
    try:
        print(open_volume(Path(path)).read_channel(0).sum())
    except UserError as error:
        print(error)
"""


def test_only_uncommon_compressions_need_the_extra(tmp_path: Path) -> None:
    raw = stack(5, 12, 10, dtype="uint8")
    paths = [tmp_path / f"{name}.tif" for name in ("zlib", "packbits", "lzw")]
    for path in paths:
        tifffile.imwrite(path, raw, compression=path.stem)
    words = [sys.executable, "-c", WITHOUT_THE_EXTRA, *map(str, paths)]

    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout

    zlib, packbits, lzw = told.splitlines()
    assert zlib == packbits == f"{raw.sum()}"
    assert re.search(r"LZW .*pip install '\.\[compressed\]'", lzw)


REAL = [
    ("fnet-dna/run_170622_174530_whole_cropped_light.tif", "ZYX", (32, 128, 128),
     "float32", (None, None, None)),
    ("allen-cell-tuba1b/AICS-12_881_cell1_bf_fluor.ome.tif", "CZYX",
     (4, 42, 82, 85), "uint8", (0.29, 0.331, 0.294)),
    ("allen-fov-sec61b/AICS-10_5_5_bf_seg.ome.tif", "CZYX", (4, 65, 292, 204),
     "uint8", (0.29, 0.110, 0.0975)),
    ("allen-mitosis/FBL_M1.ome.tif", "CZYX", (3, 35, 88, 119), "uint8",
     (None, None, None)),
    ("raj-fish/trans001.tiff", "ZYX", (5, 512, 512), "uint16", (None, None, None)),
    ("isl-neurons/dapi_confocal_maxproj.tif", "YX", (192, 192), "uint16",
     (None, None, None)),
    ("isl-neurons/phase_contrast_z13.tif", "ZYX", (13, 192, 192), "uint16",
     (None, None, None)),
    ("tiff-readers/xyz_8bit__mitotic_plate_calibrated.tif", "ZYX", (6, 263, 263),
     "uint8", (3.0, 0.0852, 0.0852)),
    ("tiff-readers/xyzc_8bit_spheres.tif", "ZCYX", (25, 2, 50, 50), "uint8",
     (2.0, 1.0, 1.0)),
    ("tiff-readers/multifile/multifile-Z3.ome.tiff", "ZYX", (5, 24, 18), "uint8",
     (None, None, None)),
    ("tiff-readers/multifile/multifile.companion.ome", "ZYX", (5, 24, 18), "uint8",
     (None, None, None)),
]  # fmt: skip


@real_data
def test_real_files_read_as_documented() -> None:
    for name, axes, shape, dtype, voxel_size_um in REAL:
        volume = open_volume(SHARED / name)
        assert (volume.axes, volume.shape) == (axes, shape)
        assert volume.dtype == np.dtype(dtype)
        for found, stated in zip(volume.voxel_size_um, voxel_size_um, strict=True):
            assert found is stated is None or found == pytest.approx(stated, abs=1e-3)
        last = len(volume.channel_names) - 1
        pixels = volume.read_channel(last)
        assert pixels.shape == volume_shape(volume)
        assert pixels.max() > pixels.min()
