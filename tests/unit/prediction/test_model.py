from dataclasses import replace

import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.models import deploy
from continual_repmode.prediction.model import TrainedModel
from continual_repmode.volumes.normalization import Intensity


def test_a_file_gives_network_card_and_digest(model_file, net, card):
    loaded = TrainedModel.load(model_file)

    assert loaded.card == card
    assert loaded.name == "tiny.safetensors"
    assert len(loaded.sha256) == 64
    assert loaded.net.task_names == net.task_names


def test_the_digest_of_a_network_in_memory_follows_its_weights(net, card):
    one = TrainedModel.of(net, card)
    with torch.no_grad():
        parameter = next(net.parameters())
        parameter.add_(1)
        other = TrainedModel.of(net, card)
        parameter.sub_(1)

    assert one.sha256 != other.sha256


def test_tasks_are_names_or_all(model):
    assert model.choose_tasks("all") == ("dna", "nucleolus")
    assert model.choose_tasks("nucleolus, dna,nucleolus") == ("nucleolus", "dna")
    assert model.choose_tasks(("dna",)) == ("dna",)
    for unknown in ("dna,golgi", "", ()):
        with pytest.raises(UserError, match="knows dna, nucleolus"):
            model.choose_tasks(unknown)


def test_the_grid_is_that_of_the_card(model):
    preparation = model.preparation()

    assert preparation.voxel_size_um == (0.3, 0.3, 0.3)
    assert (preparation.resize, preparation.order) == ("paper", "zscore_first")
    with pytest.raises(UserError, match=r"trained at 0\.3 0\.3 0\.3 um"):
        model.preparation((0.2, 0.2, 0.2))


def test_a_card_without_a_grid_asks_for_one(model):
    silent = replace(model, card=replace(model.card, voxel_size_um=None))

    with pytest.raises(UserError, match=r"-size Z Y X \(in Python: model_voxel_"):
        silent.preparation()
    assert silent.preparation((0.2, 0.2, 0.2)).voxel_size_um == (0.2, 0.2, 0.2)


def test_target_intensities_are_refused_where_they_are_unknown(model):
    assert model.target_intensity("dna") == Intensity(400.0, 25.0)
    with pytest.raises(UserError, match="does not know the intensities of 'nucleolus'"):
        model.target_intensity("nucleolus")


def test_a_predictor_is_the_deployed_network_in_its_precision(model, net):
    windows = torch.randn(2, 1, 4, 8, 8)
    cpu = torch.device("cpu")

    exact = model.predictor("dna", "float32", cpu)(windows)
    rounded = model.predictor("dna", "bfloat16", cpu)(windows)

    with torch.no_grad():
        torch.testing.assert_close(exact, deploy(net, "dna")(windows))
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0.1, atol=0.1)
