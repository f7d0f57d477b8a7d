"""``--precision auto``: bfloat16 where it is fast and hardly changes the test MSE."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from continual_repmode.models import save_model
from continual_repmode.models.model_card import TaskCard
from continual_repmode.prediction import precision
from continual_repmode.prediction.options import PredictOptions
from continual_repmode.prediction.setup import Setup
from continual_repmode.results import RunFolder
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
        (0.5, True, "bfloat16", "on generated cells, as the model has no samples/"),
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


def test_it_is_judged_by_a_test_image_of_the_run_where_there_is_one(
    net, card, light, tmp_path, monkeypatch, caplog
):
    """The model file says no MSE here: it is measured, and not asked of the file."""
    monkeypatch.setattr(precision, "computes_bf16", lambda device: True)
    folder = RunFolder(tmp_path / "run")
    path = folder.checkpoint(0)
    save_model(net, path, replace(card, tasks={}))
    model = TrainedModel.load(path)
    signal = ((light - light.mean()) / light.std())[:4, 7:15, 9:17]
    window = torch.from_numpy(signal).float()[None, None]
    exact, short = (
        model.predictor(TASK, p, torch.device("cpu"))(window)[0, 0].numpy()
        for p in ("float32", "bfloat16")
    )
    folder.samples.mkdir()
    noise = np.random.default_rng(1).standard_normal(exact.shape)
    for error, expected in ((0.3, "bfloat16"), (0.003, "float32")):
        target = exact + error * noise
        target[:, :2] = np.nan  # padding
        np.savez(folder.samples / f"{TASK}.npz", signal=signal, target=target)
        mse = [np.nanmean((found - target) ** 2) for found in (exact, short)]
        caplog.clear()
        options = PredictOptions(tasks=TASK, precision="auto", device="cpu")
        assert Setup.of(model, options).precision == expected
        change = abs(mse[1] / mse[0] - 1)
        assert f"of dna by about {change:.2%} (on a test image)" in caplog.text


def test_workers_and_files_are_given_what_was_chosen(chosen, model_file):
    setup, _ = chosen(0.5)
    setup = replace(setup, model=TrainedModel.load(model_file))
    assert pickle.loads(pickle.dumps(setup)).precision == "bfloat16"
