import base64
import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from continual_repmode.reporting import write_report
from continual_repmode.reporting.sample_strips import (
    chosen_planes,
    read_samples,
    scale_bar,
)
from continual_repmode.results import RunFolder

UM = (0.6, 0.3, 0.2)
NAMES = ("signal", "target", "prediction")


def decoded(uri: str, num_planes: int) -> Any:
    """Return the planes (Z, Y, X) of a strip."""
    _, _, content = uri.partition(";base64,")
    strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("L"))
    return strip.reshape(num_planes, -1, strip.shape[1])


def expected(volume: Any, low: float, high: float) -> Any:
    grey = (volume.astype(np.float64) - low) / (high - low) * 255
    return np.clip(grey, 0, 255)


def test_every_plane_of_a_small_volume_is_kept_to_the_level(new_sample, tmp_path):
    folder = RunFolder(tmp_path)
    volumes = new_sample(folder, "dna", shape=(5, 7, 9), image="dna/3")

    (sample,) = read_samples(folder, ["dna", "absent"], UM, [])

    assert (sample.task, sample.image) == ("dna", "dna/3")
    assert sample.planes == [0, 1, 2, 3, 4]
    for name in NAMES:
        planes = decoded(sample.strips[name], 5)
        truth = expected(volumes[name], *sample.limits[name])
        assert np.abs(planes - truth).max() <= 0.51


def test_target_and_prediction_share_the_limits_of_the_target(new_sample, tmp_path):
    folder = RunFolder(tmp_path)
    volumes = new_sample(folder, "dna")

    (sample,) = read_samples(folder, ["dna"], UM, [])

    percentiles = np.percentile(volumes["target"].astype(np.float32), (0.5, 99.5))
    assert sample.limits["target"] == pytest.approx(tuple(percentiles))
    assert sample.limits["prediction"] == sample.limits["target"]
    assert sample.limits["signal"] != sample.limits["target"]


def test_of_large_volumes_some_planes_are_kept_and_compressed(
    new_sample, tmp_path, monkeypatch
):
    module = "continual_repmode.reporting.sample_strips"
    monkeypatch.setattr(f"{module}._EXACT_PX", 1000)
    monkeypatch.setattr(f"{module}._MOST_PX", 2 * 3 * 10 * 64 * 64)
    folder = RunFolder(tmp_path)
    smooth = np.linspace(-2, 2, 20 * 64 * 64).reshape(64, 64, 20).transpose(2, 0, 1)
    for task in ("dna", "nucleolus"):
        new_sample(folder, task, shape=(20, 64, 64))
    np.savez(folder.samples / "dna.npz", **dict.fromkeys(NAMES, smooth), image="a")

    sample, _ = read_samples(folder, ["dna", "nucleolus"], UM, [])

    assert sample.planes == chosen_planes(20, 10)
    assert len(sample.planes) == 10
    planes = decoded(sample.strips["target"], 10)
    truth = expected(smooth[sample.planes], *sample.limits["target"])
    assert np.abs(planes - truth).mean() < 4


def test_values_that_are_not_finite_become_black_or_white(new_sample, tmp_path):
    folder = RunFolder(tmp_path)
    volumes = new_sample(folder, "dna", shape=(1, 4, 4))
    volumes["prediction"][0, 0, :3] = np.nan, np.inf, -np.inf
    np.savez(folder.samples / "dna.npz", **volumes, image="a")

    (sample,) = read_samples(folder, ["dna"], UM, [])

    assert decoded(sample.strips["prediction"], 1)[0, 0, :3].tolist() == [0, 255, 0]


def test_a_constant_volume_can_be_shown(tmp_path):
    folder = RunFolder(tmp_path)
    folder.samples.mkdir()
    flat = np.zeros((2, 4, 4), np.float16)
    np.savez(folder.samples / "dna.npz", **dict.fromkeys(NAMES, flat), image="a")

    (sample,) = read_samples(folder, ["dna"], UM, [])

    assert not decoded(sample.strips["target"], 2).any()


def test_planes_have_their_proportions_and_a_scale_bar(new_sample, tmp_path):
    folder = RunFolder(tmp_path)
    new_sample(folder, "dna", shape=(2, 20, 40))

    (sample,) = read_samples(folder, ["dna"], UM, [])
    assert sample.aspect == pytest.approx(40 * 0.2 / (20 * 0.3))
    assert (sample.bar_um, sample.bar_fraction) == (2.0, pytest.approx(2 / 8))

    (sample,) = read_samples(folder, ["dna"], None, [])
    assert sample.bar_um is None


def test_a_scale_bar_is_round_and_between_an_eighth_and_a_third():
    for width_um in (0.07, 1.0, 3.1, 18.56, 74, 299.0, 4000.0):
        bar = scale_bar(width_um)
        assert width_um / 8 < bar <= width_um / 3
        assert f"{bar:e}"[0] in "125"


def test_chosen_planes_are_spread_over_the_depth():
    for depth, num in ((16, 16), (16, 40), (64, 24), (9, 1)):
        planes = chosen_planes(depth, num)
        assert len(planes) == len(set(planes)) == min(depth, num)
        steps = np.diff([-1, *planes, depth])
        assert steps.max() <= -(-depth // len(planes)) + 1


def test_the_slider_of_the_page_knows_the_planes(make_run, parse, new_sample, tmp_path):
    folder = make_run(tmp_path / "run", done=1)
    volumes = new_sample(folder, "dna", shape=(6, 8, 8))

    page = parse(write_report([folder.path], tmp_path / "report.html"))

    sample = next(
        a for tag, a in page.elements if a.get("aria-labelledby") == "run1-dna-name"
    )
    assert sample["data-planes"] == "0,1,2,3,4,5"
    assert "--plane:3;--planes:6" in sample["style"]
    slider = next(i for i in page.of("input") if i["id"] == "run1-dna-z")
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "5", "3")
    image = next(i for i in page.of("img") if i.get("data-volume") == "prediction")
    assert re.match(r"prediction of DNA", image["alt"])
    low, high = np.percentile(volumes["target"].astype(np.float32), (0.5, 99.5))
    shown = decoded(image["src"], 6)[3]
    assert np.abs(shown - expected(volumes["prediction"][3], low, high)).max() <= 0.51
