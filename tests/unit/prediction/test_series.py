"""Time series: every time point predicted, in one file, with one z-score or several."""

import numpy as np
import pytest
import tifffile
from yaozarrs import validate_zarr_store

from continual_repmode.__main__ import main
from continual_repmode.prediction.files import predict_file
from continual_repmode.prediction.work_folder import FOLDER
from continual_repmode.trained_model import TrainedModel
from continual_repmode.volumes.opening import open_volume

UM = (0.3, 0.15, 0.15)
TIMES = 3


@pytest.fixture
def frames(light):
    """Light that bleaches: each time point has a mean and a deviation of its own."""
    return [
        (light[:, ::step].astype(np.float64) * (4 - time) / 4 + 50 * time).astype("<u2")
        for time, step in enumerate((1, -1, 1))
    ]


@pytest.fixture
def path(tmp_path, frames):
    path = tmp_path / "lapse.ome.tif"
    sizes = {f"PhysicalSize{axis}": um for axis, um in zip("ZYX", UM, strict=True)}
    tifffile.imwrite(
        path, np.stack(frames)[:, None], ome=True, photometric="minisblack",
        metadata={"axes": "TCZYX", "Channel": {"Name": ["Bright"]}, **sizes},
    )  # fmt: skip
    return path


def read(output):
    """Return (T, C, Z, Y, X) by this program, and as other programs see it."""
    volumes = [open_volume(output, {"time": str(time)}) for time in range(TIMES)]
    assert volumes[0].voxel_size_um == pytest.approx(UM)
    found = [[v.read_channel(c) for c in range(len(v.channel_names))] for v in volumes]
    if output.is_dir():
        import tensorstore

        ome = validate_zarr_store(output).ome_metadata()
        [image] = ome.multiscales
        assert [axis.name for axis in image.axes] == ["t", "c", "z", "y", "x"]
        scale = image.datasets[0].coordinateTransformations[0].scale
        assert scale[2:] == pytest.approx(UM)
        names = [channel.label for channel in ome.omero.channels]
        assert names == list(volumes[0].channel_names)
        spec = {"driver": "zarr3", "kvstore": f"file://{output}/0"}
        other = tensorstore.open(spec).result().read().result()
    else:
        with tifffile.TiffFile(output) as tif:
            assert tif.series[0].axes.endswith("ZYX")
            other = tif.series[0].asarray().reshape(np.shape(found))
    np.testing.assert_array_equal(other, found)
    return np.asarray(found)


@pytest.mark.parametrize("order", ["zscore_first", "resize_first"])
@pytest.mark.parametrize("suffix", [".ome.zarr", ".ome.tif"])
def test_each_time_point_is_as_if_it_were_alone(
    tmp_path, path, frames, net, card, order, suffix
):
    """Per frame it equals the time point alone; as a whole, one that is z-scored so."""
    from dataclasses import replace

    model = TrainedModel(net, replace(card, order=order))
    options = {"tasks": "dna,nucleolus", "choices": {"time": "all"}}
    output = predict_file(
        model, path, tmp_path / f"frames{suffix}", series="per-frame", **options
    )
    found = read(output)
    for time in range(TIMES):
        choices = {"choices": {"time": str(time)}}
        alone = predict_file(
            model, path, tmp_path / f"{time}.ome.zarr", **{**options, **choices}
        )
        volume = open_volume(alone)
        for channel in range(2):
            np.testing.assert_array_equal(
                found[time, channel], volume.read_channel(channel)
            )
    whole = read(predict_file(model, path, tmp_path / f"whole{suffix}", **options))
    assert np.abs(whole - found).max() > 0.05  # the time points do differ


def test_one_zscore_for_the_whole_series_is_that_of_all_voxels(
    tmp_path, path, frames, net, card, obvious, light
):
    """Frames joined along z have the statistics of the series, by NumPy."""
    from continual_repmode.prediction.images import open_image
    from continual_repmode.prediction.preparing import series_intensity

    model = TrainedModel(net, card)
    image = open_image(
        path, "x", channel=None, choices={"time": "all"}, source_um=None,
        model_um=(0.3,) * 3,
    )  # fmt: skip
    assert len(image.frames) == TIMES
    found = series_intensity(
        image.frames, None, model.preparation(), memory_bytes=10**8
    )
    everything = np.stack(frames).astype(np.float64)
    assert found.mean == pytest.approx(everything.mean(), rel=1e-12)
    assert found.std == pytest.approx(everything.std(), rel=1e-9)


def test_the_command_goes_on_with_a_series_and_refuses_a_target(
    tmp_path, path, model_file, monkeypatch, capsys
):
    from continual_repmode.prediction import job

    monkeypatch.chdir(tmp_path)
    words = ["predict", str(model_file), path.name, "--choose", "time=all", "--out"]
    assert main([*words, "whole"]) == 0
    predict, calls = job.predict_into, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        predict(*arguments, **options)

    monkeypatch.setattr(job, "predict_into", interrupted)
    assert main([*words, "begun"]) == 75
    assert (tmp_path / "begun" / FOLDER).is_dir()
    assert main([*words, "begun"]) == 0
    assert len(calls) == 2 * TIMES + 1  # what was done is not done again
    name = "lapse_time-all.ome.zarr"
    whole, begun = (read(tmp_path / out / name) for out in ("whole", "begun"))
    np.testing.assert_array_equal(begun, whole)

    capsys.readouterr()
    assert main([*words, "x", "--tasks", "dna", "--target", "0"]) == 3
    assert "choose one with --choose time=0" in capsys.readouterr().err
    assert main([*words[:3], "--out", "y"]) == 3
    told = capsys.readouterr().err
    assert "0 to 2, by --choose time=0, or time=all for every one" in told
