import numpy as np
import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.models.methods.multihead import MultiHeadUNet
from continual_repmode.models.model_card import ModelCard
from continual_repmode.prediction.arrays import predict_array
from continual_repmode.trained_model import TrainedModel

UM = (0.3, 0.11, 0.11)


def test_every_task_comes_back_on_the_grid_of_the_volume(model, light, obvious):
    found = predict_array(model, light, UM)

    assert list(found) == ["dna", "nucleolus"]
    assert found["dna"].std() > 0.2 < (found["dna"] - found["nucleolus"]).std()
    for task, predicted in found.items():
        assert (predicted.dtype, predicted.shape) == (np.float32, light.shape)
        np.testing.assert_allclose(predicted, obvious(light, UM, task), atol=1e-5)


def test_intensities_of_the_training_targets_on_request(model, light):
    (zscored,) = predict_array(model, light, UM, ["dna"]).values()
    (scaled,) = predict_array(model, light, UM, "dna", intensity="target").values()

    np.testing.assert_allclose(scaled, zscored * 25 + 400, rtol=1e-5)


def test_other_networks_predict_too(card, light):
    torch.manual_seed(0)
    net = MultiHeadUNet(("dna", "nucleolus"), width=2, depth=1).eval()

    found = predict_array(TrainedModel(net, card), light, UM, "nucleolus")

    assert found["nucleolus"].shape == light.shape


def test_what_cannot_be_is_refused(net, model, light):
    with pytest.raises(UserError, match="--model-voxel-size"):
        predict_array(TrainedModel(net, ModelCard()), light, UM)
    with pytest.raises(UserError, match="expected shape"):
        predict_array(model, light[0], UM)
    with pytest.raises(UserError, match="constant"):
        predict_array(model, np.ones_like(light), UM)


def test_a_file_predicts_as_the_network_in_it(model, model_file, light):
    from_file = predict_array(model_file, light, UM, "dna", overlap=0.25)

    from_memory = predict_array(model, light, UM, "dna", overlap=0.25)
    np.testing.assert_array_equal(from_file["dna"], from_memory["dna"])


def test_options_of_files_are_none_of_an_array(model, light):
    for name in ("memory", "channel", "target", "overwrite"):
        with pytest.raises(TypeError, match=name):
            predict_array(model, light, UM, **{name: 1})
