"""A model file, opened: what predict, export, extend, merge, info and napari share."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from continual_repmode.config.run import TrainConfig
from continual_repmode.errors import UserError
from continual_repmode.inference.windows import DEFAULT_OVERLAP, FAST_OVERLAP
from continual_repmode.models import ModelCard, RepModeUNet, TaskCard, deploy
from continual_repmode.models.methods.multinet import MultiNet
from continual_repmode.models.model_file import save_model
from continual_repmode.trained_model import TrainedModel
from continual_repmode.volumes.normalization import Intensity

TASKS = ("dna", "nucleolus")
CARD = ModelCard(
    voxel_size_um=(0.3, 0.3, 0.3),
    window=(4, 8, 8),
    overlap=(0.5, 0.25, 0.25),
    tasks={"dna": TaskCard(target_mean=400.0, target_std=25.0)},
)


@pytest.fixture
def model() -> TrainedModel:
    torch.manual_seed(0)
    return TrainedModel(RepModeUNet(TASKS, width=2, depth=1).eval(), CARD)


def without(model: TrainedModel, **entries: None) -> TrainedModel:
    return replace(model, card=replace(model.card, **entries))


def test_a_file_gives_network_card_and_identity(model, tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_model(model.net, path, CARD)

    loaded = TrainedModel.load(path)

    assert (loaded.card, loaded.path, loaded.name) == (CARD, path, "tiny.safetensors")
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.net.task_names == TASKS
    assert TrainedModel.opened(loaded) is loaded
    assert TrainedModel.opened(path).sha256 == loaded.sha256


def test_an_outline_has_all_but_the_values(model, tmp_path):
    save_model(model.net, tmp_path / "tiny.safetensors", CARD)

    outline = TrainedModel.outline(tmp_path / "tiny.safetensors")

    assert outline.net.architecture() == model.net.architecture()
    assert outline.card == CARD
    assert all(parameter.is_meta for parameter in outline.net.parameters())


def test_the_identity_of_a_network_in_memory_follows_its_weights(model):
    with torch.no_grad():
        next(model.net.parameters()).add_(1)
        changed = TrainedModel(model.net, CARD).sha256
        next(model.net.parameters()).sub_(1)

    assert model.name == "network"
    assert model.sha256 != changed


def test_window_and_overlap_are_those_of_the_test_or_of_old_times(model):
    old = without(model, window=None, overlap=None)

    assert (model.window, model.overlap) == ((4, 8, 8), (0.5, 0.25, 0.25))
    assert (old.window, old.overlap) == ((32, 128, 128), FAST_OVERLAP)


def test_a_run_tests_with_the_default_overlap_unless_told_otherwise():
    assert TrainConfig().overlap == DEFAULT_OVERLAP


def test_tasks_are_names_or_all(model):
    assert model.choose_tasks("all") == ("dna", "nucleolus")
    assert model.choose_tasks("nucleolus, dna,nucleolus") == ("nucleolus", "dna")
    assert model.choose_tasks(("dna",)) == ("dna",)
    assert model.choose_tasks("DNA,Nucleolus") == ("dna", "nucleolus")
    for unknown in ("dna,golgi", "", ()):
        with pytest.raises(UserError, match="knows dna, nucleolus"):
            model.choose_tasks(unknown)


def test_the_grid_is_that_of_the_card(model):
    preparation = model.preparation()

    assert preparation.voxel_size_um == (0.3, 0.3, 0.3)
    assert (preparation.resize, preparation.order) == ("paper", "zscore_first")


def test_a_voxel_size_completes_a_card_and_does_not_contradict_it(model):
    old = without(model, voxel_size_um=None)
    with pytest.raises(UserError, match=r"-size Z Y X \(in Python: model_voxel_"):
        old.preparation()

    completed = old.with_voxel_size((1.0, 0.5, 0.5), "--voxel-size")

    assert completed.preparation().voxel_size_um == (1.0, 0.5, 0.5)
    for same in (None, (0.3, 0.3, 0.3)):
        assert model.with_voxel_size(same, "--voxel-size") is model
    with pytest.raises(UserError, match=r"--voxel-size 1 0\.5 0\.5: .*at 0\.3 0\.3 0"):
        model.with_voxel_size((1.0, 0.5, 0.5), "--voxel-size")


def test_unknown_ways_of_newer_cards_are_refused(model):
    for entry in ("resize", "order"):
        newer = replace(model, card=replace(CARD, **{entry: "sinc"}))
        with pytest.raises(UserError, match=r"unknown .* .sinc."):
            newer.preparation()


def test_target_intensities_are_refused_where_they_are_unknown(model):
    assert model.target_intensity("dna") == Intensity(400.0, 25.0)
    with pytest.raises(UserError, match="does not know the intensities of 'nucleolus'"):
        model.target_intensity("nucleolus")


def test_only_repmode_networks_grow(model):
    assert model.repmode() is model.net
    other = TrainedModel(MultiNet(TASKS, width=2, depth=1), CARD, Path("a.safetensors"))
    with pytest.raises(UserError, match=r"a\.safetensors: holds a MultiNet; only RepM"):
        other.repmode()


def test_a_predictor_is_the_deployed_network_in_its_precision(model):
    windows = torch.randn(2, 1, 4, 8, 8)
    cpu = torch.device("cpu")

    exact = model.predictor("dna", "float32", cpu)(windows)
    rounded = model.predictor("dna", "bfloat16", cpu)(windows)

    with torch.no_grad():
        torch.testing.assert_close(exact, deploy(model.net, "dna")(windows))
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0.1, atol=0.1)
