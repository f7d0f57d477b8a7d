"""The form, without a display: skipped where napari or a binding of Qt is missing."""

import os
import time

import numpy as np
import pytest
import torch

from continual_repmode.models import ModelCard, RepModeUNet, save_model

pytest.importorskip("napari")
qt = pytest.importorskip("qtpy.QtWidgets", exc_type=ImportError)

pytestmark = pytest.mark.filterwarnings("default")  # of napari and Qt

UM = (0.3, 0.11, 0.11)
PATIENCE_S = 60


@pytest.fixture(scope="module")
def app():
    with pytest.MonkeyPatch.context() as patch:
        if "DISPLAY" not in os.environ:
            patch.setenv("QT_QPA_PLATFORM", "offscreen")
        yield qt.QApplication.instance() or qt.QApplication([])


@pytest.fixture
def viewer(app):
    from napari.components import ViewerModel

    return ViewerModel()


@pytest.fixture
def form(viewer):
    from continual_repmode.napari_plugin.widget import PredictStructures

    return PredictStructures(viewer)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    torch.manual_seed(0)
    net = RepModeUNet(("dna", "nucleolus"), width=2, depth=1)
    save_model(net, path, ModelCard(voxel_size_um=(0.29,) * 3, window=(4, 8, 8)))
    return path


@pytest.fixture
def errors():
    """What the user is told."""
    from napari.utils.notifications import notification_manager

    told = []

    def keep(event):
        told.append(event.message)

    notification_manager.notification_ready.connect(keep)
    yield told
    notification_manager.notification_ready.disconnect(keep)


def add_light(viewer, shape=(6, 21, 18), **placement):
    noise = np.random.default_rng(0).normal(1000, 30, shape)
    return viewer.add_image(noise, name="Bright", **placement)


def press(button):
    button.changed.emit(True)


def wait(form, app):
    deadline = time.monotonic() + PATIENCE_S
    while form.worker is not None and time.monotonic() < deadline:
        app.processEvents()
        time.sleep(0.01)
    assert form.worker is None


def test_predictions_lie_on_the_light(form, viewer, model, app, errors):
    light = add_light(
        viewer, scale=(300, 110, 110), units=("nm",) * 3, translate=(5, 6, 7)
    )
    form.reset_choices()  # as napari does
    assert form.image.value is light
    assert form.voxel_size.value == "0.3, 0.11, 0.11"

    form.model.value = model
    assert form.structures.choices == ("dna", "nucleolus")
    form.structures.value = ["dna", "nucleolus"]
    press(form.predict)
    assert not form.predict.enabled
    wait(form, app)

    assert errors == []
    assert form.predict.enabled
    assert [layer.name for layer in viewer.layers] == [
        "Bright",
        "DNA (Bright)",
        "nucleolus (Bright)",
    ]
    for layer in viewer.layers[1:]:
        assert layer.data.shape == light.data.shape
        assert np.array_equal(layer.extent.world, light.extent.world)
        assert layer.units == light.units
        assert layer.blending == "additive"


def test_a_layer_that_tells_no_voxel_size_has_to_be_helped(
    form, viewer, model, app, errors
):
    add_light(viewer)
    form.reset_choices()
    form.model.value = model
    form.structures.value = ["dna"]
    assert form.voxel_size.value == ""
    press(form.predict)
    assert form.worker is None
    assert "enter z, y, x in micrometres" in errors.pop()

    form.voxel_size.value = "0.3 0.11 0.11"
    press(form.predict)
    wait(form, app)
    assert errors == []
    assert len(viewer.layers) == 2


def test_mistakes_are_told_and_nothing_starts(form, viewer, model, errors):
    press(form.predict)
    assert "open an image" in errors.pop()
    add_light(viewer, shape=(2, 6, 21, 18))
    form.reset_choices()
    press(form.predict)
    assert "choose a model file" in errors.pop()
    form.model.value = model
    form.structures.value = ["dna"]
    press(form.predict)
    assert "Split Stack" in errors.pop()
    model.write_text("no model")
    form.model.value = None
    form.model.value = model
    assert "model.safetensors" in errors.pop()
    assert form.structures.choices == ()
    assert form.worker is None


def test_a_mistake_that_shows_later_is_told_without_a_traceback(
    form, viewer, model, app, errors
):
    add_light(viewer, scale=UM, units=("um",) * 3).data[:] = 7
    form.reset_choices()
    form.model.value = model
    form.structures.value = ["dna"]
    press(form.predict)
    wait(form, app)
    (told,) = errors
    assert "constant" in told
    assert form.predict.enabled


def test_it_can_be_stopped_after_the_structure_that_is_predicted(
    form, viewer, model, app, errors
):
    add_light(viewer, scale=UM, units=("um",) * 3)
    form.reset_choices()
    form.model.value = model
    form.structures.value = ["dna", "nucleolus"]
    press(form.predict)
    press(form.stop)
    wait(form, app)
    assert len(viewer.layers) < 3
    assert form.predict.enabled
    assert errors == []


def test_the_colormaps_are_those_of_napari():
    from napari.utils.colormaps import AVAILABLE_COLORMAPS

    from continual_repmode.napari_plugin.layers import _COLORMAPS

    assert set(_COLORMAPS) <= set(AVAILABLE_COLORMAPS)
    assert len(set(_COLORMAPS)) == len(_COLORMAPS)
