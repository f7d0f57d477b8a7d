import subprocess
import sys
from itertools import islice

import numpy as np
import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.models import ModelCard, RepModeUNet, TaskCard, save_model
from continual_repmode.napari_plugin.layers import (
    Request,
    format_voxel_size,
    layer_voxel_size,
    parse_voxel_size,
    predict_layers,
    task_names,
)
from continual_repmode.prediction.arrays import predict_array

UM = (0.3, 0.11, 0.11)
SHAPE = (6, 21, 18)
PLACEMENT = {"scale": (300.0, 110.0, 110.0), "units": ("nm",) * 3, "translate": [1, 2]}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return RepModeUNet(("dna", "nuclear_envelope", "nucleolus"), 2, 1).eval()


@pytest.fixture
def card():
    known = {"dna": TaskCard(target_mean=400.0, target_std=25.0)}
    return ModelCard(voxel_size_um=(0.29,) * 3, window=(4, 8, 8), tasks=known)


@pytest.fixture
def request_for(tmp_path, net, card):
    """Ask for structures of a noisy image, with anything changed."""
    model = tmp_path / "model.safetensors"
    save_model(net, model, card)
    noise = np.random.default_rng(0).normal(1000, 30, SHAPE).astype(np.uint16)

    def make(**changes) -> Request:
        asked = {
            "image": noise,
            "image_name": "Bright",
            "placement": PLACEMENT,
            "voxel_size_um": UM,
            "model": model,
            "tasks": ["nucleolus", "dna"],
        }
        return Request(**(asked | changes))

    return make


def test_a_scale_with_a_unit_or_one_that_someone_has_set_tells_the_voxel_size():
    for scale, units, expected in (
        ((0.3, 0.11, 0.11), ("micrometer",) * 3, (0.3, 0.11, 0.11)),
        ((300, 110, 110), ("nanometer",) * 3, (0.3, 0.11, 0.11)),
        ((1, 1, 1), ("micrometer",) * 3, (1, 1, 1)),
        ((1, 110, 110), ("um", "nm", "nm"), (1, 0.11, 0.11)),
        ((0.3, 0.11, 0.11), ("pixel",) * 3, (0.3, 0.11, 0.11)),
        ((0.3, 0.11, 0.11), None, (0.3, 0.11, 0.11)),
    ):
        found = layer_voxel_size(scale, units)
        assert found == pytest.approx(expected), (scale, units)


def test_otherwise_nothing_is_assumed():
    for scale, units in (
        ((1, 1, 1), ("pixel",) * 3),
        ((1, 1, 1), None),
        ((0.3, 0.11, 0.11), ("pixel", "um", "um")),
        ((-0.3, 0.11, 0.11), ("um",) * 3),
        ((0.11, 0.11), ("um",) * 2),
        ((1, 0.3, 0.11, 0.11), ("um",) * 4),
        ((1e9, 1, 1), ("um",) * 3),
    ):
        assert layer_voxel_size(scale, units) is None, (scale, units)


def test_a_voxel_size_is_shown_as_it_can_be_entered():
    assert parse_voxel_size(format_voxel_size(UM)) == UM
    assert parse_voxel_size(" 0.3 ;0.11\t0.11 ") == UM
    assert format_voxel_size(None) == ""
    assert parse_voxel_size("  ") is None


def test_what_is_no_voxel_size_is_told():
    for text, message in {
        "0.3 0.11": "three numbers",
        "0.3 0.11 0.11 0.11": "three numbers",
        "0.3 um": "three numbers",
        "0.3 0.11 0": "use micrometres, from 0.001 to 1000",
        "0.3 0.11 nan": "use micrometres",
    }.items():
        with pytest.raises(UserError, match=message):
            parse_voxel_size(text)


def test_a_model_file_tells_its_structures_and_another_file_is_refused(
    request_for, net, tmp_path
):
    assert task_names(request_for().model) == net.task_names
    (tmp_path / "notes.safetensors").write_text("no model")
    with pytest.raises(UserError, match=r"notes\.safetensors"):
        task_names(tmp_path / "notes.safetensors")


def test_each_structure_becomes_a_layer_where_the_light_is(request_for):
    asked = request_for()
    nucleolus, dna = predict_layers(asked)

    reference = predict_array(asked.model, asked.image, UM)
    for (data, meta, kind), task in ((nucleolus, "nucleolus"), (dna, "dna")):
        np.testing.assert_array_equal(data, reference[task])
        assert kind == "image"
        assert {key: meta[key] for key in PLACEMENT} == PLACEMENT
        assert meta["blending"] == "additive"
        low, high = meta["contrast_limits"]
        assert low == pytest.approx(np.percentile(data, 75))
        assert low < high <= data.max()
        assert meta["metadata"]["continual_repmode"]["task"] == task
    assert nucleolus[1]["name"] == "nucleolus (Bright)"
    assert dna[1]["name"] == "DNA (Bright)"


def test_a_structure_has_the_same_color_whatever_else_is_predicted(request_for):
    def colors(*tasks: str) -> list[str]:
        layers = predict_layers(request_for(tasks=tasks))
        return [meta["colormap"] for _, meta, _ in layers]

    together = colors("dna", "nuclear_envelope", "nucleolus")
    assert len(set(together)) == 3
    assert colors("nucleolus") == together[2:]


def test_a_layer_is_there_before_the_next_one_is_predicted(request_for, monkeypatch):
    asked_for = []

    def watched(model, image, voxel_size_um, tasks, **options):
        asked_for.extend(tasks)
        return predict_array(model, image, voxel_size_um, tasks, **options)

    monkeypatch.setattr("continual_repmode.napari_plugin.layers.predict_array", watched)
    list(islice(predict_layers(request_for()), 1))
    assert asked_for == ["nucleolus"]


def test_intensities_of_the_training_images_on_request(request_for):
    ((zscored, _, _),) = predict_layers(request_for(tasks=["dna"]))
    ((scaled, meta, _),) = predict_layers(
        request_for(tasks=["dna"], intensity="target")
    )
    np.testing.assert_allclose(scaled, zscored * 25 + 400, rtol=1e-5)
    assert meta["metadata"]["continual_repmode"]["intensity"] == "target"

    with pytest.raises(UserError, match="'nucleolus' in training; use zscore"):
        list(predict_layers(request_for(intensity="target")))


def test_what_cannot_be_predicted_is_refused_at_once(request_for):
    planes = np.zeros((2, *SHAPE))
    for changes, message in (
        ({"image": planes[0, 0]}, "2 axes, 21 x 18, .* the whole stack"),
        ({"image": planes}, "4 axes, 2 x 6 x 21 x 18, .*Split Stack"),
        ({"voxel_size_um": None}, "enter z, y, x in micrometres.*'Bright'"),
        ({"tasks": []}, "choose one or more"),
    ):
        with pytest.raises(UserError, match=message):
            request_for(**changes)


def test_a_constant_image_is_told(request_for):
    with pytest.raises(UserError, match="constant"):
        list(predict_layers(request_for(image=np.ones(SHAPE))))


def test_neither_napari_nor_qt_is_needed():
    code = (
        "import sys, continual_repmode.napari_plugin.layers; "
        "assert not {'napari', 'magicgui', 'qtpy', 'superqt'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
