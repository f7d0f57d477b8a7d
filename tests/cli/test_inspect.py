"""``continual-repmode inspect``: what an image holds, against what was written."""

import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from continual_repmode.__main__ import main
from continual_repmode.models import ModelCard, RepModeUNet, TaskCard, save_model
from continual_repmode.volumes.formats.writing import save_volume

UM = (0.5, 0.2, 0.2)


@pytest.fixture
def image(tmp_path: Path) -> tuple[Path, np.ndarray]:
    rng = np.random.default_rng(0)
    smooth = gaussian_filter(rng.normal(size=(2, 8, 80, 70)), (0, 1, 1, 1))
    voxels = (1500 + 1000 * smooth).astype(np.uint16)
    path = tmp_path / "field.ome.tif"
    names = ["Bright", "DAPI"]
    save_volume(path, voxels, axes="CZYX", voxel_size_um=UM, channel_names=names)
    return path, voxels


def test_headers_intensities_and_a_picture(image, capsys):
    path, voxels = image
    picture = path.with_suffix(".png")

    assert main(["inspect", str(path), "--json", "--picture", str(picture)]) == 0

    facts = json.loads(capsys.readouterr().out)
    assert (facts["axes"], facts["shape"], facts["dtype"]) == (
        "CZYX", [2, 8, 80, 70], "uint16",
    )  # fmt: skip
    assert facts["voxel_size_um"] == pytest.approx(UM)
    assert facts["as_input"] is None
    for known, channel in zip(facts["channels"], voxels, strict=True):
        assert known["num_planes_measured"] == 8
        assert (known["min"], known["max"]) == (channel.min(), channel.max())
        assert known["mean"] == pytest.approx(channel.mean())
        assert known["std"] == pytest.approx(channel.std())
        assert known["p99"] == pytest.approx(np.percentile(channel, 99))
    named = [known["named_like"] for known in facts["channels"]]
    assert named == ["transmitted light", "dna"]
    drawn = matplotlib.image.imread(picture)
    assert drawn.shape[1] == 2 * 480
    assert len(np.unique(drawn[..., 0])) > 100


def test_scenes_times_and_what_the_headers_say_as_text(tmp_path, capsys):
    from tifffile import imwrite

    path = tmp_path / "lapse.ome.tif"
    frames = np.random.default_rng(0).integers(0, 9, (3, 4, 5, 6)).astype(np.uint8)
    imwrite(path, frames, ome=True, metadata={"axes": "TZYX", "PhysicalSizeX": 0.25})

    assert main(["inspect", str(path), "--model-voxel-size", "1", "1", "1"]) == 0
    out, said = capsys.readouterr()
    assert "holds 3 of 'time': 0 to 2; this is time 0 (--choose time=1)" in out
    assert "4 x 5 x 6 voxels (z, y, x)" in out
    assert "? x ? x 0.25 um; the whole is ? x ? x 1.5 um" in out
    assert "--model-voxel-size: without effect without --model" in said
    assert main(["inspect", str(path), "--choose", "time=2", "--json"]) == 0
    (channel,) = json.loads(capsys.readouterr().out)["channels"]
    assert channel["mean"] == pytest.approx(frames[2].mean())


def test_what_it_would_be_as_input_of_a_model(image, capsys):
    path, _ = image
    torch.manual_seed(0)
    net = RepModeUNet(("dna",), width=2, depth=1).eval()
    looks = {
        "version": [1], "num_images": [4], "power": [0.0] * 10,
        "power_std": [0.01] * 10, "skewness": [9.0, 0.1], "kurtosis": [0.6, 0.1],
        "profile": [None] * 97, "focus_um": [],
    }  # fmt: skip
    for name, known in (("old", TaskCard()), ("new", TaskCard(signals=looks))):
        card = ModelCard(
            voxel_size_um=(0.5, 0.4, 0.4), window=(4, 16, 16), overlap=(0.5, 0.5, 0.5),
            tasks={"dna": known},
        )  # fmt: skip
        model = path.parent / f"{name}.safetensors"
        save_model(net, model, card)
        command = ["inspect", str(path), "--model", str(model)]

        status = main([*command, "--json"])

        given = json.loads(capsys.readouterr().out)["as_input"]
        assert given["shape_zyx"] == [8, 40, 35]
        assert (given["window"], given["num_windows"]) == ([4, 16, 16], 3 * 4 * 4)
        assert given["output_bytes"] == 4 * 8 * 80 * 70
        assert given["memory_bytes"] > 10**7
        assert main(command) == status
        out = capsys.readouterr().out
        assert "8 x 80 x 70 voxels of 0.5 0.2 0.2 um, predicted as 8 x 40 x 35" in out
        if name == "old":
            assert (status, given["warnings"]) == (0, [])
        else:
            assert status == 3
            assert "warning: unlike the training images of dna in new.saf" in out
            assert "other contrast (skewness " in out
    assert main([*command, "--channel", "DAPI"]) == 3
    assert "is named like no transmitted light" in capsys.readouterr().out
    assert main(["inspect", str(path), "--picture", "a.jpg"]) == 2
