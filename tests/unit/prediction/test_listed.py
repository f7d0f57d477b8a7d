from pathlib import Path

import numpy as np
import pytest

from continual_repmode.errors import Faults, UserError
from continual_repmode.prediction.listed import listed_images
from continual_repmode.volumes.formats.writing import save_volume

UM = (0.3, 0.1, 0.1)
HEADER = "task,path,channel_signal,channel_target,split,x0,x1"


def write(folder: Path, *rows: str, header: str = HEADER, um=UM) -> Path:
    for name in ("a", "b"):
        array = np.arange(3 * 4 * 8 * 9, dtype=np.uint16).reshape(3, 4, 8, 9)
        save_volume(
            folder / f"{name}.ome.tif", array, axes="CZYX", voxel_size_um=um,
            overwrite=True,
        )  # fmt: skip
    path = folder / "pairs.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def listed(path: Path, faults: Faults | None = None, source_um=None):
    faults = faults or Faults(collect=False)
    return listed_images(
        path, root=None, source_um=source_um, model_um=(0.3,) * 3, faults=faults
    )


def test_rows_of_one_light_are_one_image_with_several_targets(tmp_path):
    path = write(
        tmp_path,
        "dna,a.ome.tif,0,1,train,,",
        "dna,b.ome.tif,0,1,test,,",
        "nucleolus,a.ome.tif,0,2,train,,",
    )

    a, b = listed(path)

    assert (a.name, b.name) == ("a", "b")
    assert {task: c.channel for task, c in a.targets.items()} == {
        "dna": 1,
        "nucleolus": 2,
    }
    assert (dict(a.splits), dict(b.splits)) == (
        {"dna": "train", "nucleolus": "train"},
        {"dna": "test"},
    )


def test_crops_of_a_file_are_images_of_their_own(tmp_path):
    path = write(tmp_path, "dna,a.ome.tif,0,1,,0,5", "dna,a.ome.tif,0,1,,5,9")

    left, right = listed(path)

    assert (left.name, right.name) == ("a", "a_row3")
    assert (left.shape, right.shape) == ((4, 8, 5), (4, 8, 4))
    assert left.origin_um == (None, None, None)  # as in the file
    assert right.origin_um == (None, None, 0.5)


def test_a_crop_lies_where_it_was_cut_out(tmp_path):
    path = write(tmp_path, "dna,a.ome.tif,0,1,,5,9")
    pixels = np.arange(3 * 4 * 8 * 9, dtype=np.uint16).reshape(3, 4, 8, 9)
    save_volume(
        tmp_path / "a.ome.tif", pixels, axes="CZYX", voxel_size_um=UM,
        origin_um=(-2.0, 7.0, 100.0), overwrite=True,
    )  # fmt: skip

    (image,) = listed(path)

    assert image.origin_um == pytest.approx((-2.0, 7.0, 100.5))


def test_faulty_rows_are_told_and_left_out(tmp_path):
    path = write(
        tmp_path, "dna,a.ome.tif,0,9,,,", "dna,b.ome.tif,0,1,,,", "dna,b.ome.tif,0,2,,,"
    )
    faults = Faults()

    (image,) = listed(path, faults)

    assert image.name == "b"
    missing, twice = map(str, faults.found)
    assert "row 2" in missing
    assert "row 4" in twice


def test_one_image_needs_no_splits(tmp_path):
    """A run would refuse so few images; predicting has no use for splits."""
    path = write(tmp_path, "dna,a.ome.tif,0,1", header=HEADER.split(",split")[0])

    (image,) = listed(path)

    assert image.splits == {}


def test_an_unknown_voxel_size_names_the_flag(tmp_path):
    path = write(tmp_path, "dna,n.npy,m.npy", header="task,path_signal,path_target")
    for name in "nm":
        np.save(tmp_path / f"{name}.npy", np.ones((2, 3, 4)))

    with pytest.raises(UserError, match=r"row 2: n\.npy.*--voxel-size Z Y X"):
        listed(path)
    assert listed(path, source_um=UM)[0].signal_um == UM


def test_columns_come_before_the_given_voxel_size_and_this_before_the_files(tmp_path):
    columns = "voxel_size_z_um,voxel_size_y_um,voxel_size_x_um"
    path = write(
        tmp_path,
        "dna,a.ome.tif,0,1,9,8,7",
        "dna,b.ome.tif,0,1,,,",
        header=f"task,path,channel_signal,channel_target,{columns}",
    )

    for source_um, expected, notes in (
        ((2.0, 2.0, 2.0), (2.0, 2.0, 2.0), ("not --voxel-size", "not 0.3 x 0.1 x 0.1")),
        (None, UM, ("not 0.3 x 0.1 x 0.1", "")),
    ):
        a, b = listed(path, source_um=source_um)
        assert a.signal_um == a.voxel_size_um == (9, 8, 7)
        assert b.signal_um == b.voxel_size_um == pytest.approx(expected)
        assert notes[0] in a.note and notes[1] in b.note  # noqa: PT018
