import json

import numpy as np
import pytest

from continual_repmode.prediction.attributes import read_attributes
from continual_repmode.volumes.formats.stream_writing import open_writer
from continual_repmode.volumes.formats.writing import save_volume

ATTRIBUTES = {"unit": "z-score: 'mean' <0>", "recipe": {"tasks": ["a"], "window": [1]}}


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tif"])
def test_what_the_writer_was_given_comes_back(tmp_path, name):
    with open_writer(
        tmp_path / name, shape_czyx=(1, 2, 3, 4), dtype="float32",
        voxel_size_um=(1, 1, 1), attributes=ATTRIBUTES,
    ) as writer:  # fmt: skip
        writer.write(0, slice(0, 2), np.zeros((2, 3, 4), np.float32))

    assert read_attributes(tmp_path / name) == ATTRIBUTES
    assert read_attributes(str(tmp_path / name)) == ATTRIBUTES


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ome.tif", "a.tif"])
def test_files_of_others_say_nothing(tmp_path, name):
    path = save_volume(
        tmp_path / name, np.zeros((2, 3, 4), np.float32), axes="ZYX",
        voxel_size_um=(1, 1, 1),
    )  # fmt: skip

    assert read_attributes(path) == {}


def test_damaged_files_say_nothing(tmp_path):
    (tmp_path / "a.ome.tif").write_bytes(b"II*\0")
    (tmp_path / "b.ome.zarr").mkdir()
    (tmp_path / "c.ome.zarr").mkdir()
    (tmp_path / "c.ome.zarr" / "zarr.json").write_text(
        json.dumps({"attributes": {"continual_repmode": 1}})
    )

    for name in ("a.ome.tif", "b.ome.zarr", "c.ome.zarr"):
        assert read_attributes(tmp_path / name) == {}
