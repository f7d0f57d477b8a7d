"""The options of ``continual-repmode predict``, declared as fields."""

import argparse

import pytest

from continual_repmode.errors import UserError
from continual_repmode.option_fields import add_options, given_options
from continual_repmode.prediction.options import PredictOptions


def options_of(*words: str) -> PredictOptions:
    parser = argparse.ArgumentParser()
    add_options(parser, PredictOptions)
    chosen = parser.parse_args(words)
    return PredictOptions(**given_options(chosen, PredictOptions))


def test_what_is_not_given_has_its_default():
    assert options_of() == PredictOptions()


def test_every_kind_of_option_is_read():
    options = options_of(
        *("--tasks", "dna", "--channel", "2", "--target", "DAPI", "--memory", "2GB"),
        *("--voxel-size", "0.3", "0.1", "0.1", "--window", "8", "16", "16"),
        *("--choose", "scene=1", "--choose", "time=0", "--overwrite"),
        *("--overlap", "0.5", "0.25", "0", "--precision", "bfloat16"),
        *("--batch-size", "3", "--model-voxel-size", "0.3", "0.3", "0.3"),
    )

    assert options == PredictOptions(
        tasks="dna",
        channel="2",
        target="DAPI",
        memory=2_000_000_000,
        voxel_size_um=(0.3, 0.1, 0.1),
        window=(8, 16, 16),
        choices={"scene": "1", "time": "0"},
        overwrite=True,
        overlap=(0.5, 0.25, 0.0),
        precision="bfloat16",
        batch_size=3,
        model_voxel_size_um=(0.3, 0.3, 0.3),
    )


def test_what_cannot_be_read_is_refused():
    for words, message in (
        (("--choose", "scene"), "--choose scene: use WHAT=WHICH"),
        (("--memory", "much"), "memory=much: use an amount such as 2GB"),
    ):
        with pytest.raises(UserError, match=message):
            options_of(*words)
