from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from continual_repmode.data.volumes import open_volume, volume_shape
from continual_repmode.errors import UserError

SHARED = Path(__file__).parents[4] / "shared" / "data"
real_data = pytest.mark.skipif(not SHARED.is_dir(), reason="no real volumes here")


def stack(*shape: int, dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape).astype(dtype)


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


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_either_byte_order_arrives_in_that_of_this_machine(
    tmp_path: Path, byteorder: Any, compression: Any
) -> None:
    data = stack(2, 4, 12, 10)
    tifffile.imwrite(
        tmp_path / "a.tif", data, byteorder=byteorder, compression=compression,
        ome=True, metadata={"axes": "CZYX"},
    )  # fmt: skip

    volume = open_volume(tmp_path / "a.tif")

    assert volume.dtype == np.dtype("uint16")
    assert volume.read_channel(1).dtype.isnative
    np.testing.assert_array_equal(volume.read_channel(1), data[1])


@pytest.mark.parametrize("axes", ["ZCYX", "CZYX", "TCZYX", "TZCYX", "CTZYX", "ZTCYX"])
def test_any_axis_order_reads_the_same_channel(tmp_path: Path, axes: str) -> None:
    volume_czyx = stack(3, 4, 12, 10)
    order = ["CZYX".index(axis) for axis in axes.replace("T", "")]
    data = volume_czyx.transpose(order)
    if "T" in axes:
        data = np.expand_dims(data, axes.index("T"))
    write_ome(tmp_path / "a.ome.tif", data, axes=axes)

    volume = open_volume(tmp_path / "a.ome.tif")

    assert volume.axes == axes.replace("T", "")
    assert volume_shape(volume) == (4, 12, 10)
    for channel in range(3):
        np.testing.assert_array_equal(
            volume.read_channel(channel), volume_czyx[channel]
        )


@pytest.mark.parametrize(
    ("axes", "shape"), [("ZYXS", (5, 12, 10, 1)), ("TZYX", (1, 5, 12, 10))]
)
def test_axes_of_length_one_do_not_count(
    tmp_path: Path, axes: str, shape: tuple[int, ...]
) -> None:
    data = stack(*shape)
    tifffile.imwrite(
        tmp_path / "a.tif", data, photometric="minisblack", metadata={"axes": axes}
    )

    volume = open_volume(tmp_path / "a.tif")

    assert (volume.axes, volume.shape) == ("ZYX", (5, 12, 10))
    np.testing.assert_array_equal(volume.read_channel(0), data.reshape(5, 12, 10))


def test_some_planes_can_be_read_alone(tmp_path: Path) -> None:
    data = stack(2, 6, 12, 10)
    volume = open_volume(write_ome(tmp_path / "a.ome.tif", data))

    np.testing.assert_array_equal(volume.read_channel(1, slice(2, 4)), data[1, 2:4])
    assert volume.read_channel(1, slice(2, 2)).shape == (0, 12, 10)


def test_a_flat_image_has_one_plane(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", stack(12, 10))

    assert open_volume(tmp_path / "a.tif").read_channel(0).shape == (1, 12, 10)


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
    path = write_ome(
        tmp_path / "a.ome.tif",
        stack(4, 12, 10),
        axes="ZYX",
        PhysicalSizeZ=0.0, PhysicalSizeY=1.0, PhysicalSizeYUnit="pixel",
    )  # fmt: skip

    assert open_volume(path).voxel_size_um == (None, None, None)


@pytest.mark.parametrize(
    ("unit", "micrometres"),
    [
        ("micron", 1.0), ("microns", 1.0), ("um", 1.0), ("\\u00B5m", 1.0),
        ("nm", 1e-3), ("mm", 1e3), ("cm", 1e4), ("inch", 25400.0),
    ],
)  # fmt: skip
def test_imagej_calibration_in_any_unit(
    tmp_path: Path, unit: str, micrometres: float
) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", stack(6, 12, 10), imagej=True, resolution=(8.0, 4.0),
        metadata={"axes": "ZYX", "spacing": 3.0, "unit": unit},
    )  # fmt: skip

    expected = (3.0 * micrometres, 0.25 * micrometres, 0.125 * micrometres)
    assert open_volume(tmp_path / "a.tif").voxel_size_um == pytest.approx(expected)


@pytest.mark.parametrize("metadata", [{}, {"unit": "pixel", "spacing": 2.0}])
def test_imagej_without_a_unit_of_length_is_uncalibrated(
    tmp_path: Path, metadata: dict[str, Any]
) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", stack(6, 12, 10), imagej=True, resolution=(8.0, 4.0),
        metadata={"axes": "ZYX", **metadata},
    )  # fmt: skip

    assert open_volume(tmp_path / "a.tif").voxel_size_um == (None, None, None)


def test_imagej_without_spacing_leaves_only_z_unknown(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", stack(6, 12, 10), imagej=True, resolution=(8.0, 4.0),
        metadata={"axes": "ZYX", "unit": "um"},
    )  # fmt: skip

    assert open_volume(tmp_path / "a.tif").voxel_size_um == (None, 0.25, 0.125)


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


@pytest.mark.parametrize("name", ["set.companion.ome", "z0.ome.tif", "z2.ome.tif"])
def test_a_stack_over_several_files_opens_by_any_of_them(
    tmp_path: Path, name: str
) -> None:
    data = stack(4, 12, 10)
    write_parts(tmp_path, data)

    volume = open_volume(tmp_path / name)

    assert (volume.axes, volume.shape) == ("ZYX", (4, 12, 10))
    assert volume.voxel_size_um == (0.5, None, None)
    assert volume.channel_names == ("light",)
    np.testing.assert_array_equal(volume.read_channel(0), data)


def test_a_stack_lacking_one_of_its_files_names_it(tmp_path: Path) -> None:
    write_parts(tmp_path, stack(4, 12, 10))
    (tmp_path / "z1.ome.tif").unlink()
    with pytest.raises(UserError, match=r"not beside it: z1\.ome\.tif"):
        open_volume(tmp_path / "z0.ome.tif")

    (tmp_path / "set.companion.ome").unlink()
    with pytest.raises(UserError, match=r"metadata file set\.companion\.ome is not"):
        open_volume(tmp_path / "z0.ome.tif")


@pytest.mark.parametrize(
    ("shape", "axes", "message"),
    [
        (
            (3, 4, 12, 10),
            "TZYX",
            r"3 time points \(axes TZYX .*save one time point per file",
        ),
        ((4, 12, 10, 3), "ZYXS", r"3 colour samples per pixel .*as channels"),
    ],
)
def test_what_is_not_one_volume_is_refused(
    tmp_path: Path, shape: tuple[int, ...], axes: str, message: str
) -> None:
    photometric = "rgb" if "S" in axes else "minisblack"
    tifffile.imwrite(
        tmp_path / "a.ome.tif", stack(*shape, dtype="uint8"), ome=True,
        photometric=photometric, metadata={"axes": axes},
    )  # fmt: skip

    with pytest.raises(UserError, match=message):
        open_volume(tmp_path / "a.ome.tif")


def test_unnamed_axes_are_refused_as_soon_as_they_are_ambiguous(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", stack(2, 5, 12, 10))

    with pytest.raises(UserError, match="axes are named channel, z, y, x"):
        open_volume(tmp_path / "a.tif")


def test_two_images_in_one_file_are_refused_with_their_shapes(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(stack(5, 12, 10))
        tif.write(stack(6, 8, 8))

    with pytest.raises(UserError, match=r"holds 2 images .*5, 12, 10.*6, 8, 8"):
        open_volume(tmp_path / "a.tif")


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", stack(5, 12, 10).astype(np.complex64))

    with pytest.raises(UserError, match="save them as integers or floats"):
        open_volume(tmp_path / "a.tif")


@pytest.mark.skipif(
    5 in tifffile.TIFF.DECOMPRESSORS, reason="the extra package is installed"
)
def test_a_compression_that_needs_the_extra_says_so_before_reading(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack(5, 12, 10), compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as tif:
        for page in tif.pages:
            page.tags["Compression"].overwrite(5)

    with pytest.raises(UserError, match=r"LZW .*pip install 'continual-repmode\[comp"):
        open_volume(path)


@pytest.mark.parametrize("content", [b"", b"no image", b"II*\0\xff\xff\xff\xff"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tif").write_bytes(content)

    with pytest.raises(UserError, match=r"a\.tif: not a readable TIFF file"):
        open_volume(tmp_path / "a.tif")


@real_data
@pytest.mark.parametrize(
    ("name", "axes", "shape", "dtype", "voxel_size_um"),
    [
        ("fnet-dna/run_170622_174530_whole_cropped_light.tif", "ZYX", (32, 128, 128),
         "float32", (None, None, None)),
        ("allen-cell-tuba1b/AICS-12_881_cell1_bf_fluor.ome.tif", "CZYX",
         (4, 42, 82, 85), "uint8", (0.29, 0.331, 0.294)),
        ("allen-fov-tuba1b/AICS-12_881_bf_seg.ome.tif", "CZYX", (4, 57, 204, 341),
         "uint8", (0.29, 0.331, 0.294)),
        ("allen-fov-sec61b/AICS-10_5_5_bf_seg.ome.tif", "CZYX", (4, 65, 292, 204),
         "uint8", (0.29, 0.110, 0.0975)),
        ("allen-mitosis/FBL_M1.ome.tif", "CZYX", (3, 35, 88, 119), "uint8",
         (None, None, None)),
        ("raj-fish/trans001.tiff", "ZYX", (5, 512, 512), "uint16", (None, None, None)),
        ("isl-neurons/phase_contrast_z13.tif", "ZYX", (13, 192, 192), "uint16",
         (None, None, None)),
        ("tiff-readers/xyz_8bit__mitotic_plate_calibrated.tif", "ZYX", (6, 263, 263),
         "uint8", (3.0, 0.0852, 0.0852)),
        ("tiff-readers/xyzc_8bit_spheres.tif", "ZCYX", (25, 2, 50, 50), "uint8",
         (2.0, 1.0, 1.0)),
        ("tiff-readers/multifile/multifile-Z3.ome.tiff", "ZYX", (5, 24, 18), "uint8",
         (None, None, None)),
    ],
)  # fmt: skip
def test_real_files_read_as_documented(
    name: str,
    axes: str,
    shape: tuple[int, ...],
    dtype: str,
    voxel_size_um: tuple[float | None, ...],
) -> None:
    volume = open_volume(SHARED / name)

    assert (volume.axes, volume.shape) == (axes, shape)
    assert volume.dtype == np.dtype(dtype)
    for found, stated in zip(volume.voxel_size_um, voxel_size_um, strict=True):
        assert found is stated is None or found == pytest.approx(stated, abs=1e-3)
    last = len(volume.channel_names) - 1
    pixels = volume.read_channel(last)
    assert pixels.shape == volume_shape(volume)
    assert pixels.max() > pixels.min()


@real_data
def test_real_intensities_are_the_documented_ones() -> None:
    folder = SHARED / "fnet-dna"
    light = open_volume(folder / "run_170622_174530_whole_cropped_light.tif")
    nuclei = open_volume(folder / "run_170622_174530_whole_cropped_nuc.tif")

    assert light.read_channel(0).min() == pytest.approx(0.20, abs=0.01)
    assert light.read_channel(0).max() == pytest.approx(0.99, abs=0.01)
    assert nuclei.read_channel(0).min() == pytest.approx(0.17, abs=0.01)
    assert nuclei.read_channel(0).max() == pytest.approx(0.68, abs=0.01)
