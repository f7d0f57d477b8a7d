import json
import os
from dataclasses import replace

import numpy as np
import pytest

from continual_repmode.models.methods.multinet import MultiNet
from continual_repmode.prediction.images import Image, open_image
from continual_repmode.prediction.options import PredictOptions
from continual_repmode.prediction.provenance import (
    attributes_of,
    differences,
    provenance_of,
)
from continual_repmode.prediction.setup import Setup
from continual_repmode.volumes.formats.writing import save_volume


@pytest.fixture
def image(tmp_path, light) -> Image:
    path = save_volume(
        tmp_path / "a.ome.tif", np.stack([light, light]), axes="CZYX",
        voxel_size_um=(0.3, 0.1, 0.1), channel_names=["Bright", "DAPI"],
    )  # fmt: skip
    return open_image(
        path, "a", channel=None, choices={}, source_um=None, model_um=(0.3, 0.3, 0.3)
    )


def setup_of(model, **options) -> Setup:
    return Setup.of(model, PredictOptions(**options))


def test_it_is_the_same_after_a_round_trip_through_a_file(image, model):
    provenance = provenance_of(image, setup_of(model))

    assert json.loads(json.dumps(provenance)) == provenance


def test_what_changes_only_speed_is_no_part_of_it(image, model):
    fast = setup_of(model, batch_size=4, memory=10**11, device="cpu", progress=True)

    assert provenance_of(image, fast) == provenance_of(image, setup_of(model))


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"tasks": "nucleolus,dna"}, "tasks"),
        ({"overlap": 0.25}, "overlap"),
        ({"precision": "bfloat16"}, "precision"),
        ({"tasks": "dna", "intensity": "target"}, "tasks, intensity"),
    ],
)
def test_what_changes_voxels_is_named(image, model, options, difference):
    one, other = (provenance_of(image, setup_of(model, **o)) for o in ({}, options))

    assert differences(one, other) == difference


def test_other_bytes_and_other_models_are_told(image, model):
    setup = setup_of(model)
    before = provenance_of(image, setup)
    other = setup_of(replace(model, net=MultiNet(("dna", "nucleolus"), width=2)))

    assert differences(before, provenance_of(image, other)) == "model"
    os.utime(image.signal.volume.path, ns=(0, 0))
    assert differences(before, provenance_of(image, setup)) == "input"


def test_attributes_tell_the_unit_and_what_undid_the_zscore(image, model):
    scaled = setup_of(model, tasks="dna", intensity="target")

    told = attributes_of(provenance_of(image, scaled), scaled)

    assert told["training_targets"] == {"dna": {"mean": 400.0, "std": 25.0}}
    assert "not of this image" in told["unit"]
    assert "not a measurement" in told["meaning"]
    zscored = setup_of(model)
    told = attributes_of(provenance_of(image, zscored), zscored)
    assert "training_targets" not in told
