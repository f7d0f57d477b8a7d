"""Plates of OME-Zarr images: found as fields, and written as plates of predictions."""

import json

import numpy as np
import pytest
import yaozarrs
import zarr

from continual_repmode.__main__ import main
from continual_repmode.prediction.arrays import predict_array
from continual_repmode.prediction.finding import find_files
from continual_repmode.trained_model import TrainedModel
from continual_repmode.volumes.formats.writing import save_volume
from continual_repmode.volumes.opening import open_volume

UM = (0.3, 0.15, 0.15)
FIELDS = ("A/1/0", "A/1/1", "B/2/0", "B/2/1")


def light_of(number):
    rng = np.random.default_rng(number)
    return rng.integers(0, 4000, (6, 24, 20)).astype(np.uint16)


def well(place):
    row, column, _ = place.split("/")
    return {
        "path": f"{row}/{column}",
        "rowIndex": "AB".index(row),
        "columnIndex": int(column) - 1,
    }


def make_plate(path, version):
    """Write a plate of two wells with two fields each, and 0.4 or 0.5 metadata."""
    zarr_format = 2 if version == "0.4" else 3
    wells = [well(place) for place in FIELDS[::2]]
    plate = {
        "columns": [{"name": "1"}, {"name": "2"}],
        "rows": [{"name": "A"}, {"name": "B"}],
        "wells": wells,
        "name": "test plate",
        "field_count": 2,
    }

    def write(place, key, content):
        group = zarr.open_group(path / place, mode="a", zarr_format=zarr_format)
        if not key:
            return
        if version == "0.4":
            group.attrs.update({key: {"version": version, **content}})
        else:
            group.attrs.update({"ome": {"version": version, key: content}})

    for number, place in enumerate(FIELDS):
        light = light_of(number)
        save_volume(
            path / f"{place}.ome.zarr", np.stack([light, light[::-1]]), axes="CZYX",
            voxel_size_um=UM, channel_names=["Bright", "DAPI"],
        )  # fmt: skip
        (path / f"{place}.ome.zarr").rename(path / place)
    for row in "AB":
        write(row, "", {})
    for each in wells:
        write(each["path"], "well", {"images": [{"path": "0"}, {"path": "1"}]})
    write("", "plate", plate)
    return path


@pytest.fixture(params=["0.4", "0.5"])
def plate(request, tmp_path):
    return make_plate(tmp_path / "plate.ome.zarr", request.param)


def test_a_plate_a_row_a_well_and_patterns_mean_their_fields(plate, tmp_path):
    def found(*inputs):
        files, _ = find_files([str(each) for each in inputs], tmp_path / "out")
        assert {file.name for file in files} <= {"plate"}
        return [file.field for file in files]

    assert found(plate) == list(FIELDS)
    assert found(plate / "B") == list(FIELDS[2:])
    assert found(plate / "A" / "1", plate / "B" / "2" / "1") == [
        "A/1/0", "A/1/1", "B/2/1"
    ]  # fmt: skip
    assert found(f"{plate}/*/*/[01]") == list(FIELDS)
    (tmp_path / "all" / "day 1").mkdir(parents=True)
    (tmp_path / "all" / "day 1" / "p.zarr").symlink_to(plate)
    files, _ = find_files([tmp_path / "all"], tmp_path / "out")
    assert [(f.name, f.field) for f in files] == [("day 1/p", f) for f in FIELDS]


def test_predictions_of_a_plate_are_a_plate(
    plate, tmp_path, monkeypatch, model_file, net, card, capsys
):
    monkeypatch.chdir(tmp_path)
    words = ["predict", str(model_file), "plate.ome.zarr", "--tasks", "dna"]
    assert main([*words, "--out", "out", "--part", "2/2"]) == 0
    made = tmp_path / "out" / "plate.ome.zarr"
    assert yaozarrs.open_group(made).ome_metadata().plate.wells[0].path == "A/1"
    assert main([*words, "--out", "out"]) == 0, capsys.readouterr().err

    yaozarrs.validate_zarr_store(made)
    described = yaozarrs.open_group(made).ome_metadata().plate
    assert described.name == "test plate"
    assert [each.path for each in described.wells] == ["A/1", "B/2"]
    for number, place in enumerate(FIELDS):
        volume = open_volume(made / place)
        assert volume.voxel_size_um == pytest.approx(UM)
        assert volume.channel_names == ("dna",)
        ome = yaozarrs.open_group(made / place).ome_metadata()
        [level] = ome.multiscales[0].datasets
        assert level.coordinateTransformations[0].scale[1:] == pytest.approx(UM)
        assert [channel.label for channel in ome.omero.channels] == ["dna"]
        expected = predict_array(TrainedModel(net, card), light_of(number), UM)["dna"]
        np.testing.assert_allclose(volume.read_channel(0), expected, atol=1e-4)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "plate.ome.zarr",
        ".plate.ome.zarr.lock",
    }


def test_fields_as_tiff_and_in_a_manifest_have_row_and_column_in_their_names(
    plate, tmp_path, monkeypatch, model_file
):
    monkeypatch.chdir(tmp_path)
    predict = ["predict", str(model_file)]
    last = ["--tasks", "dna", "--out"]
    assert main([*predict, str(plate), "--format", "tiff", *last, "tiffs"]) == 0
    lines = [f"dna,plate.ome.zarr/{f},Bright,DAPI" for f in FIELDS]
    header = "task,path,channel_signal,channel_target"
    (tmp_path / "list.csv").write_text("\n".join([header, *lines]) + "\n")
    assert main([*predict, "list.csv", *last, "listed"]) == 0
    for field in FIELDS:
        assert (tmp_path / "tiffs" / "plate" / f"{field}.ome.tif").is_file()
        assert (tmp_path / "listed" / "plate" / f"{field}.ome.zarr").is_dir()


def test_a_field_that_is_missing_stops_no_other(
    plate, tmp_path, monkeypatch, model_file, capsys
):
    monkeypatch.chdir(tmp_path)
    (plate / "B" / "2" / "1").rename(tmp_path / "elsewhere")
    words = ["predict", str(model_file), str(plate), "--tasks", "dna", "--out", "out"]
    assert main(words) == 3
    assert "B/2/1: no such file" in capsys.readouterr().err
    found = json.loads((tmp_path / "out/plate.ome.zarr/B/2/zarr.json").read_text())
    assert found["attributes"]["ome"]["well"]["images"] == [{"path": "0"}]
    yaozarrs.validate_zarr_store(tmp_path / "out" / "plate.ome.zarr")
