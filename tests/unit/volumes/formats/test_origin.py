"""Where an image lies is read, and written again, in every format."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from ome_types import from_tiff

from continual_repmode.errors import UserError
from continual_repmode.volumes.formats.stream_writing import open_writer
from continual_repmode.volumes.formats.writing import save_volume
from continual_repmode.volumes.opening import open_volume
from continual_repmode.volumes.volume import UNKNOWN_UM, origin_um

UM, ORIGIN = (0.3, 0.1, 0.12), (-4.5, 1200.25, -30.0)
PIXELS = np.arange(2 * 3 * 8 * 9, dtype="u2").reshape(2, 3, 8, 9)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    for name in ("a.ome.tif", "b.ome.zarr", "c.tif", "d.npy"):
        for origin in (ORIGIN, UNKNOWN_UM, None):
            path = save_volume(
                tmp_path / name, PIXELS, axes="CZYX", voxel_size_um=UM,
                origin_um=origin, overwrite=True,
            )  # fmt: skip
            read = origin_um(open_volume(path))
            expected = pytest.approx(ORIGIN, rel=1e-6)
            assert read == (expected if origin == ORIGIN else UNKNOWN_UM), name
    for name in ("e.ome.tif", "f.ome.zarr"):
        with open_writer(
            tmp_path / name, shape_czyx=PIXELS.shape, dtype="u2", voxel_size_um=UM,
            origin_um=ORIGIN,
        ) as writer:  # fmt: skip
            for channel, pixels in enumerate(PIXELS):
                writer.write(channel, slice(None), pixels)
        assert origin_um(open_volume(tmp_path / name)) == pytest.approx(ORIGIN)
    with pytest.raises(UserError, match="origin_um"):
        save_volume(
            tmp_path / "g.npy", PIXELS, axes="CZYX", voxel_size_um=UM,
            origin_um=(0, 0, float("nan")),
        )  # fmt: skip


def test_every_plane_of_an_ome_tiff_lies_where_it_was(tmp_path: Path) -> None:
    for axes, pixels in (("CZYX", PIXELS), ("ZCYX", PIXELS.transpose(1, 0, 2, 3))):
        path = save_volume(
            tmp_path / f"{axes}.ome.tif", pixels, axes=axes, voxel_size_um=UM,
            origin_um=ORIGIN,
        )  # fmt: skip
        planes = from_tiff(path).images[0].pixels.planes
        assert len(planes) == 6
        for plane in planes:
            place = plane.position_z, plane.position_y, plane.position_x
            expected = ORIGIN[0] + plane.the_z * UM[0], *ORIGIN[1:]
            assert place == pytest.approx(expected)
            assert plane.position_x_unit.value == "µm"


def test_positions_of_other_writers_are_read(tmp_path: Path) -> None:
    planes = {
        "PositionX": [0.02] * 12, "PositionXUnit": ["mm"] * 12,
        "PositionZ": [5.0 + k % 3 for k in range(6)] + [50.0 + k % 3 for k in range(6)],
        "PositionZUnit": ["µm"] * 12,
        "PositionY": [7.0] * 12, "PositionYUnit": ["reference frame"] * 12,
    }  # fmt: skip
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path, np.stack([PIXELS, PIXELS]), ome=True,
        metadata={"axes": "TCZYX", "Plane": planes},
    )  # fmt: skip
    assert origin_um(open_volume(path, {"time": "1"})) == (50.0, None, 20.0)
    path = tmp_path / "b.tif"
    tifffile.imwrite(
        path, PIXELS[0], imagej=True, resolution=(10, 5),
        metadata={"axes": "ZYX", "unit": "um", "spacing": 0.5, "xorigin": 20},
    )  # fmt: skip
    assert origin_um(open_volume(path)) == (None, None, pytest.approx(-2.0))


def test_translations_of_level_and_image_add(tmp_path: Path) -> None:
    path = save_volume(tmp_path / "a.zarr", PIXELS, axes="CZYX", voxel_size_um=UM)
    file = path / "zarr.json"
    found = json.loads(file.read_text())
    image = found["attributes"]["ome"]["multiscales"][0]
    image["datasets"][0]["coordinateTransformations"].append(
        {"type": "translation", "translation": [0, 1.0, 2.0, 3.0]}
    )
    image["coordinateTransformations"] = [
        {"type": "scale", "scale": [1, 2, 2, 2]},
        {"type": "translation", "translation": [0, 10.0, 20.0, 30.0]},
    ]
    file.write_text(json.dumps(found))
    assert origin_um(open_volume(path)) == (12.0, 24.0, 36.0)
    image["coordinateTransformations"][1]["translation"] = [1.0, 2.0]  # of two axes
    file.write_text(json.dumps(found))
    assert origin_um(open_volume(path)) == (2.0, 4.0, 6.0)
