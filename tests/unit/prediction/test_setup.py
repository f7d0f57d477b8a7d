from dataclasses import replace

import pytest

from continual_repmode.errors import UserError
from continual_repmode.inference.windows import FAST_OVERLAP
from continual_repmode.models import RepModeUNet
from continual_repmode.prediction.options import PredictOptions
from continual_repmode.prediction.setup import Setup
from continual_repmode.trained_model import TrainedModel
from continual_repmode.volumes.normalization import Intensity


def test_what_is_not_chosen_comes_from_the_card(model):
    setup = Setup.of(model, PredictOptions(device="cpu"))

    assert setup.tasks == ("dna", "nucleolus")
    assert setup.window == (4, 8, 8)
    assert setup.overlap == (0.5, 0.5, 0.5)
    assert setup.batch_size == 1
    assert setup.intensities == {}


def test_an_old_card_without_them_has_the_window_of_the_paper_and_less_overlap(model):
    silent = replace(model, card=replace(model.card, window=None, overlap=None))

    setup = Setup.of(silent, PredictOptions())

    assert (setup.window, setup.overlap) == ((32, 128, 128), FAST_OVERLAP)


def test_choices_are_taken(model):
    options = PredictOptions(
        tasks="dna", intensity="target", window=(2, 4, 4), overlap=0.25, batch_size=3
    )

    setup = Setup.of(model, options)

    assert setup.intensities == {"dna": Intensity(400.0, 25.0)}
    assert (setup.window, setup.overlap) == ((2, 4, 4), (0.25, 0.25, 0.25))
    assert setup.batch_size == 3


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tasks": "golgi"}, "golgi.*knows dna, nucleolus"),
        ({"window": (0, 8, 8)}, "window"),
        ({"overlap": 1.0}, "overlap=1.0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"memory": 1_000_000}, "memory=1 MB.*allow"),
        ({"device": "tpu"}, "device='tpu'"),
        ({"intensity": "target"}, "nucleolus"),
        ({"voxel_size_um": (0.3, -1.0, 1.0)}, "--voxel-size 0.3 -1 1"),
        ({"model_voxel_size_um": (290.0, 5000.0, 1.0)}, "--model-voxel-size"),
    ],
)
def test_what_cannot_be_is_refused(model, options, told):
    with pytest.raises(UserError, match=told):
        Setup.of(model, PredictOptions(**options))


def test_networks_of_several_channels_are_refused(card):
    net = RepModeUNet(("dna",), width=2, depth=1, in_channels=2)

    with pytest.raises(UserError, match="maps 2 channels to 1"):
        Setup.of(TrainedModel(net, card), PredictOptions())
