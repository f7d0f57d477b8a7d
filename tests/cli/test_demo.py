"""``continual-repmode demo``: everything with the model that comes with the package."""

import numpy as np
import pytest

from continual_repmode.__main__ import main
from continual_repmode.demo import IMAGES, MODEL
from continual_repmode.demo.__main__ import make
from continual_repmode.models import load_model, read_card
from continual_repmode.prediction.metrics_table import METRICS_FILE
from continual_repmode.results import RunFolder
from continual_repmode.volumes.opening import open_volume


def shown(folder, *words):
    """Run the demonstration and check what it leaves."""
    assert main(["demo", "--out", str(folder), *words]) == 0
    both = load_model(folder / "both.safetensors")
    base = load_model(MODEL)
    assert both.task_names == (*base.task_names, "nucleolus", "cell_membrane")
    (light, *_) = IMAGES
    (made,) = folder.glob("predicted_by_both/field_a*")
    assert open_volume(made).channel_names == both.task_names
    assert open_volume(made).shape[1:] == open_volume(light).shape[1:]
    for name in ("report.html", "prediction.png", f"predicted/{METRICS_FILE}"):
        assert (folder / name).stat().st_size > 100
    for task in ("nucleolus", "cell_membrane"):
        (record,) = RunFolder(folder / f"with_{task}").records()
        assert len(record.proofs) == 10
        assert all(proof["unchanged"] for proof in record.proofs)
    return folder


def test_the_model_that_comes_along_is_small_and_says_what_it_knows():
    assert sum(path.stat().st_size for path in (MODEL, *IMAGES)) < 4e6
    card = read_card(MODEL)
    assert card.run["knows"].startswith("generated cells only")
    assert card.tasks["dna"].metrics["r2"] > 0.5
    for path in IMAGES:
        assert open_volume(path).channel_names == ("Bright", "DNA")


def test_the_demonstration_in_short_resumes_and_keeps_other_folders(tmp_path, capsys):
    folder = shown(tmp_path / "demo", "--epochs", "1")
    told = capsys.readouterr().out
    for verb in ("predict", "extend", "merge", "report"):
        assert f"$ continual-repmode {verb} " in told
    assert "generated cells only" in told
    model = (folder / "with_nucleolus" / "model.safetensors").stat().st_mtime_ns
    shown(folder, "--epochs", "1")
    assert (folder / "with_nucleolus" / "model.safetensors").stat().st_mtime_ns == model
    capsys.readouterr()
    (tmp_path / "other").mkdir()
    assert main(["demo", "--out", str(tmp_path / "new"), "--epochs", "0"]) == 2
    assert "--epochs 0: use 1 or more" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert main(["demo", "--out", str(tmp_path / "other")]) == 2
    assert "choose another folder with --out" in capsys.readouterr().err


def test_the_model_and_the_images_are_made_again_by_one_command(tmp_path):
    """With a tiny training; without it the command is what made those that are here."""
    model, image = tmp_path / "model.safetensors", tmp_path / "field_a.ome.tif"
    small = ("model.width=2", "model.depth=1", "train.epochs=1", "data.num_train=1")
    small += ("data.num_valid=1", "data.num_test=1", "data.shape=[8,16,16]")
    make(model, (image,), *small, "data.patch_size=[4,8,8]")
    assert load_model(model).task_names == load_model(MODEL).task_names
    assert read_card(model).run["knows"] == read_card(MODEL).run["knows"]
    for channel in ("Bright", "DNA"):
        made, here = (open_volume(p).read_channel(channel) for p in (image, IMAGES[0]))
        assert np.array_equal(made, here)


@pytest.mark.slow
def test_the_demonstration_learns_both_structures(tmp_path):
    folder = shown(tmp_path / "demo")
    for task in ("nucleolus", "cell_membrane"):
        (record,) = RunFolder(folder / f"with_{task}").records()
        assert min(row["r2"] for row in record.rows) > 0.4, task
