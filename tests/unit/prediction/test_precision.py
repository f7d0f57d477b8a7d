"""``--precision auto``: bfloat16 where it is fast and hardly changes the test MSE."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from continual_repmode.models.model_card import TaskCard
from continual_repmode.prediction import precision
from continual_repmode.prediction.options import PredictOptions
from continual_repmode.prediction.setup import Setup
from continual_repmode.trained_model import TrainedModel

TASK = "dna"


@pytest.fixture
def chosen(net, card, monkeypatch, caplog):
    """Return what is chosen for a test MSE, and what was said."""

    def choose(mse, *, has_instructions=True):
        monkeypatch.setattr(precision, "computes_bf16", lambda device: has_instructions)
        tasks = {TASK: TaskCard(metrics={"mse": mse})} if mse else {}
        model = TrainedModel(net, replace(card, tasks=tasks))
        caplog.clear()
        options = PredictOptions(tasks=TASK, precision="auto", device="cpu")
        setup = Setup.of(model, options)
        (said,) = caplog.messages
        return setup, said

    return choose


def test_bfloat16_is_taken_only_where_it_is_fast_and_known_to_change_little(chosen):
    for mse, has_instructions, expected, says in [
        (0.5, True, "bfloat16", "changes the test MSE of dna by about 0.0"),
        (1e-5, True, "float32", "more than 0.5%"),
        (None, True, "float32", "has no test MSE of dna"),
        (0.5, False, "float32", "cpu has no instructions for bfloat16"),
    ]:
        setup, said = chosen(mse, has_instructions=has_instructions)
        assert setup.precision == expected
        assert said.startswith(f"note: --precision auto: {expected}; ")
        assert says in said


def test_the_mse_changes_by_as_little_as_it_says(chosen, light):
    """On an image that is not the one it was judged by, with an error of that MSE."""
    mse = 0.05
    setup, _ = chosen(mse)
    assert setup.precision == "bfloat16"
    signal = torch.from_numpy((light - light.mean()) / light.std()).float()[None, None]
    exact, short = (
        setup.model.predictor(TASK, p, setup.device)(signal).numpy()
        for p in ("float32", "bfloat16")
    )
    assert not np.array_equal(exact, short)
    noise = np.random.default_rng(1).standard_normal(exact.shape)
    target = exact + np.sqrt(mse) * noise
    change = ((short - target) ** 2).mean() / ((exact - target) ** 2).mean() - 1
    assert abs(change) < precision.LARGEST_CHANGE


def test_workers_and_files_are_given_what_was_chosen(chosen, model_file):
    setup, _ = chosen(0.5)
    setup = replace(setup, model=TrainedModel.load(model_file))
    assert pickle.loads(pickle.dumps(setup)).precision == "bfloat16"
