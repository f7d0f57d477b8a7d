import json
import os
from dataclasses import replace

import numpy as np
import pytest

from continual_repmode.prediction.images import Image, open_image
from continual_repmode.prediction.options import PredictOptions
from continual_repmode.prediction.recipe import attributes_of, differences, recipe_of
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
    recipe = recipe_of(image, setup_of(model))

    assert json.loads(json.dumps(recipe)) == recipe


def test_what_changes_only_speed_is_no_part_of_it(image, model):
    fast = setup_of(model, batch_size=4, memory=10**11, device="cpu", progress=True)

    assert recipe_of(image, fast) == recipe_of(image, setup_of(model))


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"tasks": "nucleolus,dna"}, "tasks"),
        ({"overlap": 0.5}, "overlap"),
        ({"precision": "bfloat16"}, "precision"),
        ({"tasks": "dna", "intensity": "target"}, "tasks, intensity"),
    ],
)
def test_what_changes_voxels_is_named(image, model, options, difference):
    one, other = (recipe_of(image, setup_of(model, **o)) for o in ({}, options))

    assert differences(one, other) == difference


def test_other_bytes_and_other_models_are_other_recipes(image, model):
    setup = setup_of(model)
    before = recipe_of(image, setup)
    path = image.signal.volume.path

    os.utime(path, ns=(0, 0))
    assert differences(before, recipe_of(image, setup)) == "input"
    other = replace(setup, model=replace(model, sha256="other"))
    assert differences(recipe_of(image, setup), recipe_of(image, other)) == "model"


def test_attributes_tell_the_unit_and_what_undid_the_zscore(image, model):
    zscored, scaled = setup_of(model), setup_of(model, tasks="dna", intensity="target")

    told = attributes_of(recipe_of(image, scaled), scaled)

    assert told["training_targets"] == {"dna": {"mean": 400.0, "std": 25.0}}
    assert "not of this image" in told["unit"]
    assert "training_targets" not in attributes_of(recipe_of(image, zscored), zscored)
