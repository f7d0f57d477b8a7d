import numpy as np
import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.models.methods.multihead import MultiHeadUNet
from continual_repmode.models.model_card import ModelCard
from continual_repmode.prediction import predict_array

UM = (0.3, 0.11, 0.11)


def test_every_task_comes_back_on_the_grid_of_the_volume(net, card, light, obvious):
    found = predict_array(net, card, light, UM)

    assert list(found) == ["dna", "nucleolus"]
    assert found["dna"].std() > 0.2 < (found["dna"] - found["nucleolus"]).std()
    for task, predicted in found.items():
        assert (predicted.dtype, predicted.shape) == (np.float32, light.shape)
        np.testing.assert_allclose(predicted, obvious(light, UM, task), atol=1e-5)


def test_intensities_of_the_training_targets_on_request(net, card, light):
    (zscored,) = predict_array(net, card, light, UM, ["dna"]).values()
    (scaled,) = predict_array(net, card, light, UM, "dna", intensity="target").values()

    np.testing.assert_allclose(scaled, zscored * 25 + 400, rtol=1e-5)


def test_other_networks_predict_too(card, light):
    torch.manual_seed(0)
    net = MultiHeadUNet(("dna", "nucleolus"), width=2, depth=1).eval()

    found = predict_array(net, card, light, UM, "nucleolus")

    assert found["nucleolus"].shape == light.shape


def test_what_cannot_be_is_refused(net, card, light):
    with pytest.raises(UserError, match="--model-voxel-size"):
        predict_array(net, ModelCard(), light, UM)
    with pytest.raises(UserError, match="expected shape"):
        predict_array(net, card, light[0], UM)
    with pytest.raises(UserError, match="constant"):
        predict_array(net, card, np.ones_like(light), UM)
