from pathlib import Path

import pytest

from continual_repmode.errors import UserError
from continual_repmode.prediction.finding import find_files
from continual_repmode.volumes.formats import plain_stem, readable
from continual_repmode.volumes.opening import open_volume


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def names(inputs, leave_out: Path) -> list[str]:
    return [found.name for found in find_files(inputs, leave_out)[0]]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.tif", "a"),
        ("a.b.ome.tiff", "a.b"),
        ("a.companion.ome", "a"),
        ("plate.ome.zarr", "plate"),
        ("a.CZI", "a"),
        (".tif", ".tif"),
    ],
)
def test_a_stem_lacks_what_tells_the_format(name, stem):
    assert plain_stem(Path(name)) == stem


@pytest.mark.parametrize("suffix", readable())
def test_every_suffix_looked_for_has_a_reader(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(b"not an image")

    with pytest.raises(UserError) as told:
        open_volume(tmp_path / f"a{suffix}")

    assert "cannot read" not in str(told.value)


def test_folders_give_all_images_below_but_hidden_ones_and_the_outputs(tmp_path):
    for name in ("b.tif", "a.npy", "a.json", "notes.txt", "day1/c.czi", ".d.tif"):
        touch(tmp_path / name)
    touch(tmp_path / "day1" / "e.ome.zarr" / "zarr.json")
    touch(tmp_path / "day1" / "old" / ".zgroup")
    touch(tmp_path / ".hidden" / "f.tif")
    touch(tmp_path / "out" / "b.ome.zarr" / "zarr.json")

    found = names([tmp_path], tmp_path / "out")

    assert found == ["a", "b", "day1/e", "day1/old", "day1/c"]


def test_patterns_mean_what_they_match_in_order(tmp_path):
    for name in ("b1.tif", "a1.tif", "x/a2.tif", "pairs.csv"):
        touch(tmp_path / name)

    assert names([f"{tmp_path}/*.tif"], tmp_path / "out") == ["a1", "b1"]
    assert names([f"{tmp_path}/**/a*.tif"], tmp_path / "out") == ["a1", "a2"]
    _, manifests = find_files([f"{tmp_path}/*"], tmp_path / "out")
    assert manifests == [tmp_path / "pairs.csv"]


def test_a_name_with_brackets_is_a_file_first(tmp_path):
    touch(tmp_path / "field[1].tif")

    assert names([tmp_path / "field[1].tif"], tmp_path) == ["field[1]"]


def test_what_means_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no such file.*nothing matches"):
        find_files([tmp_path / "*.tif"], tmp_path)
    with pytest.raises(UserError, match="holds no images"):
        find_files([tmp_path], tmp_path / "out")
