import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from continual_repmode.errors import UserError
from continual_repmode.volumes.formats.czi import CziVolume
from continual_repmode.volumes.opening import open_volume
from continual_repmode.volumes.volume import VolumeReader
from tests.unit.volumes.formats.sharing import stack

SHARED = Path(__file__).parents[5] / "shared" / "data"
CZI = SHARED / "czi-readers"
real_data = pytest.mark.skipif(not CZI.is_dir(), reason="no real volumes here")

WriteCzi = Callable[..., Path]


def planes_by_zeiss(path: Path, channel: int, **selection: Any) -> np.ndarray:
    """Read one plane after the other with Zeiss' own library."""
    from pylibCZIrw.czi import open_czi

    time, scene = selection.get("time", 0), selection.get("scene")
    with open_czi(str(path)) as czi:
        first, size = czi.total_bounding_box.get("Z", (0, 1))
        return np.stack(
            [
                czi.read(plane={"C": channel, "T": time, "Z": z}, scene=scene)[..., 0]
                for z in range(first, first + size)
            ]
        )


def test_axes_type_names_and_voxel_size_come_from_the_file(
    tmp_path: Path, write_czi: WriteCzi
) -> None:
    data = stack(2, 3, 12, 10)
    path = write_czi(
        tmp_path / "a.czi", data,
        channel_names=["EGFP", "Bright"], voxel_size_um=(0.29, 0.108, 0.1083),
    )  # fmt: skip

    volume = open_volume(path)

    assert (volume.axes, volume.shape) == ("CZYX", (2, 3, 12, 10))
    assert volume.channel_names == ("EGFP", "Bright")
    assert volume.voxel_size_um == (0.29, 0.108, 0.1083)
    assert (volume.files, volume.chosen) == ((path,), ())
    assert pickle.loads(pickle.dumps(volume)) == volume
    for channel in range(2):
        read = volume.read_channel(channel)
        assert read.dtype == volume.dtype
        assert read.dtype.isnative
        np.testing.assert_array_equal(read, data[channel])
        np.testing.assert_array_equal(read, planes_by_zeiss(path, channel))


def test_axes_of_length_one_are_dropped(tmp_path: Path, write_czi: WriteCzi) -> None:
    for channels, planes, axes in ((1, 1, "YX"), (1, 4, "ZYX"), (3, 1, "CYX")):
        data = stack(channels, planes, 6, 5)
        volume = open_volume(write_czi(tmp_path / f"{axes}.czi", data))
        assert volume.axes == axes
        assert volume.shape == (*(n for n in (channels, planes) if n > 1), 6, 5)
        np.testing.assert_array_equal(volume.read_channel(0), data[0])


def test_compressed_files_hold_the_same_planes(
    tmp_path: Path, write_czi: WriteCzi
) -> None:
    ramp = np.arange(2 * 3 * 40 * 30).reshape(2, 3, 40, 30) // 7
    for dtype in ("uint8", "uint16", "float32"):
        data = ramp.astype(dtype)
        plain = write_czi(tmp_path / f"{dtype}.czi", data)
        for compression in ("zstd0", "zstd1", "zstd1-packed"):
            path = tmp_path / f"{dtype}-{compression}.czi"
            write_czi(path, data, compression=compression)
            assert path.stat().st_size < plain.stat().st_size  # it is compressed
            for channel in range(2):
                read = open_volume(path).read_channel(channel)
                np.testing.assert_array_equal(read, data[channel])


ASKED = {
    "EGFP": 0, "gfp": 0, "Hoechst": 1, "H3342": 1, "DAPI": 1,
    "TL 100x": 2, "Brightfield": 2, "CMDRP": 3, "DRAQ5": 3,
}  # fmt: skip


def test_channels_are_found_by_any_usual_name(
    tmp_path: Path, write_czi: WriteCzi
) -> None:
    data = stack(4, 2, 6, 5)
    names = ["EGFP", "H3342", "Bright", "CMDRP"]
    volume = open_volume(write_czi(tmp_path / "a.czi", data, channel_names=names))

    for asked, index in ASKED.items():
        np.testing.assert_array_equal(volume.read_channel(asked), data[index])


def test_only_the_planes_asked_for_are_read(
    tmp_path: Path, write_czi: WriteCzi
) -> None:
    data = stack(2, 5, 6, 5)
    volume = open_volume(write_czi(tmp_path / "a.czi", data))

    for ends in ((1, 3), (None, None, 2), (None, None, -1), (4, 4), (-1,)):
        planes = slice(*ends)
        np.testing.assert_array_equal(volume.read_channel(1, planes), data[1, planes])


def test_reading_a_channel_leaves_the_bytes_of_others_and_other_planes_alone(
    tmp_path: Path, write_czi: WriteCzi
) -> None:
    data = stack(3, 4, 12, 10)
    path = write_czi(tmp_path / "a.czi", data, compression="zstd1")
    volume = CziVolume.open(path, {})
    raw = bytearray(path.read_bytes())
    for block in volume.blocks:
        if block.start("C") != 1 or block.start("Z") == 3:
            segment = raw.index(b"\x28\xb5\x2f\xfd", block.position)
            raw[segment : segment + 16] = b"\xff" * 16
    path.write_bytes(raw)

    np.testing.assert_array_equal(
        open_volume(path).read_channel(1, slice(3)), data[1, :3]
    )
    for channel, planes in ((0, slice(1)), (2, slice(1)), (1, slice(3, 4))):
        with pytest.raises(UserError, match=rf"a\.czi: damaged .*channel {channel}"):
            volume.read_channel(channel, planes)


def test_scenes_and_times_are_chosen(tmp_path: Path, write_czi: WriteCzi) -> None:
    images = {0: stack(3, 2, 2, 8, 6), 1: stack(3, 2, 2, 8, 6, seed=1)}
    path = write_czi(tmp_path / "a.czi", images)

    for scene, time in np.ndindex(2, 3):
        volume = open_volume(path, {"scene": str(scene), "time": str(time)})
        assert volume.chosen == (("scene", str(scene)), ("time", str(time)))
        assert (volume.axes, volume.shape) == ("CZYX", (2, 2, 8, 6))
        read = volume.read_channel(1)
        np.testing.assert_array_equal(read, images[scene][time, 1])
        np.testing.assert_array_equal(
            read, planes_by_zeiss(path, 1, time=time, scene=scene)
        )
    with pytest.raises(UserError, match=r"a\.czi: holds 2 of 'scene'.* 0 to 1"):
        open_volume(path)
    with pytest.raises(UserError, match=r"holds 3 of 'time'; choose one: 0 to 2"):
        open_volume(path, {"scene": "0"})
    with pytest.raises(UserError, match=r"no time '3'; choose from 0 to 2"):
        open_volume(path, {"scene": "0", "time": "3"})
    with pytest.raises(UserError, match=r"no view '1'; choose from 0"):
        open_volume(path, {"scene": "0", "time": "0", "view": "1"})
    only = {"scene": "0", "phase": "0", "level": "0", "tile": "all"}
    path = write_czi(tmp_path / "b.czi", stack(2, 2, 8, 6))
    assert dict(open_volume(path, only).chosen) == only


def test_scenes_of_different_size_are_volumes_of_different_size(
    tmp_path: Path, write_czi: WriteCzi
) -> None:
    images = {0: stack(2, 3, 8, 6), 2: stack(1, 2, 4, 5)}
    path = write_czi(tmp_path / "a.czi", images)

    for index, scene in enumerate(images):
        volume = open_volume(path, {"scene": str(index)})
        np.testing.assert_array_equal(volume.read_channel(0), images[scene][0])


def test_further_axes_are_chosen(tmp_path: Path, pack_czi: Any, raw_block: Any) -> None:
    data = stack(3, 2, 6, 5)
    axes = {"view": "V", "phase": "H", "illumination": "I", "rotation": "R"}
    for what, letter in axes.items():
        path = pack_czi(
            tmp_path / f"{what}.czi",
            [
                raw_block(data[k, z], {letter: k, "C": 0, "Z": z, "B": 0})
                for k, z in np.ndindex(3, 2)
            ],
        )

        with pytest.raises(UserError, match=f"holds 3 of '{what}'"):
            open_volume(path)
        volume = open_volume(path, {what: "2"})

        assert volume.chosen == ((what, "2"),)
        np.testing.assert_array_equal(volume.read_channel(0), data[2])


def test_scenes_go_by_the_names_of_the_metadata(
    tmp_path: Path, pack_czi: Any, raw_block: Any
) -> None:
    xml = (
        "<ImageDocument><Metadata><Information><Image><Dimensions><S><Scenes>"
        '<Scene Index="0" Name="P1"/><Scene Index="1" Name="P2"/>'
        "</Scenes></S></Dimensions></Image></Information></Metadata></ImageDocument>"
    )
    data = stack(2, 6, 5)
    blocks = [raw_block(data[k], {"S": k}) for k in range(2)]
    path = pack_czi(tmp_path / "a.czi", blocks, xml=xml)

    volume = open_volume(path, {"scene": "P2"})

    assert volume.chosen == (("scene", "1"),)
    np.testing.assert_array_equal(volume.read_channel(0), data[1:])
    with pytest.raises(UserError, match=r"choose one: 0 to 1 \('P1', 'P2'\)"):
        open_volume(path)


def test_the_position_is_that_of_stage_and_focus(
    tmp_path: Path, pack_czi: Any, raw_block: Any
) -> None:
    def tile(index: int, x: int, z: int, stage: str) -> Any:
        block = raw_block(stack(6, 5), {"M": index, "Z": z}, x=x)
        block.metadata = f"<METADATA><Tags>{stage}</Tags></METADATA>\n".encode()
        return block

    at = "<StageXPosition>{}</StageXPosition><StageYPosition>-40.5</StageYPosition>"
    blocks = [
        tile(index, x, z, at.format(x_um) + f"<FocusPosition>{focus}</FocusPosition>")
        for index, x, x_um in ((0, 7, "+0000100.0"), (1, 2, "97.5"))
        for z, focus in ((4, 12.0), (5, 12.3))
    ]
    um = {"voxel_size_um": (0.3, 0.5, 0.5)}
    path = pack_czi(tmp_path / "a.czi", blocks)
    for chosen, expected in (
        ("0", (12.0, -40.5, 100.0)),
        ("1", (12.0, -40.5, 97.5)),
        ("all", (12.0, -40.5, 97.5)),  # it begins 5 pixels before its first tile
    ):
        volume = open_volume(path, {"tile": chosen})
        assert replace(volume, **um).origin_um == expected, chosen
    for nothing in ("<StageXPosition>far</StageXPosition>", "</Tags>no XML"):
        path = pack_czi(tmp_path / "b.czi", [tile(0, 7, 4, nothing)])
        assert replace(open_volume(path), **um).origin_um == (1.2, 0.0, 3.5)


@real_data
def test_the_position_of_a_real_file() -> None:
    path = CZI / "CellDivision_T3_Z5_CH2_X240_Y170.czi"
    volume = open_volume(path, {"time": "2"})
    assert volume.origin_um == (1114.49, 18621.489, 16977.153)


def test_one_tile_of_a_mosaic_or_all_of_them(
    tmp_path: Path, write_czi: WriteCzi
) -> None:
    data = stack(2, 3, 20, 30)
    path = write_czi(tmp_path / "a.czi", data, tile_shape=(12, 16))

    with pytest.raises(UserError, match=r"a mosaic of 4 of 'tile'.* 0 to 3, or all"):
        open_volume(path)
    tile, mosaic = (open_volume(path, {"tile": tile}) for tile in ("2", "all"))

    assert (tile.chosen, mosaic.chosen) == ((("tile", "2"),), (("tile", "all"),))
    assert (tile.shape, mosaic.shape) == ((2, 3, 8, 16), (2, 3, 20, 30))
    np.testing.assert_array_equal(tile.read_channel(1), data[1, :, 12:, :16])
    np.testing.assert_array_equal(mosaic.read_channel(1), data[1])
    assert tile.origin_um == (None, None, None)  # of voxels of unknown size
    um = {"voxel_size_um": (1.0, 0.5, 0.5)}
    assert replace(mosaic, **um).origin_um == (0, 0, 0)
    assert replace(tile, **um).origin_um == (0, 6, 0)  # 12 voxels below the first
    with pytest.raises(UserError, match=r"no tile '4'; choose from 0 to 3"):
        open_volume(path, {"tile": "4"})


def test_later_tiles_lie_over_earlier_ones_and_gaps_are_zero(
    tmp_path: Path, pack_czi: Any, raw_block: Any
) -> None:
    tiles = [np.full((4, 4), value, np.uint8) for value in (1, 2)]
    blocks = [
        raw_block(tiles[1], {"M": 1}, x=-7, y=23),  # listed first, lies over 0
        raw_block(tiles[0], {"M": 0}, x=-9, y=20),
    ]

    volume = open_volume(pack_czi(tmp_path / "a.czi", blocks), {"tile": "all"})

    expected = np.zeros((7, 6), np.uint8)
    expected[:4, :4] = 1
    expected[3:, 2:] = 2
    np.testing.assert_array_equal(volume.read_channel(0), expected[None])


def test_tiles_far_apart_are_not_joined(
    tmp_path: Path, pack_czi: Any, raw_block: Any
) -> None:
    tile = np.zeros((8, 8), np.uint8)
    far = 2**31 - 9
    blocks = [raw_block(tile, {"M": 0}), raw_block(tile, {"M": 1}, x=far, y=far)]
    path = pack_czi(tmp_path / "a.czi", blocks)

    with pytest.raises(UserError, match=r"the tiles fill less than a tenth"):
        open_volume(path, {"tile": "all"})
    assert open_volume(path, {"tile": "1"}).shape == (8, 8)


def test_a_plane_that_lacks_a_tile_is_not_filled_with_zeros(
    tmp_path: Path, pack_czi: Any, raw_block: Any
) -> None:
    tile = np.ones((8, 8), np.uint8)
    blocks = [
        raw_block(tile, {"Z": z, "M": m}, x=8 * m)
        for z, m in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0))
    ]
    volume = open_volume(pack_czi(tmp_path / "a.czi", blocks), {"tile": "all"})

    assert volume.read_channel(0, slice(2)).all()
    with pytest.raises(UserError, match="plane 2 of channel 0 is missing or incomplet"):
        volume.read_channel(0)


def test_the_coarse_copies_of_a_pyramid_are_left_aside(
    tmp_path: Path, pack_czi: Any, raw_block: Any
) -> None:
    data = stack(2, 8, 6)
    fine = [raw_block(data[z], {"C": 0, "Z": z}) for z in range(2)]
    coarse = [
        raw_block(data[z, ::2, ::2], {"C": 0, "Z": z}, shape=(8, 6)) for z in range(2)
    ]

    volume = open_volume(pack_czi(tmp_path / "a.czi", [*coarse, *fine]))

    np.testing.assert_array_equal(volume.read_channel(0), data)
    with pytest.raises(UserError, match=r"plane 1 of channel 0 is not there at full"):
        open_volume(pack_czi(tmp_path / "b.czi", [*coarse, fine[0]]))


def test_channels_of_different_size_or_place_are_refused(
    tmp_path: Path, pack_czi: Any, raw_block: Any
) -> None:
    message = r"channel 0 .* 5 x 6 .* but channel 1 .* grid"
    for rows, x in ((4, 0), (6, 2)):
        second = raw_block(stack(rows, 5), {"C": 1}, x=x)
        path = pack_czi(tmp_path / "a.czi", [raw_block(stack(6, 5), {"C": 0}), second])
        with pytest.raises(UserError, match=message):
            open_volume(path)


def test_a_missing_plane_is_named_and_other_channels_can_be_read(
    tmp_path: Path, pack_czi: Any, raw_block: Any
) -> None:
    data = stack(2, 4, 6, 5)
    blocks = [
        raw_block(data[c, z], {"C": c, "Z": z})
        for c, z in np.ndindex(2, 4)
        if (c, z) != (1, 2)
    ]
    volume = open_volume(pack_czi(tmp_path / "a.czi", blocks))

    np.testing.assert_array_equal(volume.read_channel(0), data[0])
    np.testing.assert_array_equal(volume.read_channel(1, slice(2)), data[1, :2])
    with pytest.raises(UserError, match=r"plane 2 of channel 1 is missing .*3 of 4 pl"):
        volume.read_channel(1)


def test_planes_missing_everywhere_and_planes_there_twice_are_damage(
    tmp_path: Path, pack_czi: Any, raw_block: Any
) -> None:
    plane = stack(6, 5)
    for name, zs, message in (
        ("gap", (0, 2**31 - 1), "planes 1 to 2147483646 are missing in every"),
        ("twice", (0, 1, 1), "plane 1 of channel 0, tile 0, is there 2 times"),
    ):
        blocks = [raw_block(plane, {"C": 0, "Z": z}) for z in zs]
        with pytest.raises(UserError, match=message):
            open_volume(pack_czi(tmp_path / f"{name}.czi", blocks))


def test_channels_of_different_type_share_the_type_that_holds_both(
    tmp_path: Path, pack_czi: Any, raw_block: Any
) -> None:
    light, dye = stack(6, 5, dtype="uint8"), stack(6, 5)
    blocks = [raw_block(light, {"C": 0}), raw_block(dye, {"C": 1})]
    volume = open_volume(pack_czi(tmp_path / "a.czi", blocks))

    assert volume.dtype == np.dtype("uint16")
    for channel, plane in enumerate((light, dye)):
        np.testing.assert_array_equal(volume.read_channel(channel), plane[None])
        assert volume.read_channel(channel).dtype == np.dtype("uint16")


def test_indices_may_start_anywhere(
    tmp_path: Path, pack_czi: Any, raw_block: Any
) -> None:
    data = stack(2, 3, 6, 5)
    blocks = [
        raw_block(data[c, z], {"C": c + 1, "Z": z + 40, "T": 7}, x=-30, y=1000)
        for c, z in np.ndindex(2, 3)
    ]

    volume = open_volume(pack_czi(tmp_path / "a.czi", blocks))

    assert volume.channel_names == ("", "")
    np.testing.assert_array_equal(volume.read_channel(1), data[1])


REAL = {  # file: choices, axes, shape, dtype, voxel size as the README states
    "CellDivision_T3_Z5_CH2_X240_Y170.czi":
        ("CZYX", (2, 5, 170, 240), "uint16", (0.32, 0.0906, 0.0906), 3),
    "CellDivision_T3_Z5_CH2_X240_Y170_comp1.czi":
        ("CZYX", (2, 5, 170, 240), "uint16", (None, None, None), 3),
    "LLS7_small.czi": ("CZYX", (2, 3, 64, 64), "uint16", (0.145, 0.145, 0.145), 2),
    "nuc_small_new_red.czi": ("YX", (240, 320), "uint8", (0.2, 0.1, 0.1), 1),
    "100x100.czi": ("YX", (10, 10), "uint8", (0.1, 0.1, 0.1), 1),
}  # fmt: skip


def times_of(name: str) -> list[VolumeReader]:
    times = range(REAL[name][-1])
    return [open_volume(CZI / name, {"time": str(time)}) for time in times]


@real_data
@pytest.mark.parametrize("name", REAL)
def test_real_files_open_as_their_readme_and_zeiss_library_say(name: str) -> None:
    axes, shape, dtype, voxel_size_um, num_times = REAL[name]
    for time, volume in enumerate(times_of(name)):
        assert (volume.axes, volume.shape) == (axes, shape)
        assert volume.dtype == np.dtype(dtype)
        for size, stated in zip(volume.voxel_size_um, voxel_size_um, strict=True):
            assert size == (None if stated is None else pytest.approx(stated, rel=1e-3))
        for channel in range(len(volume.channel_names)):
            np.testing.assert_array_equal(
                volume.read_channel(channel),
                planes_by_zeiss(volume.path, channel, time=time),
            )
    if num_times > 1:
        with pytest.raises(UserError, match=f"holds {num_times} of 'time'"):
            open_volume(CZI / name)
