"""What is tried for each method, and how what was best gets into the tables."""

from dataclasses import replace

from continual_repmode.experiments import choices, strengths
from continual_repmode.experiments.choices import EXTENDING, JOINT
from continual_repmode.training.strategies.mas import MASConfig


def test_every_method_is_tried_with_the_same_kernels_and_rates():
    tried = {name: list(way.tries()) for name, way in JOINT.items()}
    assert set(choices.METHODS) < set(tried)
    assert all(names == tried["repmode"] for names in tried.values())
    assert tried["repmode"][0] == "k3_lr0.005"
    assert len(tried["repmode"]) == 6


def test_every_way_to_extend_is_tried_with_the_same_rates():
    rates = {level.name for level in choices.RATES}
    for way in EXTENDING.values():
        assert {name.split("_")[-1] for name in way.tries()} == rates


def test_without_measurements_the_first_try_is_a_first_guess(monkeypatch):
    monkeypatch.setattr(choices, "CHOSEN", {})
    assert "train.learning_rate=0.005" in choices.joint_settings("tgnet")
    assert "model.kernel_size=3" in choices.joint_settings("tgnet")
    tuning = replace(MASConfig.tuning, chosen=None)
    monkeypatch.setattr(MASConfig, "tuning", tuning)
    assert strengths.chosen_settings("mas") == ("strategy.strength=1",)


def test_what_was_chosen_is_what_the_rows_have(monkeypatch):
    monkeypatch.setattr(choices, "CHOSEN", {"tgnet": "k5_lr0.01"})
    settings = choices.joint_settings("tgnet")
    assert settings[-2:] == ("model.kernel_size=5", "train.learning_rate=0.01")


def test_a_later_task_has_the_network_of_those_before_which_start_alike(monkeypatch):
    chosen = {"multinet": "k5_lr0.01", "individual": "k3_lr0.0025"}
    monkeypatch.setattr(choices, "CHOSEN", chosen)
    row = choices.extending_row("individual")
    for settings, rate in ((row.settings, "0.0025"), (row.base, "0.005")):
        kernels = [s for s in settings if s.startswith("model.kernel_size")]
        assert kernels[-1] == "model.kernel_size=3"  # the last one holds
        assert f"train.learning_rate={rate}" in settings


def test_what_was_chosen_was_tried():
    ways = {**JOINT, **EXTENDING}
    assert all(chosen in ways[name].tries() for name, chosen in choices.CHOSEN.items())
