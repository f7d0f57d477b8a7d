"""The extension against a network from scratch: what is learned, and what is said."""

import json
import math
import statistics

import numpy as np
import pytest
from scipy.stats import ttest_rel

from continual_repmode.extending import extend_model
from continual_repmode.extending.reference import Comparison, Side
from continual_repmode.models import load_model, read_card
from continual_repmode.models.methods.multinet import MultiNet
from continual_repmode.results import RunFolder
from continual_repmode.training.plugins.training_state import TrainingStatePlugin


def side(test, *, valid=0.5, variance=0.9, parameters=100):
    r2 = 1 - valid / variance
    return Side(
        num_parameters=parameters,
        valid_mse=valid,
        valid_r2=r2,
        is_learned=r2 > 0.02,
        test_mse={f"image{k}": error for k, error in enumerate(test)},
    )


@pytest.fixture(scope="module")
def extend(lab, tmp_path_factory):
    """Extend in a folder of its own, with other settings at each call."""
    folder = tmp_path_factory.mktemp("reference") / "out"

    def extend(settings, manifest=lab.manifest):
        return extend_model(
            lab.model, manifest, "lysosome", folder=folder, settings=settings
        )

    return extend


def test_a_reference_asked_for_later_is_all_that_is_learned(
    lab, extend, settings, capsys
):
    alone = extend(settings(epochs=40))
    assert alone.comparison is None
    assert (
        json.loads((alone.folder / "extension.json").read_text())["reference"] is None
    )
    model = alone.model.read_bytes()
    capsys.readouterr()

    compared = extend(settings(epochs=40, reference="scratch"))
    progress = [
        line for line in capsys.readouterr().err.splitlines() if "epoch" in line
    ]
    assert sum("epoch 40/40" in line for line in progress) == 1
    assert compared.model.read_bytes() == model
    assert compared.record == alone.record

    folder = RunFolder(compared.folder / "reference")
    net = load_model(folder.path / "model.safetensors")
    base = load_model(lab.model)
    assert isinstance(net, MultiNet)
    assert net.task_names == ("lysosome",)
    assert (net.width, net.depth, net.axes) == (base.width, base.depth, base.axes)
    extents = {p.shape[2] for p in net.parameters() if p.dim() == 5}
    assert max(extents) == 3
    (record,) = folder.records()
    assert record.train_iterations == compared.record.train_iterations
    assert len(record.curve) == len(compared.record.curve) == 40
    assert record.num_trained_parameters == net.num_parameters()
    card = read_card(folder.path / "model.safetensors")
    assert set(card.tasks) == {"lysosome"}
    assert card.run["strategy"] == folder.read_results()["strategy"] == "individual"

    comparison = compared.comparison
    assert comparison.scratch.valid_mse == record.best_valid_mse
    assert comparison.scratch.valid_r2 == pytest.approx(
        record.validation["lysosome"]["r2"], rel=1e-9
    )
    written = json.loads((compared.folder / "reference.json").read_text())
    assert written["verdict"] == comparison.verdict()

    again = extend(settings(epochs=40))  # once asked for, it stays
    assert again == compared
    assert "--reference scratch" in RunFolder(again.folder).read_results()["command"]
    assert "epoch" not in capsys.readouterr().err


def test_an_interrupted_reference_ends_as_the_undisturbed_one(
    lab, settings, tmp_path, monkeypatch
):
    def extend(name):
        chosen = settings(epochs=12, reference="scratch")
        return extend_model(
            lab.model, lab.manifest, "lysosome", folder=tmp_path / name, settings=chosen
        )

    class Stop(Exception):
        pass

    save = TrainingStatePlugin.after_training_epoch

    def save_and_stop(plugin, strategy, **more):
        save(plugin, strategy, **more)
        if isinstance(strategy.net, MultiNet) and strategy.clock.train_exp_epochs == 6:
            raise Stop

    whole = extend("whole")
    with monkeypatch.context() as patch:
        patch.setattr(TrainingStatePlugin, "after_training_epoch", save_and_stop)
        with pytest.raises(Stop):
            extend("killed")
    resumed = extend("killed")
    assert resumed.comparison == whole.comparison
    for name in ("model.safetensors", "reference/model.safetensors"):
        there = (resumed.folder / name).read_bytes()
        assert there == (whole.folder / name).read_bytes()


def test_the_paired_differences_are_judged_by_a_t_test():
    rng = np.random.default_rng(0)
    for shift in (-0.2, -0.02, 0.0, 0.03, 0.4):
        for number in (2, 3, 10):
            own = 0.5 + 0.1 * rng.standard_normal(number)
            other = own - shift + 0.03 * rng.standard_normal(number)
            found = Comparison(extension=side(own), scratch=side(other))
            assert found.mean_difference == pytest.approx(np.mean(own - other))
            assert found.spread == pytest.approx(statistics.stdev(own - other))
            assert found.exceeds_chance == (ttest_rel(own, other).pvalue < 0.05)


def test_the_verdict_names_the_better_one_on_both_splits_and_the_cost():
    extension = side((0.40, 0.50, 0.60), valid=0.45, parameters=1200)
    scratch = side((0.45, 0.56, 0.65), valid=0.44, parameters=40000)
    assert Comparison(extension=extension, scratch=scratch).verdict() == (
        "on validation images the network from scratch was better (MSE 0.4400 to "
        "0.4500); on test images the extension was better (on 3 of 3, MSE lower by "
        "0.0533 ± 0.0058 from image to image); the extension has 1,200 parameters for "
        "it, 3 % of the 40,000 of a network of its own"
    )
    unsure = side((0.41, 0.45, 0.65), valid=0.44)
    assert (
        "; on test images neither was clearly better (the extension on 2 of 3, MSE "
        "lower by 0.0033 ± 0.0503 from image to image, which may be chance); "
    ) in Comparison(extension=extension, scratch=unsure).verdict()


def test_one_image_and_nothing_learned_are_not_made_much_of():
    one = Comparison(extension=side((0.4,)), scratch=side((0.5,)))
    assert one.spread is None
    assert "; on the one test image the extension was better, too few" in one.verdict()
    nothing = side((0.9, 0.8), valid=0.9)
    text = Comparison(extension=nothing, scratch=nothing).verdict()
    assert text.startswith("neither network has learned the structure; ")
    assert "better" not in text


def test_an_error_that_is_not_finite_is_no_verdict():
    broken = Comparison(extension=side((math.nan, 0.5)), scratch=side((0.5, 0.6)))
    assert not broken.exceeds_chance
    assert "neither was clearly better" in broken.verdict()
