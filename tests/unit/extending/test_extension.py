"""What an extension promises: the old tasks to the bit, and a new one learned."""

import json
import shutil

import pytest
import tifffile
import torch

from continual_repmode.errors import UserError
from continual_repmode.extending import ExtensionSettings, extend_model, extension
from continual_repmode.extending.extension import default_folder
from continual_repmode.extending.summary import format_extension
from continual_repmode.models import (
    ModelCard,
    fingerprint,
    load_model,
    read_card,
    save_model,
)
from continual_repmode.models.methods.multinet import MultiNet
from continual_repmode.results import RunFolder


@pytest.fixture(scope="module")
def first(lab, tmp_path_factory):
    """The model extended by lysosomes, with the image curve."""
    folder = tmp_path_factory.mktemp("first") / "base+lysosome"
    settings = ExtensionSettings(epochs=60, device="cpu", learning_rate=0.02)
    return extend_model(
        lab.model, lab.manifest, "lysosome", folder=folder, settings=settings
    )


@pytest.fixture
def extend(lab, settings):
    def extend(folder, task="lysosome", model=None, manifest=None, **chosen):
        return extend_model(
            model or lab.model, manifest or lab.manifest, task, folder=folder,
            settings=settings(**chosen),
        )  # fmt: skip

    return extend


def assert_same_tasks(before_path, after_path):
    before, after = load_model(before_path), load_model(after_path)
    assert after.task_names[: len(before.task_names)] == before.task_names
    signal = torch.randn(1, 1, 8, 24, 24, generator=torch.Generator().manual_seed(3))
    for task in before.task_names:
        assert fingerprint(after, task) == fingerprint(before, task)
        label = before.task_label(task)
        with torch.no_grad():
            expected = before(signal, label)
            assert expected.std() > 0.01  # a network that says something
            assert torch.equal(after(signal, label), expected)


def test_earlier_tasks_predict_exactly_as_before_and_the_new_one_is_learned(lab, first):
    assert_same_tasks(lab.model, first.model)
    net = load_model(first.model)
    assert net.task_names == ("dna", "nuclear_envelope", "lysosome")
    assert first.record.validation["lysosome"]["r2"] > 0.1
    assert first.points[-1].score.is_learned
    assert [row["task"] for row in first.record.rows] == ["lysosome"]
    for proof in first.record.proofs:
        assert proof["before"] == proof["after"]
    assert [p["task"] for p in first.record.proofs] == ["dna", "nuclear_envelope"]


def test_the_card_gains_a_task_and_keeps_the_others(lab, first):
    before, after = read_card(lab.model), read_card(first.model)
    assert {t: after.tasks[t] for t in before.tasks} == before.tasks
    card = after.tasks["lysosome"]
    assert card.num_images == {"train": 4, "valid": 1, "test": 1}
    assert card.target_mean == pytest.approx(1000, abs=2)
    assert card.metrics["mse"] == first.record.rows[0]["mse"]
    assert (after.window, after.resize) == (before.window, before.resize)
    assert after.run["base_model"]["path"] == str(lab.model)
    assert len(after.run["base_model"]["sha256"]) == 64


def test_each_size_of_the_curve_is_validated_alike_and_the_full_set_is_the_model(first):
    assert [point.num_images for point in first.points] == [1, 2, 4]
    assert first.points[-1].valid_mse == first.record.best_valid_mse
    fewer = RunFolder(first.folder / "images" / "2").records()[0]
    assert first.points[1].valid_mse == fewer.best_valid_mse
    assert fewer.train_iterations == first.record.train_iterations
    assert first.verdict.startswith("from 2 to 4 images the validation error ")
    written = json.loads((first.folder / "images.json").read_text())
    assert written["verdict"] == first.verdict


def test_tables_figures_and_a_sample_are_written(first):
    figures = {path.name for path in (first.folder / "figures").iterdir()}
    assert figures == {"learning_curves.png", "samples.png", "images.png"}
    assert (first.folder / "samples" / "lysosome.npz").is_file()
    assert (
        "lysosome,lysosome_lysosome5"
        in (first.folder / "image_metrics.csv").read_text()
    )
    results = RunFolder(first.folder).read_results()
    assert results["old_tasks_unchanged"] is True
    assert results["command"].startswith("continual-repmode extend ")
    assert "--epochs 60 --learning-rate 0.02" in results["command"]


def test_an_extension_is_followed_and_ended_early_as_a_run_is(
    extend, tmp_path, monkeypatch
):
    """MLflow, a PDF, and a rate that changes nothing: the first validation is best."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    chosen = {"loggers": ("csv", "mlflow"), "figures": ("pdf",), "image_curve": (2,)}
    chosen |= {"learning_rate": 1e-30, "schedule": "constant", "patience": 6}
    chosen |= {"private_bn": False}
    made = extend(tmp_path / "out", epochs=60, **chosen)
    again = extend(tmp_path / "out", epochs=60, **chosen)
    assert again.record == made.record
    epochs = made.record.curve[-1]["epoch"]
    assert made.record.best_epoch + 6 <= epochs < 60
    lines = (made.folder / "scalars.csv").read_text().splitlines()
    losses = [line for line in lines if "train_loss/experience_0," in line]
    assert len(losses) == epochs
    assert not (made.folder / "tensorboard").exists()
    assert not (made.folder / "images" / "2" / "scalars.csv").exists()
    assert (made.folder / "figures" / "images.pdf").is_file()

    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("continual_repmode")
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "train_loss/experience_0")
    assert len(history) == epochs  # once, though it was called twice
    assert run.data.params["task"] == "lysosome"
    assert run.data.params["patience"] == "6"
    files = {a.path for f in ("", "figures") for a in client.list_artifacts(
        run.info.run_id, f or None)}  # fmt: skip
    assert {"extension.json", "results.json", "figures/images.png"} <= files


def test_a_logger_that_lacks_its_package_is_told_before_any_work(
    extend, tmp_path, monkeypatch
):
    monkeypatch.setattr("continual_repmode.extras._is_installed", lambda name: False)
    with pytest.raises(UserError, match=r'^logger wandb lacks .*"\.\[wandb\]"'):
        extend(tmp_path / "out", loggers=("wandb",))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("use_extensions", [False, True])
def test_an_extended_model_is_extended_again(first, tmp_path, extend, use_extensions):
    second = extend(
        tmp_path / "second", "peroxisome", first.model, private_bn=True,
        use_extensions=use_extensions, metrics=("ssim",),
    )  # fmt: skip
    assert_same_tasks(first.model, second.model)
    assert -1 <= second.record.rows[0]["ssim"] <= 1
    assert "SSIM" in format_extension(second)
    net = load_model(second.model)
    assert net.task_names[2:] == ("lysosome", "peroxisome")
    gate = next(table for table in net.gating_weights() if table.task == "peroxisome")
    assert ("extension_lysosome" in gate.experts) is use_extensions
    assert set(read_card(second.model).tasks) == set(net.task_names)


def test_the_same_seed_gives_the_same_file_and_another_seed_another(tmp_path, extend):
    contents = [
        extend(tmp_path / name, seed=seed).model.read_bytes()
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


FIRST = {"epochs": 60, "learning_rate": 0.02, "image_curve": None}
"""Settings of ``first``."""


def test_called_again_it_learns_nothing_anew(first, extend):
    before = first.model.read_bytes()
    assert extend(first.folder, **FIRST) == first
    assert first.model.read_bytes() == before


def test_a_folder_of_something_else_is_refused(first, lab, extend, tmp_path):
    text = lab.manifest.read_text().replace("EGFP,valid", "EGFP,TEST")
    text = text.replace("EGFP,test", "EGFP,valid").replace("TEST", "test")
    swapped, other = tmp_path / "swapped.csv", tmp_path / "base.safetensors"
    swapped.write_text(text)
    save_model(load_model(lab.model), other, ModelCard())
    images = {"manifest": swapped, "root": lab.manifest.parent}
    another, wrong = {"task": "peroxisome"}, r"with task lysosome, not peroxisome"
    for chosen, message in (
        ({"learning_rate": 0.02}, r"with epochs 60, not 6; choose another"),
        ({**FIRST, **images}, r"an extension with other images or splits"),
        ({**FIRST, "model": other}, r"an extension with another base model"),
        ({**another, "manifest": "nowhere.csv"}, wrong),
        ({**another, "model": first.model}, wrong),  # the folder that holds the model
    ):
        with pytest.raises(UserError, match=message):
            extend(first.folder, **chosen)
    with (
        RunFolder(first.folder).held(),
        pytest.raises(UserError, match="in use by another process"),
    ):
        extend(first.folder, **FIRST)
    for file in (swapped, other):
        file.unlink()
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"holds files, but no extension"):
        extend(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_cannot_be_is_refused_before_anything_is_written(extend, tmp_path):
    for task, chosen, message in (
        ("dna", {}, r"knows dna already, as one of dna, nuclear_envelope"),
        ("golgi", {}, r"no row of task 'golgi'; it has lysosome, peroxisome"),
        ("uniform", {}, r"task name 'uniform' is reserved"),
        ("a b", {}, r"task name 'a b': use letters"),
        ("lysosome", {"expert": "conv4"}, r"conv4"),
        ("lysosome", {"patch_size": (4, 32, 16)}, r"the Y side 32 is larger .* 24"),
        ("lysosome", {"patch_size": (4, 16, 15)}, r"X side 15 is not a multiple of 2"),
        ("lysosome", {"image_curve": (2, 5)}, r"there are only 4 training images"),
        ("lysosome", {"voxel_size_um": (1, 1, 1)}, r"--voxel-size 1 1 1: .*at 0\.29"),
        ("lysosome", {"device": "tpu"}, r"device='tpu'"),
    ):
        with pytest.raises(UserError, match=message):
            extend(tmp_path / "out", task, **chosen)
        assert not (tmp_path / "out").exists()


def test_other_and_damaged_models_are_refused(lab, tmp_path, extend):
    other, cut = tmp_path / "multinet.safetensors", tmp_path / "cut.safetensors"
    save_model(MultiNet(("dna",), width=2, depth=1), other, ModelCard())
    cut.write_bytes(lab.model.read_bytes()[:2000])
    for model, message in (
        (other, r"holds a MultiNet; only RepMode"),
        (cut, "cut\\.s"),
    ):
        with pytest.raises(UserError, match=message):
            extend(tmp_path / "out", model=model)


def test_a_volume_that_cannot_be_learned_from_stops_it_first(lab, tmp_path, extend):
    for file in lab.manifest.parent.iterdir():
        shutil.copy(file, tmp_path)
    path = tmp_path / "lysosome2.ome.tif"
    with tifffile.TiffFile(path) as file:
        volume, description = file.asarray(), file.pages[0].description.encode()
    volume[1] = 7
    tifffile.imwrite(path, volume, description=description, metadata=None)
    with pytest.raises(UserError, match=r"row 4, lysosome2.*every voxel is 7"):
        extend(tmp_path / "out", manifest=tmp_path / "lab.csv")
    assert not (tmp_path / "out").exists()


def test_folders_are_called_after_what_was_added(first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(default_folder(first.folder / "x.safetensors", "dna")) == (
        "base+lysosome+dna"
    )
    assert str(default_folder(tmp_path / "deep" / "base.safetensors", "dna")) == (
        "base+dna"
    )
    monkeypatch.chdir(first.folder)
    model = first.model.relative_to(first.folder)
    assert str(default_folder(model, "dna")) == "base+lysosome+dna"


def test_a_plan_is_made_once_and_kept_in_the_folder(lab, tmp_path, monkeypatch, capfd):
    settings = ExtensionSettings(
        plan="auto", epochs=2, image_curve=(), device="cpu", expert=None
    )
    folder = tmp_path / "planned"

    extend_model(lab.model, lab.manifest, "lysosome", folder=folder, settings=settings)

    assert "plan: patches and windows of 8 x 24 x 24, 2 epochs: about" in (
        capfd.readouterr().err
    )
    written = json.loads((folder / "extension.json").read_text())
    assert (written["patch_size"], written["epochs"]) == ([8, 24, 24], 2)
    monkeypatch.setattr(extension, "plan_training", None)  # another machine
    again = extend_model(
        lab.model, lab.manifest, "LYSOSOME", folder=folder, settings=settings
    )
    assert again.task == "lysosome"
