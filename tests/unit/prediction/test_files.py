"""Whole files: what is written equals what is predicted with everything in memory."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from continual_repmode.errors import UserError
from continual_repmode.inference.tiled import predict_volume
from continual_repmode.metrics.regression import RegressionSums
from continual_repmode.models import RepModeUNet, deploy
from continual_repmode.prediction import job as job_module
from continual_repmode.prediction.arrays import predict_array
from continual_repmode.prediction.attributes import read_attributes
from continual_repmode.prediction.files import predict_file
from continual_repmode.prediction.metrics_table import read_metrics
from continual_repmode.prediction.work_folder import FOLDER
from continual_repmode.trained_model import TrainedModel
from continual_repmode.volumes.formats.writing import save_volume
from continual_repmode.volumes.opening import open_volume
from continual_repmode.volumes.preparation import Preparation

UM = (0.3, 0.11, 0.12)
SMALL_ZARR, SMALL_TIFF = "out/a.ome.zarr", "out/a.ome.tif"


def save(path: Path, light: np.ndarray, um=UM) -> Path:
    channels = np.stack([light[:, ::-1], light])
    return save_volume(
        path, channels, axes="CZYX", voxel_size_um=um, channel_names=["DAPI", "Bright"],
        overwrite=True,
    )  # fmt: skip


def read(path: Path) -> np.ndarray:
    volume = open_volume(path)
    return np.stack([volume.read_channel(c) for c in range(len(volume.channel_names))])


@pytest.mark.parametrize("output", [SMALL_ZARR, SMALL_TIFF])
@pytest.mark.parametrize("name", ["a.ome.tif", "a.tif", "a.ome.zarr", "a.npy"])
def test_a_file_equals_the_obvious_path(
    tmp_path, model_file, light, obvious, name, output
):
    source = save(tmp_path / name, light)
    channel = None if name != "a.tif" else 1  # slice labels name ImageJ's channels

    written = predict_file(model_file, source, tmp_path / output, channel=channel)

    volume = open_volume(written)
    assert volume.channel_names == ("dna", "nucleolus")
    assert volume.voxel_size_um == pytest.approx(UM, rel=1e-3)
    expected = np.stack([obvious(light, UM, task) for task in ("dna", "nucleolus")])
    np.testing.assert_allclose(read(written), expected, atol=1e-4)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [written.name]


def test_a_czi_file_equals_the_obvious_path(
    tmp_path, model_file, light, obvious, write_czi
):
    source = write_czi(
        tmp_path / "a.czi", np.stack([light, light[:, ::-1]]),
        channel_names=("TL Brightfield", "EGFP"), voxel_size_um=UM,
    )  # fmt: skip

    written = predict_file(model_file, source, tmp_path / SMALL_ZARR, tasks="dna")

    np.testing.assert_allclose(
        read(written), obvious(light, UM, "dna")[None], atol=1e-4
    )


def test_independent_readers_find_shape_scale_and_names(tmp_path, model_file, light):
    import tensorstore
    from ome_types import from_xml
    from yaozarrs import validate_ome_json

    source = save(tmp_path / "a.ome.tif", light)
    zarr_path = predict_file(model_file, source, tmp_path / SMALL_ZARR)
    tiff_path = predict_file(model_file, source, tmp_path / SMALL_TIFF)

    attributes = json.loads((zarr_path / "zarr.json").read_text())["attributes"]
    validate_ome_json(json.dumps(attributes["ome"]))
    (multiscale,) = attributes["ome"]["multiscales"]
    assert {axis.get("unit") for axis in multiscale["axes"][1:]} == {"micrometer"}
    (scaled,) = multiscale["datasets"][0]["coordinateTransformations"]
    assert scaled["scale"][1:] == list(UM)
    array = tensorstore.open(
        {"driver": "zarr3", "kvstore": f"file://{zarr_path}/0"}, open=True
    ).result()
    assert array.shape == (2, *light.shape)
    with tifffile.TiffFile(tiff_path) as tif:
        assert tif.series[0].shape == (2, *light.shape)
        pixels = from_xml(tif.ome_metadata).images[0].pixels
    assert [channel.name for channel in pixels.channels] == ["dna", "nucleolus"]
    sizes = (pixels.physical_size_z, pixels.physical_size_y, pixels.physical_size_x)
    assert sizes == pytest.approx(UM)
    np.testing.assert_array_equal(array.read().result(), tifffile.imread(tiff_path))


@pytest.mark.parametrize("output", [SMALL_ZARR, SMALL_TIFF])
def test_a_file_says_how_it_was_made(tmp_path, model_file, light, output):
    source = save(tmp_path / "a.ome.tif", light)

    written = predict_file(
        model_file, source, tmp_path / output, tasks="dna", intensity="target"
    )

    said = read_attributes(written)
    assert "mean statistics of the training targets" in said["unit"]
    assert said["training_targets"] == {"dna": {"mean": 400.0, "std": 25.0}}
    recipe = said["recipe"]
    assert recipe["model"]["file"] == "tiny.safetensors"
    assert recipe["model"]["sha256"] == TrainedModel.load(model_file).sha256
    assert recipe["input"]["file"] == "a.ome.tif"
    assert recipe["model_grid"]["voxel_size_um"] == [0.3, 0.3, 0.3]
    assert (recipe["window"], recipe["tasks"]) == ([4, 8, 8], ["dna"])


def test_target_intensities_are_zscores_times_std_plus_mean(
    tmp_path, model_file, light
):
    source = save(tmp_path / "a.ome.tif", light)
    zscored, scaled = (
        predict_file(model_file, source, tmp_path / f"{unit}.ome.zarr", tasks="dna",
                     intensity=unit)
        for unit in ("zscore", "target")
    )  # fmt: skip

    np.testing.assert_allclose(read(scaled), read(zscored) * 25 + 400, rtol=1e-4)


def test_the_same_recipe_is_done_already(tmp_path, model_file, light, monkeypatch):
    source = save(tmp_path / "a.ome.tif", light)
    predict_file(model_file, source, tmp_path / SMALL_ZARR)
    monkeypatch.setattr(job_module, "predict_into", None)  # would fail if called

    predict_file(model_file, source, tmp_path / SMALL_ZARR, batch_size=2)


def test_another_recipe_is_refused_and_overwrites_on_request(
    tmp_path, model_file, light
):
    source = save(tmp_path / "a.ome.tif", light)
    output = predict_file(model_file, source, tmp_path / SMALL_ZARR)
    before = read(output)

    with pytest.raises(UserError, match=r"exists with different settings \(tasks\);"):
        predict_file(model_file, source, output, tasks="dna")
    with pytest.raises(UserError, match=r"different settings \(window\)"):
        predict_file(model_file, source, output, window=(4, 4, 4))
    np.testing.assert_array_equal(read(output), before)

    save(source, light + np.arange(26, dtype=np.uint16))
    with pytest.raises(UserError, match=r"different settings \(input\)"):
        predict_file(model_file, source, output)
    predict_file(model_file, source, output, tasks="dna", overwrite=True)
    assert read(output).shape == (1, *light.shape)


def test_files_of_others_are_not_taken_for_predictions(tmp_path, model_file, light):
    source = save(tmp_path / "a.ome.tif", light)

    other = save(tmp_path / "other.ome.tif", light)

    with pytest.raises(UserError, match="is not a prediction of this program"):
        predict_file(model_file, source, other)


class _PulledPlugError(Exception):
    """Ends the work as a kill would, without a chance to tidy up."""


@pytest.mark.parametrize("output", [SMALL_ZARR, SMALL_TIFF])
def test_interrupted_work_goes_on_with_the_missing_tasks(
    tmp_path, model_file, light, monkeypatch, output
):
    source = save(tmp_path / "a.ome.tif", light)
    whole = predict_file(model_file, source, tmp_path / "whole.ome.zarr")
    calls: list[str] = []
    predict = job_module.predict_into

    def pulled(*arguments, **options):
        calls.append("predicted")
        if len(calls) == 2:
            raise _PulledPlugError
        predict(*arguments, **options)

    monkeypatch.setattr(job_module, "predict_into", pulled)
    with pytest.raises(_PulledPlugError):
        predict_file(model_file, source, tmp_path / output)
    assert not (tmp_path / output).exists()

    with pytest.raises(UserError, match=r"begun with other settings \(tasks\)"):
        predict_file(model_file, source, tmp_path / output, tasks="dna")
    monkeypatch.setattr(job_module, "prepare_channel", None)  # the signal is there
    predict_file(model_file, source, tmp_path / output)

    assert len(calls) == 3
    np.testing.assert_array_equal(read(tmp_path / output), read(whole))
    assert not (tmp_path / "out" / FOLDER).exists()


def test_a_target_is_compared_on_the_model_grid(tmp_path, model_file, light, net, card):
    source = save(tmp_path / "a.ome.tif", light)

    predict_file(model_file, source, tmp_path / SMALL_ZARR, tasks="dna", target="DAPI")

    preparation = Preparation(card.voxel_size_um, storage="float32")
    signal, target = (preparation.apply(x, UM)[0] for x in (light, light[:, ::-1]))
    network = deploy(net, "dna").eval()
    predicted = predict_volume(network, torch.from_numpy(signal), window=card.window)
    expected = RegressionSums.of(predicted, target).result()
    row = read_metrics(tmp_path / "out")["a", "dna"]
    for name in ("mse", "mae", "r2", "pearson_r"):
        assert float(row[name]) == pytest.approx(getattr(expected, name), abs=1e-4)
    assert int(row["num_voxels"]) == signal.size


def test_lost_metrics_are_told(tmp_path, model_file, light):
    source = save(tmp_path / "a.ome.tif", light)
    options = {"tasks": "dna", "target": "DAPI"}
    output = predict_file(model_file, source, tmp_path / SMALL_ZARR, **options)
    (tmp_path / "out" / "metrics.csv").unlink()

    with pytest.raises(UserError, match="metrics are not in the table"):
        predict_file(model_file, source, output, **options)


def test_a_network_in_memory_predicts_files_too(tmp_path, net, card, light, obvious):
    resize_first = replace(card, order="resize_first", resize="fast")
    model = TrainedModel(net, resize_first)
    source = save(tmp_path / "a.ome.tif", light, um=card.voxel_size_um)

    written = predict_file(model, source, tmp_path / SMALL_ZARR, tasks="dna")

    expected = obvious(light, card.voxel_size_um, "dna")
    np.testing.assert_allclose(read(written)[0], expected, atol=1e-4)


def test_flat_images_come_back_flat(tmp_path, card, light):
    net = RepModeUNet(("dna",), width=2, depth=1, axes="YX").eval()
    source = save_volume(
        tmp_path / "flat.ome.tif", light[0], axes="YX", voxel_size_um=UM
    )

    written = predict_file(TrainedModel(net, card), source, tmp_path / SMALL_TIFF)

    assert read(written).shape == (1, 1, *light[0].shape)


def test_outputs_have_a_suffix_that_names_their_format(tmp_path, model_file, light):
    source = save(tmp_path / "a.ome.tif", light)

    with pytest.raises(UserError, match=r"\.ome\.zarr, \.ome\.tif"):
        predict_file(model_file, source, tmp_path / "a.png")


def test_a_folder_is_not_one_image(tmp_path, model_file, light):
    save(tmp_path / "in" / "a.ome.tif", light)
    shutil.copy(tmp_path / "in" / "a.ome.tif", tmp_path / "in" / "b.ome.tif")

    with pytest.raises(UserError, match="matches 2 images"):
        predict_file(model_file, tmp_path / "in", tmp_path / SMALL_ZARR)


def padded(light: np.ndarray) -> np.ndarray:
    """Return a light of more rows and columns, of which a border and a wedge are 0."""
    grown = np.pad(light, ((0, 0), (0, 9), (7, 0)))
    z, _, x = np.ogrid[: len(grown), : grown.shape[1], : grown.shape[2]]
    return np.where(x >= grown.shape[2] - z, 0, grown)


@pytest.mark.parametrize("output", [SMALL_ZARR, SMALL_TIFF])
def test_only_what_was_recorded_is_predicted(
    tmp_path, model, model_file, light, output, caplog
):
    raw = padded(light)
    hidden = raw == 0
    for um, blank in (((0.3, 0.3, 0.3), "nan"), (UM, "zero")):
        source = save(tmp_path / "a.ome.tif", raw, um)
        written = predict_file(
            model_file, source, tmp_path / output, padding=blank, overwrite=True
        )
        found = read(written)[0]
        outside = np.isnan(found) if blank == "nan" else found == 0
        np.testing.assert_array_equal(outside, hidden)
        in_memory = predict_array(model, raw, um, "dna", padding=blank)["dna"]
        np.testing.assert_allclose(found, in_memory, atol=1e-4)
        assert "of the light is padding of 0" in caplog.text
        caplog.clear()
    recorded = raw[~hidden].astype(np.float64)
    light_only = np.where(hidden, 0, (raw - recorded.mean()) / recorded.std())
    expected = predict_volume(
        model.predictor("dna", "float32", torch.device("cpu")),
        torch.from_numpy(light_only).float(), window=(4, 8, 8), overlap=0.5,
    ).numpy()  # fmt: skip
    in_memory = predict_array(model, raw, (0.3, 0.3, 0.3), "dna")["dna"]
    np.testing.assert_allclose(in_memory[~hidden], expected[~hidden], atol=1e-5)


def test_metrics_are_of_what_was_recorded_of_light_and_target(
    tmp_path, model_file, light
):
    raw, um = padded(light), (0.3, 0.3, 0.3)
    hidden = raw == 0
    target = np.random.default_rng(2).normal(400, 9, raw.shape).round()
    blank = hidden | (np.arange(raw.shape[0]) < 2)[:, None, None]
    channels = np.stack([raw, np.where(blank, 0, target)]).astype("u2")
    source = save_volume(
        tmp_path / "a.ome.tif", channels,
        axes="CZYX", voxel_size_um=um, channel_names=["Bright", "DNA"],
    )  # fmt: skip
    written = predict_file(
        model_file, source, tmp_path / "out" / "a.ome.zarr", tasks="dna", target="DNA"
    )
    known = target[~blank]
    expected = RegressionSums.of(
        read(written)[0][~blank], (known - known.mean()) / known.std()
    ).result()
    row = read_metrics(tmp_path / "out")["a", "dna"]
    assert float(row["mse"]) == pytest.approx(expected.mse, rel=1e-4)
    assert int(row["num_voxels"]) == np.count_nonzero(~blank)


@pytest.mark.parametrize("output", [SMALL_ZARR, SMALL_TIFF])
def test_a_prediction_lies_where_its_light_does(tmp_path, model_file, light, output):
    origin = (5.0, -20.0, 310.5)
    for name in ("a.ome.tif", "b.zarr", "c.tif", "d.npy"):
        source = save_volume(
            tmp_path / name, light, axes="ZYX", voxel_size_um=UM, origin_um=origin
        )
        written = predict_file(
            model_file, source, tmp_path / output, tasks="dna", overwrite=True
        )
        assert open_volume(written).origin_um == pytest.approx(origin)
